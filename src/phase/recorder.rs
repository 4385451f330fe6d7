//! The recorder: the observer that measures wait and copy.

mod completing;
mod keeping;
mod observing;

use super::event::Phases;
use super::waited::{Again, Method, Waited};
use super::{
    Call, Count, Histogram, Id, Lines, Metric, Nanos, Observer, Part, Primed, Tally, Waits,
};
use crate::sys::{self, Address, Clock, Received};
use completing::Turn;
use keeping::Keeping;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

/// What the recorder remembers of a connection between two calls. Times are `CLOCK_MONOTONIC` in ns.
#[derive(Clone, Copy, Debug)]
struct Flow {
    peer: Address,
    /// The readiness call that last reported it.
    turn: u64,
    again: Again,
    /// When its last answer went out.
    last: u64,
    /// Since when it waits for room; 0: it does not.
    stalled: u64,
}

impl Flow {
    fn new(peer: Address) -> Self {
        Self { peer, turn: 0, again: Again::default(), last: 0, stalled: 0 }
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
/// Its counters and histograms lie in shared memory: the recorders of all flows, in threads and in forked
/// children, add to the same figures.
#[derive(Debug)]
pub struct Recorder {
    model: &'static str,
    waits: Waits,
    tally: Tally,
    metrics: Arc<[Histogram; Metric::ALL.len()]>,
    lines: Option<Lines>,
    flows: Vec<Flow>,
    /// The datagram socket, with the peer of the last packet.
    front: Flow,
    readiness: Readiness,
    /// Of a model that waits for completions.
    ring: Turn,
    accept_again: Again,
    /// The turn that last brought a client.
    accept_turn: u64,
    accepted: Option<Waited>,
    /// The same with its times, where events are kept.
    accepting: Option<((u64, u64), Phases)>,
    keeping: Option<Keeping>,
    /// `/proc/thread-self/schedstat`, where the kernel has it.
    schedstat: Option<File>,
    /// Keeps the kernel stamping.
    primed: Option<Arc<Primed>>,
    /// Up to here this flow's wall time is told. A flow that made no observed call has none to divide.
    told: u64,
    observed: bool,
}

fn now() -> u64 {
    nanos(sys::clock_gettime(Clock::Monotonic))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Recorder {
    /// A recorder for a model that waits in this way, on a socket that can give kernel stamps or not. With `lines` it
    /// prints one line per I/O.
    ///
    /// # Errors
    /// `ENOMEM` for the histograms; a socket error from priming the stamps.
    pub fn new(
        model: &'static str,
        waits: Waits,
        stamps: bool,
        tally: Tally,
        lines: bool,
    ) -> io::Result<Self> {
        let primed = if stamps && waits == Waits::InCall { Some(Primed::new()?) } else { None };
        let mut metrics = Vec::with_capacity(Metric::ALL.len());
        for _ in Metric::ALL {
            metrics.push(Histogram::new()?);
        }
        let metrics: [Histogram; Metric::ALL.len()] = match metrics.try_into() {
            Ok(metrics) => metrics,
            Err(_) => return Err(io::ErrorKind::InvalidData.into()),
        };
        let lines = lines.then(Lines::default);
        Ok(Self::of(model, waits, tally, Arc::new(metrics), lines, primed.map(Arc::new)))
    }

    /// One flow's recorder.
    fn of(
        model: &'static str,
        waits: Waits,
        tally: Tally,
        metrics: Arc<[Histogram; Metric::ALL.len()]>,
        lines: Option<Lines>,
        primed: Option<Arc<Primed>>,
    ) -> Self {
        let readiness =
            Readiness { call: Call::Poll, turn: 0, took: 0, ended: 0, ready: 0, seen: 0 };
        Self {
            model,
            waits,
            tally,
            metrics,
            lines,
            flows: Vec::new(),
            front: Flow::new(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into()),
            readiness,
            ring: Turn::default(),
            accept_again: Again::default(),
            accept_turn: 0,
            accepted: None,
            accepting: None,
            keeping: None,
            // The calling thread's.
            schedstat: File::open("/proc/thread-self/schedstat").ok(),
            primed,
            told: now(),
            observed: false,
        }
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

    /// Ends the flow's wall time: what its parts and *other* add up to.
    pub fn settle(&mut self) {
        if self.observed {
            self.lived(now());
        }
    }

    /// The wall time of the flow up to `end`.
    fn lived(&mut self, end: u64) {
        self.tally.lived(end.saturating_sub(self.told));
        self.told = self.told.max(end);
        self.observed = true;
    }

    /// So much of the flow's time, ending at `end`, went into that part. A flow that is killed loses what
    /// it did after its last call, and its parts still add up.
    fn spend(&mut self, part: Part, took: u64, end: u64) {
        self.tally.spend(part, took);
        self.lived(end);
    }

    /// What observing one request costs here, in nanoseconds: a wait, a receive and a send around nothing,
    /// on a recorder of its own, the median of 32 rounds.
    ///
    /// # Errors
    /// As [`Recorder::new`].
    pub fn own_cost(&self) -> io::Result<u64> {
        let tally = Tally::new(false)?;
        let mut twin = Self::new(self.model, self.waits, false, tally, false)?;
        if self.keeping.is_some() {
            // Room for all of it: a wait, a receive, a send and the service, 2048 times.
            twin = twin.keeping(4 * 32 * 64)?;
        }
        let id = Id { slot: 0, generation: 0 };
        twin.opened(id, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into());
        let mut rounds: Vec<u64> = Vec::new();
        for _ in 0..32 {
            let start = now();
            for _ in 0..64 {
                if self.waits == Waits::Completion {
                    twin.hand_over(1, || Ok(1))?;
                    twin.send_completed(id, 1, 1, false);
                    twin.complete(|| Ok(1))?;
                    twin.receive_completed(id, "", &1_usize);
                } else if self.waits == Waits::InCall {
                    let stamp = Some(sys::clock_gettime(Clock::Realtime));
                    twin.receive_waiting(id, || Ok(Received { bytes: 1, stamp }))?;
                    twin.send_waiting(id, || Ok(1))?;
                } else {
                    twin.wait(Call::Poll, || Ok(1))?;
                    twin.receive(id, false, || Ok(1_usize))?;
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

    fn flow_of(&mut self, id: Id) -> &mut Flow {
        if id == Id::LISTENER { &mut self.front } else { &mut self.flows[id.slot as usize] }
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
    fn divide(&mut self, slept: &Slept<()>, before: u64, stamp: Option<Duration>) -> Waited {
        let &Slept { start, took, realtime, wake, .. } = slept;
        let Some(stamp) = stamp.map(nanos) else {
            self.tally.add(Count::Unstamped, 1);
            self.spend(Part::Undivided, took, start + took);
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
        self.spend(Part::Receive, took - wait, start + took);
        self.record(Metric::Wait, before + wait);
        self.record(Metric::Copy, took - wait);
        Waited { wait: before + wait, queued: 0, wake, method: Method::Stamp { age } }
    }

    /// `epoll 127.0.0.1:50312  wait 1.203 s (epoll_wait, 1 of 3)  copy 4.1 us (recvfrom 5 B)`
    fn tell_input(&mut self, id: Id, waited: Waited, copy: u64, call: &'static str, bytes: usize) {
        let peer = self.flow_of(id).peer;
        let Some(lines) = &mut self.lines else { return };
        let model = self.model;
        let copy = Nanos(copy);
        if matches!(waited.method, Method::NoStamp) {
            lines.print(
                &self.tally,
                format_args!("{model} {peer}  wait+copy {copy} ({call} {bytes} B, no stamp)"),
            );
        } else {
            let (told, behind) = (waited.told(), waited.behind());
            lines.print(
                &self.tally,
                format_args!("{model} {peer}  {told}  copy {copy} ({call} {bytes} B){behind}"),
            );
        }
    }

    /// A send has gone through: `room` is what it waited for, `copy` what it took.
    fn sent(&mut self, id: Id, call: &'static str, room: u64, copy: u64, bytes: usize) {
        // Only sends that had to wait: each one after a stall, until all is gone.
        if room > 0 {
            self.record(Metric::Room, room);
        }
        self.record(Metric::Send, copy);
        let peer = self.flow_of(id).peer;
        let Some(lines) = &mut self.lines else { return };
        let model = self.model;
        let waited = if room > 0 { format!("room {}  ", Nanos(room)) } else { String::new() };
        let copy = Nanos(copy);
        lines.print(
            &self.tally,
            format_args!("{model} {peer}  {waited}send {copy} ({call} {bytes} B)"),
        );
    }
}

/// A flow has ended.
impl Drop for Recorder {
    fn drop(&mut self) {
        self.settle();
    }
}
