//! The counters of a server, in memory that threads and children share.

use super::Call;
use crate::sys::{self, Shared};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What is counted, recorder on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Count {
    /// Connections accepted and served.
    Connections,
    /// Receives that brought data.
    Requests,
    /// Bytes received.
    BytesIn,
    /// Bytes that the kernel took back.
    BytesOut,
    /// Clients turned away: at `--max-connections`, a limit per peer, or by `verify_request`.
    Refused,
    /// Clients turned away by `select`, whose sets end at descriptor 1023.
    BeyondSet,
    /// Connections closed by `--idle-timeout`.
    TimedOut,
    /// Connections that their peer reset.
    Reset,
    /// Connections cut at the end of the drain.
    Cut,
    /// Connections closed because a call on them failed.
    Failed,
    /// accept4 failures that belonged to one client (`ECONNABORTED`, ...).
    AcceptRetried,
    /// Rests of the listener because descriptors or memory were short (`EMFILE`, ...).
    AcceptRested,
    /// Datagrams longer than the buffer: not answered, rather than half.
    Truncated,
    /// Datagrams that the kernel dropped because the receive queue was full.
    Dropped,
    /// Answers to datagrams that could not be sent (no room, unreachable, an unnamed sender).
    Unsent,
    /// Clients turned away because the pool's queue was full, or because they stood in it for too long.
    PoolFull,
    /// Clients turned away because no thread or child could be made (`EAGAIN`).
    NotStarted,
    /// Handlers that panicked or said that they failed.
    HandlerFailed,
    /// Children that did not end by themselves with status 0.
    ChildFailed,
    /// Children started again in the place of one that ended.
    Respawned,
    /// Times that the kernel had no room to queue a signal of readiness (`RLIMIT_SIGPENDING`), and everything was polled once.
    SignalsLost,
    /// Calls that a signal interrupted (`EINTR`).
    Interrupted,
    /// Waiting receives without a kernel stamp: their time stays undivided.
    Unstamped,
    /// Negative differences between a stamp and a clock, taken as 0.
    Clamped,
    /// Lines of `--phases` that a slow reader did not take.
    LinesLost,
}

impl Count {
    /// All of them with their names in reports, in the order of their numbers.
    pub const ALL: [(Self, &'static str); 25] = [
        (Self::Connections, "connections"),
        (Self::Requests, "requests"),
        (Self::BytesIn, "bytes_in"),
        (Self::BytesOut, "bytes_out"),
        (Self::Refused, "refused"),
        (Self::BeyondSet, "beyond_set"),
        (Self::TimedOut, "timed_out"),
        (Self::Reset, "reset"),
        (Self::Cut, "cut"),
        (Self::Failed, "failed"),
        (Self::AcceptRetried, "accept_retried"),
        (Self::AcceptRested, "accept_rested"),
        (Self::Truncated, "truncated"),
        (Self::Dropped, "dropped"),
        (Self::Unsent, "unsent"),
        (Self::PoolFull, "pool_full"),
        (Self::NotStarted, "not_started"),
        (Self::HandlerFailed, "handler_failed"),
        (Self::ChildFailed, "child_failed"),
        (Self::Respawned, "respawned"),
        (Self::SignalsLost, "signals_lost"),
        (Self::Interrupted, "interrupted"),
        (Self::Unstamped, "unstamped"),
        (Self::Clamped, "clamped"),
        (Self::LinesLost, "lines_lost"),
    ];
}

/// A flow's time is spent in one of these; what is left of its wall time is *other*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Part {
    /// Blocked, or asking in vain, for data, room or clients.
    Wait,
    /// Receiving data that is there.
    Receive,
    /// Handing answers to the kernel.
    Send,
    /// In the service.
    Service,
    /// In calls that wait and copy and gave no stamp to divide them by.
    Undivided,
}

impl Part {
    /// All of them with their names in reports, in the order of their numbers.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Wait, "wait"),
        (Self::Receive, "receive"),
        (Self::Send, "send"),
        (Self::Service, "service"),
        (Self::Undivided, "undivided"),
    ];
}

const CALLS: usize = Count::ALL.len();
const AGAIN: usize = CALLS + Call::ALL.len();
const PARTS: usize = AGAIN + Call::ALL.len();
const WALL: usize = PARTS + Part::ALL.len();
const WORDS: usize = WALL + 1;

