//! The connections of one thread: those that talk, and those that stand by, idle or slow.

use super::opener::{Opened, Opener};
use super::stream::{Stream, Took};
use super::worker::{Desk, Flows, Times};
use super::{Load, Mode, nanos, now};
use crate::failure::{During, Failure};
use crate::sys::{self, EpollEvent, Interest};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::Relaxed;

/// Handshakes under way at a time: more would only fill the server's backlog.
const AT_ONCE: usize = 128;
/// A full backlog of a Unix socket is tried again after this time.
const LATER: u64 = 2_000_000;

/// One thread's connections. Those that talk come first, then the slow ones, then the idle ones.
#[derive(Debug)]
pub(super) struct Streams<'l> {
    load: &'l Load,
    opener: Opener,
    streams: Vec<Stream>,
    talking: usize,
    slow: usize,
    /// The first that has not been begun.
    next: usize,
    connecting: usize,
    next_byte: u64,
}

impl<'l> Streams<'l> {
    /// The share of thread `number`; bystanders are the first one's.
    pub(super) fn new(load: &'l Load, number: usize) -> Self {
        let depth = load.mode.depth();
        let talking = (number..load.connections).step_by(load.threads);
        let standing = if number == 0 { load.slow + load.idle } else { 0 };
        let talkers = talking.map(|number| Stream::new(number as u32, depth));
        let standing = (load.connections..load.connections + standing)
            .map(|number| Stream::new(number as u32, 1));
        let streams: Vec<_> = talkers.chain(standing).collect();
        Self {
            load,
            opener: Opener::new(load.server),
            talking: load.connections.div_ceil(load.threads).min(streams.len()),
            slow: if number == 0 { load.slow } else { 0 },
            streams,
            next: 0,
            connecting: 0,
            next_byte: 0,
        }
    }

    fn churns(&self, place: usize) -> bool {
        self.load.mode == Mode::Churn && place < self.talking
    }

    /// How many may be begun by now.
    fn allowed(&self, desk: &Desk<'_>, now: u64) -> usize {
        let ramp = nanos(self.load.ramp);
        let since = now.saturating_sub(desk.pace.start);
        if since >= ramp {
            return self.streams.len();
        }
        let part = self.talking as u128 * u128::from(since) / u128::from(ramp);
        part as usize + 1
    }

    /// Begins the connection of a place; false where the server's backlog is full.
    fn connect(&mut self, desk: &mut Desk<'_>, place: usize) -> Result<bool, Failure> {
        match self.opener.open()? {
            Opened::Done(socket) => {
                self.register(desk, place, socket, Interest::READ)?;
                self.connected(desk, place)?;
            }
            Opened::Begun(socket) => {
                self.register(desk, place, socket, Interest::WRITE)?;
                self.streams[place].connecting = true;
                self.connecting += 1;
            }
            Opened::Later => return Ok(false),
        }
        Ok(true)
    }

    fn register(
        &mut self,
        desk: &Desk<'_>,
        place: usize,
        socket: OwnedFd,
        interest: Interest,
    ) -> Result<(), Failure> {
        desk.epoll.add(&socket, interest, place as u64).during("epoll_ctl", self.load.server)?;
        self.streams[place].socket = Some(socket);
        Ok(())
    }

    /// A connection is there.
    fn connected(&mut self, desk: &mut Desk<'_>, place: usize) -> Result<(), Failure> {
        desk.pace.common.open.fetch_add(1, Relaxed);
        if self.churns(place) {
            return self.push(desk, place);
        }
        desk.pace.last = now();
        if place < self.talking {
            desk.alive += 1;
            self.refill(desk, place, desk.pace.last)?;
        }
        Ok(())
    }

    /// A handshake is over, well or badly.
    fn handshake(&mut self, desk: &mut Desk<'_>, place: usize) -> Result<(), Failure> {
        let stream = &mut self.streams[place];
        let Some(socket) = &stream.socket else { return Ok(()) };
        self.connecting -= 1;
        stream.connecting = false;
        if let Err(error) = sys::take_error(socket) {
            stream.socket = None;
            return self.unmade(desk, place, crate::client::refused(self.load.server, error));
        }
        desk.epoll
            .modify(socket, Interest::READ, place as u64)
            .during("epoll_ctl", self.load.server)?;
        self.connected(desk, place)
    }

    /// A connection could not be made: nothing can be said about a server that nobody ever reached.
    fn unmade(&mut self, desk: &mut Desk<'_>, place: usize, why: Failure) -> Result<(), Failure> {
        let reached = self.churns(place) && self.streams.iter().any(|stream| stream.served);
        if reached { self.end(desk, place) } else { Err(why) }
    }

    /// Sends what a connection was asked for.
    fn push(&mut self, desk: &mut Desk<'_>, place: usize) -> Result<(), Failure> {
        if self.streams[place].send(desk, place as u64) { Ok(()) } else { self.end(desk, place) }
    }

    /// A connection has ended before its time.
    fn end(&mut self, desk: &mut Desk<'_>, place: usize) -> Result<(), Failure> {
        let dead =
            if place < self.talking { &desk.score.dead } else { &desk.score.bystanders_dead };
        dead.add(1);
        self.close(desk, place);
        Ok(())
    }

