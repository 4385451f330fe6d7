//! The load generator, first form: closed loop, one message in flight per connection.
//!
//! One thread on epoll. Every reply byte is compared; a wrong one, a connection that dies and a
//! request without an answer are counted apart. A connection that was never answered at all is not an
//! error: `blocking` serves one client at a time, and the others wait in the backlog.

use super::connect;
use crate::failure::{During, Failure};
use crate::net::{Endpoint, Settings};
use crate::phase::Histogram;
use crate::sys::{self, Clock, Epoll, EpollEvent, Interest};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// What to do to a server.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The server.
    pub server: Endpoint,
    /// Connections, all open before the first message.
    pub connections: usize,
    /// Bytes of each message.
    pub size: usize,
    /// Time of the measurement, after a warm-up of a tenth of it.
    pub duration: Duration,
    /// Connections beside those, which are open and say nothing.
    pub idle: usize,
}

impl Load {
    /// One connection, 64 bytes a message, for a second.
    #[must_use]
    pub fn new(server: Endpoint) -> Self {
        Self { server, connections: 1, size: 64, duration: Duration::from_secs(1), idle: 0 }
    }
}

/// Told where the measured time begins and ends, so that whoever asked can read other clocks there.
pub trait Watch {
    /// The warm-up is over.
    fn begins(&mut self) {}
    /// The measured time is over; what is in flight is still to be answered.
    fn ends(&mut self) {}
}

/// Reads nothing.
impl Watch for () {}

/// What came of it. Everything but `bad` is about the time after the warm-up.
#[derive(Debug)]
pub struct Outcome {
    /// Messages answered, all bytes right.
    pub requests: u64,
    /// Time from send to the last byte of the reply, in nanoseconds.
    pub latency: Histogram,
    /// Time measured.
    pub wall: Duration,
    /// CPU time of the generator's thread in that time.
    pub cpu: Duration,
    /// Connections that got no answer at all.
    pub unserved: usize,
    /// Messages of served connections that were not answered within a second after the end.
    pub unanswered: usize,
    /// Replies with a wrong byte.
    pub wrong: u64,
    /// Connections that ended before their time.
    pub dead: usize,
}

impl Outcome {
    /// Answered messages per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.wall.as_secs_f64()
    }

    /// Whether each byte was right and nobody was lost.
    #[must_use]
    pub fn sound(&self) -> bool {
        self.wrong == 0 && self.dead == 0 && self.unanswered == 0 && self.requests > 0
    }
}

/// One connection of the load.
#[derive(Debug)]
struct Talk {
    socket: Option<OwnedFd>,
    sent_at: u64,
    sent: usize,
    received: usize,
    answers: u64,
}

/// How long replies may still take after the end.
const GRACE: Duration = Duration::from_secs(1);

struct Run<'l> {
    load: &'l Load,
    epoll: Epoll,
    talks: Vec<Talk>,
    message: Vec<u8>,
    expected: Vec<u8>,
    buffer: Vec<u8>,
    outcome: Outcome,
    measuring: bool,
    ending: bool,
}

/// Drives the server.
///
/// # Errors
/// Only what keeps the load from running: connect, epoll. What the server does wrong is in the outcome.
pub fn run(load: &Load, watch: &mut dyn Watch) -> Result<Outcome, Failure> {
    let mut run = Run::new(load)?;
    let idle: Result<Vec<_>, _> = (0..load.idle).map(|_| connect(&[load.server])).collect();
    let _idle = idle?;
    for at in 0..load.connections {
        run.send(at);
    }
    let end_of_warm_up = now() + nanos(load.duration / 10);
    run.until(end_of_warm_up)?;
    run.measuring = true;
    watch.begins();
    let (start, cpu) = (now(), sys::clock_gettime(Clock::ThreadCpu));
    run.until(start + nanos(load.duration))?;
    let (end, cpu) = (now(), sys::clock_gettime(Clock::ThreadCpu).saturating_sub(cpu));
    watch.ends();
    run.measuring = false;
    run.ending = true;
    run.until(end + nanos(GRACE))?;
    Ok(run.finish(end - start, cpu))
}

