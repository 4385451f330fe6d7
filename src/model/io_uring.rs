//! **io_uring**: operations are handed over, completions come back. One call waits for all clients, and the data is there when it returns.
//!
//! - What blocks: the process, in `io_uring_enter`, for all of its clients at once.
//! - Who copies: the kernel, inside the same `io_uring_enter`, into a buffer that it takes from the ring (`DEFER_TASKRUN`).
//! - Calls per request: 1 with one client: it hands the last answer over and waits for the next request. Towards 0 the more come at
//!   once. `getpeername` and `close` once per connection.
//! - Limits: Linux 6.0; many sandboxes forbid it. A receive in flight holds memory in the kernel for each client.
//! - See it: `make strace-io-uring`; the operations themselves are no system calls, and no trace has them.

use super::{Clients, Failure, Front, Mode, Observer, Service, Settings, Stop};
use crate::net::{Accepted, Ring};
use crate::phase::Id;
use crate::sys::Completion;
use std::io;
use std::os::fd::OwnedFd;

/// Serves all clients until the stop.
///
/// # Errors
/// Set-up and listener failures, a kernel or sandbox that refuses rings; no client's.
pub fn serve<S: Service + ?Sized, O: Observer>(
    mut front: Front,
    settings: &Settings,
    service: &S,
    observer: &mut O,
    stop: &Stop,
) -> Result<(), Failure> {
    let mut clients = Clients::new(settings, Mode::Completion);
    let mut ring = Ring::new(settings, &front)?;
    ring.watch(stop);
    ring.listen(&front);
    // Until the stop, and then until the kernel has let go of everything.
    while ring.flies(stop) {
        if front.wakes() {
            ring.listen(&front);
        }
        // wait and copy
        let timeout = clients.timeout(&front);
        ring.enter(&mut clients, timeout, observer)?;
        while let Some(completion) = ring.completion() {
            match completion {
                Completion::Accepted { client, more } => {
                    admit(&mut ring, &mut clients, &mut front, (client, more), observer)?;
                }
                Completion::Ready => {}
                Completion::Received { token, input, more } => {
                    let id = Id::of_token(token);
                    ring.answer(&mut clients, id, (input, more), service, observer);
                }
                Completion::Packet { input, more } => {
                    ring.answer_packet(&front, input, service, observer)?;
                    if !more {
                        ring.listen(&front);
                    }
                }
            }
        }
        ring.expire(&mut clients, observer);
    }
    clients.drain(front, service, observer, stop)
}

/// Takes in a client who has been accepted, and asks for its input. `more` will come without being asked for again.
fn admit<O: Observer>(
    ring: &mut Ring,
    clients: &mut Clients,
    front: &mut Front,
    (client, more): (io::Result<OwnedFd>, bool),
    observer: &mut O,
) -> Result<(), Failure> {
    if let Accepted::Client(socket, peer) = front.accepted(client, observer)? {
        if let Some(id) = clients.settle(socket, peer, observer) {
            ring.receive(clients, id);
        }
    }
    if !more && !front.rests() {
        ring.listen(front);
    }
    Ok(())
}
