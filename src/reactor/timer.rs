//! Deadlines: moments, not durations, so that no retry starts the clock again.

use super::Handle;
use crate::sys::{self, Clock};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A moment of `CLOCK_MONOTONIC`, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Duration);

impl Deadline {
    /// It never comes.
    pub const NEVER: Self = Self(Duration::MAX);

    /// So long from now. A duration too long to be told apart from never is never.
    #[must_use]
    pub fn after(duration: Duration) -> Self {
        Self(now().checked_add(duration).unwrap_or(Duration::MAX))
    }

    /// So long from now, or never.
    #[must_use]
    pub fn after_or_never(duration: Option<Duration>) -> Self {
        duration.map_or(Self::NEVER, Self::after)
    }

    /// The time left, zero once it has passed; `None` for [`NEVER`](Self::NEVER).
    #[must_use]
    pub fn left(self) -> Option<Duration> {
        (self != Self::NEVER).then(|| self.0.saturating_sub(now()))
    }

    /// Whether it has passed.
    #[must_use]
    pub fn passed(self) -> bool {
        self.left() == Some(Duration::ZERO)
    }
}

fn now() -> Duration {
    sys::clock_gettime(Clock::Monotonic)
}

/// The deadline came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the deadline has passed")
    }
}

impl std::error::Error for Elapsed {}

/// What waits for a moment, in the order of the moments. The number tells apart those that share one.
#[derive(Default)]
pub(super) struct Timers {
    queue: BTreeMap<(Duration, u64), Waker>,
    last: u64,
}

impl Timers {
    /// How long the reactor may wait.
    pub(super) fn left(&self) -> Option<Duration> {
        let ((at, _), _) = self.queue.first_key_value()?;
        Some(at.saturating_sub(now()))
    }

    /// Wakes those whose moment has come.
    pub(super) fn expire(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        let now = now();
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= now) {
            entry.remove().wake();
        }
    }
}

/// Ends at a deadline: [`Handle::sleep`].
#[must_use = "a future does nothing until it is awaited"]
pub struct Sleep {
    reactor: Handle,
    deadline: Deadline,
    /// Its place in the queue.
    number: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.deadline.passed() {
            return Poll::Ready(());
        }
        if self.deadline == Deadline::NEVER {
            return Poll::Pending;
        }
        let reactor = self.reactor.clone();
        let mut timers = reactor.0.timers.borrow_mut();
        let number = self.number.unwrap_or_else(|| {
            timers.last += 1;
            timers.last
        });
        self.number = Some(number);
        timers.queue.insert((self.deadline.0, number), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.reactor.0.timers.borrow_mut().queue.remove(&(self.deadline.0, number));
        }
    }
}

/// A future with a deadline: [`Handle::within`].
#[must_use = "a future does nothing until it is awaited"]
pub struct Within<F> {
    sleep: Sleep,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Within<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // The future first: what is done in time is done, however late we come to look.
        if let Poll::Ready(output) = self.future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut self.sleep).poll(cx).map(|()| Err(Elapsed))
    }
}

impl Handle {
    /// Waits until a moment has come, never shorter.
    pub fn sleep(&self, until: Deadline) -> Sleep {
        Sleep { reactor: self.clone(), deadline: until, number: None }
    }

    /// A future that gives up at a deadline: it is then dropped with this one.
    pub fn within<F: Future>(&self, deadline: Deadline, future: F) -> Within<F> {
        Within { sleep: self.sleep(deadline), future: Box::pin(future) }
    }
}
