//! **epoll**, edge-triggered: each change is told once. One call waits for all clients, others copy.
//!
//! - What blocks: the process, in `epoll_wait`, for all of its clients at once; never in a receive.
//! - Who copies: the kernel, inside the `recvfrom`s that follow, as many as it takes to drain the socket.
//! - Calls per request: 3 with one client (`epoll_wait`, `recvfrom`, `sendto`), towards 2 the more are ready
//!   at once. `epoll_ctl` once per connection, never for a stall.
//! - Limits: as many descriptors as the process may have. What is left over is *not* reported again: the
//!   model keeps its own list of those, and a cap per turn, or one client would starve the rest.
//! - See it: `make strace-epoll-et`.

use super::{Call, Clients, Failure, Front, Mode, Observer, Service, Settings, Stop, Turn};
use super::{During, EVENTS_PER_TURN, RECEIVES_PER_TURN, interrupted_is_none, listen, moment};
use crate::phase::{End, Id};
use crate::sys::{self, Epoll, EpollEvent, Interest};
use std::collections::VecDeque;
use std::time::Duration;

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
    let epoll = sys::epoll_create1().during("epoll_create1", "")?;
    epoll.add(stop, Interest::READ_EDGE, Id::STOP.token()).during("epoll_ctl", "stop")?;
    // The listener stays level-triggered: a capped round of accepts needs no list of its own then.
    epoll.add(&front, Interest::READ, Id::LISTENER.token()).during("epoll_ctl", "listener")?;
    let mut events = [EpollEvent::EMPTY; EVENTS_PER_TURN];
    // Ready, told already, and not drained in their last turn.
    let mut carried: VecDeque<Id> = VecDeque::new();
    while !stop.requested() {
        // wait, unless somebody is known to be ready
        let timeout = if clients.timed() {
            moment(&epoll, &mut clients, &mut front, observer)?
        } else {
            None
        };
        let timeout = if carried.is_empty() { timeout } else { Some(Duration::ZERO) };
        let ready = observer.wait(Call::EpollWait, || epoll.epoll_wait(&mut events, timeout));
        let ready = interrupted_is_none(ready, observer).during("epoll_wait", "")?;
        // copy
        let waiting = carried.len();
        for event in &events[..ready] {
            match Id::of_token(event.token()) {
                Id::LISTENER => admit(&epoll, &mut clients, &mut front, service, observer)?,
                Id::STOP => {}
                // It is in the list and has its turn below.
                id if clients.carried(id) => {}
                id => attend(&mut carried, &mut clients, id, event.hung_up(), service, observer),
            }
        }
        for _ in 0..waiting {
            let Some(id) = carried.pop_front() else { break };
            attend(&mut carried, &mut clients, id, true, service, observer);
        }
    }
    clients.drain(front, service, observer, stop)
}

/// Takes in who is waiting, and puts each into the set.
#[inline(never)]
fn admit<S: Service + ?Sized, O: Observer>(
    epoll: &Epoll,
    clients: &mut Clients,
    front: &mut Front,
    service: &S,
    observer: &mut O,
) -> Result<(), Failure> {
    clients.admit_all(front, service, observer, |connection, id, observer| {
        observer.called(Call::EpollCtl);
        // ENOMEM, ENOSPC: this client's bad luck.
        epoll.add(connection, Interest::EDGE, id.token()).map_err(|_| End::Failed)
    })?;
    if front.rests() { listen(epoll, front, Interest::NONE) } else { Ok(()) }
}

/// Drains a connection that epoll has reported, up to its share. What is left over is carried.
fn attend<S: Service + ?Sized, O: Observer>(
    carried: &mut VecDeque<Id>,
    clients: &mut Clients,
    id: Id,
    hung_up: bool,
    service: &S,
    observer: &mut O,
) {
    for _ in 0..RECEIVES_PER_TURN {
        match clients.turn(id, service, observer) {
            // A short read has drained the stream, except that the end of file may follow it.
            Turn::Short if !hung_up => return,
            Turn::Short | Turn::Full | Turn::Flushed => {}
            // Stalled: the edge that tells of room is still to come.
            Turn::Stalled | Turn::Draining | Turn::StillStalled => return,
            Turn::Empty | Turn::Ended(_) => return,
        }
    }
    clients.carry(id);
    carried.push_back(id);
}
