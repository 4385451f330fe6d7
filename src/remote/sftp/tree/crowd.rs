//! Many futures of one task, of which only those are polled that were woken.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Futures side by side. They go with it, wherever they are.
pub(super) struct Crowd<'a> {
    places: Vec<Place<'a>>,
    free: Vec<usize>,
    ready: Arc<Ready>,
}

struct Place<'a> {
    future: Option<Pin<Box<dyn Future<Output = ()> + 'a>>>,
    one: Arc<One>,
}

/// Who was woken, and the task that then goes on.
#[derive(Default)]
struct Ready(Mutex<(VecDeque<usize>, Option<Waker>)>);

impl Ready {
    /// A panic elsewhere leaves it whole: each change to it is one call.
    fn lock(&self) -> MutexGuard<'_, (VecDeque<usize>, Option<Waker>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes one of them.
struct One {
    ready: Arc<Ready>,
    place: usize,
    /// In the list already.
    queued: AtomicBool,
}

impl Wake for One {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, SeqCst) {
            let mut ready = self.ready.lock();
            ready.0.push_back(self.place);
            let task = ready.1.take();
            drop(ready);
            task.into_iter().for_each(Waker::wake);
        }
    }
}

impl<'a> Crowd<'a> {
    pub(super) fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new(), ready: Arc::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Adds one, which is polled at the next wait.
    pub(super) fn push(&mut self, future: impl Future<Output = ()> + 'a) {
        let place = self.free.pop().unwrap_or(self.places.len());
        let (ready, queued) = (Arc::clone(&self.ready), AtomicBool::new(false));
        let one = Arc::new(One { ready, place, queued });
        one.wake_by_ref();
        let new = Place { future: Some(Box::pin(future)), one };
        match self.places.get_mut(place) {
            Some(old) => *old = new,
            None => self.places.push(new),
        }
    }

    /// Waits until one of them has ended. Only while there are some.
    pub(super) async fn one(&mut self) {
        poll_fn(|cx| self.poll_one(cx)).await;
    }

    /// Whether one of them has ended; they are polled as far as they were woken.
    pub(super) fn poll_one(&mut self, cx: &Context<'_>) -> Poll<()> {
        loop {
            let mut ready = self.ready.lock();
            let Some(place) = ready.0.pop_front() else {
                ready.1 = Some(cx.waker().clone());
                return Poll::Pending;
            };
            drop(ready);
            if self.poll(place) {
                return Poll::Ready(());
            }
        }
    }

    /// Whether it has ended.
    fn poll(&mut self, at: usize) -> bool {
        let place = &mut self.places[at];
        // Before it is polled: a wake during the poll counts.
        place.one.queued.store(false, SeqCst);
        let Some(future) = &mut place.future else { return false };
        let waker = Waker::from(Arc::clone(&place.one));
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            return false;
        }
        place.future = None;
        self.free.push(at);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Crowd;
    use crate::reactor::{Deadline, Reactor, yield_now};
    use std::cell::Cell;
    use std::time::Duration;

    #[test]
    fn each_runs_to_its_end_and_places_are_taken_again() {
        let reactor = Reactor::new().unwrap();
        let (ended, polled) = (Cell::new(0), Cell::new(0));
        reactor.run(async {
            let mut crowd = Crowd::new();
            for n in 0..1000_u64 {
                let (reactor, ended, polled) = (&reactor, &ended, &polled);
                crowd.push(async move {
                    polled.set(polled.get() + 1);
                    for _ in 0..n % 3 {
                        yield_now().await;
                        polled.set(polled.get() + 1);
                    }
                    if n % 100 == 0 {
                        reactor.sleep(Deadline::after(Duration::from_millis(1))).await;
                    }
                    ended.set(ended.get() + 1);
                });
                while crowd.len() >= 10 {
                    crowd.one().await;
                }
            }
            assert!(crowd.places.len() <= 10);
            while crowd.len() > 0 {
                crowd.one().await;
            }
        });
        assert_eq!((ended.get(), polled.get()), (1000, 1999));
    }
}
