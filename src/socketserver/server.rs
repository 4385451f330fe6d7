//! A bound server, and the handle that stops it.

use super::{Builder, Hooks};
use crate::concurrency::{Limits, Work, fork, one, pool, prefork, reuseport, threads};
use crate::failure::{During, Failure};
use crate::model::Who;
use crate::net::{Endpoint, Front};
use crate::phase::{Counting, Observer, Recorder, Tally, Waits};
use crate::stop::Stop;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A server that is bound: clients can connect, and wait to be served.
pub struct Server<W> {
    front: Front,
    who: Who,
    limits: Limits,
    work: W,
    hooks: Arc<Hooks>,
    tally: Tally,
    stop: Stop,
    state: Arc<State>,
}

/// Whether somebody serves.
#[derive(Debug, Default)]
struct State {
    serving: Mutex<bool>,
    ended: Condvar,
}

impl<W> Server<W> {
    pub(super) fn new<K>(
        front: Front,
        builder: Builder<K>,
        work: impl FnOnce(Arc<Hooks>) -> W,
    ) -> Result<Self, Failure> {
        let Builder { who, limits, drain, hooks, .. } = builder;
        let hooks = Arc::new(hooks);
        Ok(Self {
            front,
            who,
            limits,
            work: work(Arc::clone(&hooks)),
            hooks,
            tally: Tally::new(true).during("mmap", "counters")?,
            stop: Stop::new(drain).during("eventfd", "stop")?,
            state: Arc::default(),
        })
    }

    /// Where it listens, with the port that port 0 became.
    #[must_use]
    pub fn server_address(&self) -> Endpoint {
        self.front.endpoint()
    }

    /// A handle that stops it.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper { stop: self.stop.clone(), state: Arc::clone(&self.state) }
    }

    /// Its counters, also those of its threads and children; they go on counting while it serves.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally.clone()
    }

    /// An observer that measures what this server does, for [`serve_observed`](Self::serve_observed); with `lines` it prints each
    /// I/O as it happens. The kernel's stamps need [`Builder::stamps`].
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn recorder(&self, lines: bool) -> io::Result<Recorder> {
        let stamps = self.front.stamped();
        Recorder::new("socketserver", Waits::InCall, stamps, self.tally(), lines)
    }

    /// Serves requests until a [`Stopper`] says so. Returns when every request that was taken is served or cut.
    ///
    /// # Errors
    /// Set-up, a broken listener; no client's and no handler's.
    pub fn serve_forever(self) -> Result<(), Failure>
    where
        W: Work<Counting>,
    {
        let mut observer = Counting(self.tally());
        self.serve_observed(&mut observer)
    }

    /// The same, told to an observer.
    ///
    /// # Errors
    /// As [`serve_forever`](Self::serve_forever).
    pub fn serve_observed<O: Observer>(self, observer: &mut O) -> Result<(), Failure>
    where
        W: Work<O>,
    {
        let Self { front, who, work, stop, state, limits, .. } = self;
        let limits = Limits { timeout: None, ..limits };
        let _serving = Serving::begin(&state);
        serve(who, front, &limits, &work, observer, &stop)
    }

    /// Serves one request, and returns when it is served: whether one came before [`Builder::timeout`] was over.
    ///
    /// # Errors
    /// As [`serve_forever`](Self::serve_forever); prefork and reuseport refuse: their workers accept for themselves.
    pub fn handle_request(&mut self) -> Result<bool, Failure>
    where
        W: Work<Counting>,
    {
        let limits = Limits { requests: Some(1), ..self.limits };
        let mut observer = Counting(self.tally());
        let before = self.hooks.taken.load(Ordering::Relaxed);
        let _serving = Serving::begin(&self.state);
        serve(self.who, self.front.clone(), &limits, &self.work, &mut observer, &self.stop)?;
        let came = self.hooks.taken.load(Ordering::Relaxed) > before;
        if let (false, None, Some(act)) = (came, self.stop.left(), &self.hooks.handle_timeout) {
            act();
        }
        Ok(came)
    }
}

impl<W> std::fmt::Debug for Server<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({}, {:?})", self.server_address(), self.who)
    }
}

/// Transport and work meet whoever serves.
fn serve<W: Work<O>, O: Observer>(
    who: Who,
    front: Front,
    limits: &Limits,
    work: &W,
    observer: &mut O,
    stop: &Stop,
) -> Result<(), Failure> {
    match who {
        Who::One => one::serve(front, limits, work, observer, stop),
        Who::Threads => threads::serve(front, limits, work, observer, stop),
        Who::Pool => pool::serve(front, limits, work, observer, stop),
        Who::Fork => fork::serve(front, limits, work, observer, stop),
        Who::Prefork => prefork::serve(front, limits, work, observer, stop),
        Who::Reuseport => {
            let each = |front: Front, observer: &mut O, stop: &Stop| {
                threads::serve(front, limits, work, observer, stop)
            };
            reuseport::serve(front, limits, Waits::InCall, observer, stop, each)
        }
    }
}

/// Stops a server, from another thread or a signal handler.
#[derive(Clone, Debug)]
pub struct Stopper {
    stop: Stop,
    state: Arc<State>,
}

impl Stopper {
    /// Asks the server to stop. Async-signal-safe, and sticky: a server that does not serve yet will return at once.
    pub fn request(&self) {
        self.stop.request();
    }

    /// Asks it to stop and waits until it has; who is at work at the drain's deadline is cut. Not from a handler, which would
    /// wait for itself.
    pub fn shutdown(&self) {
        self.request();
        let mut serving = self.state.lock();
        while *serving {
            let left = self.stop.left().unwrap_or_default();
            if left.is_zero() {
                self.stop.cut();
            }
            // After the deadline its flows need a moment to find their sockets shut.
            let pause = left.max(Duration::from_millis(10));
            let waited = self.state.ended.wait_timeout(serving, pause);
            serving = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, bool> {
        // Nothing panics under it.
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While this lives, somebody serves.
struct Serving<'s>(&'s State);

impl<'s> Serving<'s> {
    fn begin(state: &'s State) -> Self {
        *state.lock() = true;
        Self(state)
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        *self.0.lock() = false;
        self.0.ended.notify_all();
    }
}
