//! What the recorder does at each call: the [`Observer`]'s methods.

use super::{Flow, Keeping, Readiness, Recorder, Slept, now};
use crate::phase::event::What;
use crate::phase::observer::{count_received, count_sent};
use crate::phase::waited::{Method, Waited};
use crate::phase::{Call, Count, End, Id, Input, Lines, Metric, Observer, Part, Tally, Waits};
use crate::sys::{self, Address, Usage, Who};
use std::io;
use std::sync::Arc;

impl Observer for Recorder {
    const STAMPS: bool = true;

    fn tally(&self) -> &Tally {
        &self.tally
    }

    fn flow(&self, waits: Waits) -> Self {
        let (tally, metrics) = (self.tally.clone(), Arc::clone(&self.metrics));
        let lines = self.lines.as_ref().map(|_| Lines::default());
        let mut flow = Self::of(self.model, waits, tally, metrics, lines, self.primed.clone());
        flow.keeping = self.keeping.as_ref().map(Keeping::flow);
        flow
    }

    fn waits_by(&mut self, waits: Waits) {
        self.waits = waits;
    }

    fn moment(&self) -> u64 {
        now()
    }

    fn since(&mut self, metric: Metric, moment: u64) {
        let end = now();
        self.record(metric, end.saturating_sub(moment));
        if metric == Metric::Start {
            self.keep_plain(What::Start, Some(Call::Clone), (moment, end), 0);
        }
    }

    fn idled(&mut self, moment: u64) {
        let end = now();
        self.spend(Part::Wait, end.saturating_sub(moment), end);
        self.keep_plain(What::Idle, None, (moment.min(end), end), 0);
    }

    fn addressed(&mut self, peer: &Address) {
        self.front.peer = *peer;
    }

    fn accept<T>(&mut self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let Slept { result, start, took, wake, .. } =
            if self.waits == Waits::InCall { self.asleep(call) } else { awake(call) };
        let again = is_again(&result);
        self.tally.called(Call::Accept4, again);
        if again || is_interrupted(&result) {
            self.accept_again.note(start, took);
        }
        if self.waits == Waits::InCall || (self.waits == Waits::Polling && again) {
            self.spend(Part::Wait, took, start + took);
        }
        if result.is_ok() {
            let row = self.row(self.accept_again);
            let waited = match self.waits {
                Waits::InCall => {
                    let wait = std::mem::take(&mut self.accept_again).inside + took;
                    Waited { wait, queued: 0, wake, method: Method::Call }
                }
                // Not by this call.
                Waits::Completion => Waited::SAME_TURN,
                Waits::Readiness if self.accept_turn == self.readiness.turn => Waited::SAME_TURN,
                Waits::Readiness => {
                    self.accept_turn = self.readiness.turn;
                    self.readied(start)
                }
                Waits::Polling => Waited::polled(std::mem::take(&mut self.accept_again), start),
            };
            self.record(Metric::Accept, waited.wait);
            self.accepted = Some(waited);
            if self.keeping.is_some() {
                let copy = if self.waits == Waits::InCall { 0 } else { took };
                self.accepting = Some(((start, start + took), waited.phases(copy, row)));
            }
        }
        result
    }

    fn wait(&mut self, call: Call, wait: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
        let Slept { result, start, took, .. } = self.asleep(wait);
        self.tally.called(call, false);
        self.spend(Part::Wait, took, start + took);
        // A call that reported nobody (a signal, a time-out) was part of the same wait.
        let Readiness { turn, ready, took: before, .. } = self.readiness;
        let before = if turn > 0 && ready == 0 { before } else { 0 };
        let ready = *result.as_ref().unwrap_or(&0);
        self.readiness = Readiness {
            call,
            turn: turn + 1,
            took: before + took,
            ended: start + took,
            ready,
            seen: 0,
        };
        self.keep_plain(What::Wait, Some(call), (start, start + took), ready as u64);
        result
    }

