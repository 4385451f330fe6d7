//! How a ring's calls are divided: one call waits, and copies whatever has come; another one sends.
//!
//! Nothing inside such a call tells of its parts. Asleep or at work does: while the flow waits it uses no CPU, so the CPU time of
//! the call is the copy, shared by the inputs that it brought, and the rest is the wait.

use super::{Method, Readiness, Recorder, Slept, Waited, nanos, now};
use crate::phase::event::What;
use crate::phase::observer::{count_received, count_sent};
use crate::phase::{Call, Id, Input, Metric, Part};
use crate::sys::{self, Clock};
use std::io;

/// The last turn of a ring: what its calls have done together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    /// When the copying began, how long one share of it is, and how many are told.
    copy: Shares,
    /// The same of the sends.
    send: Shares,
    wake: Option<u64>,
}

/// A time that several I/Os have taken together.
#[derive(Clone, Copy, Debug, Default)]
struct Shares {
    start: u64,
    each: u64,
    told: u64,
}

impl Shares {
    fn of(start: u64, took: u64, shared_by: usize) -> Self {
        Self { start, each: took / shared_by.max(1) as u64, told: 0 }
    }

    /// The next one's beginning and end.
    fn next(&mut self) -> (u64, u64) {
        let start = self.start + self.told * self.each;
        self.told += 1;
        (start, start + self.each)
    }
}

/// This thread's CPU time so far, in nanoseconds.
fn cpu() -> u64 {
    nanos(sys::clock_gettime(Clock::ThreadCpu))
}

impl Recorder {
    pub(super) fn handed_over(
        &mut self,
        sends: usize,
        call: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let start = now();
        let result = call();
        let took = now() - start;
        self.spend(Part::Send, took, start + took);
        self.ring.send = Shares::of(start, took, sends);
        result
    }

    pub(super) fn completed(
        &mut self,
        call: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let before = cpu();
        let mut used = 0;
        let Slept { result, start, took, wake, .. } = self.asleep(|| {
            let result = call();
            used = cpu() - before;
            result
        });
        self.tally.called(Call::IoUringEnter, false);
        let inputs = *result.as_ref().unwrap_or(&0);
        // Without input there was nothing to copy: going to sleep and waking up are part of the wait.
        let copied = if inputs == 0 { 0 } else { used.min(took) };
        let (waited, end) = (took - copied, start + took);
        self.tally.spend(Part::Wait, waited);
        self.spend(Part::Receive, copied, end);
        self.ring.copy = Shares::of(end - copied, copied, inputs);
        self.ring.wake = wake;
        // A call that brought nobody (a signal, a time-out) was part of the same wait.
        let Readiness { turn, ready, took: earlier, .. } = self.readiness;
        let earlier = if turn > 0 && ready == 0 { earlier } else { 0 };
        self.readiness = Readiness {
            call: Call::IoUringEnter,
            turn: turn + 1,
            took: earlier + waited,
            ended: end,
            ready: inputs,
            seen: 0,
        };
        let times = (start, end - copied);
        self.keep_plain(What::Wait, Some(Call::IoUringEnter), times, inputs as u64);
        result
    }

    /// The wait that the last call has ended for one of its inputs.
    fn completed_wait(&mut self) -> Waited {
        if self.readiness.ready == 0 {
            return Waited::SAME_TURN;
        }
        self.readiness.seen += 1;
        let Readiness { took, ended, ready, seen, .. } = self.readiness;
        let queued = now().saturating_sub(ended);
        let method = Method::Completed { seen, of: ready };
        Waited { wait: took, queued, wake: self.ring.wake, method }
    }

    pub(super) fn completed_accept(&mut self) {
        let times = self.ring.copy.next();
        let waited = if self.accept_turn == self.readiness.turn {
            Waited::SAME_TURN
        } else {
            self.accept_turn = self.readiness.turn;
            self.completed_wait()
        };
        self.record(Metric::Accept, waited.wait);
        self.accepted = Some(waited);
        if self.keeping.is_some() {
            let phases = waited.phases(times.1 - times.0, super::Again::default());
            self.accepting = Some((times, phases));
        }
    }

    pub(super) fn completed_receive<I: Input>(
        &mut self,
        id: Id,
        operation: &'static str,
        input: &I,
    ) {
        let times = self.ring.copy.next();
        let copy = times.1 - times.0;
        let turn = self.readiness.turn;
        let waited = if self.flow_of(id).turn == turn && id != Id::LISTENER {
            Waited::SAME_TURN
        } else {
            self.flow_of(id).turn = turn;
            self.completed_wait()
        };
        self.came_from(id, input);
        count_received(&self.tally, input);
        if input.whole() {
            self.record(Metric::Wait, waited.wait);
            self.record(Metric::Queued, waited.queued);
            self.record(Metric::Copy, copy);
            self.tell_input(id, waited, copy, operation, input.bytes());
        }
        let ended = input.whole().then_some((waited, copy, super::Again::default()));
        self.keep_input(id, Call::IoUringEnter, times, input.bytes(), ended);
    }

    pub(super) fn completed_send(&mut self, id: Id, bytes: usize, n: usize, waited: bool) {
        const OPERATION: &str = "IORING_OP_SEND";
        count_sent(&self.tally, n);
        let end = now();
        let stalled = self.flow_of(id).stalled;
        // What has waited for room was copied in a call that did other things too.
        let (times, room) = if waited {
            ((end, end), end.saturating_sub(stalled))
        } else {
            (self.ring.send.next(), 0)
        };
        let copy = times.1 - times.0;
        self.flow_of(id).last = times.1;
        if n > 0 {
            self.sent(id, OPERATION, room, copy, n);
            self.keep_on(id, What::Send, Some(Call::IoUringEnter), times, (n as u64, None));
        }
        // Less than all: from now on it waits for room.
        self.flow_of(id).stalled = match (n < bytes, n > 0 || stalled == 0) {
            (true, true) => end,
            (true, false) => stalled,
            (false, _) => 0,
        };
    }
}
