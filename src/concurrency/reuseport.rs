//! **Reuseport**: N children, each with a listener of its own on the same address (`SO_REUSEPORT`), each with its own model.
//!
//! - Cost: N processes; nothing is shared between them, the kernel spreads clients by a hash of their addresses.
//! - Limits: `max_connections` is of each child; a client waits for its worker, also when another one is idle. Only in a process with one thread, and not on Unix
//!   sockets, whose paths belong to one socket.
//! - The parent keeps the listeners: who waits for a worker that dies is served by the next one in its place.

use super::supervisor::supervise;
use super::{Limits, cores, may_fork, refuse_for_several};
use crate::failure::Failure;
use crate::net::Front;
use crate::phase::{Observer, Waits};
use crate::stop::Stop;

/// Runs `model` in N children until the stop. The front must have been bound with
/// [`reuse_port`](crate::net::Bind::reuse_port).
///
/// # Errors
/// Set-up, a host with threads, limits that one acceptor alone could keep.
pub fn serve<O: Observer>(
    front: Front,
    limits: &Limits,
    waits: Waits,
    observer: &mut O,
    stop: &Stop,
    model: impl Fn(Front, &mut O, &Stop) -> Result<(), Failure>,
) -> Result<(), Failure> {
    refuse_for_several(limits)?;
    // Before there is more than one socket to be closed again.
    may_fork()?;
    let count = limits.workers.count.unwrap_or_else(cores);
    let mut fronts = vec![front];
    while fronts.len() < count {
        fronts.push(fronts[0].again()?);
    }
    let worker = |mut fronts: Vec<Front>, at: usize, observer: &mut O, stop: &Stop| {
        let own = fronts.swap_remove(at);
        // The others' copies would keep their queues from being reset at the end.
        drop(fronts);
        model(own, observer, stop)
    };
    supervise(fronts, count, waits, observer, stop, worker)
}
