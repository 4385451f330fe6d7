//! **Threads**: each request has a thread of its own (`ThreadingTCPServer`, `ThreadingUDPServer`).
//!
//! - Cost: a thread per request, made and ended: its start is measured (`start`).
//! - Limits: `max_connections`; the kernel's on threads (`EAGAIN`), and then that client is turned away.
//! - At the end every thread is joined; at the drain's deadline what they block on is cut.

use super::acceptor::{Acceptor, Event};
use super::task::run;
use super::{Limits, Task, Work};
use crate::failure::{During, Failure};
use crate::net::Front;
use crate::phase::{Call, Count, Metric, Observer, Waits};
use crate::stop::Stop;
use crate::sys;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{self, Builder, Scope};

/// Serves each request in a thread of its own until the stop.
///
/// # Errors
/// Set-up and listener failures; no client's.
pub fn serve<W: Work<O>, O: Observer>(
    front: Front,
    limits: &Limits,
    work: &W,
    observer: &mut O,
    stop: &Stop,
) -> Result<(), Failure> {
    let template = observer.flow(Waits::InCall);
    observer.waits_by(Waits::Readiness);
    let mut acceptor = Acceptor::new(front, false, limits, stop)?;
    let live = Live::default();
    let with = With { work, template: &template, live: &live, stop };
    thread::scope(|scope| {
        let ended = loop {
            match acceptor.next(work, observer, stop, None) {
                Ok(Event::Task(task)) => start(scope, *task, with, observer),
                Ok(Event::Ready(_) | Event::Idle) => {}
                Ok(Event::Over) => break Ok(()),
                Err(failure) => break Err(failure),
            }
        };
        // Also of a broken front the threads are joined.
        let drained =
            acceptor.drain(work, observer, |task, observer| start(scope, task, with, observer));
        let _socket = acceptor.close();
        live.wait(stop);
        ended.and(drained)
    })
}

/// What every thread is given.
struct With<'w, W, O> {
    work: &'w W,
    template: &'w O,
    live: &'w Live,
    stop: &'w Stop,
}

impl<W, O> Clone for With<'_, W, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W, O> Copy for With<'_, W, O> {}

/// Starts the thread of a request; where none can be made, that request is turned away.
fn start<'scope, W: Work<O>, O: Observer>(
    scope: &'scope Scope<'scope, '_>,
    task: Task,
    With { work, template, live, stop }: With<'scope, W, O>,
    observer: &mut O,
) {
    let (peer, moment) = (*task.peer(), observer.moment());
    live.enter();
    observer.called(Call::Clone);
    let flow = move || {
        let _leave = Leave(live);
        // The program's signals are for the thread that accepts.
        let _ = sys::block_signals();
        let mut observer = template.flow(Waits::InCall);
        observer.since(Metric::Start, moment);
        run(task, work, &mut observer, &stop.clone());
    };
    // `thread::spawn` would panic.
    let started = Builder::new().spawn_scoped(scope, flow).during("clone", peer);
    if let Err(failure) = started {
        live.leave();
        observer.tally().notice(Count::NotStarted, || format!("{failure}: client turned away"));
    }
}

/// How many threads there are.
#[derive(Debug, Default)]
pub(super) struct Live {
    threads: Mutex<usize>,
    none: Condvar,
}

/// Leaves, also in a panic.
pub(super) struct Leave<'l>(pub(super) &'l Live);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Live {
    pub(super) fn enter(&self) {
        *self.threads.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    }

    pub(super) fn leave(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        *threads -= 1;
        if *threads == 0 {
            self.none.notify_all();
        }
    }

    /// Waits for the last one; at the drain's deadline cuts what they block on.
    pub(super) fn wait(&self, stop: &Stop) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        while *threads > 0 {
            let left = stop.left().filter(|_| !stop.over());
            if left.is_some_and(|left| left.is_zero()) {
                stop.cut();
            }
            // Without a request nobody has set a deadline: but one may come, so look again now and then.
            let pause = left.unwrap_or(LOOK).clamp(MILLISECOND, LOOK);
            let waited = self.none.wait_timeout(threads, pause);
            threads = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

const MILLISECOND: std::time::Duration = std::time::Duration::from_millis(1);
const LOOK: std::time::Duration = std::time::Duration::from_millis(100);
