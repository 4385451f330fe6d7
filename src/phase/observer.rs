//! The observer: told of each call from the one place where it is made.

use super::{Call, Count, Id, Metric, Tally, Waits};
use crate::sys::{Address, Packet, Received};
use std::io;
use std::time::Duration;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer had no more to say, and everything is answered.
    EndOfFile,
    /// The service asked for it.
    Served,
    /// The peer reset the connection, or went away under it.
    Reset,
    /// `--idle-timeout` passed without a byte moved.
    TimedOut,
    /// The drain of a stop is over: answered.
    Drained,
    /// The drain's deadline came first.
    Cut,
    /// Its descriptor does not fit into a select set.
    BeyondSet,
    /// A call on it failed in another way.
    Failed,
    /// Its handler panicked, or said that it failed.
    Broken,
}

impl End {
    /// For the lines of `--phases`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EndOfFile => "end of file",
            Self::Served => "served",
            Self::Reset => "reset by peer",
            Self::TimedOut => "idle for too long",
            Self::Drained => "drained",
            Self::Cut => "cut at the drain's deadline",
            Self::BeyondSet => "beyond the select set",
            Self::Failed => "a call failed",
            Self::Broken => "its handler failed",
        }
    }

    /// The counter of this end; ordinary ends have none.
    #[must_use]
    pub const fn count(self) -> Option<Count> {
        match self {
            Self::EndOfFile | Self::Served | Self::Drained => None,
            // Counted where it happens.
            Self::Broken => None,
            Self::Reset => Some(Count::Reset),
            Self::TimedOut => Some(Count::TimedOut),
            Self::Cut => Some(Count::Cut),
            // Counted, with a notice, where it happens.
            Self::BeyondSet => None,
            Self::Failed => Some(Count::Failed),
        }
    }
}

/// What a receive can bring.
pub trait Input {
    /// How many bytes.
    fn bytes(&self) -> usize;

    /// When the kernel had them.
    fn stamp(&self) -> Option<Duration> {
        None
    }

    /// Who sent them, where each receive says it.
    fn from(&self) -> Option<&Address> {
        None
    }

    /// How many requests they are, where something is to be answered.
    fn requests(&self) -> u64 {
        1
    }

    /// Whether it is something to answer: not the end of a stream, not half of a datagram.
    fn whole(&self) -> bool;
}

impl Input for usize {
    fn bytes(&self) -> usize {
        *self
    }

    fn whole(&self) -> bool {
        *self > 0
    }
}

impl Input for Received {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn stamp(&self) -> Option<Duration> {
        self.stamp
    }

    fn whole(&self) -> bool {
        self.bytes > 0
    }
}

impl Input for Packet {
    fn bytes(&self) -> usize {
        self.len
    }

    fn stamp(&self) -> Option<Duration> {
        self.stamp
    }

    fn from(&self) -> Option<&Address> {
        Some(&self.from)
    }

    fn whole(&self) -> bool {
        !self.truncated
    }
}

/// Stands around each call as a closure, so it cannot be left unbalanced.
///
/// [`Counting`] keeps the counters that every server has and compiles to the bare call;
/// [`Recorder`](super::Recorder) measures. Each method returns what the closure returned. An observer belongs to one
/// flow of control; [`flow`](Self::flow) makes one for another flow, into the same figures.
pub trait Observer: Send + Sync {
    /// Whether calls that do more than one thing shall be made so that they can be divided: a receive that waits brings the
    /// kernel's stamp (recvmsg, not recv), a ring's call hands over first and then waits.
    const STAMPS: bool;

    /// The counters.
    fn tally(&self) -> &Tally;

    /// An observer for another flow of the same server, one that waits so. To be called *in* that flow.
    #[must_use]
    fn flow(&self, waits: Waits) -> Self
    where
        Self: Sized;

    /// From here on this flow waits so.
    fn waits_by(&mut self, waits: Waits);

    /// Now, for [`since`](Self::since): nanoseconds, or 0 where nobody measures.
    fn moment(&self) -> u64;

    /// Something that began at a [`moment`](Self::moment), perhaps in another flow, has ended.
    fn since(&mut self, metric: Metric, moment: u64);

    /// This flow had nothing to do since a [`moment`](Self::moment), and waited outside of any call of its own.
    fn idled(&mut self, moment: u64);

    /// The datagram that this flow answers next came from there.
    fn addressed(&mut self, peer: &Address);

