//! The load generator: many flows at a server, every byte of every answer compared.
//!
//! A **flow** is a connection, or a datagram socket of its own port, with at most [`Mode::depth`] messages in flight. Each thread has
//! one epoll set and its share of the flows; the first one runs on the caller's thread. The way of one request: `pace` grants it a time,
//! `streams` or `datagrams` send what `payload` says and compare what comes back, `outcome` counts. `worker` is the loop around them.
//!
//! Time has four parts: opening (all connections are made before the first message, unless there is a ramp), warm-up, the measured
//! time, and the drain, in which what is in flight may still be answered.

mod datagrams;
mod opener;
mod outcome;
mod pace;
mod payload;
mod stream;
mod streams;
mod threshold;
mod worker;

pub use outcome::Outcome;
pub use threshold::{Seen, Threshold};

use crate::failure::{During, Failure};
use crate::net::Endpoint;
use crate::stop::Stop;
use crate::sys::{self, Clock, Kind, Limit};
use outcome::{Part, Score};
use pace::Common;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// How requests follow one another. One run has one mode: their latencies mean different things.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// The next message leaves when the answer to the last one has come: one in flight per connection.
    Closed,
    /// The same with so many in flight.
    Pipeline(usize),
    /// So many messages a second at planned times, whatever the server does; one in flight per connection, so that what
    /// finds all of them busy leaves late. Latency counts from the planned time.
    Open(f64),
    /// Connect, one message, its answer, close; again.
    Churn,
}

impl Mode {
    /// Messages in flight per flow at most.
    #[must_use]
    pub fn depth(self) -> usize {
        if let Self::Pipeline(depth) = self { depth } else { 1 }
    }

    /// `closed`, `pipeline`, `open`, `churn`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Pipeline(_) => "pipeline",
            Self::Open(_) => "open",
            Self::Churn => "churn",
        }
    }
}

/// What to do to a server.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The server.
    pub server: Endpoint,
    /// Connections, all open before the first message unless there is a ramp; for datagrams, sockets.
    pub connections: usize,
    /// Bytes of each message.
    pub size: usize,
    /// Time of the measurement.
    pub duration: Duration,
    /// Instead of the time: so many requests, all of which are measured.
    pub count: Option<u64>,
    /// How requests follow one another.
    pub mode: Mode,
    /// Threads that share the connections.
    pub threads: usize,
    /// Time before the measurement; `None` is a tenth of the duration, a second at most, and nothing before a count.
    pub warm_up: Option<Duration>,
    /// The connections are opened evenly over this time, before the warm-up, and talk at once.
    pub ramp: Duration,
    /// How long to wait for what does not come: the answer to a datagram, which is lost then; a connection, an answer after the end.
    pub timeout: Duration,
    /// Connections beside those, which are open and say nothing.
    pub idle: usize,
    /// Connections beside those, which send a byte now and then and no whole message for long.
    pub slow: usize,
    /// Time between two bytes of a slow one.
    pub slow_interval: Duration,
}

impl Load {
    /// One connection, 64 bytes a message, for a second.
    #[must_use]
    pub fn new(server: Endpoint) -> Self {
        Self {
            server,
            connections: 1,
            size: 64,
            duration: Duration::from_secs(1),
            count: None,
            mode: Mode::Closed,
            threads: 1,
            warm_up: None,
            ramp: Duration::ZERO,
            timeout: Duration::from_secs(1),
            idle: 0,
            slow: 0,
            slow_interval: Duration::from_millis(100),
        }
    }

    /// Time before the measurement.
    #[must_use]
    pub fn warm_up(&self) -> Duration {
        let tenth = (self.duration / 10).min(Duration::from_secs(1));
        let usual = if self.count.is_some() { Duration::ZERO } else { tenth };
        self.warm_up.unwrap_or(usual)
    }

    /// Descriptors that the load needs.
    #[must_use]
    pub fn descriptors(&self) -> u64 {
        (self.connections + self.idle + self.slow + 2 * self.threads) as u64 + OWN_DESCRIPTORS
    }

    /// Whether it makes sense.
    ///
    /// # Errors
    /// A sentence that says what does not.
    pub fn check(&self) -> Result<(), String> {
        let datagrams = self.server.transport().kind() == Kind::Datagram;
        let no = |what: &str| Err(what.to_owned());
        if self.connections == 0 {
            return no("no connections: at least 1 is needed");
        }
        if self.size == 0 || self.count == Some(0) || self.duration.is_zero() {
            return no("nothing to do: bytes, requests and time are at least 1");
        }
        if self.threads == 0 || self.threads > self.connections {
            return Err(format!(
                "{} threads for {} connections: each thread needs a connection, and there must be one",
                self.threads, self.connections
            ));
        }
        // A flow's number has 24 bits in each message.
        if self.connections + self.idle + self.slow > 1 << 24 {
            return no("more than 16,777,216 connections");
        }
        match self.mode {
            Mode::Pipeline(depth) if depth == 0 || depth > DEEPEST => {
                return Err(format!("a pipeline holds from 1 to {DEEPEST} messages"));
            }
            Mode::Open(rate) if !(rate > 0.0 && rate <= FASTEST) => {
                return Err(format!("a rate is above 0 and at most {FASTEST} a second"));
            }
            Mode::Churn if datagrams => return no("datagrams have no connections to churn"),
            _ => {}
        }
        if !datagrams {
            return Ok(());
        }
        if self.size < payload::HEAD || self.size > LARGEST_DATAGRAM {
            return Err(format!(
                "a datagram of {} bytes: it carries its number in {} letters, and {LARGEST_DATAGRAM} bytes are the most",
                self.size,
                payload::HEAD
            ));
        }
        if self.idle > 0 || self.slow > 0 {
            return no("idle and slow clients hold connections: datagrams have none");
        }
        Ok(())
    }
}

