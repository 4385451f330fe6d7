//! One thread of the load: the loop around its flows.

use super::datagrams::Datagrams;
use super::outcome::{Part, Score, merged};
use super::pace::{Common, Pace, Phase, State};
use super::payload::Payload;
use super::streams::Streams;
use super::{Mode, Progress, Watch, nanos, now};
use crate::failure::{During, Failure};
use crate::sys::{self, Clock, Epoll, EpollEvent, Interest, Kind};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Bytes that one call sends or receives at most.
const BUFFER: usize = 64 << 10;
/// The stop's token; flows have their places.
const STOP: u64 = u64::MAX;
/// The timer's.
const TIMER: u64 = u64::MAX - 1;
/// Nothing waits longer than this for an event: another thread may have given up.
const LONGEST: u64 = 1_000_000_000;

/// What all flows of a thread use.
pub(super) struct Desk<'c> {
    pub(super) pace: Pace<'c>,
    pub(super) score: &'c Score,
    pub(super) payload: Payload,
    pub(super) epoll: Epoll,
    /// Flows that could take another message.
    pub(super) free: VecDeque<usize>,
    /// Messages that wait for their answer, of all flows.
    pub(super) in_flight: usize,
    /// Flows that can still do something.
    pub(super) alive: usize,
    pub(super) buffer: Vec<u8>,
    pub(super) scratch: Vec<u8>,
}

