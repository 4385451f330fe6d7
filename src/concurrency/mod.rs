//! Floor 2: **who** runs it. A file per way.
//!
//! A [`model`](crate::model) says how one flow of control waits and copies; a way of concurrency says whose flows they are.
//! Each takes the requests from the front (`acceptor.rs`) and has its [`Work`] done:
//!
//! - [`one`]: by the flow that accepted it, one after the other;
//! - [`threads`]: by a thread of its own;
//! - [`pool`]: by one of N threads, behind a bounded queue;
//! - [`fork`]: by a child process of its own;
//! - [`prefork`]: by one of N children, each of which accepts from the one shared listener;
//! - [`reuseport`]: by N children, each with a listener of its own.
//!
//! Each file has `serve(front, limits, work, observer, stop)`, which returns when the stop is requested and
//! everything that was accepted is served, or the drain's deadline has cut it. A request on a stream front is a whole
//! connection, on a datagram front one datagram.
//!
//! A failure, even a panic, ends one request. Threads need nothing of their host; the ways that fork need it single-threaded
//! and say so.

mod acceptor;
mod admission;
mod child;
pub mod fork;
pub mod one;
pub mod pool;
pub mod prefork;
pub mod reuseport;
mod supervisor;
mod task;
pub mod threads;

pub use admission::Pass;
pub use task::{Client, Letter, Task, Trouble, Work};

use crate::failure::{During, Failure};
use crate::net::{Settings, Workers};
use crate::sys;
use std::io;
use std::time::Duration;

/// What bounds a server, whoever runs it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a datagram at most.
    pub buffer: usize,
    /// Requests at work and in queues at most; more are turned away and counted.
    pub max_connections: Option<usize>,
    /// The same for each IP address.
    pub per_peer: Option<usize>,
    /// How many threads or children, and the pool's queue.
    pub workers: Workers,
    /// [`Work::turned`] is called at least so often. `None`: only when something happens.
    pub interval: Option<Duration>,
    /// The server ends after so many requests.
    pub requests: Option<u64>,
    /// And when none has come for so long.
    pub timeout: Option<Duration>,
}

impl Limits {
    /// What a model's settings say.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        Self {
            buffer: settings.buffer,
            max_connections: settings.max_connections,
            per_peer: None,
            workers: settings.workers,
            interval: None,
            requests: None,
            timeout: None,
        }
    }
}

/// Threads of a pool and children of prefork, unless said otherwise: each is taken for a whole connection.
pub const WORKERS: usize = 64;

/// Children of reuseport, unless said otherwise: one for each core that this process may use.
#[must_use]
pub fn cores() -> usize {
    sys::sched_getaffinity().map_or(1, |cores| cores.len().max(1))
}

/// Forking is refused where it is not safe, or where children could not be known.
fn may_fork() -> Result<(), Failure> {
    let threads = sys::threads().during("readdir", "/proc/self/task")?;
    if threads > 1 {
        let why = format!(
            "this process has {threads} threads, and a lock that another one holds would stay locked in the child; \
             fork before the first thread, or serve by threads"
        );
        return Err(Failure::new("fork", "", io::Error::new(io::ErrorKind::Unsupported, why)));
    }
    sys::probe_pidfd().map_err(|error| {
        Failure::new("pidfd_open", "", error)
            .hint(Some("Linux 5.3 is needed, or a sandbox refuses it"))
    })
}

/// What only a single acceptor can do is refused where there are several.
fn refuse_for_several(limits: &Limits) -> Result<(), Failure> {
    if limits.per_peer.is_some() {
        return refuse("a limit per peer needs one acceptor, and here every worker accepts");
    }
    if limits.requests.is_some() {
        return refuse("a single request needs one acceptor, and here every worker accepts");
    }
    Ok(())
}

/// A senseless pair, and why.
fn refuse(why: &str) -> Result<(), Failure> {
    Err(Failure::new("serve", "", io::Error::new(io::ErrorKind::Unsupported, why)))
}
