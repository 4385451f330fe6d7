//! Floor 1: sockets in the service of a model: where to listen, whom to accept, what a connection
//! keeps, and how all of it ends.

mod clients;
mod connection;
mod drain;
mod endpoint;
mod listener;
mod slab;

pub use clients::{Clients, Mode};
pub use connection::{Connection, Turn};
pub use endpoint::{AddressError, DEFAULT_ADDRESS, Endpoint};
pub use listener::{Accepted, Listener};
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
}

impl Default for Settings {
    fn default() -> Self {
        Self { buffer: 1024, max_connections: None, idle_timeout: None, pause: None }
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