impl<'l> Run<'l> {
    fn new(load: &'l Load) -> Result<Self, Failure> {
        let epoll = sys::epoll_create1().during("epoll_create1", "")?;
        let mut talks = Vec::with_capacity(load.connections);
        for at in 0..load.connections {
            let socket = connect(&[load.server])?;
            sys::set_nonblocking(&socket, true).during("fcntl", load.server)?;
            epoll.add(&socket, Interest::READ, at as u64).during("epoll_ctl", load.server)?;
            let socket = Some(socket);
            talks.push(Talk { socket, sent_at: 0, sent: 0, received: 0, answers: 0 });
        }
        // Letters at every position that shift by one per line of 61: a lost or doubled byte shows.
        let message: Vec<u8> = (0..load.size).map(|i| b'a' + (i % 61 % 26) as u8).collect();
        let outcome = Outcome {
            requests: 0,
            latency: Histogram::new().during("mmap", "histogram")?,
            wall: Duration::ZERO,
            cpu: Duration::ZERO,
            unserved: 0,
            unanswered: 0,
            wrong: 0,
            dead: 0,
        };
        Ok(Self {
            load,
            epoll,
            talks,
            expected: message.to_ascii_uppercase(),
            message,
            buffer: vec![0; load.size.max(Settings::default().buffer)],
            outcome,
            measuring: false,
            ending: false,
        })
    }

    /// Looks after the connections until a moment; after the end, until all are answered.
    fn until(&mut self, moment: u64) -> Result<(), Failure> {
        let mut events = [EpollEvent::EMPTY; 256];
        loop {
            let left = moment.saturating_sub(now());
            if left == 0 || (self.ending && self.owed() == 0) {
                return Ok(());
            }
            let timeout = Some(Duration::from_nanos(left));
            let ready = match self.epoll.epoll_wait(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                other => other.during("epoll_wait", "load")?,
            };
            for event in &events[..ready] {
                let at = event.token() as usize;
                if event.writable() && self.talks[at].sent < self.message.len() {
                    self.send(at);
                }
                if event.readable() {
                    self.receive(at);
                }
            }
        }
    }

    /// Answers that served connections still wait for.
    fn owed(&self) -> usize {
        let owed = |talk: &&Talk| talk.socket.is_some() && talk.answers > 0 && talk.sent > 0;
        self.talks.iter().filter(owed).count()
    }

    /// Sends (the rest of) the message.
    fn send(&mut self, at: usize) {
        let talk = &mut self.talks[at];
        let Some(socket) = &talk.socket else { return };
        if talk.sent == 0 {
            talk.sent_at = now();
        }
        match sys::send(socket, &self.message[talk.sent..]) {
            Ok(n) => talk.sent += n,
            Err(e) if is_again(&e) => {}
            Err(_) => return self.died(at),
        }
        // Rare: only messages larger than the socket's buffer come here.
        let all = talk.sent == self.message.len();
        if !all || talk.sent > SMALL {
            let interest = if all { Interest::READ } else { Interest::BOTH };
            let _ = self.epoll.modify(socket, interest, at as u64);
        }
    }

    fn receive(&mut self, at: usize) {
        let talk = &mut self.talks[at];
        let Some(socket) = &talk.socket else { return };
        let n = match sys::recv(socket, &mut self.buffer) {
            Ok(n) if n > 0 => n,
            Err(e) if is_again(&e) => return,
            Ok(_) | Err(_) => return self.died(at),
        };
        let end = talk.received + n;
        if self.expected.get(talk.received..end) != Some(&self.buffer[..n]) {
            self.outcome.wrong += 1;
            return self.died(at);
        }
        talk.received = end;
        if end < self.expected.len() {
            return;
        }
        let took = now() - talk.sent_at;
        (talk.sent, talk.received) = (0, 0);
        talk.answers += 1;
        if self.measuring {
            self.outcome.requests += 1;
            self.outcome.latency.record(took);
        }
        if !self.ending {
            self.send(at);
        }
    }

    fn died(&mut self, at: usize) {
        if self.talks[at].socket.take().is_some() {
            self.outcome.dead += 1;
        }
    }

    fn finish(mut self, wall: u64, cpu: Duration) -> Outcome {
        self.outcome.unanswered = self.owed();
        let unserved = |talk: &&Talk| talk.answers == 0 && talk.socket.is_some();
        self.outcome.unserved = self.talks.iter().filter(unserved).count();
        debug_assert_eq!(self.talks.len(), self.load.connections);
        Outcome { wall: Duration::from_nanos(wall), cpu, ..self.outcome }
    }
}

/// Messages up to this size fit into any socket buffer whole.
const SMALL: usize = 2048;

fn is_again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn now() -> u64 {
    nanos(sys::clock_gettime(Clock::Monotonic))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
