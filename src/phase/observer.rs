//! The observer: told of each call from the one place where it is made.

use super::{Call, Count, Id, Tally};
use crate::sys::Received;
use std::io;
use std::net::SocketAddr;

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
        }
    }

    /// The counter of this end; ordinary ends have none.
    #[must_use]
    pub const fn count(self) -> Option<Count> {
        match self {
            Self::EndOfFile | Self::Served | Self::Drained => None,
            Self::Reset => Some(Count::Reset),
            Self::TimedOut => Some(Count::TimedOut),
            Self::Cut => Some(Count::Cut),
            // Counted, with a notice, where it happens.
            Self::BeyondSet => None,
            Self::Failed => Some(Count::Failed),
        }
    }
}

/// Stands around each call as a closure, so it cannot be left unbalanced.
///
/// [`Counting`] keeps the counters that every server has and compiles to the bare call;
/// [`Recorder`](super::Recorder) measures. Each method returns what the closure returned.
pub trait Observer {
    /// Whether a receive that waits shall bring the kernel's stamp: then it is recvmsg, not recv.
    const STAMPS: bool;

    /// The counters.
    fn tally(&self) -> &Tally;

    /// A call that takes a client from the backlog.
    fn accept<T>(&mut self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T>;

    /// A readiness call (or a pause): pure wait. The closure returns how many are ready.
    fn wait(&mut self, call: Call, wait: impl FnOnce() -> io::Result<usize>) -> io::Result<usize>;

    /// A receive that does not wait: the copy. `carried` says that no readiness call has reported this
    /// connection since its last receive: it had more than one turn's share.
    fn receive(
        &mut self,
        id: Id,
        carried: bool,
        copy: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize>;

    /// A receive that waits and copies in one call; the stamp divides it.
    fn receive_waiting(
        &mut self,
        id: Id,
        call: impl FnOnce() -> io::Result<Received>,
    ) -> io::Result<usize>;

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

    /// The service at work.
    fn service<T>(&mut self, work: impl FnOnce() -> T) -> T;

    /// A call outside of the phases: `fcntl`, `epoll_ctl`, `close`.
    fn called(&mut self, call: Call);

    /// The client of the last accept is served from now on.
    fn opened(&mut self, id: Id, peer: SocketAddr);

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

    fn accept<T>(&mut self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        call()
    }

    fn wait(&mut self, _: Call, wait: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
        wait()
    }

    fn receive(
        &mut self,
        _: Id,
        _: bool,
        copy: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize> {
        copy().inspect(|&n| count_received(&self.0, n))
    }

    fn receive_waiting(
        &mut self,
        _: Id,
        call: impl FnOnce() -> io::Result<Received>,
    ) -> io::Result<usize> {
        call().map(|received| received.bytes).inspect(|&n| count_received(&self.0, n))
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

    fn service<T>(&mut self, work: impl FnOnce() -> T) -> T {
        work()
    }

    fn called(&mut self, _: Call) {}

    fn opened(&mut self, _: Id, _: SocketAddr) {
        self.0.add(Count::Connections, 1);
    }

    fn closed(&mut self, _: Id, end: End) {
        if let Some(count) = end.count() {
            self.0.add(count, 1);
        }
    }
}

/// A receive that brought `n` bytes; none is the end of file, not a request.
pub(super) fn count_received(tally: &Tally, n: usize) {
    if n > 0 {
        tally.add(Count::Requests, 1);
        tally.add(Count::BytesIn, n as u64);
    }
}

/// A send that took `n` bytes.
pub(super) fn count_sent(tally: &Tally, n: usize) {
    tally.add(Count::BytesOut, n as u64);
}
