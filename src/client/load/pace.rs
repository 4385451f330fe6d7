//! When requests leave, and when the measured time begins and ends.

use super::outcome::Score;
use super::{Load, Mode, nanos};
use crate::stop::Stop;
use crate::sys::Kind;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// What the threads of one run share.
#[derive(Debug)]
pub(super) struct Common<'l> {
    pub(super) load: &'l Load,
    pub(super) stop: &'l Stop,
    pub(super) scores: &'l [Arc<Score>],
    /// Connections that are open, of all threads.
    pub(super) open: AtomicUsize,
    /// Requests of a counted run that may still be sent.
    tickets: AtomicU64,
    given_up: AtomicBool,
    gate: Mutex<Gate>,
    through: Condvar,
}

/// All threads begin together.
#[derive(Debug, Default)]
struct Gate {
    arrived: usize,
    start: u64,
}

impl<'l> Common<'l> {
    pub(super) fn new(load: &'l Load, stop: &'l Stop, scores: &'l [Arc<Score>]) -> Self {
        Self {
            load,
            stop,
            scores,
            open: AtomicUsize::new(0),
            tickets: AtomicU64::new(load.count.unwrap_or(0)),
            given_up: AtomicBool::new(false),
            gate: Mutex::default(),
            through: Condvar::new(),
        }
    }

    /// Waits until all threads are here; the moment of it, by `clock`.
    pub(super) fn arrive(&self, clock: impl Fn() -> u64) -> u64 {
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        gate.arrived += 1;
        if gate.arrived == self.load.threads {
            gate.start = clock();
            self.through.notify_all();
        }
        while gate.start == 0 && !self.given_up() {
            gate = self.through.wait(gate).unwrap_or_else(PoisonError::into_inner);
        }
        if gate.start == 0 { clock() } else { gate.start }
    }

    /// One thread has failed: nobody goes on, nobody waits.
    pub(super) fn give_up(&self) {
        // Under the lock, or who is about to wait would miss it.
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.given_up.store(true, Relaxed);
        self.through.notify_all();
    }

    /// Whether the run is over before its time.
    pub(super) fn given_up(&self) -> bool {
        self.given_up.load(Relaxed)
    }

    /// Requests of a counted run that were never sent; 0 without a count.
    pub(super) fn left(&self) -> u64 {
        self.tickets.load(Relaxed)
    }

    fn ticket(&self) -> bool {
        let take = |left: u64| left.checked_sub(1);
        self.load.count.is_none() || self.tickets.fetch_update(Relaxed, Relaxed, take).is_ok()
    }

    fn spent(&self) -> bool {
        self.load.count.is_some() && self.left() == 0
    }
}

/// The parts of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Opening,
    WarmUp,
    Measured,
    Drain,
    Over,
}

/// What a flow's worker tells the pace in each turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    /// Messages that wait for their answer.
    pub(super) in_flight: usize,
    /// Whether a flow could take another one.
    pub(super) free: bool,
    /// Whether any flow is left.
    pub(super) alive: bool,
}

/// How long first answers may still come in the drain after the last one: who has not been served by then will not be.
const SILENCE: u64 = 250_000_000;

/// One thread's clockwork. Moments are nanoseconds of the monotonic clock.
#[derive(Debug)]
pub(super) struct Pace<'c> {
    pub(super) common: &'c Common<'c>,
    pub(super) phase: Phase,
    pub(super) start: u64,
    /// Where the measured time begins and ends; the end of a counted run is not known.
    begin: u64,
    end: u64,
    /// When it did end.
    pub(super) ended: u64,
    drained: u64,
    /// How long what does not come is waited for. Datagrams are given up one by one within twice their time.
    patience: u64,
    /// Planned sends: nanoseconds from one to the next of this thread, and where its first one lies after the start.
    gap: Option<(f64, f64)>,
    /// The number of the next planned send.
    granted: u64,
    /// The last thing that happened: a connection, a request granted, answered or given up.
    pub(super) last: u64,
    /// The last answer.
    pub(super) answer: u64,
    pub(super) stopped: bool,
}