    fn close(&mut self, desk: &mut Desk<'_>, place: usize) {
        let stream = &mut self.streams[place];
        if stream.socket.is_some() && !stream.connecting {
            desk.pace.common.open.fetch_sub(1, Relaxed);
        }
        let in_flight = stream.in_flight();
        stream.renew();
        if place < self.talking {
            desk.gone(in_flight);
            self.streams[place].retired = true;
        }
    }

    fn receive(&mut self, desk: &mut Desk<'_>, place: usize) -> Result<(), Failure> {
        match self.streams[place].receive(desk) {
            Took::Part => Ok(()),
            Took::Answers(first, answers) => self.answered(desk, place, first..first + answers),
            Took::Wrong => {
                desk.score.wrong.add(1);
                self.close(desk, place);
                Ok(())
            }
            Took::End => self.end(desk, place),
        }
    }

    #[inline]
    fn answered(
        &mut self,
        desk: &mut Desk<'_>,
        place: usize,
        messages: std::ops::Range<u64>,
    ) -> Result<(), Failure> {
        if place >= self.talking {
            return Ok(());
        }
        // The one reading of the clock: the next message leaves now.
        let now = now();
        let stream = &mut self.streams[place];
        for message in messages {
            desk.answered(stream.times(message), now);
        }
        stream.served = true;
        if self.load.mode == Mode::Churn {
            self.streams[place].renew();
            desk.pace.common.open.fetch_sub(1, Relaxed);
        }
        self.refill(desk, place, now)
    }

    /// Asks for as many messages as the pace grants and the connection has room for.
    #[inline]
    fn refill(&mut self, desk: &mut Desk<'_>, place: usize, now: u64) -> Result<(), Failure> {
        let churns = self.churns(place);
        let stream = &mut self.streams[place];
        if stream.retired || (stream.socket.is_none() && !churns) {
            return Ok(());
        }
        let mut granted = 0;
        while stream.has_room() {
            let Some(planned) = desk.pace.grant(now) else { break };
            stream.ask(Times { planned, sent: now });
            granted += 1;
        }
        desk.in_flight += granted;
        if stream.has_room() && !stream.queued {
            stream.queued = true;
            desk.free.push_back(place);
        }
        if granted == 0 {
            return Ok(());
        }
        if !churns {
            return self.push(desk, place);
        }
        match self.connect(desk, place) {
            Ok(true) => Ok(()),
            // The backlog of a Unix socket is full: the request has failed, as it would for any client.
            Ok(false) => self.end(desk, place),
            Err(why) => self.unmade(desk, place, why),
        }
    }
}

impl Flows for Streams<'_> {
    fn open(&mut self, desk: &mut Desk<'_>, now: u64) -> Result<Option<u64>, Failure> {
        if self.next == self.streams.len() {
            return Ok(None);
        }
        let allowed = self.allowed(desk, now);
        while self.next < allowed && self.connecting < AT_ONCE {
            if self.churns(self.next) {
                // Its connections are part of its requests.
                desk.alive += 1;
                self.streams[self.next].queued = true;
                desk.free.push_back(self.next);
            } else if !self.connect(desk, self.next)? {
                return Ok(Some(now + LATER));
            }
            self.next += 1;
        }
        let more = self.next < self.streams.len() && self.connecting < AT_ONCE;
        Ok(more.then_some(now + LATER))
    }

    fn opened(&self) -> bool {
        self.next == self.streams.len() && (self.connecting == 0 || self.load.mode == Mode::Churn)
    }

    #[inline]
    fn attend(&mut self, desk: &mut Desk<'_>, event: EpollEvent) -> Result<(), Failure> {
        let place = event.token() as usize;
        let stream = &self.streams[place];
        if stream.connecting {
            return self.handshake(desk, place);
        }
        if stream.stalled() && event.writable() {
            self.push(desk, place)?;
        }
        if event.readable() { self.receive(desk, place) } else { Ok(()) }
    }

    fn fill(&mut self, desk: &mut Desk<'_>, place: usize, now: u64) -> Result<(), Failure> {
        self.streams[place].queued = false;
        self.refill(desk, place, now)
    }

    fn tend(&mut self, desk: &mut Desk<'_>, now: u64) {
        if self.slow == 0 || now < self.next_byte {
            return;
        }
        self.next_byte = now + nanos(self.load.slow_interval);
        for place in self.talking..self.talking + self.slow {
            if !self.streams[place].dribble(desk) {
                desk.score.bystanders_dead.add(1);
                self.close(desk, place);
            }
        }
    }

    fn next(&self, _desk: &Desk<'_>) -> u64 {
        if self.slow == 0 { u64::MAX } else { self.next_byte }
    }

    fn owed(&self) -> (usize, usize) {
        let talking = &self.streams[..self.talking];
        let alive = || talking.iter().filter(|stream| !stream.retired);
        let owed = alive().filter(|stream| stream.served).map(Stream::in_flight).sum();
        (owed, alive().filter(|stream| !stream.served).count())
    }
}