/// One set of counters; clones count into the same set.
#[derive(Clone, Debug)]
pub struct Tally {
    words: Shared<[AtomicU64; WORDS]>,
    /// Whether the first event of a kind is told on standard error.
    notices: bool,
}

impl Tally {
    /// All zero. With `notices`, [`notice`](Self::notice) speaks.
    ///
    /// # Errors
    /// `ENOMEM` from mmap(2).
    pub fn new(notices: bool) -> io::Result<Self> {
        Ok(Self { words: Shared::new()?, notices })
    }

    /// Adds to a counter and returns what it was before.
    pub fn add(&self, count: Count, n: u64) -> u64 {
        self.words[count as usize].fetch_add(n, Relaxed)
    }

    /// Counts requests of so many bytes together.
    pub fn request(&self, requests: u64, bytes: u64) {
        let words = &*self.words;
        words[Count::Requests as usize].fetch_add(requests, Relaxed);
        words[Count::BytesIn as usize].fetch_add(bytes, Relaxed);
    }

    /// A counter's value.
    #[must_use]
    pub fn get(&self, count: Count) -> u64 {
        self.words[count as usize].load(Relaxed)
    }

    /// Counts an event that an operator should know of. The first of its kind is also told on standard
    /// error (if that can take it at once); a thousand more are not.
    pub fn notice(&self, count: Count, text: impl FnOnce() -> String) {
        if self.add(count, 1) == 0 && self.notices {
            let line = format!("waitcopy: {}\n", text());
            // A message that cannot be written has no other place to go.
            let _ = write_at_once(&io::stderr(), line.as_bytes());
        }
    }

    /// Counts a system call, and whether it said `EAGAIN`.
    pub fn called(&self, call: Call, again: bool) {
        self.words[CALLS + call as usize].fetch_add(1, Relaxed);
        if again {
            self.words[AGAIN + call as usize].fetch_add(1, Relaxed);
        }
    }

    /// How often a call was made.
    #[must_use]
    pub fn calls(&self, call: Call) -> u64 {
        self.words[CALLS + call as usize].load(Relaxed)
    }

    /// How often it said `EAGAIN`.
    #[must_use]
    pub fn again(&self, call: Call) -> u64 {
        self.words[AGAIN + call as usize].load(Relaxed)
    }

    /// Adds nanoseconds to a part of the flow's time.
    pub fn spend(&self, part: Part, ns: u64) {
        self.words[PARTS + part as usize].fetch_add(ns, Relaxed);
    }

    /// Adds nanoseconds to the wall time of all flows.
    pub fn lived(&self, ns: u64) {
        self.words[WALL].fetch_add(ns, Relaxed);
    }

    /// The wall time of all flows together, in nanoseconds.
    #[must_use]
    pub fn wall(&self) -> u64 {
        self.words[WALL].load(Relaxed)
    }

    /// The nanoseconds spent in a part.
    #[must_use]
    pub fn spent(&self, part: Part) -> u64 {
        self.words[PARTS + part as usize].load(Relaxed)
    }
}

/// Writes a line if its reader can take it now; otherwise the line is lost, which the caller counts.
///
/// Asking first (poll with time-out 0) works for terminals, pipes and files alike, and leaves
/// `O_NONBLOCK` alone, which would change the descriptor for everybody who shares it. A pipe
/// that is writable has room for `PIPE_BUF` (4096) bytes at least.
pub(super) fn write_at_once(to: &impl std::os::fd::AsFd, line: &[u8]) -> io::Result<()> {
    let mut ask = [sys::PollFd::new(to, false, true)];
    let room = sys::poll(&mut ask, Some(std::time::Duration::ZERO))? == 1;
    if room && sys::write(to, line)? == line.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

#[cfg(test)]
mod tests {
    use super::{Count, Part, Tally};
    use crate::phase::Call;

    #[test]
    fn no_counter_shares_a_word_with_another() {
        let tally = Tally::new(false).unwrap();
        for (i, (count, _)) in Count::ALL.into_iter().enumerate() {
            assert_eq!(count as usize, i);
            tally.add(count, 1);
        }
        for call in Call::ALL {
            tally.called(call, true);
        }
        for (i, (part, _)) in Part::ALL.into_iter().enumerate() {
            assert_eq!(part as usize, i);
            tally.spend(part, 1);
        }
        tally.lived(1);
        assert!(tally.words.iter().all(|w| w.load(super::Relaxed) == 1));
    }
}
