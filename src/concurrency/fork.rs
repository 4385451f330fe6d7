//! **Fork**: each request has a child process of its own (`ForkingTCPServer`, `ForkingUDPServer`).
//!
//! - Cost: a child per request, made, ended and waited for: its start is measured (`start`).
//! - Limits: `max_connections` children; the kernel's on processes (`EAGAIN`), and then that client is turned away. Only in a
//!   process with one thread.
//! - Each child is known by a descriptor that tells of its end (pidfd_open(2)): none is missed, and other children of the host
//!   are left alone. At the stop children get SIGTERM and drain, and SIGKILL half a second after the deadline.

use super::acceptor::{Acceptor, Event};
use super::child::{self, Family, ended};
use super::task::run;
use super::{Limits, Pass, Task, Work, may_fork};
use crate::failure::{During, Failure};
use crate::net::{Front, Slab};
use crate::phase::{Call, Count, Id, Observer, Waits};
use crate::stop::Stop;
use crate::sys::Child;
use std::time::Duration;

/// Serves each request in a child until the stop.
///
/// # Errors
/// Set-up and listener failures, a host with threads; no client's.
pub fn serve<W: Work<O>, O: Observer>(
    front: Front,
    limits: &Limits,
    work: &W,
    observer: &mut O,
    stop: &Stop,
) -> Result<(), Failure> {
    may_fork()?;
    observer.waits_by(Waits::Readiness);
    let acceptor = Acceptor::new(front, false, limits, stop)?;
    let mut parent = Parent { acceptor, children: Slab::default() };
    let ended = loop {
        match parent.acceptor.next(work, observer, stop, None) {
            Ok(Event::Task(task)) => parent.start(*task, work, observer, stop),
            Ok(Event::Ready(id)) => parent.reap(id, observer),
            Ok(Event::Idle) => {}
            Ok(Event::Over) => break Ok(()),
            Err(failure) => break Err(failure),
        }
    };
    let mut last = Vec::new();
    let drained = parent.acceptor.drain(work, observer, |task, _| last.push(task));
    for task in last {
        parent.start(task, work, observer, stop);
    }
    let _socket = parent.acceptor.close();
    let waited = parent.wait(observer, stop);
    ended.and(drained).and(waited)
}

/// The process that accepts, and its children.
struct Parent<'l> {
    acceptor: Acceptor<'l>,
    children: Slab<(Child, Pass)>,
}

impl Parent<'_> {
    /// Starts the child of a request; where none can be made, that request is turned away.
    fn start<W: Work<O>, O: Observer>(
        &mut self,
        task: Task,
        work: &W,
        observer: &mut O,
        stop: &Stop,
    ) {
        let peer = *task.peer();
        let mut task = Some(task);
        observer.called(Call::Clone);
        let started = child::start(&*observer, stop, Waits::InCall, |observer, stop| {
            // The child's copies of what is the parent's.
            self.acceptor.give_up();
            self.children = Slab::default();
            if let Some(task) = task.take() {
                run(task, work, observer, stop);
            }
        });
        // The parent's copy of the connection is closed here.
        let pass = task.map(Task::into_pass);
        let watched = started.during("fork", peer).and_then(|child| {
            observer.called(Call::PidfdOpen);
            let Some(pass) = pass else { return Ok(()) };
            let id = self.children.insert((child, pass));
            let (child, _) = self.children.get(id).expect("inserted just now");
            let watched = self.acceptor.watch(child, id);
            if watched.is_err() {
                // Nobody would hear of its end. An error means that it has ended, and was waited for.
                let _ = child.end_now();
                self.children.remove(id);
            }
            watched
        });
        if let Err(failure) = watched {
            observer.tally().notice(Count::NotStarted, || format!("{failure}: client turned away"));
        }
    }

    /// Takes the end of a child that is said to have ended.
    fn reap<O: Observer>(&mut self, id: Id, observer: &mut O) {
        let Some((child, _)) = self.children.get(id) else { return };
        if ended(child, observer) {
            self.acceptor.forget(child);
            self.children.remove(id);
        }
    }

    /// Waits for the last child, for as long as it takes; once the stop is requested, as long as the drain may take.
    fn wait<O: Observer>(&mut self, observer: &mut O, stop: &Stop) -> Result<(), Failure> {
        while !self.children.is_empty() && stop.left().is_none() {
            self.turn(None, observer)?;
        }
        // It is ready from now on, for good.
        self.acceptor.forget(stop);
        self.end(observer, stop)
    }
}

impl Family for Parent<'_> {
    fn children(&self) -> impl Iterator<Item = &Child> {
        self.children.iter().map(|(_, (child, _))| child)
    }

    fn turn<O: Observer>(
        &mut self,
        wait: Option<Duration>,
        observer: &mut O,
    ) -> Result<(), Failure> {
        if let Some(id) = self.acceptor.wait(observer, wait)? {
            self.reap(id, observer);
        }
        Ok(())
    }
}
