//! What the recorder does at each call: the [`Observer`]'s methods.

use super::{Flow, Readiness, Recorder, Slept, now};
use crate::phase::observer::{count_received, count_sent};
use crate::phase::waited::{Again, Method, Waited};
use crate::phase::{Call, Count, End, Id, Metric, Observer, Part, Tally, Waits};
use crate::sys::{self, Received, Usage, Who};
use std::io;
use std::net::SocketAddr;

impl Observer for Recorder {
    const STAMPS: bool = true;

    fn tally(&self) -> &Tally {
        &self.tally
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
            self.tally.spend(Part::Wait, took);
        }
        if result.is_ok() {
            let waited = match self.waits {
                Waits::InCall => {
                    let wait = std::mem::take(&mut self.accept_again).inside + took;
                    Waited { wait, queued: 0, wake, method: Method::Call }
                }
                Waits::Readiness if self.accept_turn == self.readiness.turn => Waited::SAME_TURN,
                Waits::Readiness => {
                    self.accept_turn = self.readiness.turn;
                    self.readied(start)
                }
                Waits::Polling => Waited::polled(std::mem::take(&mut self.accept_again), start),
            };
            self.record(Metric::Accept, waited.wait);
            self.accepted = Some(waited);
        }
        result
    }

    fn wait(&mut self, call: Call, wait: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
        let Slept { result, start, took, .. } = self.asleep(wait);
        self.tally.called(call, false);
        self.tally.spend(Part::Wait, took);
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
        result
    }

    fn receive(
        &mut self,
        id: Id,
        carried: bool,
        copy: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let start = now();
        let result = copy();
        let took = now() - start;
        let again = is_again(&result);
        self.tally.called(Call::Recvfrom, again);
        if again {
            let part = if self.waits == Waits::Polling { Part::Wait } else { Part::Receive };
            self.tally.spend(part, took);
            self.flow(id).again.note(start, took);
            return result;
        }
        self.tally.spend(Part::Receive, took);
        let turn = self.readiness.turn;
        let waited = if self.waits == Waits::Polling {
            Waited::polled(std::mem::take(&mut self.flow(id).again), start)
        } else if carried {
            // Left over from its last turn: it has waited for nothing but its neighbours.
            let flow = self.flow(id);
            flow.turn = turn;
            let queued = start.saturating_sub(flow.last);
            Waited { queued, method: Method::Carried, ..Waited::SAME_TURN }
        } else if self.flow(id).turn == turn {
            Waited::SAME_TURN
        } else {
            self.flow(id).turn = turn;
            self.readied(start)
        };
        if let Ok(n) = result {
            count_received(&self.tally, n);
            if n > 0 {
                self.record(Metric::Wait, waited.wait);
                if self.waits == Waits::Readiness {
                    self.record(Metric::Queued, waited.queued);
                }
                self.record(Metric::Copy, took);
                self.tell_input(id, waited, took, Call::Recvfrom, n);
            }
        }
        result
    }

    fn receive_waiting(
        &mut self,
        id: Id,
        call: impl FnOnce() -> io::Result<Received>,
    ) -> io::Result<usize> {
        let Slept { result, realtime, start, took, wake } = self.asleep(call);
        self.tally.called(Call::Recvmsg, is_again(&result));
        if is_interrupted(&result) {
            self.flow(id).again.note(start, took);
        }
        let received = match result {
            Ok(received) if received.bytes > 0 => received,
            // The end of file carries no data and no stamp: all of it was waiting.
            other => {
                self.tally.spend(Part::Wait, took);
                return other.map(|received| received.bytes);
            }
        };
        count_received(&self.tally, received.bytes);
        let before = std::mem::take(&mut self.flow(id).again).inside;
        let slept = Slept { result: (), realtime, start, took, wake };
        let waited = self.divide(&slept, before, received);
        let copy = took - (waited.wait - before.min(waited.wait));
        self.tell_input(id, waited, copy, Call::Recvmsg, received.bytes);
        Ok(received.bytes)
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
        self.tally.spend(if in_vain { Part::Wait } else { Part::Send }, took);
        let stalled = self.flow(id).stalled;
        self.flow(id).last = start + took;
        if stalled != 0 && self.flow(id).turn != self.readiness.turn {
            // The readiness call has told of room: what it ended was not a wait for data.
            self.flow(id).turn = self.readiness.turn;
            self.readiness.seen += 1;
        }
        if let Ok(n) = result {
            count_sent(&self.tally, n);
            let room = if stalled == 0 { 0 } else { start.saturating_sub(stalled) };
            self.sent(id, room, took, n);
            // Less than all: from now on it waits for room.
            self.flow(id).stalled = if n < bytes { start + took } else { 0 };
        } else if again && stalled == 0 {
            self.flow(id).stalled = start;
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
        self.tally.spend(if blocked { Part::Wait } else { Part::Send }, took);
        if let Ok(n) = result {
            count_sent(&self.tally, n);
            let (room, copy) = if blocked { (took, 0) } else { (0, took) };
            self.sent(id, room, copy, n);
        }
        result
    }

    fn service<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = now();
        let result = work();
        self.tally.spend(Part::Service, now() - start);
        result
    }

    fn called(&mut self, call: Call) {
        self.tally.called(call, false);
    }

    fn opened(&mut self, id: Id, peer: SocketAddr) {
        self.tally.add(Count::Connections, 1);
        let flow = Flow { peer, turn: 0, again: Again::default(), last: 0, stalled: 0 };
        let slot = id.slot as usize;
        if slot >= self.flows.len() {
            self.flows.resize(slot + 1, flow);
        }
        self.flows[slot] = flow;
        if let (Some(waited), Some(lines)) = (self.accepted.take(), &mut self.lines) {
            lines.print(&self.tally, format_args!("accept {peer}  {}", waited.told()));
        }
    }

    fn closed(&mut self, id: Id, end: End) {
        if let Some(count) = end.count() {
            self.tally.add(count, 1);
        }
        let peer = self.flow(id).peer;
        if let Some(lines) = &mut self.lines {
            lines.print(&self.tally, format_args!("close {peer}  {}", end.name()));
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
