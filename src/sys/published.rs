//! What a flow is blocked on, published for whoever must wake it: a signal handler or another thread.

use super::{Signal, tgkill};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// Nothing is published.
const FREE: u64 = 0;
/// Set on top of the descriptor while a waker uses it: its owner may not go on meanwhile.
const BUSY: u64 = 1 << 63;
/// Set where no descriptor is published but a thread that waits for a signal: its number below, the signal's from bit 32 on.
const THREAD: u64 = 1 << 62;

/// A lock-free cell: free, a descriptor or a thread, or one of them in use.
///
/// The owner blocks on its descriptor inside [`during`](Self::during), or waits for a signal inside
/// [`during_signal`](Self::during_signal); a waker reaches it by [`with`](Self::with) and [`signal`](Self::signal). All are async-signal-safe. A handler that interrupts the owner runs to its end
/// first, so the owner spins only while *another thread* is inside, for the length of one system call.
#[derive(Debug, Default)]
pub struct Published(AtomicU64);

impl Published {
    /// An empty cell.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(FREE))
    }

    /// Runs `blocking` with the descriptor published. One owner at a time: a cell belongs to one flow.
    ///
    /// # Panics
    /// When another call of `during` is at it: it would take the descriptor away from under a waker.
    pub fn during<T>(&self, fd: BorrowedFd<'_>, blocking: impl FnOnce() -> T) -> T {
        self.publishing(fd.as_raw_fd() as u64 + 1, blocking)
    }

    /// The same where `blocking` waits for a signal of this thread, which is `thread`.
    ///
    /// # Panics
    /// As [`during`](Self::during).
    pub fn during_signal<T>(&self, thread: u32, signal: Signal, blocking: impl FnOnce() -> T) -> T {
        let signal = u64::from(signal.unsigned_abs()) << 32;
        self.publishing(THREAD | signal | u64::from(thread), blocking)
    }

    fn publishing<T>(&self, published: u64, blocking: impl FnOnce() -> T) -> T {
        let free = self.0.compare_exchange(FREE, published, Ordering::SeqCst, Ordering::SeqCst);
        assert!(free.is_ok(), "a published cell has one owner at a time");
        let _retract = Retract(self);
        blocking()
    }

    /// Calls `f` with the descriptor, if one is published and no other waker is at it.
    pub fn with<T>(&self, f: impl FnOnce(BorrowedFd<'_>) -> T) -> Option<T> {
        let (seen, _release) = self.hold()?;
        if seen & THREAD != 0 {
            return None;
        }
        let number = (seen - 1) as i32;
        // SAFETY: `during` borrows the descriptor, so it was open when it was published, and it
        // does not return, so does not end the borrow, while BUSY is set: it is open for all of `f`.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        Some(f(fd))
    }

    /// Sends its signal to the thread that waits for it, if one is published and no other waker is at it.
    pub fn signal(&self) {
        let Some((seen, _release)) = self.hold() else { return };
        if seen & THREAD != 0 {
            // It does not leave `during_signal` while BUSY is set, so it is there, and its number is not another's.
            let _ = tgkill(seen as u32, (seen >> 32 & 0x7f) as Signal);
        }
    }

    /// Keeps the owner where it is, until the guard goes: also when a waker panics, for its owner would wait for ever.
    fn hold(&self) -> Option<(u64, Release<'_>)> {
        let seen = self.0.load(Ordering::SeqCst);
        if seen == FREE || seen & BUSY != 0 {
            return None;
        }
        self.0.compare_exchange(seen, seen | BUSY, Ordering::SeqCst, Ordering::SeqCst).ok()?;
        Some((seen, Release(self, seen)))
    }
}

/// Ends a waker's turn.
struct Release<'p>(&'p Published, u64);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.0.store(self.1, Ordering::SeqCst);
    }
}

/// Takes the descriptor back, also when the owner panics.
struct Retract<'p>(&'p Published);

impl Drop for Retract<'_> {
    fn drop(&mut self) {
        loop {
            let seen = self.0.0.load(Ordering::SeqCst);
            let free = seen & BUSY == 0;
            if free
                && self.0.0.compare_exchange(seen, FREE, Ordering::SeqCst, Ordering::SeqCst).is_ok()
            {
                return;
            }
            std::hint::spin_loop();
        }
    }
}