impl<'c> Pace<'c> {
    pub(super) fn new(common: &'c Common<'c>, thread: usize, now: u64) -> Self {
        let gap = match common.load.mode {
            Mode::Open(rate) => {
                let each = 1e9 / rate;
                Some((each * common.load.threads as f64, each * thread as f64))
            }
            _ => None,
        };
        Self {
            common,
            phase: Phase::Opening,
            start: now,
            begin: u64::MAX,
            end: u64::MAX,
            ended: 0,
            drained: u64::MAX,
            patience: match common.load.server.transport().kind() {
                Kind::Stream => nanos(common.load.timeout),
                Kind::Datagram => nanos(common.load.timeout).saturating_mul(2),
            },
            gap,
            granted: 0,
            last: now,
            answer: 0,
            stopped: false,
        }
    }

    /// From here on requests are granted.
    pub(super) fn begin(&mut self, start: u64) {
        let load = self.common.load;
        self.phase = Phase::WarmUp;
        (self.start, self.last) = (start, start);
        self.begin = start.saturating_add(nanos(load.ramp + load.warm_up()));
        if load.count.is_none() {
            self.end = self.begin.saturating_add(nanos(load.duration));
        }
    }

    /// When the next request of this thread is due, by plan.
    fn due(&self) -> Option<u64> {
        let (gap, first) = self.gap?;
        Some(self.start.saturating_add((self.granted as f64).mul_add(gap, first) as u64))
    }

    /// Leave to send a request, and the time that it counts from.
    #[inline]
    pub(super) fn grant(&mut self, now: u64) -> Option<u64> {
        if !matches!(self.phase, Phase::WarmUp | Phase::Measured) {
            return None;
        }
        let planned = self.due().unwrap_or(now);
        if planned > now || planned >= self.end || self.too_late(now) {
            return None;
        }
        // Of the measured time, which begins at the next step.
        if self.phase == Phase::WarmUp && planned >= self.begin {
            return None;
        }
        if planned >= self.begin && !self.common.ticket() {
            return None;
        }
        self.granted += 1;
        self.last = now;
        Some(planned)
    }

    /// Whether [`Pace::grant`] may say yes.
    pub(super) fn may_grant(&self, now: u64) -> bool {
        matches!(self.phase, Phase::WarmUp | Phase::Measured)
            && self.due().is_none_or(|due| due <= now && due < self.end)
            && !self.too_late(now)
            && !self.common.spent()
    }

    /// Whether nothing leaves any more, however much of the plan is left.
    fn too_late(&self, now: u64) -> bool {
        now >= self.end.saturating_add(self.patience)
    }

    /// Whether an answer that comes now belongs to the figures. In a closed loop over a time it is the answers of that time; else
    /// it is the requests, each with its answer however late.
    #[inline]
    pub(super) fn counts(&self, planned: u64) -> bool {
        self.phase == Phase::Measured && (self.by_answers() || planned >= self.begin)
    }

    /// Whether a request that was given up belongs to the figures: where an answer at this time would, and in the drain.
    pub(super) fn counted(&self, planned: u64) -> bool {
        planned >= self.begin || (self.by_answers() && self.phase != Phase::WarmUp)
    }

    fn by_answers(&self) -> bool {
        self.gap.is_none() && self.common.load.count.is_none()
    }

    /// Goes on to the next part when it is time.
    pub(super) fn step(&mut self, now: u64, state: State) {
        let running = matches!(self.phase, Phase::WarmUp | Phase::Measured);
        if running && (self.common.stop.requested() || self.common.given_up()) {
            self.stopped = true;
            self.end_measure(now, now.saturating_add(self.patience));
        } else if self.phase == Phase::WarmUp && now >= self.begin {
            self.phase = Phase::Measured;
        } else if running && !state.alive {
            self.end_measure(now, now);
        } else if self.phase == Phase::Measured {
            self.measure(now, state);
        }
    }

