//! **Pool**: N threads, made once, and a bounded queue in front of them.
//!
//! - Cost: a hand-over per request; how long a request stood in the queue is measured (`pool_queue`).
//! - Limits: a worker is taken for the whole request, on a stream the whole connection. When all are taken and the queue
//!   is full, the next request waits in the kernel or is turned away ([`Full`]); who stands in the queue for
//!   longer than `patience` is turned away.
//! - A handler that panics costs its request; its thread takes the next one.

use super::acceptor::{Acceptor, Event};
use super::task::run;
use super::threads::{Leave, Live};
use super::{Limits, Task, WORKERS, Work};
use crate::failure::{During, Failure};
use crate::net::{Front, Full};
use crate::phase::{Call, Count, Id, Metric, Observer, Waits};
use crate::stop::Stop;
use crate::sys::{self, Clock};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder};
use std::time::Duration;

/// The doorbell's identity in the acceptor's set.
const BELL: Id = Id { slot: u32::MAX, generation: 2 };

/// Serves requests by the threads of a pool until the stop.
///
/// # Errors
/// Set-up and listener failures, a pool that cannot be made; no client's.
pub fn serve<W: Work<O>, O: Observer>(
    front: Front,
    limits: &Limits,
    work: &W,
    observer: &mut O,
    stop: &Stop,
) -> Result<(), Failure> {
    let count = limits.workers.count.unwrap_or(WORKERS);
    let room = limits.workers.queue.unwrap_or(count);
    let pool = Pool::new(count, room).during("eventfd", "pool")?;
    let template = observer.flow(Waits::InCall);
    observer.waits_by(Waits::Readiness);
    let mut acceptor = Acceptor::new(front, false, limits, stop)?;
    acceptor.watch(&pool.bell, BELL)?;
    let live = Live::default();
    thread::scope(|scope| {
        let mut ended = Ok(());
        for worker in 0..count {
            let (pool, template, live, moment) = (&pool, &template, &live, observer.moment());
            live.enter();
            let flow = move || {
                let _leave = Leave(live);
                pool.work(work, || template.flow(Waits::InCall), moment, stop);
            };
            let name = format!("worker {worker}");
            let made = Builder::new().name(name).spawn_scoped(scope, flow);
            if let Err(failure) = made.during("clone", format_args!("worker {worker} of {count}")) {
                live.leave();
                ended = Err(failure);
                break;
            }
        }
        let ended = ended.and_then(|()| accept(&mut acceptor, &pool, limits, work, observer, stop));
        // What was accepted is served, whatever ended the accepting.
        let drained = acceptor.drain(work, observer, |task, observer| {
            pool.push(task, observer.moment());
        });
        let _socket = acceptor.close();
        pool.close();
        live.wait(stop);
        ended.and(drained)
    })
}

/// Takes requests and queues them.
fn accept<W: Work<O>, O: Observer>(
    acceptor: &mut Acceptor<'_>,
    pool: &Pool,
    limits: &Limits,
    work: &W,
    observer: &mut O,
    stop: &Stop,
) -> Result<(), Failure> {
    let Limits { workers, .. } = limits;
    loop {
        let oldest = pool.turn_away(workers.patience, observer);
        acceptor.pause(workers.full == Full::Wait && pool.is_full());
        match acceptor.next(work, observer, stop, oldest)? {
            Event::Task(task) if workers.full == Full::Refuse && pool.is_full() => {
                refuse(&task, "all workers are taken, and the queue is full", observer);
            }
            Event::Task(task) => pool.push(*task, observer.moment()),
            Event::Ready(BELL) => pool.answer_bell(),
            Event::Ready(_) | Event::Idle => {}
            Event::Over => return Ok(()),
        }
    }
}

fn refuse<O: Observer>(task: &Task, why: &str, observer: &mut O) {
    observer.called(Call::Close);
    observer.tally().notice(Count::PoolFull, || format!("{} turned away: {why}", task.peer()));
}

/// What acceptor and workers share.
#[derive(Debug)]
struct Pool {
    queue: Mutex<Queue>,
    /// Something was queued, or no more will be.
    queued: Condvar,
    workers: usize,
    /// How many may wait for a worker.
    room: usize,
    /// An event counter that a worker writes when a full queue has room again.
    bell: OwnedFd,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Workers that have taken something.
    busy: usize,
    /// The acceptor has seen it full.
    was_full: bool,
    closed: bool,
}

/// A request in the queue.
#[derive(Debug)]
struct Waiting {
    task: Task,
    /// The observer's.
    moment: u64,
    /// Since when, on `CLOCK_MONOTONIC`.
    since: Duration,
}

impl Pool {
    fn new(workers: usize, room: usize) -> std::io::Result<Self> {
        let (queue, queued) = (Mutex::default(), Condvar::new());
        Ok(Self { queue, queued, workers, room, bell: sys::eventfd()? })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No handler runs under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker's life: one request after the other, until the queue is closed and empty.
    fn work<W: Work<O>, O: Observer>(
        &self,
        work: &W,
        observer: impl FnOnce() -> O,
        moment: u64,
        stop: &Stop,
    ) {
        // The program's signals are for the thread that accepts.
        let _ = sys::block_signals();
        let (mut observer, stop) = (observer(), stop.clone());
        observer.since(Metric::Start, moment);
        loop {
            let idle = observer.moment();
            let next = self.pop();
            observer.idled(idle);
            let Some(Waiting { task, moment, .. }) = next else { return };
            observer.since(Metric::Line, moment);
            run(task, work, &mut observer, &stop);
            self.done();
        }
    }

    fn pop(&self) -> Option<Waiting> {
        let mut queue = self.lock();
        loop {
            if let Some(next) = queue.waiting.pop_front() {
                queue.busy += 1;
                return Some(next);
            }
            if queue.closed {
                return None;
            }
            queue = self.queued.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A worker is free again, and with it there is room for one more.
    fn done(&self) {
        let mut queue = self.lock();
        queue.busy -= 1;
        if std::mem::take(&mut queue.was_full) {
            // A full counter is readable as well.
            let _ = sys::eventfd_write(&self.bell);
        }
    }

    fn push(&self, task: Task, moment: u64) {
        let since = sys::clock_gettime(Clock::Monotonic);
        self.lock().waiting.push_back(Waiting { task, moment, since });
        self.queued.notify_one();
    }

    /// Whether one more would stand in line behind a full queue. The bell tells when that is over.
    fn is_full(&self) -> bool {
        let mut queue = self.lock();
        // Those who are free, or still starting, are about to take as many out.
        let full = queue.waiting.len() >= self.room + (self.workers - queue.busy);
        queue.was_full = full;
        full
    }

    /// Turns away who has waited for too long; when the next one will have.
    fn turn_away<O: Observer>(
        &self,
        patience: Option<Duration>,
        observer: &mut O,
    ) -> Option<Duration> {
        let patience = patience?;
        loop {
            let mut queue = self.lock();
            let since = queue.waiting.front()?.since;
            let waited = sys::clock_gettime(Clock::Monotonic).saturating_sub(since);
            if waited < patience {
                return Some(patience - waited);
            }
            let Some(late) = queue.waiting.pop_front() else { continue };
            drop(queue);
            refuse(&late.task, "it stood in the pool's queue for too long", observer);
        }
    }

    fn answer_bell(&self) {
        // EAGAIN: somebody was faster.
        let _ = sys::eventfd_read(&self.bell);
    }

    fn close(&self) {
        self.lock().closed = true;
        self.queued.notify_all();
    }
}
