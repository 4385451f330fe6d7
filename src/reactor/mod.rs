//! Floor 1: futures on our own epoll, one thread, no runtime crate.
//!
//! A [`Reactor`] is one flow of control: it polls the futures that were woken, and when none is left to poll it
//! **waits**, in one epoll_wait(2), for whatever they wait for: a descriptor ([`Source::ready`]), a moment
//! ([`Handle::sleep`]), or another thread that wakes one of them. It never wakes to look around: an idle reactor
//! makes no system call.
//!
//! ```
//! use std::time::Duration;
//! use waitcopy::reactor::{Deadline, Reactor};
//!
//! # fn main() -> Result<(), waitcopy::failure::Failure> {
//! let reactor = Reactor::new()?;
//! let late = Deadline::after(Duration::from_millis(2));
//! let answer = reactor.run(reactor.within(late, async { 42 }));
//! assert_eq!(answer, Ok(42));
//! let never = reactor.run(reactor.within(late, std::future::pending::<()>()));
//! assert!(never.is_err());
//! # Ok(())
//! # }
//! ```
//!
//! - `mod.rs`: the loop. `ready.rs`: who was woken. `source.rs`: descriptors. `timer.rs`: deadlines.
//! - `told.rs`: the observer of the flow, which hears of each wait.

mod elsewhere;
mod ready;
mod source;
mod timer;
mod told;

pub use elsewhere::elsewhere;
pub use source::{Interest, Ready, Source};
pub use timer::{Deadline, Elapsed, Sleep, Within};
pub use told::Told;

use crate::failure::{During, Failure};
use crate::net::Slab;
use crate::phase::{Call, Counting, Id, Tally};
use crate::sys::{self, Epoll, EpollEvent};
use ready::Woken;
use source::Sources;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::ops::Deref;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use timer::Timers;

/// Events taken from one epoll_wait.
const EVENTS: usize = 256;
/// How often woken futures are polled before the kernel is asked again: futures that wake each other hold up no descriptor.
const ROUNDS: usize = 32;

/// A single-threaded executor. When it is dropped, so is every future that was spawned on it.
pub struct Reactor(Handle);

/// A way to reach a [`Reactor`], from the futures that run on it.
#[derive(Clone)]
pub struct Handle(Rc<Inner>);

struct Inner {
    epoll: Epoll,
    sources: RefCell<Sources>,
    timers: RefCell<Timers>,
    tasks: RefCell<Slab<Task>>,
    woken: Arc<Woken>,
    observer: Rc<dyn Told>,
    running: Cell<bool>,
    /// The reactor is gone: what is spawned now is dropped.
    over: Cell<bool>,
}

/// A spawned future, and the waker that names it. It is away while it is polled.
struct Task {
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    waker: Waker,
}

impl Reactor {
    /// A reactor that nobody watches.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn new() -> Result<Self, Failure> {
        let tally = Tally::new(false).during("mmap", "counters")?;
        Self::observed(Rc::new(RefCell::new(Counting(tally))))
    }

    /// A reactor whose waits, and whatever else happens on it, an observer is told of.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn observed(observer: Rc<dyn Told>) -> Result<Self, Failure> {
        let epoll = sys::epoll_create1().during("epoll_create1", "")?;
        let woken = Arc::new(Woken::new().during("eventfd", "")?);
        epoll
            .add(woken.as_ref(), sys::Interest::READ, Id::STOP.token())
            .during("epoll_ctl", "eventfd")?;
        Ok(Self(Handle(Rc::new(Inner {
            epoll,
            sources: RefCell::default(),
            timers: RefCell::default(),
            tasks: RefCell::default(),
            woken,
            observer,
            running: Cell::new(false),
            over: Cell::new(false),
        }))))
    }

    /// Runs a future to its end, and the spawned ones beside it as far as they come meanwhile.
    ///
    /// # Panics
    /// When it is called from a future that runs on this reactor; when the kernel refuses to wait on the reactor's own
    /// descriptor, which is a descriptor closed by somebody who does not own it.
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        let inner = &*self.0.0;
        assert!(
            !inner.running.replace(true),
            "a reactor runs one future at a time; spawn the other"
        );
        let _running = Running(&inner.running);
        let waker = inner.woken.waker(ready::MAIN);
        let mut future = pin!(future);
        waker.wake_by_ref();
        let mut round = 0;
        loop {
            let woken = inner.woken.take();
            let idle = woken.is_empty();
            for id in woken {
                if id != ready::MAIN {
                    inner.poll_task(id);
                } else if let Poll::Ready(output) =
                    future.as_mut().poll(&mut Context::from_waker(&waker))
                {
                    return output;
                }
            }
            round += 1;
            if idle || round % ROUNDS == 0 {
                inner.turn();
            }
        }
    }
}

impl Deref for Reactor {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.0
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        // They hold handles: without this, a future that never ends would keep the reactor, and so itself.
        self.0.0.over.set(true);
        self.0.0.woken.close();
        let tasks = self.0.0.tasks.take();
        drop(tasks);
    }
}

impl Handle {
    /// The observer of this flow.
    #[must_use]
    pub fn observer(&self) -> &Rc<dyn Told> {
        &self.0.observer
    }

    /// Starts a future beside the one that runs. It goes on whenever the reactor runs, and is dropped with the reactor, at once if that is
    /// gone already.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        if self.0.over.get() {
            return;
        }
        let task = Task { future: Some(Box::pin(future)), waker: Waker::noop().clone() };
        let mut tasks = self.0.tasks.borrow_mut();
        let id = tasks.insert(task);
        let waker = self.0.woken.waker(id);
        waker.wake_by_ref();
        if let Some(task) = tasks.get_mut(id) {
            task.waker = waker;
        }
    }

    /// How many spawned futures have not ended.
    #[must_use]
    pub fn spawned(&self) -> usize {
        self.0.tasks.borrow().len()
    }
}

/// Lets the futures run that were just woken, and now and then looks for what the kernel has to tell: for a loop that could go on
/// without waiting, past deadlines and neighbours.
pub async fn yield_now() {
    let mut been = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut been, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Says at the end, also at one by panic, that nothing runs any more.
struct Running<'a>(&'a Cell<bool>);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Inner {
    fn poll_task(&self, id: Id) {
        // The table is free while the task runs: it may spawn another.
        let taken = self.tasks.borrow_mut().get_mut(id).and_then(|task| {
            let future = task.future.take()?;
            Some((future, task.waker.clone()))
        });
        let Some((mut future, waker)) = taken else { return };
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            let task = self.tasks.borrow_mut().remove(id);
            // What it owned may reach for the table as it goes.
            drop(task);
        } else if let Some(task) = self.tasks.borrow_mut().get_mut(id) {
            task.future = Some(future);
        }
    }

    /// One wait, for the first of everything that anybody waits for.
    fn turn(&self) {
        self.sources.borrow_mut().arm(&self.epoll);
        let timeout =
            if self.woken.park() { self.timers.borrow().left() } else { Some(Duration::ZERO) };
        let mut events = [EpollEvent::EMPTY; EVENTS];
        let told = self
            .observer
            .wait(Call::EpollWait, &mut || self.epoll.epoll_wait(&mut events, timeout));
        self.woken.unpark();
        let ready = match told {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => panic!("epoll_wait: {}", sys::describe(&error)),
        };
        for event in &events[..ready] {
            if event.token() == Id::STOP.token() {
                self.woken.heard();
            } else {
                self.sources.borrow_mut().report(&self.epoll, event);
            }
        }
        self.timers.borrow_mut().expire();
    }
}
