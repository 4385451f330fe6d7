//! The executor under [`futures`](super::futures): what `async` and `.await` need and do not bring.
//!
//! 1. A future waits: [`Ready`] leaves its waker in [`Readiness`] and says `Pending`.
//! 2. epoll reports a descriptor: [`Readiness::wake`] takes that waker and wakes, which puts the future's identity into
//!    [`Woken`].
//! 3. [`Tasks::run`] polls who is in there. `Ready` finds its waker gone: that was the event, and the future goes on.
//!
//! One flow of control, so nothing here waits but the model's one `epoll_wait`. A waker may travel to another thread all the same, by
//! its type: hence the lock around the list, which nobody else ever holds.

use super::Failure;
use crate::phase::Id;
use crate::sys::{self, Epoll, EpollEvent, Interest};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// The epoll set, and who waits for what is in it.
#[derive(Debug)]
pub(super) struct Readiness {
    epoll: Epoll,
    /// By [`place`].
    waiting: Vec<Option<(Id, Waker)>>,
}

/// The front first, then the connections by their slots.
fn place(id: Id) -> usize {
    if id == Id::LISTENER { 0 } else { id.slot as usize + 1 }
}

/// The place of an identity in a table that grows as needed.
fn entry<T>(table: &mut Vec<Option<T>>, id: Id) -> &mut Option<T> {
    let place = place(id);
    if place >= table.len() {
        table.resize_with(place + 1, || None);
    }
    &mut table[place]
}

impl Readiness {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { epoll: sys::epoll_create1()?, waiting: Vec::new() })
    }

    /// Puts a descriptor into the set, to be told when it can be read, again and again as long as it can.
    pub(super) fn add(&self, fd: impl AsFd, id: Id) -> io::Result<()> {
        self.epoll.add(fd, Interest::READ, id.token())
    }

    /// Changes what is told of it.
    pub(super) fn modify(&self, fd: impl AsFd, id: Id, interest: Interest) -> io::Result<()> {
        self.epoll.modify(fd, interest, id.token())
    }

    /// The one call that waits.
    pub(super) fn wait(
        &self,
        events: &mut [EpollEvent],
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        self.epoll.epoll_wait(events, timeout)
    }

    /// Wakes who waits for this descriptor. An event that is older than who has the place now wakes nobody.
    pub(super) fn wake(&mut self, id: Id) {
        let waits = self.waiting.get_mut(place(id));
        let waits = waits.filter(|waits| waits.as_ref().is_some_and(|(whose, _)| *whose == id));
        if let Some((_, waker)) = waits.and_then(Option::take) {
            waker.wake();
        }
    }
}

/// Ends when epoll has reported a descriptor, after it was first polled.
#[derive(Debug)]
#[must_use = "a future does nothing until it is awaited"]
pub(super) struct Ready<'r> {
    readiness: &'r RefCell<Readiness>,
    id: Id,
    asked: bool,
}

impl<'r> Ready<'r> {
    pub(super) fn new(readiness: &'r RefCell<Readiness>, id: Id) -> Self {
        Self { readiness, id, asked: false }
    }
}

impl Future for Ready<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let id = self.id;
        let mut readiness = self.readiness.borrow_mut();
        let waits = entry(&mut readiness.waiting, id);
        if self.asked && waits.as_ref().is_none_or(|(whose, _)| *whose != id) {
            return Poll::Ready(());
        }
        *waits = Some((id, cx.waker().clone()));
        drop(readiness);
        self.asked = true;
        Poll::Pending
    }
}

/// A future, and the waker that names it.
struct Task<'t> {
    id: Id,
    future: Pin<Box<dyn Future<Output = Result<(), Failure>> + 't>>,
    waker: Waker,
}

/// The futures of one flow, each under the identity of what it looks after.
#[derive(Default)]
pub(super) struct Tasks<'t> {
    table: Vec<Option<Task<'t>>>,
    woken: Arc<Woken>,
}

impl<'t> Tasks<'t> {
    /// Takes a future in; it is polled in the next [`run`](Self::run). Two allocations: the future and its waker.
    pub(super) fn spawn(&mut self, id: Id, future: impl Future<Output = Result<(), Failure>> + 't) {
        let waker = Waker::from(Arc::new(One { id, woken: Arc::clone(&self.woken) }));
        waker.wake_by_ref();
        *entry(&mut self.table, id) = Some(Task { id, future: Box::pin(future), waker });
    }

    /// Polls everybody who was woken, in that order, until nobody is left.
    ///
    /// # Errors
    /// The first that a future ends with.
    pub(super) fn run(&mut self) -> Result<(), Failure> {
        while let Some(id) = self.woken.next() {
            let place = entry(&mut self.table, id);
            let Some(task) = place.as_mut().filter(|task| task.id == id) else { continue };
            let polled = task.future.as_mut().poll(&mut Context::from_waker(&task.waker));
            if let Poll::Ready(ended) = polled {
                *place = None;
                ended?;
            }
        }
        Ok(())
    }

