//! Who was woken: a list that any thread may add to.

use crate::phase::Id;
use crate::sys;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// The future that `run` was called with.
pub(super) const MAIN: Id = Id::LISTENER;

/// The futures to poll next.
///
/// Within the reactor's own thread a wake is a push. Another thread may find the reactor asleep: then it writes to the
/// event counter that the reactor waits for.
pub(super) struct Woken {
    /// `None`: the reactor is gone.
    list: Mutex<Option<Vec<Arc<One>>>>,
    /// The reactor is about to wait, or waits.
    parked: AtomicBool,
    counter: OwnedFd,
}

impl Woken {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            list: Mutex::new(Some(Vec::new())),
            parked: AtomicBool::new(false),
            counter: sys::eventfd()?,
        })
    }

    pub(super) fn waker(self: &Arc<Self>, id: Id) -> Waker {
        Waker::from(Arc::new(One { woken: Arc::clone(self), id, queued: AtomicBool::new(false) }))
    }

    /// Takes the list; whoever is woken from now on comes into the next one.
    pub(super) fn take(&self) -> Round<'_> {
        let list = self.list().as_mut().map(std::mem::take).unwrap_or_default();
        Round { woken: self, left: list.into_iter() }
    }

    /// Says that the reactor is going to wait. False: somebody was woken already, so it must not.
    pub(super) fn park(&self) -> bool {
        // First the flag, then the look: a wake in between writes to the counter, and the wait returns at once.
        self.parked.store(true, SeqCst);
        self.list().as_ref().is_none_or(Vec::is_empty)
    }

    /// Nobody is woken any more. Wakers hold this list, so a waker left in it would keep both.
    pub(super) fn close(&self) {
        let list = self.list().take();
        drop(list);
    }

    pub(super) fn unpark(&self) {
        self.parked.store(false, SeqCst);
    }

    /// The counter has done its work.
    pub(super) fn heard(&self) {
        // EAGAIN: taken already.
        let _ = sys::eventfd_read(&self.counter);
    }

    fn push(&self, one: &Arc<One>) {
        match &mut *self.list() {
            Some(list) => list.push(Arc::clone(one)),
            None => return,
        }
        if self.parked.swap(false, SeqCst) {
            // EAGAIN: the counter is full, which wakes as well.
            let _ = sys::eventfd_write(&self.counter);
        }
    }

    /// A panic elsewhere leaves the list whole: each change to it is one call.
    fn list(&self) -> MutexGuard<'_, Option<Vec<Arc<One>>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Woken {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.counter.as_fd()
    }
}

/// The futures of one round, each given out once. Those that are left when it goes, since the main future has ended or
/// one has panicked, go back to the head of the list: nobody wakes them a second time.
pub(super) struct Round<'a> {
    woken: &'a Woken,
    left: std::vec::IntoIter<Arc<One>>,
}

impl Round<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.left.as_slice().is_empty()
    }
}

impl Iterator for Round<'_> {
    type Item = Id;

    fn next(&mut self) -> Option<Id> {
        let one = self.left.next()?;
        // Before it is polled: a wake during the poll counts.
        one.queued.store(false, SeqCst);
        Some(one.id)
    }
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        if let Some(list) = &mut *self.woken.list() {
            list.splice(..0, self.left.by_ref());
        }
    }
}

/// Wakes one future.
struct One {
    woken: Arc<Woken>,
    id: Id,
    /// In the list already.
    queued: AtomicBool,
}

impl Wake for One {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, SeqCst) {
            self.woken.push(self);
        }
    }
}
