//! Floor 1: stopping a server without a race.
//!
//! A flag that is checked before a blocking call is not enough: a signal between the check
//! and the call is seen by neither, and the call sleeps on. Everything that [`Stop::request`] does is
//! therefore *sticky*: whoever comes later, by however little, finds it done.
//!
//! - the flag, for loops;
//! - an event counter that is written and never read: ready for every readiness call, for good;
//! - `shutdown(SHUT_RD)` on each descriptor that a flow is blocked on, or is about to be
//!   ([`Stop::interruptible`] publishes it and then checks the flag again): a receive returns what is queued
//!   and then 0, an accept says `EINVAL`;
//! - a signal to each thread that waits for one ([`Stop::signalled`]): blocked there, it stays pending until it is taken.

mod cells;

use crate::sys::{self, Clock, Published, Shutdown, Signal};
use cells::Cells;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// How to ask a server to stop, from a signal handler or another thread. **One for each flow of control**: it
/// holds the one descriptor that the flow is blocked on. A clone is another flow's; a request to any of them stops all.
#[derive(Debug)]
pub struct Stop {
    shared: Arc<Shared>,
    /// Where this flow publishes what it is blocked on.
    cell: u32,
}

/// What all flows of a server have in common.
#[derive(Debug)]
struct Shared {
    /// Whether the stop is requested, and the test seam, see [`Stop::widen_race`]: asked each turn, so that both are one
    /// question. The lowest bit is the request, the others are twice the nanoseconds.
    asked: AtomicU64,
    /// The drain's time is over as well.
    over: AtomicBool,
    /// Readable once the stop is requested.
    counter: OwnedFd,
    /// What the flows are blocked on.
    blocked: Cells,
    /// How long in-flight requests may take.
    drain: Duration,
    /// `CLOCK_MONOTONIC` nanoseconds; 0 before the request.
    deadline: AtomicU64,
}

const REQUESTED: u64 = 1;

impl Clone for Stop {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), cell: self.shared.blocked.take() }
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.shared.blocked.give_back(self.cell);
    }
}

impl Stop {
    /// A stop that gives what is in flight `drain` to be answered.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE` from eventfd(2).
    pub fn new(drain: Duration) -> io::Result<Self> {
        let shared = Shared {
            asked: AtomicU64::new(0),
            over: AtomicBool::new(false),
            counter: sys::eventfd()?,
            blocked: Cells::default(),
            drain,
            deadline: AtomicU64::new(0),
        };
        let cell = shared.blocked.take();
        Ok(Self { shared: Arc::new(shared), cell })
    }

    /// Parts with the parent, in a child that was just forked: a request here must not wake the parent through the
    /// event counter that both have inherited. The flag was copied, so a request from before the fork holds for both.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE` from eventfd(2).
    pub fn part_from_parent(&self) -> io::Result<()> {
        sys::dup3(sys::eventfd()?, &self.shared.counter)?;
        if self.left().is_some() {
            self.request();
        }
        Ok(())
    }

    /// A pause between each check of the flag and the blocking call after it. A test that
    /// stops the server at random moments hits the window of a racy stop almost surely with 1 ms of it,
    /// and almost never without.
    pub fn widen_race(&self, pause: Duration) {
        let pause = (pause.as_nanos() as u64) << 1;
        let _ = self.shared.asked.fetch_update(SeqCst, SeqCst, |old| Some(pause | old & REQUESTED));
    }

    /// Asks the server to stop. Async-signal-safe; a second request changes nothing.
    pub fn request(&self) {
        let deadline = sys::clock_gettime(Clock::Monotonic) + self.shared.drain;
        let deadline = u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX);
        // The first request sets the deadline.
        let _ = self.shared.deadline.compare_exchange(0, deadline, SeqCst, SeqCst);
        self.shared.asked.fetch_or(REQUESTED, SeqCst);
        // A full counter is readable as well: nothing to do about an error.
        let _ = sys::eventfd_write(&self.shared.counter);
        self.shared.shut(Shutdown::Read);
        // A cut that found a cell busy has left it to us.
        if self.over() {
            self.shared.shut(Shutdown::Both);
        }
    }

    /// Ends the connections that the flows are blocked on, or will be, for a peer that does not read: a blocked
    /// send returns. For the drain's deadline; async-signal-safe and as sticky as the request.
    pub fn cut(&self) {
        self.shared.over.store(true, SeqCst);
        self.shared.shut(Shutdown::Both);
    }

    /// Whether the stop was requested. Check it before each call that may wait.
    #[must_use]
    #[inline]
    pub fn requested(&self) -> bool {
        self.shared.asked.load(SeqCst) != 0 && self.requested_or_paused()
    }

    #[cold]
    fn requested_or_paused(&self) -> bool {
        let requested = self.shared.asked.load(SeqCst) & REQUESTED != 0;
        if !requested {
            self.pause();
        }
        requested
    }

    /// The time left to drain; `None` before the request.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        match self.shared.deadline.load(SeqCst) {
            0 => None,
            at => {
                Some(Duration::from_nanos(at).saturating_sub(sys::clock_gettime(Clock::Monotonic)))
            }
        }
    }

    /// Whether [`Stop::cut`] was called.
    #[must_use]
    pub fn over(&self) -> bool {
        self.shared.over.load(SeqCst)
    }

    /// Time from the request to the deadline.
    #[must_use]
    pub fn drain(&self) -> Duration {
        self.shared.drain
    }

    /// Makes a call that may block on `fd`, so that a request wakes it or has it return at once.
    pub fn interruptible<T>(&self, fd: impl AsFd, call: impl FnOnce() -> T) -> T {
        let fd = fd.as_fd();
        self.cell().during(fd, || {
            // Published first, checked second: a request after this line finds the descriptor.
            // ENOTCONN: the connection is dead already, and the call will say so.
            if self.shared.over.load(SeqCst) {
                let _ = sys::shutdown(fd, Shutdown::Both);
            } else if self.shared.asked.load(SeqCst) & REQUESTED != 0 {
                let _ = sys::shutdown(fd, Shutdown::Read);
            }
            self.pause();
            call()
        })
    }

    /// Makes a call that waits for signals of this thread, `signal` among them and blocked: a request sends it, so that the call
    /// returns. `thread` is the calling one's number, which costs a call to find out.
    pub fn signalled<T>(&self, thread: u32, signal: Signal, call: impl FnOnce() -> T) -> T {
        self.cell().during_signal(thread, signal, || {
            // As above. A signal below the real-time ones always has room.
            if self.shared.asked.load(SeqCst) & REQUESTED != 0 {
                let _ = sys::tgkill(thread, signal);
            }
            self.pause();
            call()
        })
    }

    fn cell(&self) -> &Published {
        self.shared.blocked.get(self.cell)
    }

    fn pause(&self) {
        let race = self.shared.asked.load(SeqCst) >> 1;
        if race > 0 {
            // ppoll, not a sleep, but to the same end; a signal may shorten it.
            let _ = sys::ppoll(&mut [], Some(Duration::from_nanos(race)));
        }
    }
}

impl Shared {
    /// Shuts what the flows are blocked on.
    fn shut(&self, how: Shutdown) {
        for cell in self.blocked.iter() {
            cell.with(|fd| sys::shutdown(fd, how));
            cell.signal();
        }
    }
}

/// The event counter: put it into the readiness set.
impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.counter.as_fd()
    }
}