    /// Drops the futures of those who are gone.
    pub(super) fn retain(&mut self, here: impl Fn(Id) -> bool) {
        for place in &mut self.table {
            if place.as_ref().is_some_and(|task| !here(task.id)) {
                *place = None;
            }
        }
    }
}

/// Who was woken and not polled yet.
#[derive(Debug, Default)]
struct Woken(Mutex<VecDeque<Id>>);

impl Woken {
    fn next(&self) -> Option<Id> {
        self.list().pop_front()
    }

    /// A panic elsewhere leaves the list whole: each change to it is one call.
    fn list(&self) -> MutexGuard<'_, VecDeque<Id>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a [`Waker`] of this executor is: whom, and where to say so.
struct One {
    id: Id,
    woken: Arc<Woken>,
}

impl Wake for One {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.list().push_back(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::{Readiness, Ready, Tasks};
    use crate::failure::Failure;
    use crate::phase::Id;
    use crate::sys::{self, EpollEvent};
    use std::cell::{Cell, RefCell};
    use std::future::poll_fn;
    use std::task::Poll;
    use std::thread;

    fn id(slot: u32, generation: u32) -> Id {
        Id { slot, generation }
    }

    #[test]
    fn an_event_wakes_who_waits_for_it_and_nobody_else() {
        let readiness = RefCell::new(Readiness::new().unwrap());
        let (near, far) = sys::socketpair().unwrap();
        let woken = [Cell::new(0), Cell::new(0)];
        let wait = |n: usize| {
            let (readiness, woken) = (&readiness, &woken[n]);
            async move {
                Ready::new(readiness, id(n as u32, 1)).await;
                woken.set(woken.get() + 1);
                Ok::<(), Failure>(())
            }
        };
        readiness.borrow().add(&far, id(1, 1)).unwrap();
        let mut tasks = Tasks::default();
        tasks.spawn(id(0, 1), wait(0));
        tasks.spawn(id(1, 1), wait(1));
        tasks.run().unwrap();
        sys::send(&near, b"x").unwrap();
        let mut events = [EpollEvent::EMPTY; 4];
        assert_eq!(readiness.borrow().wait(&mut events, None).unwrap(), 1);
        // One of an earlier tenant of the place is for nobody.
        readiness.borrow_mut().wake(id(1, 0));
        tasks.run().unwrap();
        assert_eq!(woken.each_ref().map(Cell::get), [0, 0]);
        readiness.borrow_mut().wake(Id::of_token(events[0].token()));
        // No second time for one event.
        readiness.borrow_mut().wake(Id::of_token(events[0].token()));
        tasks.run().unwrap();
        assert_eq!(woken.each_ref().map(Cell::get), [0, 1]);
    }

    #[test]
    fn a_future_that_was_replaced_or_dropped_is_never_polled_again() {
        let polls = Cell::new(0);
        let count = || {
            poll_fn(|cx| {
                polls.set(polls.get() + 1);
                // Keeps a waker that outlives the future.
                cx.waker().wake_by_ref();
                if polls.get() % 10 == 0 { Poll::Ready(Ok(())) } else { Poll::Pending }
            })
        };
        let mut tasks = Tasks::default();
        tasks.spawn(id(3, 1), count());
        // The next tenant of the same place, before the first was polled.
        tasks.spawn(id(3, 2), count());
        tasks.run().unwrap();
        assert_eq!(polls.get(), 10, "to its end, and one of them only");
        tasks.spawn(id(4, 1), count());
        tasks.retain(|id| id.slot != 4);
        tasks.run().unwrap();
        assert_eq!(polls.get(), 10);
    }

    #[test]
    fn a_waker_may_wake_from_another_thread() {
        let (first, waker) = (Cell::new(true), RefCell::new(None));
        let mut tasks = Tasks::default();
        let future = poll_fn(|cx| {
            *waker.borrow_mut() = Some(cx.waker().clone());
            if first.replace(false) { Poll::Pending } else { Poll::Ready(Ok(())) }
        });
        tasks.spawn(Id::LISTENER, future);
        tasks.run().unwrap();
        let kept = waker.borrow_mut().take().unwrap();
        thread::spawn(move || kept.wake()).join().unwrap();
        tasks.run().unwrap();
        assert!(waker.borrow().is_some(), "polled a second time");
    }

    #[test]
    fn the_first_failure_ends_the_round() {
        let mut tasks = Tasks::default();
        let error = || std::io::Error::from_raw_os_error(9);
        tasks.spawn(Id::LISTENER, async move { Err(Failure::new("accept4", "front", error())) });
        assert!(tasks.run().unwrap_err().to_string().starts_with("accept4 front: "));
        tasks.run().unwrap();
    }
}
