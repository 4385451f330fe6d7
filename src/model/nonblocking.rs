//! The notes' second model: **non-blocking**. The process asks again and again.
//!
//! - What blocks: nothing. Every call that would wait says `EAGAIN`, and the loop asks the next client.
//! - Who copies: the kernel, inside the one `recvfrom` of many that finds data.
//! - Calls per request: 2 (`recvfrom`, `sendto`) and every `EAGAIN` before them: one core is always busy.
//! - Limits: a round over n clients costs n calls, ready or not. `--pause` trades CPU for latency, as
//!   the notes' `time.sleep(2)` does.
//! - See it: `make strace-nonblocking`.

use super::{Call, Clients, Failure, Front, Mode, Observer, Service, Settings, Stop};
use super::{During, interrupted_is_none};
use crate::phase::Id;
use crate::sys::{self, PollFd};
use std::time::Duration;

/// Serves all clients in rounds until the stop.
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
    while !stop.requested() {
        // wait: ask everybody, in vain or not
        if !front.rests() || front.wakes() {
            admit(&mut clients, &mut front, service, observer)?;
        }
        for slot in 0..clients.slots() {
            if let Some(id) = clients.at(slot) {
                attend(&mut clients, id, service, observer);
            }
        }
        clients.expire(observer);
        if let Some(pause) = settings.pause {
            sleep(pause, observer, stop)?;
        }
    }
    clients.drain(front, service, observer, stop)
}

/// Takes in who is waiting, and asks until nobody is.
fn admit<S: Service + ?Sized, O: Observer>(
    clients: &mut Clients,
    front: &mut Front,
    service: &S,
    observer: &mut O,
) -> Result<(), Failure> {
    clients.admit_all(front, service, observer, |_, _, _| Ok(()))
}

/// Asks one client for data; copies and answers if there is some.
fn attend<S: Service + ?Sized, O: Observer>(
    clients: &mut Clients,
    id: Id,
    service: &S,
    observer: &mut O,
) {
    // wait (EAGAIN) or copy
    clients.turn(id, service, observer);
}

/// `time.sleep`, but one that the stop ends: a sleep would be a race with its signal.
fn sleep<O: Observer>(pause: Duration, observer: &mut O, stop: &Stop) -> Result<(), Failure> {
    let mut watch = [PollFd::new(stop, true, false)];
    let woken = observer.wait(Call::Poll, || sys::ppoll(&mut watch, Some(pause)));
    interrupted_is_none(woken, observer).during("ppoll", "pause").map(drop)
}
