//! The recorder: the observer that measures wait and copy.

use super::Waits;
use super::observer::{count_received, count_sent};
use super::waited::{Again, Method, Waited};
use super::{Call, Count, End, Histogram, Id, Lines, Metric, Nanos, Observer, Part, Primed, Tally};
use crate::sys::{self, Clock, Received, Usage, Who};
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// What the recorder remembers of a connection between two calls. Times are `CLOCK_MONOTONIC` in ns.
#[derive(Clone, Copy, Debug)]
struct Flow {
    peer: SocketAddr,
    /// The readiness call that last reported it.
    turn: u64,
    again: Again,
    /// When its last answer went out.
    last: u64,
    /// Since when it waits for room; 0: it does not.
    stalled: u64,
}

/// The last readiness call.
#[derive(Clone, Copy, Debug)]
struct Readiness {
    call: Call,
    turn: u64,
    took: u64,
    ended: u64,
    ready: usize,
    /// How many of the ready ones were looked after so far.
    seen: usize,
}

/// Measures each call and keeps histograms; with lines, tells each I/O as it happens.
///
/// Its counters and histograms lie in shared memory: a clone adds to the same figures.
#[derive(Debug)]
pub struct Recorder {
    model: &'static str,
    waits: Waits,
    tally: Tally,
    metrics: Arc<[Histogram; Metric::ALL.len()]>,
    lines: Option<Lines>,
    flows: Vec<Flow>,
    readiness: Readiness,
    accept_again: Again,
    /// The turn that last brought a client.
    accept_turn: u64,
    accepted: Option<Waited>,
    /// `/proc/thread-self/schedstat`, where the kernel has it.
    schedstat: Option<File>,
    /// Keeps the kernel stamping.
    primed: Option<Primed>,
    started: u64,
}

