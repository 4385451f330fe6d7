//! The notes' third model: **select**. One call waits for all clients, another copies.
//!
//! - What blocks: the process, in `select`, for all of its clients at once; never in a receive.
//! - Who copies: the kernel, inside the `recvfrom` that follows.
//! - Calls per request: 3 with one client (`select`, `recvfrom`, `sendto`), towards 2 the more are ready at once.
//! - Limits: descriptors below 1024 (`FD_SETSIZE`): a client beyond is closed. The sets are built, copied
//!   in, overwritten and scanned anew each turn: cost grows with the clients, not with the ready ones.
//! - See it: `make strace-select`.

use super::{Call, Clients, Failure, Front, Mode, Observer, Service, Settings, Stop};
use super::{During, interrupted_is_none};
use crate::phase::{Count, End, Id};
use crate::sys::{self, FD_SETSIZE, FdSet, OverLimit};
use std::io;
use std::os::fd::AsFd;

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
    // Who has which number: a set answers with numbers only.
    let mut ids = [Id::STOP; FD_SETSIZE];
    while !stop.requested() {
        let (mut read, mut write) = (FdSet::new(), FdSet::new());
        insert(&mut read, stop, "stop")?;
        if !front.rests() || front.wakes() {
            ids[insert(&mut read, &front, "listener")?] = Id::LISTENER;
        }
        for (id, connection) in clients.iter() {
            let set = if connection.stalled() { &mut write } else { &mut read };
            // `admit` has let in only those that fit.
            if let Ok(number) = set.insert(connection) {
                ids[number] = id;
            }
        }
        // wait
        let timeout = clients.timeout(&front);
        let ready = observer.wait(Call::Select, || sys::select(&mut read, &mut write, timeout));
        if interrupted_is_none(ready, observer).during("select", front.endpoint())? > 0 {
            // copy
            for number in read.union(&write).numbers() {
                match ids[number] {
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

/// Takes in who is waiting; a client whose descriptor fits into no set is closed.
fn admit<S: Service + ?Sized, O: Observer>(
    clients: &mut Clients,
    front: &mut Front,
    service: &S,
    observer: &mut O,
) -> Result<(), Failure> {
    clients.admit_all(front, service, observer, |connection, _, observer| {
        FdSet::new().insert(connection).map(drop).map_err(|over| {
            observer.tally().notice(Count::BeyondSet, || format!("select: {over}: client closed"));
            End::BeyondSet
        })
    })
}

/// One turn of a connection that select has reported.
fn attend<S: Service + ?Sized, O: Observer>(
    clients: &mut Clients,
    id: Id,
    service: &S,
    observer: &mut O,
) {
    // The sets of the next turn are built from whether it is stalled then.
    clients.turn(id, service, observer);
}

/// The server's own descriptors must fit, or there is no server.
fn insert(set: &mut FdSet, fd: impl AsFd, what: &str) -> Result<usize, Failure> {
    set.insert(fd).map_err(|over: OverLimit| {
        Failure::new("select", what, io::Error::new(io::ErrorKind::InvalidInput, over))
    })
}
