//! **poll**: select without its limit. One call waits for all clients, another copies.
//!
//! - What blocks: the process, in `poll`, for all of its clients at once; never in a receive.
//! - Who copies: the kernel, inside the `recvfrom` that follows.
//! - Calls per request: 3 with one client (`poll`, `recvfrom`, `sendto`), towards 2 the more are ready at once.
//! - Limits: as many descriptors as the process may have; but the list is built, copied in and scanned
//!   anew each turn: cost grows with the clients, not with the ready ones.
//! - See it: `make strace-poll`.

use super::{Call, Clients, Failure, Front, Mode, Observer, Service, Settings, Stop};
use super::{During, interrupted_is_none};
use crate::phase::Id;
use crate::sys::{self, PollFd};

/// Serves all clients until the stop.
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
    front.set_nonblocking()?;
    let mut clients = Clients::new(settings, Mode::Nonblocking);
    // The list and, entry by entry, who is meant; their memory is used again each turn.
    let (mut list, mut ids) = (Vec::new(), Vec::new());
    while !stop.requested() {
        list.clear();
        ids.clear();
        list.push(PollFd::new(stop, true, false));
        ids.push(Id::STOP);
        if !front.rests() || front.wakes() {
            list.push(PollFd::new(&front, true, false));
            ids.push(Id::LISTENER);
        }
        for (id, connection) in clients.iter() {
            list.push(PollFd::new(connection, !connection.stalled(), connection.stalled()));
            ids.push(id);
        }
        // wait
        let timeout = clients.timeout(&front);
        let ready = observer.wait(Call::Poll, || sys::poll(&mut list, timeout));
        if interrupted_is_none(ready, observer).during("poll", front.endpoint())? > 0 {
            // copy
            for (entry, &id) in list.iter().zip(&ids).filter(|(entry, _)| entry.ready()) {
                debug_assert!(entry.readable() || entry.writable());
                match id {
                    Id::LISTENER => admit(&mut clients, &mut front, service, observer)?,
                    Id::STOP => {}
                    id => attend(&mut clients, id, service, observer),
                }
            }
        }
        clients.expire(observer);
    }
    clients.drain(front, service, observer, stop)
}

/// Takes in who is waiting.
fn admit<S: Service + ?Sized, O: Observer>(
    clients: &mut Clients,
    front: &mut Front,
    service: &S,
    observer: &mut O,
) -> Result<(), Failure> {
    clients.admit_all(front, service, observer, |_, _, _| Ok(()))
}

/// One turn of a connection that poll has reported.
fn attend<S: Service + ?Sized, O: Observer>(
    clients: &mut Clients,
    id: Id,
    service: &S,
    observer: &mut O,
) {
    // The list of the next turn is built from whether it is stalled then.
    clients.turn(id, service, observer);
}
