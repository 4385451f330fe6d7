//! Floor 1: stopping a server without a race.
//!
//! A flag that is checked before a blocking call is not enough: a signal between the check
//! and the call is seen by neither, and the call sleeps on. Everything that [`Stop::request`] does is
//! therefore *sticky*: whoever comes later, by however little, finds it done.
//!
//! - the flag, for loops;
//! - an event counter that is written and never read: ready for every readiness call, for good;
//! - `shutdown(SHUT_RD)` on the descriptor that a flow is blocked on, or is about to be
//!   ([`Stop::interruptible`] publishes it and then checks the flag again): a receive returns what is queued
//!   and then 0, an accept says `EINVAL`.

use crate::sys::{self, Clock, Published, Shutdown};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// How to ask a server to stop, from a signal handler or another thread. One stop for one flow of control:
/// it holds the one descriptor that the flow is blocked on.
#[derive(Debug)]
pub struct Stop {
    requested: AtomicBool,
    /// The drain's time is over as well.
    over: AtomicBool,
    /// Readable once the stop is requested.
    counter: OwnedFd,
    /// What the flow is blocked on.
    blocked: Published,
    /// How long in-flight requests may take.
    drain: Duration,
    /// `CLOCK_MONOTONIC` nanoseconds; 0 before the request.
    deadline: AtomicU64,
    /// Test seam, see [`Stop::widen_race`].
    race: Duration,
}

impl Stop {
    /// A stop that gives what is in flight `drain` to be answered.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE` from eventfd(2).
    pub fn new(drain: Duration) -> io::Result<Self> {
        Ok(Self {
            requested: AtomicBool::new(false),
            over: AtomicBool::new(false),
            counter: sys::eventfd()?,
            blocked: Published::new(),
            drain,
            deadline: AtomicU64::new(0),
            race: Duration::ZERO,
        })
    }

    /// A pause between each check of the flag and the blocking call after it. A test that
    /// stops the server at random moments hits the window of a racy stop almost surely with 1 ms of it,
    /// and almost never without.
    pub fn widen_race(&mut self, pause: Duration) {
        self.race = pause;
    }

    /// Asks the server to stop. Async-signal-safe; a second request changes nothing.
    pub fn request(&self) {
        let deadline = sys::clock_gettime(Clock::Monotonic) + self.drain;
        let deadline = u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX);
        // The first request sets the deadline.
        let _ = self.deadline.compare_exchange(0, deadline, SeqCst, SeqCst);
        self.requested.store(true, SeqCst);
        // A full counter is readable as well: nothing to do about an error.
        let _ = sys::eventfd_write(&self.counter);
        self.blocked.with(|fd| sys::shutdown(fd, Shutdown::Read));
        // A cut that found the cell busy has left it to us.
        if self.over() {
            self.blocked.with(|fd| sys::shutdown(fd, Shutdown::Both));
        }
    }

    /// Ends the connection that the flow is blocked on, or will be, for a peer that does not read: a blocked
    /// send returns. For the drain's deadline; async-signal-safe and as sticky as the request.
    pub fn cut(&self) {
        self.over.store(true, SeqCst);
        self.blocked.with(|fd| sys::shutdown(fd, Shutdown::Both));
    }

    /// Whether the stop was requested. Check it before each call that may wait.
    #[must_use]
    pub fn requested(&self) -> bool {
        let requested = self.requested.load(SeqCst);
        if !requested {
            self.pause();
        }
        requested
    }

    /// The time left to drain; `None` before the request.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        match self.deadline.load(SeqCst) {
            0 => None,
            at => {
                Some(Duration::from_nanos(at).saturating_sub(sys::clock_gettime(Clock::Monotonic)))
            }
        }
    }

    /// Whether [`Stop::cut`] was called.
    #[must_use]
    pub fn over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// Time from the request to the deadline.
    #[must_use]
    pub fn drain(&self) -> Duration {
        self.drain
    }

    /// Makes a call that may block on `fd`, so that a request wakes it or has it return at once.
    pub fn interruptible<T>(&self, fd: impl AsFd, call: impl FnOnce() -> T) -> T {
        let fd = fd.as_fd();
        self.blocked.during(fd, || {
            // Published first, checked second: a request after this line finds the descriptor.
            // ENOTCONN: the connection is dead already, and the call will say so.
            if self.over.load(SeqCst) {
                let _ = sys::shutdown(fd, Shutdown::Both);
            } else if self.requested.load(SeqCst) {
                let _ = sys::shutdown(fd, Shutdown::Read);
            }
            self.pause();
            call()
        })
    }

    fn pause(&self) {
        if !self.race.is_zero() {
            // ppoll, not a sleep, but to the same end; a signal may shorten it.
            let _ = sys::ppoll(&mut [], Some(self.race));
        }
    }
}

/// The event counter: put it into the readiness set.
impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.counter.as_fd()
    }
}