    /// The measured time begins here, and is as long as was asked for. What was planned before and has not left never will: a server
    /// that is too slow for the rate would answer it in the measured time, and of what is measured nothing.
    pub(super) fn measured_from(&mut self, now: u64) {
        self.begin = now;
        if self.common.load.count.is_none() {
            self.end = now.saturating_add(nanos(self.common.load.duration));
        }
        self.granted = self.granted.max(self.planned_before(now));
        // The number was rounded.
        while self.due().is_some_and(|due| due < now) {
            self.granted += 1;
        }
    }

    /// How many sends of this thread are planned before a moment.
    fn planned_before(&self, moment: u64) -> u64 {
        let Some((gap, first)) = self.gap else { return 0 };
        let since = moment.saturating_sub(self.start) as f64;
        ((since - first) / gap).ceil().max(0.0) as u64
    }

    fn measure(&mut self, now: u64, state: State) {
        if self.by_answers() {
            if now >= self.end {
                self.end_measure(now, now.saturating_add(self.patience));
            }
            return;
        }
        let all_sent = match self.common.load.count {
            Some(_) => self.common.spent(),
            None => {
                let all_due = now >= self.end && self.due().is_none_or(|due| due >= self.end);
                all_due || self.too_late(now)
            }
        };
        let over = now >= self.end.saturating_add(self.patience.saturating_mul(2));
        if over || (all_sent && state.in_flight == 0) {
            self.end_measure(now, now);
        } else if (all_sent || !state.free) && now >= self.last.saturating_add(self.patience) {
            // Nobody answers any more: the silence is no part of what was measured, if anything was.
            self.end_measure(if self.answer > self.begin { self.answer } else { now }, now);
        }
    }

    fn end_measure(&mut self, ended: u64, drained: u64) {
        self.phase = Phase::Drain;
        (self.ended, self.drained) = (ended, drained);
    }

    /// In the drain: whether nobody who was served waits any more, and who was not is not going to be.
    pub(super) fn drain(&mut self, now: u64, owed: usize, unserved: usize) {
        let silent = now >= self.last.saturating_add(SILENCE);
        if now >= self.drained || self.common.given_up() || (owed == 0 && (unserved == 0 || silent))
        {
            self.phase = Phase::Over;
        }
    }

    /// The next moment at which there may be something to do, events aside. A flow that is `free` waits for a planned send.
    pub(super) fn next(&self, now: u64, free: bool) -> u64 {
        let due = self.due().filter(|due| free && *due < self.end).unwrap_or(u64::MAX);
        let patience = |moment: u64| moment.saturating_add(self.patience);
        let moments = match self.phase {
            Phase::WarmUp => [due, self.begin, u64::MAX, u64::MAX, u64::MAX],
            Phase::Measured => {
                let late = patience(self.end);
                [due, self.end, late, patience(late), patience(self.last)]
            }
            _ => [self.drained, self.last.saturating_add(SILENCE), u64::MAX, u64::MAX, u64::MAX],
        };
        moments.into_iter().filter(|moment| *moment > now).min().unwrap_or(u64::MAX)
    }

    /// Planned sends that were due in the measured time and never left; those of a counted run are its tickets.
    pub(super) fn unsent(&self) -> u64 {
        if self.common.load.count.is_some() {
            return 0;
        }
        self.planned_before(self.end.min(self.ended)).saturating_sub(self.granted)
    }

    /// What the progress line calls it.
    pub(super) fn name(&self) -> &'static str {
        match self.phase {
            Phase::Opening => "opening",
            Phase::WarmUp => "warming up",
            Phase::Measured => "measuring",
            Phase::Drain | Phase::Over => "draining",
        }
    }

    /// Time that was measured.
    pub(super) fn wall(&self, begun: u64) -> Duration {
        Duration::from_nanos(self.ended.saturating_sub(begun))
    }
}
