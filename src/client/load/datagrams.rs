//! The datagram sockets of one thread. A datagram may be lost, late or doubled: each answer names its message.

use super::opener::{Opened, Opener};
use super::payload::{Payload, Place};
use super::worker::{Desk, Flows, Times, again};
use super::{Load, nanos, now};
use crate::failure::{During, Failure};
use crate::sys::{self, EpollEvent, Interest};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::Relaxed;

/// A socket with a port of its own, connected: it hears of its ICMP errors.
#[derive(Debug)]
struct Mailbox {
    number: u32,
    socket: OwnedFd,
    /// Messages granted.
    asked: u64,
    /// Messages that wait for their answer, a few.
    flying: Vec<(u64, Times)>,
    /// The last one granted has not left: there is no room.
    stalled: bool,
    queued: bool,
}

/// Time between two looks for lost ones at least: each goes through all sockets.
const BETWEEN_LOOKS: u64 = 1_000_000;

/// One thread's sockets.
#[derive(Debug)]
pub(super) struct Datagrams<'l> {
    load: &'l Load,
    opener: Opener,
    /// Numbers of those that are still to be opened.
    numbers: std::iter::StepBy<std::ops::Range<usize>>,
    all: usize,
    boxes: Vec<Mailbox>,
    depth: usize,
    timeout: u64,
    /// When the next one in flight may be over its time.
    next_look: u64,
}

impl<'l> Datagrams<'l> {
    /// The share of thread `number`.
    pub(super) fn new(load: &'l Load, number: usize) -> Self {
        let numbers = (number..load.connections).step_by(load.threads);
        Self {
            load,
            opener: Opener::new(load.server),
            all: numbers.len(),
            numbers,
            boxes: Vec::new(),
            depth: load.mode.depth(),
            timeout: nanos(load.timeout),
            next_look: 0,
        }
    }

    fn refill(&mut self, desk: &mut Desk<'_>, place: usize, now: u64) -> Result<(), Failure> {
        loop {
            let mailbox = &mut self.boxes[place];
            if mailbox.stalled || mailbox.flying.len() == self.depth {
                return Ok(());
            }
            let Some(planned) = desk.pace.grant(now) else {
                if !mailbox.queued {
                    mailbox.queued = true;
                    desk.free.push_back(place);
                }
                return Ok(());
            };
            mailbox.flying.push((mailbox.asked, Times { planned, sent: now }));
            mailbox.asked += 1;
            desk.in_flight += 1;
            self.send(desk, place)?;
        }
    }

    /// Sends the last message granted.
    fn send(&mut self, desk: &mut Desk<'_>, place: usize) -> Result<(), Failure> {
        let mailbox = &mut self.boxes[place];
        let message = Place { message: mailbox.asked - 1, offset: 0 };
        let bytes = &mut desk.scratch[..self.load.size];
        desk.payload.write(mailbox.number, message, bytes);
        let mut sent = sys::send(&mailbox.socket, bytes);
        if refused(&sent) {
            // What an earlier datagram met; this one has not been sent yet.
            desk.score.unreachable.add(1);
            sent = sys::send(&mailbox.socket, bytes);
        }
        let stalled = match sent {
            Ok(n) => {
                desk.sent(n);
                false
            }
            Err(error) if again(&error) => true,
            // Refused twice, or no memory for it: lost, as on the way.
            Err(error)
                if error.kind() == ErrorKind::ConnectionRefused || sys::no_buffers(&error) =>
            {
                false
            }
            other => other.map(|_| false).during("send", self.load.server)?,
        };
        if stalled != mailbox.stalled {
            mailbox.stalled = stalled;
            let interest = if stalled { Interest::BOTH } else { Interest::READ };
            let armed = desk.epoll.modify(&mailbox.socket, interest, place as u64);
            armed.during("epoll_ctl", self.load.server)?;
        }
        Ok(())
    }

    fn receive(&mut self, desk: &mut Desk<'_>, place: usize) -> Result<(), Failure> {
        let mailbox = &mut self.boxes[place];
        let received = sys::recv(&mailbox.socket, &mut desk.buffer);
        if refused(&received) {
            // Of one of those in flight, and it is not said which: its time will run out.
            desk.score.unreachable.add(1);
            return Ok(());
        }
        let n = match received {
            Err(error) if again(&error) => return Ok(()),
            other => other.during("recv", self.load.server)?,
        };
        desk.received(n);
        let (bytes, own) = (&desk.buffer[..n], mailbox.number);
        let named = Payload::names(bytes).filter(|(number, message)| {
            let place = Place { message: *message, offset: 0 };
            let ours = *number == own && *message < mailbox.asked && n == self.load.size;
            ours && desk.payload.answers(own, place, bytes)
        });
        let Some((_, message)) = named else {
            desk.score.wrong.add(1);
            return Ok(());
        };
        let Some(at) = mailbox.flying.iter().position(|(flying, _)| *flying == message) else {
            desk.score.late.add(1);
            return Ok(());
        };
        let (_, times) = mailbox.flying.swap_remove(at);
        let now = now();
        desk.answered(times, now);
        self.refill(desk, place, now)
    }