fn now() -> u64 {
    nanos(sys::clock_gettime(Clock::Monotonic))
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Recorder {
    /// A recorder for a model that waits in this way. With `lines` it prints one line per I/O.
    ///
    /// # Errors
    /// `ENOMEM` for the histograms; a socket error from priming the stamps.
    pub fn new(model: &'static str, waits: Waits, tally: Tally, lines: bool) -> io::Result<Self> {
        let primed = if waits == Waits::InCall { Some(Primed::new()?) } else { None };
        Ok(Self { primed, ..Self::unprimed(model, waits, tally, lines)? })
    }

    fn unprimed(model: &'static str, waits: Waits, tally: Tally, lines: bool) -> io::Result<Self> {
        let mut metrics = Vec::with_capacity(Metric::ALL.len());
        for _ in Metric::ALL {
            metrics.push(Histogram::new()?);
        }
        let metrics: [Histogram; Metric::ALL.len()] = match metrics.try_into() {
            Ok(metrics) => metrics,
            Err(_) => return Err(io::ErrorKind::InvalidData.into()),
        };
        let readiness =
            Readiness { call: Call::Poll, turn: 0, took: 0, ended: 0, ready: 0, seen: 0 };
        Ok(Self {
            model,
            waits,
            tally,
            metrics: Arc::new(metrics),
            lines: lines.then(Lines::default),
            flows: Vec::new(),
            readiness,
            accept_again: Again::default(),
            accept_turn: 0,
            accepted: None,
            schedstat: File::open("/proc/thread-self/schedstat").ok(),
            primed: None,
            started: now(),
        })
    }

    /// The histogram of a metric.
    #[must_use]
    pub fn metric(&self, metric: Metric) -> &Histogram {
        &self.metrics[metric as usize]
    }

    /// How this model's waits are measured: `stamp`, or `call` where no stamp comes.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match &self.primed {
            Some(primed) if primed.works => "stamp",
            _ => "call",
        }
    }

    /// Wall time of the flow so far, in nanoseconds: what the parts and *other* add up to.
    #[must_use]
    pub fn wall(&self) -> u64 {
        now().saturating_sub(self.started)
    }

    /// What observing one request costs here, in nanoseconds: a wait, a receive and a send around nothing,
    /// on a recorder of its own, the median of 32 rounds.
    ///
    /// # Errors
    /// As [`Recorder::new`].
    pub fn own_cost(&self) -> io::Result<u64> {
        let mut twin = Self::unprimed(self.model, self.waits, Tally::new(false)?, false)?;
        let id = Id { slot: 0, generation: 0 };
        twin.opened(id, (Ipv4Addr::LOCALHOST, 0).into());
        let mut rounds: Vec<u64> = Vec::new();
        for _ in 0..32 {
            let start = now();
            for _ in 0..64 {
                if self.waits == Waits::InCall {
                    let stamp = Some(sys::clock_gettime(Clock::Realtime));
                    twin.receive_waiting(id, || Ok(Received { bytes: 1, stamp }))?;
                    twin.send_waiting(id, || Ok(1))?;
                } else {
                    twin.wait(Call::Poll, || Ok(1))?;
                    twin.receive(id, false, || Ok(1))?;
                    twin.send(id, 1, || Ok(1))?;
                }
                twin.service(|| ());
            }
            rounds.push((now() - start) / 64);
        }
        rounds.sort_unstable();
        Ok(rounds[rounds.len() / 2])
    }

    fn record(&self, metric: Metric, ns: u64) {
        self.metrics[metric as usize].record(ns);
    }

    fn flow(&mut self, id: Id) -> &mut Flow {
        &mut self.flows[id.slot as usize]
    }

    /// Nanoseconds that this thread was runnable without running, so far (proc(5), schedstat, field 2).
    fn runnable(&self) -> Option<u64> {
        let mut text = [0_u8; 64];
        let n = self.schedstat.as_ref()?.read_at(&mut text, 0).ok()?;
        std::str::from_utf8(&text[..n]).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
    }

    /// Runs a call that may put the flow to sleep, timed, and measures how long waking up took. The two
    /// readings that this takes stand outside of the call's own time.
    fn asleep<T>(&mut self, call: impl FnOnce() -> T) -> Slept<T> {
        let before = self.runnable();
        let realtime = nanos(sys::clock_gettime(Clock::Realtime));
        let start = now();
        let result = call();
        let took = now() - start;
        let wake = self.runnable().zip(before).map(|(after, before)| after.saturating_sub(before));
        if let Some(wake) = wake {
            self.record(Metric::Wake, wake);
        }
        Slept { result, realtime, start, took, wake }
    }

    /// The wait that the last readiness call has ended for something it reported.
    fn readied(&mut self, start: u64) -> Waited {
        if self.readiness.ready == 0 {
            // The drain does not wait for what it knows to be there.
            return Waited::SAME_TURN;
        }
        self.readiness.seen += 1;
        let Readiness { call, took, ended, ready, seen, .. } = self.readiness;
        Waited {
            wait: took,
            queued: start.saturating_sub(ended),
            wake: None,
            method: Method::Ready { call, seen, of: ready },
        }
    }

    /// Divides a receive that has waited and copied by the kernel's stamp. `before` is the time inside the same
    /// wait's earlier calls, which a signal has ended.
    fn divide(&mut self, slept: &Slept<()>, before: u64, received: Received) -> Waited {
        let &Slept { took, realtime, wake, .. } = slept;
        let Some(stamp) = received.stamp.map(nanos) else {
            self.tally.add(Count::Unstamped, 1);
            self.tally.spend(Part::Undivided, took);
            return Waited { wait: 0, queued: 0, wake, method: Method::NoStamp };
        };
        // A stamp before the call: the data was there first, and is that old.
        let age = realtime.saturating_sub(stamp);
        let mut wait = stamp.saturating_sub(realtime);
        if wait > took {
            // Stamped after the call returned: CLOCK_REALTIME was stepped meanwhile.
            self.tally.add(Count::Clamped, 1);
            wait = took;
        }
        self.tally.spend(Part::Wait, wait);
        self.tally.spend(Part::Receive, took - wait);
        self.record(Metric::Wait, before + wait);
        self.record(Metric::Copy, took - wait);
        Waited { wait: before + wait, queued: 0, wake, method: Method::Stamp { age } }
    }

    /// `epoll 127.0.0.1:50312  wait 1.203 s (epoll_wait, 1 of 3)  copy 4.1 us (recvfrom 5 B)`
    fn tell_input(&mut self, id: Id, waited: Waited, copy: u64, call: Call, bytes: usize) {
        let Some(lines) = &mut self.lines else { return };
        let (model, peer) = (self.model, self.flows[id.slot as usize].peer);
        let (call, copy) = (call.name(), Nanos(copy));
        if matches!(waited.method, Method::NoStamp) {
            lines.print(
                &self.tally,
                format_args!("{model} {peer}  wait+copy {copy} ({call} {bytes} B, no stamp)"),
            );
        } else {
            let waited = waited.told();
            lines.print(
                &self.tally,
                format_args!("{model} {peer}  {waited}  copy {copy} ({call} {bytes} B)"),
            );
        }
    }

    /// A send has gone through: `room` is what it waited for, `copy` what it took.
    fn sent(&mut self, id: Id, room: u64, copy: u64, bytes: usize) {
        // Only sends that had to wait: each one after a stall, until all is gone.
        if room > 0 {
            self.record(Metric::Room, room);
        }
        self.record(Metric::Send, copy);
        let Some(lines) = &mut self.lines else { return };
        let (model, peer) = (self.model, self.flows[id.slot as usize].peer);
        let waited = if room > 0 { format!("room {}  ", Nanos(room)) } else { String::new() };
        let copy = Nanos(copy);
        lines.print(
            &self.tally,
            format_args!("{model} {peer}  {waited}send {copy} (sendto {bytes} B)"),
        );
    }
}

/// A call that may have slept, timed.
#[derive(Debug)]
struct Slept<T> {
    result: T,
    /// `CLOCK_REALTIME` when it began, the clock of the kernel's stamps.
    realtime: u64,
    start: u64,
    took: u64,
    wake: Option<u64>,
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
