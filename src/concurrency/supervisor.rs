//! N children that each accept for themselves, kept at N: the parent of prefork and reuseport.

use super::child::{self, Family, ended};
use super::may_fork;
use crate::failure::{During, Failure};
use crate::net::{Front, Slab, interrupted_is_none};
use crate::phase::{Count, Id, Observer, Waits};
use crate::stop::Stop;
use crate::sys::{self, Child, Clock, Epoll, EpollEvent, Interest};
use std::io::{self, Write};
use std::time::Duration;

/// A worker that lived for so long is started again at once.
const HEALTHY: Duration = Duration::from_secs(1);
/// One that died earlier waits: for this, and each further time twice as long.
const FIRST_DELAY: Duration = Duration::from_millis(50);
const LAST_DELAY: Duration = Duration::from_secs(5);

/// One worker's place.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// When its worker began, on `CLOCK_MONOTONIC`.
    began: Duration,
    /// How long the next one waits, if this one dies early.
    delay: Duration,
    /// When the next one is due; `None` while one is at work.
    due: Option<Duration>,
}

/// Runs `body` in `count` children until the stop, each with copies of the fronts and its place's number. The parent keeps the
/// fronts open: who waits in the queue of a worker that dies is served by the next one in its place.
///
/// # Errors
/// Set-up, a host with threads, a first child that cannot be made.
pub(super) fn supervise<O: Observer>(
    fronts: Vec<Front>,
    count: usize,
    waits: Waits,
    observer: &mut O,
    stop: &Stop,
    body: impl Fn(Vec<Front>, usize, &mut O, &Stop) -> Result<(), Failure>,
) -> Result<(), Failure> {
    may_fork()?;
    let epoll = sys::epoll_create1().during("epoll_create1", "")?;
    epoll.add(stop, Interest::READ, Id::STOP.token()).during("epoll_ctl", "stop")?;
    let mut parent = Parent {
        epoll: Some(epoll),
        fronts,
        children: Slab::default(),
        places: vec![Place { due: Some(Duration::ZERO), ..Place::default() }; count],
        waits,
        body,
    };
    // Also when the stop was faster: what the fronts hold already is drained by the workers.
    let mut next = parent.fill(true, observer, stop)?;
    while !stop.requested() {
        parent.turn(next, observer)?;
        next = parent.fill(false, observer, stop)?;
    }
    parent.close(observer, stop)
}

struct Parent<B> {
    /// The parent's; a child closes its copy.
    epoll: Option<Epoll>,
    fronts: Vec<Front>,
    children: Slab<(Child, usize)>,
    places: Vec<Place>,
    waits: Waits,
    body: B,
}

impl<B> Parent<B> {
    /// Starts the workers that are due; how long until the next one is.
    fn fill<O: Observer>(
        &mut self,
        first: bool,
        observer: &mut O,
        stop: &Stop,
    ) -> Result<Option<Duration>, Failure>
    where
        B: Fn(Vec<Front>, usize, &mut O, &Stop) -> Result<(), Failure>,
    {
        let now = sys::clock_gettime(Clock::Monotonic);
        for at in 0..self.places.len() {
            if self.places[at].due.is_none_or(|due| due > now) {
                continue;
            }
            match self.start(at, observer, stop) {
                Ok(()) => {
                    let place = &mut self.places[at];
                    (place.began, place.due) = (now, None);
                    if !first {
                        observer.tally().add(Count::Respawned, 1);
                    }
                }
                Err(failure) if first => {
                    stop.request();
                    self.close(observer, stop)?;
                    return Err(failure);
                }
                Err(failure) => {
                    observer.tally().notice(Count::NotStarted, || failure.to_string());
                    self.delay(at, now);
                }
            }
        }
        let due = self.places.iter().filter_map(|place| place.due).min();
        Ok(due.map(|due| due.saturating_sub(now)))
    }

    fn start<O: Observer>(&mut self, at: usize, observer: &O, stop: &Stop) -> Result<(), Failure>
    where
        B: Fn(Vec<Front>, usize, &mut O, &Stop) -> Result<(), Failure>,
    {
        let started = child::start(observer, stop, self.waits, |observer, stop| {
            // The child's copies of what is the parent's.
            self.epoll = None;
            self.children = Slab::default();
            let fronts = std::mem::take(&mut self.fronts);
            if let Err(failure) = (self.body)(fronts, at, observer, stop) {
                let _ = writeln!(io::stderr(), "waitcopy: worker {at}: {failure}");
                sys::exit_at_once(1);
            }
        });
        let child = started.during("fork", format_args!("worker {at}"))?;
        let id = self.children.insert((child, at));
        let (Some(epoll), Some((child, _))) = (&self.epoll, self.children.get(id)) else {
            return Ok(());
        };
        let watched = epoll.add(child, Interest::READ, id.token());
        if watched.is_err() {
            // Nobody would hear of its end. An error means that it has ended, and was waited for.
            let _ = child.end_now();
            self.children.remove(id);
        }
        watched.during("epoll_ctl", "child")
    }

    /// Takes the end of a child that is said to have ended; its place is free then.
    fn reap<O: Observer>(&mut self, id: Id, observer: &mut O) {
        let Some(&(ref child, at)) = self.children.get(id) else { return };
        if !ended(child, observer) {
            return;
        }
        if let Some(epoll) = &self.epoll {
            // ENOENT is what is wanted; closing alone would not do, children may hold copies.
            let _ = epoll.delete(child);
        }
        self.children.remove(id);
        let now = sys::clock_gettime(Clock::Monotonic);
        if now.saturating_sub(self.places[at].began) >= HEALTHY {
            self.places[at].delay = Duration::ZERO;
            self.places[at].due = Some(now);
        } else {
            self.delay(at, now);
        }
    }

    /// The next worker in this place waits longer than the last one did.
    fn delay(&mut self, at: usize, now: Duration) {
        let place = &mut self.places[at];
        place.delay = (place.delay * 2).clamp(FIRST_DELAY, LAST_DELAY);
        place.due = Some(now + place.delay);
    }

    /// Closes the fronts, has the children drain, and waits for them.
    fn close<O: Observer>(&mut self, observer: &mut O, stop: &Stop) -> Result<(), Failure> {
        // First: a worker that is not told yet would go round and round on a listener that is shut.
        self.signal(sys::SIGTERM);
        for front in self.fronts.drain(..) {
            front.count_dropped(observer);
            // Workers that are at work keep copies, and nobody shall come in any more. A datagram socket stays: it is drained.
            front.shut();
        }
        if let Some(epoll) = &self.epoll {
            // It is ready from now on, for good.
            let _ = epoll.delete(stop);
        }
        self.end(observer, stop)
    }
}

impl<B> Family for Parent<B> {
    fn children(&self) -> impl Iterator<Item = &Child> {
        self.children.iter().map(|(_, (child, _))| child)
    }

    fn turn<O: Observer>(
        &mut self,
        wait: Option<Duration>,
        observer: &mut O,
    ) -> Result<(), Failure> {
        let Some(epoll) = &self.epoll else { return Ok(()) };
        let mut events = [EpollEvent::EMPTY; 64];
        // The parent's waiting is nobody's phase: it is not observed.
        let ready = interrupted_is_none(epoll.epoll_wait(&mut events, wait), observer);
        for event in &events[..ready.during("epoll_wait", "")?] {
            self.reap(Id::of_token(event.token()), observer);
        }
        Ok(())
    }
}
