//! The notes' first model: **blocking**. One call waits and copies.
//!
//! - What blocks: the process, in `accept4` and then in `recvfrom`, through both phases.
//! - Who copies: the kernel, inside the same `recvfrom`.
//! - Calls per request: 2 (`recvfrom`, `sendto`).
//! - Limits: one client at a time; the next waits in the backlog until this one leaves.
//! - See it: `make strace-blocking`.

use super::{Clients, Failure, Listener, Mode, Observer, Service, Settings, Stop, Turn};
use crate::phase::Id;

/// Serves clients one after the other until the stop.
///
/// # Errors
/// Set-up and listener failures; no client's.
pub fn serve<S: Service + ?Sized, O: Observer>(
    mut listener: Listener,
    settings: &Settings,
    service: &S,
    observer: &mut O,
    stop: &Stop,
) -> Result<(), Failure> {
    let mut clients = Clients::new(settings, Mode::Blocking);
    while !stop.requested() {
        if let Some(id) = admit(&mut clients, &mut listener, observer, stop)? {
            attend(&mut clients, id, service, observer, stop);
        }
    }
    drop(listener);
    clients.drain(service, observer, stop)
}

/// Waits for the next client.
fn admit<O: Observer>(
    clients: &mut Clients,
    listener: &mut Listener,
    observer: &mut O,
    stop: &Stop,
) -> Result<Option<Id>, Failure> {
    clients.admit_waiting(listener, observer, stop)
}

/// Serves this client until it leaves; everybody else waits.
fn attend<S: Service + ?Sized, O: Observer>(
    clients: &mut Clients,
    id: Id,
    service: &S,
    observer: &mut O,
    stop: &Stop,
) {
    while !stop.requested() {
        // wait and copy, in one call
        if let Turn::Ended(_) = clients.turn_waiting(id, service, observer, stop) {
            break;
        }
    }
}