    /// Gives up the messages of a socket whose time is over; when that of the next one is.
    fn give_up(&mut self, desk: &mut Desk<'_>, place: usize, now: u64) -> u64 {
        let (before, timeout) = (self.boxes[place].flying.len(), self.timeout);
        let (score, pace) = (desk.score, &desk.pace);
        let mut next = u64::MAX;
        self.boxes[place].flying.retain(|(_, times)| {
            let end = times.sent.saturating_add(timeout);
            let over = now >= end;
            if !over {
                next = next.min(end);
            } else if pace.counted(times.planned) {
                score.lost.add(1);
            }
            !over
        });
        let mailbox = &mut self.boxes[place];
        let lost = before - mailbox.flying.len();
        if lost == 0 {
            return next;
        }
        desk.in_flight -= lost;
        desk.pace.last = now;
        if !mailbox.queued && !mailbox.stalled {
            mailbox.queued = true;
            desk.free.push_back(place);
        }
        next
    }
}

impl Flows for Datagrams<'_> {
    fn open(&mut self, desk: &mut Desk<'_>, now: u64) -> Result<Option<u64>, Failure> {
        let ramp = nanos(self.load.ramp);
        let since = now.saturating_sub(desk.pace.start);
        let part = (self.all as u128 * u128::from(since)).checked_div(u128::from(ramp));
        let allowed = part.map_or(self.all, |part| (part as usize + 1).min(self.all));
        while self.boxes.len() < allowed {
            let Some(number) = self.numbers.next() else { break };
            let socket = match self.opener.open()? {
                Opened::Done(socket) | Opened::Begun(socket) => socket,
                // Unix datagram sockets connect at once, or not at all.
                Opened::Later => {
                    let error = ErrorKind::WouldBlock.into();
                    return Err(Failure::new("connect", self.load.server, error));
                }
            };
            let place = self.boxes.len();
            desk.epoll
                .add(&socket, Interest::READ, place as u64)
                .during("epoll_ctl", self.load.server)?;
            let (flying, number) = (Vec::with_capacity(self.depth), number as u32);
            let mailbox =
                Mailbox { number, socket, asked: 0, flying, stalled: false, queued: true };
            self.boxes.push(mailbox);
            desk.free.push_back(place);
            desk.alive += 1;
            desk.pace.common.open.fetch_add(1, Relaxed);
        }
        Ok((self.boxes.len() < self.all).then_some(now + 2_000_000))
    }

    fn opened(&self) -> bool {
        self.boxes.len() == self.all
    }

    fn attend(&mut self, desk: &mut Desk<'_>, event: EpollEvent) -> Result<(), Failure> {
        let place = event.token() as usize;
        if self.boxes[place].stalled && event.writable() {
            self.send(desk, place)?;
            self.refill(desk, place, now())?;
        }
        if event.readable() { self.receive(desk, place) } else { Ok(()) }
    }

    fn fill(&mut self, desk: &mut Desk<'_>, place: usize, now: u64) -> Result<(), Failure> {
        self.boxes[place].queued = false;
        self.refill(desk, place, now)
    }

    /// Looks for lost ones when the time of the first may be over. What leaves after this look has its whole time before it.
    fn tend(&mut self, desk: &mut Desk<'_>, now: u64) {
        if now < self.next_look {
            return;
        }
        let whole = now.saturating_add(self.timeout);
        let ends = (0..self.boxes.len()).map(|place| self.give_up(desk, place, now));
        self.next_look = ends.fold(whole, u64::min).max(now + BETWEEN_LOOKS);
    }

    fn next(&self, desk: &Desk<'_>) -> u64 {
        if desk.in_flight == 0 { u64::MAX } else { self.next_look }
    }

    /// What is not answered is lost in time; nobody is unserved without a connection.
    fn owed(&self) -> (usize, usize) {
        (self.boxes.iter().map(|mailbox| mailbox.flying.len()).sum(), 0)
    }
}

/// Whether an ICMP error came up, about something sent earlier.
fn refused(result: &io::Result<usize>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}