/// The flows of a thread. Places are their numbers here, and the tokens of their events.
pub(super) trait Flows {
    /// Goes on opening; when to come again, if no event will tell.
    fn open(&mut self, desk: &mut Desk<'_>, now: u64) -> Result<Option<u64>, Failure>;
    /// Whether all are open, or have failed.
    fn opened(&self) -> bool;
    /// Handles an event.
    fn attend(&mut self, desk: &mut Desk<'_>, event: EpollEvent) -> Result<(), Failure>;
    /// Sends what the pace grants to a flow that is free; it joins the free ones again if it still is.
    fn fill(&mut self, desk: &mut Desk<'_>, place: usize, now: u64) -> Result<(), Failure>;
    /// What time alone brings: bytes of slow ones, answers that are too late.
    fn tend(&mut self, desk: &mut Desk<'_>, now: u64);
    /// When it brings something next.
    fn next(&self, desk: &Desk<'_>) -> u64;
    /// Messages of served flows that wait for an answer, and flows that got none at all.
    fn owed(&self) -> (usize, usize);
}

/// Runs one thread's share.
///
/// # Errors
/// What keeps the load from running.
pub(super) fn run(
    common: &Common<'_>,
    number: usize,
    watch: &mut dyn Watch,
) -> Result<Part, Failure> {
    let share = share(common, number, watch);
    if share.is_err() {
        common.give_up();
    }
    share
}

fn share(common: &Common<'_>, number: usize, watch: &mut dyn Watch) -> Result<Part, Failure> {
    let load = common.load;
    let epoll = sys::epoll_create1().during("epoll_create1", "")?;
    epoll.add(common.stop, Interest::READ, STOP).during("epoll_ctl", "stop")?;
    let timer = Timer::new(&epoll)?;
    let desk = Desk {
        pace: Pace::new(common, number, now()),
        score: &common.scores[number],
        payload: Payload::new(load.size),
        epoll,
        free: VecDeque::new(),
        in_flight: 0,
        alive: 0,
        buffer: vec![0; BUFFER],
        scratch: vec![0; BUFFER],
    };
    let ticker = (number == 0).then(|| Ticker::new(now()));
    match load.server.transport().kind() {
        Kind::Stream => {
            Loop { flows: Streams::new(load, number), desk, timer, ticker, watch }.run()
        }
        Kind::Datagram => {
            Loop { flows: Datagrams::new(load, number), desk, timer, ticker, watch }.run()
        }
    }
}

/// The next moment at which something is to be done, as a descriptor in the epoll set. A time-out of each wait would be a timer of the
/// kernel set up and taken down each time, and of whole milliseconds: too coarse for planned sends.
struct Timer {
    descriptor: OwnedFd,
    moment: u64,
}

impl Timer {
    fn new(epoll: &Epoll) -> Result<Self, Failure> {
        let descriptor = sys::timerfd_create().during("timerfd_create", "")?;
        epoll.add(&descriptor, Interest::READ, TIMER).during("epoll_ctl", "timer")?;
        Ok(Self { descriptor, moment: 0 })
    }

    /// Wakes the next wait at that moment, or before: one that is set and earlier stays, and costs a look around.
    fn set(&mut self, now: u64, moment: u64) -> Result<(), Failure> {
        if self.moment > now && self.moment <= moment {
            return Ok(());
        }
        self.moment = moment;
        let moment = Duration::from_nanos(moment);
        sys::timerfd_settime(&self.descriptor, moment).during("timerfd_settime", "")
    }
}

struct Loop<'c, 'w, F> {
    flows: F,
    desk: Desk<'c>,
    timer: Timer,
    /// The first thread's.
    ticker: Option<Ticker>,
    watch: &'w mut dyn Watch,
}

impl<F: Flows> Loop<'_, '_, F> {
    fn run(mut self) -> Result<Part, Failure> {
        let common = self.desk.pace.common;
        if common.load.ramp.is_zero() {
            self.open()?;
        }
        self.desk.pace.begin(common.arrive(now));
        let (mut begun, mut cpu) = (0, Duration::ZERO);
        let mut part = Part::default();
        loop {
            let mut now = now();
            let phase = self.desk.pace.phase;
            // Before all else: who gives up what is lost is free, and nobody may be left to wait for.
            self.flows.tend(&mut self.desk, now);
            self.step(now);
            match (phase, self.desk.pace.phase) {
                (Phase::WarmUp, Phase::Measured) => {
                    self.watch.begins();
                    // That took its time, and nobody sent anything meanwhile: none of the measured time is over yet.
                    now = super::now();
                    begun = now;
                    self.desk.pace.measured_from(begun);
                    cpu = sys::clock_gettime(Clock::ThreadCpu);
                }
                (Phase::WarmUp | Phase::Measured, Phase::Drain) => {
                    self.watch.ends();
                    // Stopped in the warm-up: nothing was measured.
                    if begun > 0 {
                        part.cpu = sys::clock_gettime(Clock::ThreadCpu).saturating_sub(cpu);
                        part.wall = self.desk.pace.wall(begun);
                        part.unsent = self.desk.pace.unsent();
                    }
                    // Perhaps nobody is owed anything: then there is nothing to wait for.
                    continue;
                }
                (_, Phase::Over) => break,
                _ => {}
            }
            self.turn(now)?;
        }
        (part.unanswered, part.unserved) = self.flows.owed();
        part.stopped = self.desk.pace.stopped;
        Ok(part)
    }

    /// Makes all connections, as far as the server takes them.
    fn open(&mut self) -> Result<(), Failure> {
        let common = self.desk.pace.common;
        let timeout = nanos(common.load.timeout);
        loop {
            let now = now();
            let again = self.flows.open(&mut self.desk, now)?;
            let silent = now >= self.desk.pace.last.saturating_add(timeout);
            if self.flows.opened() || silent || common.stop.requested() || common.given_up() {
                break;
            }
            self.tick(now);
            let silence = self.desk.pace.last.saturating_add(timeout);
            self.wait(now, silence.min(again.unwrap_or(u64::MAX)))?;
        }
        let nobody = common.open.load(Relaxed) == 0 && common.load.mode != Mode::Churn;
        if nobody && !common.stop.requested() && !common.given_up() {
            let error = io::Error::from(io::ErrorKind::TimedOut);
            return Err(Failure::new("connect", common.load.server, error));
        }
        Ok(())
    }

    fn step(&mut self, now: u64) {
        let desk = &mut self.desk;
        if desk.pace.phase == Phase::Drain {
            let (owed, unserved) = self.flows.owed();
            return desk.pace.drain(now, owed, unserved);
        }
        let alive = desk.alive > 0 || !self.flows.opened();
        let (in_flight, free) = (desk.in_flight, !desk.free.is_empty());
        desk.pace.step(now, State { in_flight, free, alive });
        if desk.pace.stopped {
            // Readable for good: it would end every wait of the drain.
            let _ = desk.epoll.delete(desk.pace.common.stop);
        }
    }

    /// One turn: what is to be sent, and what comes meanwhile.
    fn turn(&mut self, now: u64) -> Result<(), Failure> {
        let again = self.flows.open(&mut self.desk, now)?;
        for _ in 0..self.desk.free.len() {
            if !self.desk.pace.may_grant(now) {
                break;
            }
            let Some(place) = self.desk.free.pop_front() else { break };
            self.flows.fill(&mut self.desk, place, now)?;
        }
        self.tick(now);
        let next = self.desk.pace.next(now, !self.desk.free.is_empty());
        let next = next.min(self.flows.next(&self.desk));
        self.wait(now, next.min(again.unwrap_or(u64::MAX)))
    }

    /// Waits for events until a moment, and handles them.
    fn wait(&mut self, now: u64, moment: u64) -> Result<(), Failure> {
        let tick = self.ticker.as_ref().map_or(u64::MAX, |ticker| ticker.next);
        let moment = moment.min(tick).min(now + LONGEST);
        let timeout = if moment > now {
            self.timer.set(now, moment)?;
            None
        } else {
            Some(Duration::ZERO)
        };
        let mut events = [EpollEvent::EMPTY; 256];
        let ready = match self.desk.epoll.epoll_wait(&mut events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            other => other.during("epoll_wait", "load")?,
        };
        for event in &events[..ready] {
            // The stop and the timer have been seen by waking up.
            if event.token() < TIMER {
                self.flows.attend(&mut self.desk, *event)?;
            }
        }
        Ok(())
    }

    fn tick(&mut self, now: u64) {
        let Some(ticker) = self.ticker.as_mut().filter(|ticker| now >= ticker.next) else { return };
        let progress = ticker.progress(&self.desk.pace, now);
        if let Some(progress) = progress {
            self.watch.tick(&progress);
        }
    }
}

/// What the progress is made from.
struct Ticker {
    next: u64,
    before: (u64, u64),
}

impl Ticker {
    fn new(now: u64) -> Self {
        Self { next: now + LONGEST, before: (now, 0) }
    }

    /// How far the run is; `None` where there is no memory to add it up.
    fn progress(&mut self, pace: &Pace<'_>, now: u64) -> Option<Progress> {
        let scores = pace.common.scores;
        let latency = merged(scores.iter().map(|score| &score.latency)).ok()?;
        let (then, had) = self.before;
        let requests = latency.count();
        self.before = (now, requests);
        self.next = now + LONGEST;
        let span = now.saturating_sub(then).max(1) as f64 / 1e9;
        Some(Progress {
            phase: pace.name(),
            elapsed: Duration::from_nanos(match pace.phase {
                Phase::Opening => 0,
                _ => now.saturating_sub(pace.start),
            }),
            open: pace.common.open.load(Relaxed),
            requests,
            rate: requests.saturating_sub(had) as f64 / span,
            latency: [0.5, 0.99].map(|q| latency.quantile(q)),
            troubles: scores.iter().map(|score| score.troubles()).sum(),
        })
    }
}

impl Desk<'_> {
    /// A message's answer has come whole and right.
    #[inline]
    pub(super) fn answered(&mut self, times: Times, now: u64) {
        self.in_flight -= 1;
        (self.pace.last, self.pace.answer) = (now, now);
        if self.pace.counts(times.planned) {
            self.score.latency.record(now.saturating_sub(times.planned));
            if let Some(uncorrected) = &self.score.uncorrected {
                uncorrected.record(now.saturating_sub(times.sent));
            }
        }
    }

    /// A flow can do nothing any more, and its messages get no answer.
    pub(super) fn gone(&mut self, in_flight: usize) {
        self.in_flight -= in_flight;
        self.alive -= 1;
    }

    pub(super) fn sent(&self, bytes: usize) {
        if self.pace.phase == Phase::Measured {
            self.score.sent.add(bytes as u64);
        }
    }

    pub(super) fn received(&self, bytes: usize) {
        if self.pace.phase == Phase::Measured {
            self.score.received.add(bytes as u64);
        }
    }
}

/// When a message was to leave, and when it did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    pub(super) planned: u64,
    pub(super) sent: u64,
}

/// Whether a call on a non-blocking socket only has to be made again.
pub(super) fn again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
