//! **epoll**, level-triggered: the set lives in the kernel. One call waits for all clients, another copies.
//!
//! - What blocks: the process, in `epoll_wait`, for all of its clients at once; never in a receive.
//! - Who copies: the kernel, inside the `recvfrom` that follows, and those after it while each brings a whole buffer.
//! - Calls per request: 3 with one client (`epoll_wait`, `recvfrom`, `sendto`), towards 2 the more are ready
//!   at once. `epoll_ctl` once per connection, and twice per stall.
//! - Limits: as many descriptors as the process may have; cost grows with the ready clients only.
//! - See it: `make strace-epoll`.

use super::{Call, Clients, Failure, Front, Mode, Observer, Service, Settings, Stop, Turn};
use super::{During, EVENTS_PER_TURN, RECEIVES_PER_TURN, interrupted_is_none, listen, moment};
use crate::phase::{End, Id};
use crate::sys::{self, Epoll, EpollEvent, Interest};

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
    epoll.add(stop, Interest::READ, Id::STOP.token()).during("epoll_ctl", "stop")?;
    epoll.add(&front, Interest::READ, Id::LISTENER.token()).during("epoll_ctl", "listener")?;
    let mut events = [EpollEvent::EMPTY; EVENTS_PER_TURN];
    while !stop.requested() {
        // wait
        let timeout = if clients.timed() {
            moment(&epoll, &mut clients, &mut front, observer)?
        } else {
            None
        };
        let ready = observer.wait(Call::EpollWait, || epoll.epoll_wait(&mut events, timeout));
        let ready = interrupted_is_none(ready, observer).during("epoll_wait", "")?;
        // copy
        for event in &events[..ready] {
            match Id::of_token(event.token()) {
                Id::LISTENER => admit(&epoll, &mut clients, &mut front, service, observer)?,
                Id::STOP => {}
                id => attend(&epoll, &mut clients, id, service, observer),
            }
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
        epoll.add(connection, Interest::READ, id.token()).map_err(|_| End::Failed)
    })?;
    if front.rests() { listen(epoll, front, Interest::NONE) } else { Ok(()) }
}

/// A turn of a connection that epoll has reported, and more of them while whole buffers come. What is left over is reported again.
fn attend<S: Service + ?Sized, O: Observer>(
    epoll: &Epoll,
    clients: &mut Clients,
    id: Id,
    service: &S,
    observer: &mut O,
) {
    // Interest changes only where a stall begins or ends; closing takes a descriptor out of the set.
    let turn = match clients.turn(id, service, observer) {
        Turn::Full => go_on(clients, id, service, observer),
        turn => turn,
    };
    let interest = match turn {
        Turn::Stalled => Interest::WRITE,
        Turn::Flushed => Interest::READ,
        _ => return,
    };
    observer.called(Call::EpollCtl);
    let told = clients.get(id).map(|c| epoll.modify(c, interest, id.token()));
    if told.is_some_and(|told| told.is_err()) {
        clients.close(id, End::Failed, observer);
    }
}

/// As long as each receive brings a whole buffer, the next is likely to bring one, too, and to be told of each would be a call more; up to
/// its share, since others wait.
#[inline(never)]
fn go_on<S: Service + ?Sized, O: Observer>(
    clients: &mut Clients,
    id: Id,
    service: &S,
    observer: &mut O,
) -> Turn {
    for _ in 1..RECEIVES_PER_TURN {
        match clients.turn(id, service, observer) {
            Turn::Full => {}
            turn => return turn,
        }
    }
    Turn::Full
}