    fn receive<I: Input>(
        &mut self,
        id: Id,
        carried: bool,
        copy: impl FnOnce() -> io::Result<I>,
    ) -> io::Result<I> {
        let start = now();
        let result = copy();
        let took = now() - start;
        let again = is_again(&result);
        self.tally.called(Call::Recvfrom, again);
        if again {
            let part = if self.waits == Waits::Polling { Part::Wait } else { Part::Receive };
            self.spend(part, took, start + took);
            self.flow_of(id).again.note(start, took);
            return result;
        }
        self.spend(Part::Receive, took, start + took);
        let turn = self.readiness.turn;
        let row = self.flow_of(id).again;
        let row = self.row(row);
        let waited = if self.waits == Waits::Polling {
            Waited::polled(std::mem::take(&mut self.flow_of(id).again), start)
        } else if carried {
            // Left over from its last turn: it has waited for nothing but its neighbours.
            let flow = self.flow_of(id);
            flow.turn = turn;
            let queued = start.saturating_sub(flow.last);
            Waited { queued, method: Method::Carried, ..Waited::SAME_TURN }
        } else if self.flow_of(id).turn == turn {
            Waited::SAME_TURN
        } else {
            self.flow_of(id).turn = turn;
            self.readied(start)
        };
        if let Ok(input) = &result {
            self.came_from(id, input);
            count_received(&self.tally, input);
            if input.whole() {
                self.record(Metric::Wait, waited.wait);
                if self.waits == Waits::Readiness {
                    self.record(Metric::Queued, waited.queued);
                }
                self.record(Metric::Copy, took);
                self.tell_input(id, waited, took, Call::Recvfrom.name(), input.bytes());
            }
            let ended = input.whole().then_some((waited, took, row));
            let times = (start, start + took);
            self.keep_input(id, Call::Recvfrom, times, input.bytes(), ended);
        }
        result
    }

    fn receive_waiting<I: Input>(
        &mut self,
        id: Id,
        call: impl FnOnce() -> io::Result<I>,
    ) -> io::Result<I> {
        let Slept { result, realtime, start, took, wake } = self.asleep(call);
        self.tally.called(Call::Recvmsg, is_again(&result));
        if is_interrupted(&result) {
            self.flow_of(id).again.note(start, took);
        }
        let input = match result {
            Ok(input) if input.whole() => input,
            // The end of file carries no data and no stamp: all of it was waiting.
            other => {
                self.spend(Part::Wait, took, start + took);
                if let Ok(input) = &other {
                    self.keep_input(id, Call::Recvmsg, (start, start + took), input.bytes(), None);
                }
                return other;
            }
        };
        self.came_from(id, &input);
        count_received(&self.tally, &input);
        let row = std::mem::take(&mut self.flow_of(id).again);
        let before = row.inside;
        let slept = Slept { result: (), realtime, start, took, wake };
        let waited = self.divide(&slept, before, input.stamp());
        let copy = took - (waited.wait - before.min(waited.wait));
        self.tell_input(id, waited, copy, Call::Recvmsg.name(), input.bytes());
        let ended = Some((waited, copy, row));
        self.keep_input(id, Call::Recvmsg, (start, start + took), input.bytes(), ended);
        Ok(input)
    }

    fn send(
        &mut self,
        id: Id,
        bytes: usize,
        call: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let start = now();
        let result = call();
        let took = now() - start;
        let again = is_again(&result);
        self.tally.called(Call::Sendto, again);
        let in_vain = again && self.waits == Waits::Polling;
        self.spend(if in_vain { Part::Wait } else { Part::Send }, took, start + took);
        let stalled = self.flow_of(id).stalled;
        self.flow_of(id).last = start + took;
        if stalled != 0 && self.flow_of(id).turn != self.readiness.turn {
            // The readiness call has told of room: what it ended was not a wait for data.
            self.flow_of(id).turn = self.readiness.turn;
            self.readiness.seen += 1;
        }
        if let Ok(n) = result {
            count_sent(&self.tally, n);
            let room = if stalled == 0 { 0 } else { start.saturating_sub(stalled) };
            self.sent(id, Call::Sendto.name(), room, took, n);
            let times = (start, start + took);
            self.keep_on(id, What::Send, Some(Call::Sendto), times, (n as u64, None));
            // Less than all: from now on it waits for room.
            self.flow_of(id).stalled = if n < bytes { start + took } else { 0 };
        } else if again && stalled == 0 {
            self.flow_of(id).stalled = start;
        }
        result
    }

