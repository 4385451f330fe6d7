//! A call that blocks, on a thread of its own.

use std::future::{Future, poll_fn};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::thread;

/// What the thread leaves behind, and who waits for it.
struct Left<T> {
    value: Option<T>,
    waker: Option<Waker>,
    /// The thread has ended, with a value or by a panic.
    over: bool,
}

/// Runs a call that cannot be had without blocking (`getaddrinfo`) on a thread, and waits for it as for anything else.
/// A future that is dropped leaves the thread to end by itself. A call that panics never gives a value: the error is
/// `BrokenPipe`.
///
/// # Errors
/// `EAGAIN` when no thread can be had.
pub fn elsewhere<T: Send + 'static>(
    call: impl FnOnce() -> T + Send + 'static,
) -> io::Result<impl Future<Output = io::Result<T>>> {
    let left = Arc::new(Mutex::new(Left { value: None, waker: None, over: false }));
    let end = End(Arc::clone(&left));
    thread::Builder::new().name("elsewhere".into()).spawn(move || {
        let value = call();
        end.0.lock().unwrap_or_else(PoisonError::into_inner).value = Some(value);
    })?;
    Ok(poll_fn(move |cx| {
        let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
        if left.over {
            return Poll::Ready(left.value.take().ok_or_else(|| io::ErrorKind::BrokenPipe.into()));
        }
        left.waker = Some(cx.waker().clone());
        Poll::Pending
    }))
}

/// Says that the thread has ended, however it did.
struct End<T>(Arc<Mutex<Left<T>>>);

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        left.over = true;
        if let Some(waker) = left.waker.take() {
            waker.wake();
        }
    }
}
