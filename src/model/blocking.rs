//! The notes' first model: **blocking**. One call waits and copies.
//!
//! - What blocks: the process, in `accept4` and then in `recvfrom`, through both phases.
//! - Who copies: the kernel, inside the same `recvfrom`.
//! - Calls per request: 2 (`recvfrom`, `sendto`).
//! - Limits: one client at a time; the next waits in the backlog until this one leaves.
//! - See it: `make strace-blocking`.

use super::{Clients, Failure, Front, Mode, Observer, Service, Settings, Stop, Turn};
use crate::concurrency::{Task, Work};
use crate::net::Datagrams;
use crate::phase::Id;
use std::io;

/// Serves clients one after the other until the stop.
///
/// # Errors
/// Set-up and listener failures; no client's.
pub fn serve<S: Service + ?Sized, O: Observer>(
    mut front: Front,
    settings: &Settings,
    service: &S,
    observer: &mut O,
    stop: &Stop,
) -> Result<(), Failure> {
    let mut clients = Clients::new(settings, Mode::Blocking);
    while !stop.requested() {
        if let Some(id) = admit(&mut clients, &mut front, service, observer, stop)? {
            attend(&mut clients, id, service, observer, stop);
        }
    }
    clients.drain(front, service, observer, stop)
}

/// Waits for the next client.
fn admit<S: Service + ?Sized, O: Observer>(
    clients: &mut Clients,
    front: &mut Front,
    service: &S,
    observer: &mut O,
    stop: &Stop,
) -> Result<Option<Id>, Failure> {
    clients.admit_waiting(front, service, observer, stop)
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

/// The same loop for a client that somebody else has accepted: what each flow of `threads`, `thread-pool`, `fork` and `prefork` does.
#[derive(Debug)]
pub struct Conversation<'s, S: ?Sized> {
    /// Of the server.
    pub settings: &'s Settings,
    /// What it answers.
    pub service: &'s S,
}

impl<S: Service + ?Sized, O: Observer> Work<O> for Conversation<'_, S> {
    fn serve(&self, task: Task, observer: &mut O, stop: &Stop) -> io::Result<()> {
        let Self { settings, service } = *self;
        match task {
            Task::Connection(client) => {
                let mut clients = Clients::new(settings, Mode::Blocking);
                if let Some(id) = clients.settle(client.socket, client.peer, observer) {
                    attend(&mut clients, id, service, observer, stop);
                }
                clients.drain_connections(service, observer, stop).map_err(io::Error::other)
            }
            Task::Datagram(mut letter) => {
                observer.addressed(&letter.packet.from);
                let socket: &Datagrams = &letter.socket;
                socket.answer(&letter.packet, &mut letter.bytes, service, observer);
                Ok(())
            }
        }
    }
}