    fn send_waiting(
        &mut self,
        id: Id,
        call: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let slept = || sys::getrusage(Who::Thread).map(|Usage { voluntary, .. }| voluntary).ok();
        let before = slept();
        let start = now();
        let result = call();
        let took = now() - start;
        // One call waits and copies, and nothing divides it: if it slept, it counts as waiting for room.
        let blocked = slept() != before;
        self.tally.called(Call::Sendto, is_again(&result));
        self.spend(if blocked { Part::Wait } else { Part::Send }, took, start + took);
        if let Ok(n) = result {
            count_sent(&self.tally, n);
            let (room, copy) = if blocked { (took, 0) } else { (0, took) };
            self.sent(id, Call::Sendto.name(), room, copy, n);
            let times = (start, start + took);
            self.keep_on(id, What::Send, Some(Call::Sendto), times, (n as u64, None));
        }
        result
    }

    fn hand_over(
        &mut self,
        sends: usize,
        call: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.handed_over(sends, call)
    }

    fn complete(&mut self, call: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
        self.completed(call)
    }

    fn accept_completed(&mut self) {
        self.completed_accept();
    }

    fn receive_completed<I: Input>(&mut self, id: Id, operation: &'static str, input: &I) {
        self.completed_receive(id, operation, input);
    }

    fn send_completed(&mut self, id: Id, bytes: usize, n: usize, waited: bool) {
        self.completed_send(id, bytes, n, waited);
    }

    fn service<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = now();
        let result = work();
        let end = now();
        self.spend(Part::Service, end - start, end);
        self.keep_plain(What::Service, None, (start, end), 0);
        result
    }

    fn called(&mut self, call: Call) {
        self.tally.called(call, false);
    }

    fn accepted(&mut self, peer: &Address) {
        self.keep_accept(peer.ip());
        self.accepting = None;
        if let (Some(waited), Some(lines)) = (self.accepted.take(), &mut self.lines) {
            lines.print(&self.tally, format_args!("accept {peer}  {}", waited.told()));
        }
    }

    fn opened(&mut self, id: Id, peer: &Address) {
        self.tally.add(Count::Connections, 1);
        // What it has sent by the time that it is taken in has waited for no readiness call of its own.
        let flow = Flow { turn: self.readiness.turn, ..Flow::new(*peer) };
        let slot = id.slot as usize;
        if slot >= self.flows.len() {
            self.flows.resize(slot + 1, flow);
        }
        self.flows[slot] = flow;
        self.accepted(peer);
    }

    fn closed(&mut self, id: Id, end: End) {
        if let Some(count) = end.count() {
            self.tally.add(count, 1);
        }
        if self.keeping.is_some() {
            let at = now();
            self.keep_on(id, What::Close, Some(Call::Close), (at, at), (0, None));
        }
        let peer = self.flow_of(id).peer;
        if let Some(lines) = &mut self.lines {
            lines.print(&self.tally, format_args!("close {peer}  {}", end.name()));
        }
    }
}

impl Recorder {
    pub(super) fn came_from(&mut self, id: Id, input: &impl Input) {
        if let Some(from) = input.from() {
            self.flow_of(id).peer = *from;
        }
    }
}

/// The same for a call that does not sleep.
fn awake<T>(call: impl FnOnce() -> T) -> Slept<T> {
    let start = now();
    let result = call();
    Slept { result, realtime: 0, start, took: now() - start, wake: None }
}

fn is_interrupted<T>(result: &io::Result<T>) -> bool {
    matches!(result, Err(e) if e.kind() == io::ErrorKind::Interrupted)
}

fn is_again<T>(result: &io::Result<T>) -> bool {
    matches!(result, Err(e) if e.kind() == io::ErrorKind::WouldBlock)
}
