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
        if left == 0 {
            return self;
        }
        self.bytes -= left;
        drop(Share { budget: self.budget, bytes: left });
        self
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let taken = self.budget.taken.get() - self.bytes;
        self.budget.taken.set(taken);
        // What went beyond the end is no room for anybody: who waits is woken by whoever makes some.
        if taken >= UNDER_WAY {
            return;
        }
        self.budget.waiting.take().into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, UNDER_WAY};
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::{Context, Wake, Waker};

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn who_waits_is_woken_when_there_is_room_and_not_before() {
        let budget = Budget::default();
        let (woken, large) = (Arc::new(Woken::default()), budget.try_take(UNDER_WAY - 1));
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        // The last one goes beyond the end.
        let last = budget.try_take(100).unwrap();
        let mut waiting = pin!(budget.take(1));
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        let last = last.shrunk(100);
        assert_eq!(woken.0.load(SeqCst), 0, "nothing was left");
        let last = last.shrunk(50);
        assert_eq!(woken.0.load(SeqCst), 0, "what was left is beyond the end");
        drop(last);
        assert_eq!(woken.0.load(SeqCst), 1);
        assert!(waiting.as_mut().poll(&mut cx).is_ready());
        drop(large);
    }
}
