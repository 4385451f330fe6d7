//! **Prefork**: N children, made once, that all accept from one listener (Apache's first model).
//!
//! - Cost: N processes; a client wakes one of them (`EPOLLEXCLUSIVE`), the last one that went to sleep.
//! - Limits: a worker is taken for the whole connection: N clients at a time, the next waits in the backlog. Only in a process
//!   with one thread.
//! - A worker that dies is replaced, at once if it had lived for a second, else after a growing pause; its clients are lost, nobody
//!   else's.

use super::supervisor::supervise;
use super::{Limits, WORKERS, Work, one, refuse, refuse_for_several};
use crate::failure::Failure;
use crate::net::Front;
use crate::phase::{Observer, Waits};
use crate::stop::Stop;

/// Serves requests by N children, each one after the other, until the stop.
///
/// # Errors
/// Set-up, a host with threads, limits that one acceptor alone could keep.
pub fn serve<W: Work<O>, O: Observer>(
    front: Front,
    limits: &Limits,
    work: &W,
    observer: &mut O,
    stop: &Stop,
) -> Result<(), Failure> {
    refuse_for_several(limits)?;
    if limits.max_connections.is_some() {
        return refuse("the number of connections is the number of workers here: choose that");
    }
    let count = limits.workers.count.unwrap_or(WORKERS);
    let worker = |mut fronts: Vec<Front>, _, observer: &mut O, stop: &Stop| match fronts.pop() {
        Some(front) => one::in_turn(front, true, limits, work, observer, stop),
        None => Ok(()),
    };
    supervise(vec![front], count, Waits::InCall, observer, stop, worker)
}
