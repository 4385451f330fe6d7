//! Floor 1: sockets in the service of a model: where to listen, whom to accept, what a connection
//! keeps, and how all of it ends.

mod batches;
mod bind;
mod clients;
mod connection;
mod datagrams;
mod drain;
mod endpoint;
mod flights;
mod front;
mod idle;
mod listener;
mod ring;
mod signals;
mod slab;

pub use bind::Bind;
pub use clients::{Clients, Mode};
pub use connection::{Connection, Turn};
pub use datagrams::{Datagrams, Taken};
pub use endpoint::{AddressError, DEFAULT_ADDRESS, Endpoint, Transport};
pub use front::Front;
pub use listener::{Accepted, Listener};
pub use ring::Ring;
pub use signals::{Signalled, Signals};
pub use slab::Slab;

use crate::phase::{Count, Observer};
use std::io;
use std::time::Duration;

/// What a server is told beside its address.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes of one receive at most; the notes have 1024.
    pub buffer: usize,
    /// Connections at most; more are refused. `None`: as many as descriptors allow.
    pub max_connections: Option<usize>,
    /// A connection on which no byte moves for so long is closed.
    pub idle_timeout: Option<Duration>,
    /// `nonblocking` only: the notes' `time.sleep` between two rounds.
    pub pause: Option<Duration>,
    /// Where a connection has a flow of its own: it is closed so long after that flow took it, whatever moves.
    pub request_timeout: Option<Duration>,
    /// `io-uring` only: completions that its ring has room for. `None`: 4096.
    pub ring: Option<usize>,
    /// Datagrams taken and answered in one call at most; 1: each has its own two calls.
    pub batch: usize,
    /// Who runs the model, and how many: see [`concurrency`](crate::concurrency).
    pub workers: Workers,
}

/// The numbers of those who run a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Workers {
    /// Threads of the pool, children of prefork and reuseport. `None`: 64, and for reuseport the cores.
    pub count: Option<usize>,
    /// Clients that may wait for a thread of the pool. `None`: as many as there are threads.
    pub queue: Option<usize>,
    /// What a full pool does with the next client.
    pub full: Full,
    /// Who stood in the pool's queue for so long is turned away.
    pub patience: Option<Duration>,
}

/// What a pool does when its threads are taken and its queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Full {
    /// Accepts nobody: the next clients wait in the kernel's backlog, datagrams in the receive queue.
    #[default]
    Wait,
    /// Turns the next one away at once.
    Refuse,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            buffer: 1024,
            max_connections: None,
            idle_timeout: None,
            pause: None,
            request_timeout: None,
            ring: None,
            batch: 1,
            workers: Workers::default(),
        }
    }
}

/// The one home of `EINTR` in a readiness loop: no events, go round, and look at the stop on the way.
///
/// # Errors
/// Every other error, as it came.
pub fn interrupted_is_none<O: Observer>(
    ready: io::Result<usize>,
    observer: &O,
) -> io::Result<usize> {
    match ready {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            observer.tally().add(Count::Interrupted, 1);
            Ok(0)
        }
        ready => ready,
    }
}