    /// A call that takes a client from the backlog.
    fn accept<T>(&mut self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T>;

    /// A readiness call (or a pause): pure wait. The closure returns how many are ready.
    fn wait(&mut self, call: Call, wait: impl FnOnce() -> io::Result<usize>) -> io::Result<usize>;

    /// A receive that does not wait: the copy. `carried` says that no readiness call has reported this
    /// connection since its last receive: it had more than one turn's share.
    fn receive<I: Input>(
        &mut self,
        id: Id,
        carried: bool,
        copy: impl FnOnce() -> io::Result<I>,
    ) -> io::Result<I>;

    /// A receive that waits and copies in one call; the stamp divides it.
    fn receive_waiting<I: Input>(
        &mut self,
        id: Id,
        call: impl FnOnce() -> io::Result<I>,
    ) -> io::Result<I>;

    /// A send of `bytes` that does not wait.
    fn send(
        &mut self,
        id: Id,
        bytes: usize,
        call: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize>;

    /// A send that waits for room if it must.
    fn send_waiting(
        &mut self,
        id: Id,
        call: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize>;

    /// A ring takes operations; those that end at once, `sends` sends, are over when it returns. A call of its own only for an
    /// observer that [divides](Self::STAMPS), and therefore not counted.
    fn hand_over(
        &mut self,
        sends: usize,
        call: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize>;

    /// A ring is waited for, and the kernel copies meanwhile what its completions bring. The closure returns how many inputs
    /// those are.
    fn complete(&mut self, call: impl FnOnce() -> io::Result<usize>) -> io::Result<usize>;

    /// A completion has brought a client.
    fn accept_completed(&mut self);

    /// A completion has brought input, by that operation.
    fn receive_completed<I: Input>(&mut self, id: Id, operation: &'static str, input: &I);

    /// A send is over that was to send `bytes`, and has sent `n`; `waited`: as soon as there was room.
    fn send_completed(&mut self, id: Id, bytes: usize, n: usize, waited: bool);

    /// The service at work.
    fn service<T>(&mut self, work: impl FnOnce() -> T) -> T;

    /// A call outside of the phases: `fcntl`, `epoll_ctl`, `close`.
    fn called(&mut self, call: Call);

    /// The client of the last accept came in; another flow will serve it.
    fn accepted(&mut self, peer: &Address);

    /// The client of the last accept is served from now on.
    fn opened(&mut self, id: Id, peer: &Address);

    /// Its connection is closed.
    fn closed(&mut self, id: Id, end: End);
}

/// The observer of a server that nobody watches: counts connections, requests and bytes, and
/// makes no call of its own, not even for the time.
#[derive(Clone, Debug)]
pub struct Counting(pub Tally);

impl Observer for Counting {
    const STAMPS: bool = false;

    fn tally(&self) -> &Tally {
        &self.0
    }

    fn flow(&self, _: Waits) -> Self {
        self.clone()
    }

    fn waits_by(&mut self, _: Waits) {}

    fn moment(&self) -> u64 {
        0
    }

    fn since(&mut self, _: Metric, _: u64) {}

    fn idled(&mut self, _: u64) {}

    fn addressed(&mut self, _: &Address) {}

    fn accept<T>(&mut self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        call()
    }

    fn wait(&mut self, _: Call, wait: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
        wait()
    }

    fn receive<I: Input>(
        &mut self,
        _: Id,
        _: bool,
        copy: impl FnOnce() -> io::Result<I>,
    ) -> io::Result<I> {
        copy().inspect(|input| count_received(&self.0, input))
    }

    fn receive_waiting<I: Input>(
        &mut self,
        _: Id,
        call: impl FnOnce() -> io::Result<I>,
    ) -> io::Result<I> {
        call().inspect(|input| count_received(&self.0, input))
    }

    fn send(
        &mut self,
        _: Id,
        _: usize,
        call: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize> {
        call().inspect(|&n| count_sent(&self.0, n))
    }

    fn send_waiting(
        &mut self,
        _: Id,
        call: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize> {
        call().inspect(|&n| count_sent(&self.0, n))
    }

    fn hand_over(
        &mut self,
        _: usize,
        call: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize> {
        call()
    }

    fn complete(&mut self, call: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
        call()
    }

    fn accept_completed(&mut self) {}

    fn receive_completed<I: Input>(&mut self, _: Id, _: &'static str, input: &I) {
        count_received(&self.0, input);
    }

    fn send_completed(&mut self, _: Id, _: usize, n: usize, _: bool) {
        count_sent(&self.0, n);
    }

    fn service<T>(&mut self, work: impl FnOnce() -> T) -> T {
        work()
    }

    fn called(&mut self, _: Call) {}

    fn accepted(&mut self, _: &Address) {}

    fn opened(&mut self, _: Id, _: &Address) {
        self.0.add(Count::Connections, 1);
    }

    fn closed(&mut self, _: Id, end: End) {
        if let Some(count) = end.count() {
            self.0.add(count, 1);
        }
    }
}

/// A receive that brought a request. What is none (the end of a stream, half of a datagram) is not counted here.
pub(super) fn count_received(tally: &Tally, input: &impl Input) {
    if input.whole() {
        tally.request(input.requests(), input.bytes() as u64);
    }
}

/// A send that took `n` bytes.
pub(super) fn count_sent(tally: &Tally, n: usize) {
    tally.add(Count::BytesOut, n as u64);
}