/// Descriptors of the process beside those: the three standard ones, the stop, what a library has open, and some to spare.
const OWN_DESCRIPTORS: u64 = 16;
/// Messages in flight per connection at most.
const DEEPEST: usize = 65_536;
/// Requests per second at most: one per nanosecond.
const FASTEST: f64 = 1e9;
/// What UDP over IPv4 carries.
const LARGEST_DATAGRAM: usize = 65_507;

/// The process may not have as many descriptors as a load needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFew {
    /// How many are needed.
    pub needed: u64,
    /// How many it may have: the hard limit.
    pub allowed: u64,
}

impl fmt::Display for TooFew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} descriptors are needed, and this process may have {} (RLIMIT_NOFILE, hard limit); \
             raise it as root with ulimit -Hn, or in limits.conf(5)",
            self.needed, self.allowed
        )
    }
}

/// Raises the process' soft limit of descriptors, to the hard one at most, if a load needs it.
///
/// # Errors
/// The hard limit is too low.
pub fn make_room(load: &Load) -> Result<(), TooFew> {
    let needed = load.descriptors();
    // Neither call fails for this resource: the hard limit stays as it is.
    let Ok(limit) = sys::getrlimit() else { return Ok(()) };
    if limit.hard < needed {
        return Err(TooFew { needed, allowed: limit.hard });
    }
    if limit.soft < needed {
        let _ = sys::setrlimit(Limit { soft: limit.hard, ..limit });
    }
    Ok(())
}

/// How far a run is, once a second.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// `opening`, `warming up`, `measuring`, `draining`.
    pub phase: &'static str,
    /// Time since the first request; zero while opening.
    pub elapsed: Duration,
    /// Connections that are open.
    pub open: usize,
    /// Requests measured so far.
    pub requests: u64,
    /// Those of the last second.
    pub rate: f64,
    /// Median and 99th percentile so far, in nanoseconds.
    pub latency: [u64; 2],
    /// Wrong answers, dead connections and lost datagrams so far.
    pub troubles: u64,
}

/// Told where the measured time begins and ends, so that whoever asked can read other clocks there. Called on the thread
/// that runs the load.
pub trait Watch {
    /// The warm-up is over. The measured time begins when this returns: it may take long, and nobody sends meanwhile.
    fn begins(&mut self) {}
    /// The measured time is over; what is in flight is still to be answered.
    fn ends(&mut self) {}
    /// A second has passed.
    fn tick(&mut self, _progress: &Progress) {}
}

/// Reads nothing.
impl Watch for () {}

/// Drives the server.
///
/// # Errors
/// Only what keeps the load from running: a load without sense, connect, epoll. What the server does wrong is in the outcome.
pub fn run(load: &Load, watch: &mut dyn Watch) -> Result<Outcome, Failure> {
    let stop = Stop::new(Duration::ZERO).during("eventfd", "stop")?;
    run_until(load, watch, &stop)
}

/// The same; a stop that is requested ends the measured time early.
///
/// # Errors
/// As [`run`].
pub fn run_until(load: &Load, watch: &mut dyn Watch, stop: &Stop) -> Result<Outcome, Failure> {
    let invalid =
        |what: String| Failure::new("load", "", io::Error::new(io::ErrorKind::InvalidInput, what));
    load.check().map_err(invalid)?;
    let scores = (0..load.threads).map(|_| Score::new(load).map(Arc::new));
    let scores: Vec<Arc<Score>> = scores.collect::<Result<_, _>>()?;
    let common = Common::new(load, stop, &scores);
    let parts = thread::scope(|scope| {
        let mut others = Vec::new();
        for number in 1..load.threads {
            let one = thread::Builder::new().name(format!("load-{number}"));
            let common = &common;
            match one.spawn_scoped(scope, move || worker::run(common, number, &mut ())) {
                Ok(thread) => others.push(thread),
                Err(error) => {
                    // Those who wait for this one are told not to.
                    common.give_up();
                    return Err(Failure::new("clone", format_args!("thread {number}"), error));
                }
            }
        }
        let first = worker::run(&common, 0, watch);
        let mut parts = vec![first];
        for thread in others {
            // A panic there is a defect of this program and goes on here.
            parts.push(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        parts.into_iter().collect::<Result<Vec<Part>, Failure>>()
    })?;
    let mut outcome = Outcome::of(&parts, &scores)?;
    outcome.unsent += common.left();
    Ok(outcome)
}

/// `CLOCK_MONOTONIC` in nanoseconds.
fn now() -> u64 {
    nanos(sys::clock_gettime(Clock::Monotonic))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
