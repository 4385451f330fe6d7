//! How many bytes of files may be under way on one line, whoever copies them.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Requests for them when we read, bytes not yet acknowledged when we write. It is as much as libssh2's window lets come.
pub(super) const UNDER_WAY: usize = 2 << 20;

/// What is left of them is given to whoever asks first; nobody who holds none waits for ever, since those who hold some give it back.
#[derive(Default)]
pub(super) struct Budget {
    taken: Cell<usize>,
    waiting: RefCell<Vec<Waker>>,
}

/// A part of it, given back at its drop.
pub(super) struct Share<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl Budget {
    /// A part, if there is any left: the last one may go beyond the end.
    pub(super) fn try_take(&self, bytes: usize) -> Option<Share<'_>> {
        if self.taken.get() >= UNDER_WAY {
            return None;
        }
        self.taken.set(self.taken.get() + bytes);
        Some(Share { budget: self, bytes })
    }

    /// Waits for a part. Only for whoever holds none: nobody gives back what he waits with.
    pub(super) async fn take(&self, bytes: usize) -> Share<'_> {
        poll_fn(|cx| match self.try_take(bytes) {
            Some(share) => Poll::Ready(share),
            None => {
                self.waiting.borrow_mut().push(cx.waker().clone());
                Poll::Pending
            }
        })
        .await
    }
}

impl Share<'_> {
    /// Only so many of its bytes are needed.
    pub(super) fn shrunk(mut self, to: usize) -> Self {
        let left = self.bytes.saturating_sub(to);
        self.bytes -= left;
        drop(Share { budget: self.budget, bytes: left });
        self
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.budget.taken.set(self.budget.taken.get() - self.bytes);
        self.budget.waiting.take().into_iter().for_each(Waker::wake);
    }
}
