//! **Signal-driven**: the kernel sends a signal for each event. One call waits for the next signal, others copy.
//!
//! - What blocks: the process, in `sigtimedwait`, for all of its clients at once; never in a receive. It need not wait there: the
//!   signals queue while it does something else.
//! - Who copies: the kernel, inside the `recvfrom`s that follow, as many as it takes to drain the socket.
//! - Calls per request: 3 (`rt_sigtimedwait`, `recvfrom`, `sendto`), however many are ready: a call takes one signal. Six
//!   `fcntl` per connection: `O_NONBLOCK`, then which signal, whose, and `O_ASYNC`.
//! - Limits: an event is told once, as to edge-triggered epoll, and queued for each: `RLIMIT_SIGPENDING` bounds them all. Beyond it comes a
//!   plain SIGIO that names nobody, and everything is polled once. A signal names a number, not a connection: it may be its
//!   predecessor's, and then a receive finds nothing.
//! - See it: `make strace-sigio`.

use super::{Call, Clients, Failure, Front, Mode, Observer, Service, Settings, Stop, Turn};
use super::{During, RECEIVES_PER_TURN, interrupted_is_none};
use crate::net::{Signalled, Signals};
use crate::phase::{Count, End, Id};
use crate::sys::{self, PollFd};
use std::collections::VecDeque;
use std::time::Duration;

/// What the flow knows beside its clients.
struct Told<'s> {
    signals: &'s Signals,
    /// Who has which number: a signal names no more.
    ids: Vec<Id>,
    /// To be looked after without a signal of their own: told already and not drained, or the front, of whom came before the server.
    carried: VecDeque<Id>,
    /// Just taken in: what came before their signals were asked for was not told.
    new: Vec<Id>,
}

/// Serves all clients until the stop.
///
/// # Errors
/// Set-up and listener failures; no client's.
pub fn serve<S: Service + ?Sized, O: Observer>(
    front: Front,
    settings: &Settings,
    service: &S,
    observer: &mut O,
    stop: &Stop,
) -> Result<(), Failure> {
    // Outlives the sockets that send them: unblocked, one would end the process.
    let signals = Signals::block().during("rt_sigprocmask", "SIGIO")?;
    let mut front = front;
    front.set_nonblocking()?;
    let mut clients = Clients::new(settings, Mode::Nonblocking);
    let (ids, carried) = (Vec::new(), [Id::LISTENER].into());
    let mut told = Told { signals: &signals, ids, carried, new: Vec::new() };
    told.ask(&front, Id::LISTENER).during("fcntl", front.endpoint())?;
    let served = rounds(&mut told, &mut clients, &mut front, service, observer, stop);
    // Others may hold it too, and it outlives this.
    signals.ask_no_more(&front);
    served?;
    clients.drain(front, service, observer, stop)
}

/// The turns of [`serve`], until the stop.
fn rounds<S: Service + ?Sized, O: Observer>(
    told: &mut Told<'_>,
    clients: &mut Clients,
    front: &mut Front,
    service: &S,
    observer: &mut O,
    stop: &Stop,
) -> Result<(), Failure> {
    while !stop.requested() {
        if front.wakes() {
            told.carried.push_back(Id::LISTENER);
        }
        // wait, unless somebody is known to be ready
        let timeout =
            if told.carried.is_empty() { clients.timeout(front) } else { Some(Duration::ZERO) };
        let mut signal = None;
        let taken = observer.wait(Call::Sigtimedwait, || {
            signal = told.signals.wait(timeout, stop)?;
            Ok(usize::from(signal.is_some()))
        });
        interrupted_is_none(taken, observer).during("sigtimedwait", "")?;
        // copy
        let carried = told.carried.len();
        // Who is carried at once has had a share, and the next one is in the next round.
        let mut had_its_share = 0;
        match signal {
            Some(Signalled::Number(number)) => match told.ids.get(number).copied() {
                Some(Id::LISTENER) => {
                    admit(told, clients, front, service, observer)?;
                }
                // It is in the list and has its turn below.
                Some(id) if clients.carried(id) => {}
                Some(id) => {
                    attend(told, clients, id, false, service, observer);
                    had_its_share = told.carried.len() - carried;
                }
                None => {}
            },
            Some(Signalled::Lost) if !stop.requested() => {
                told.poll(clients, front, observer)?;
            }
            Some(Signalled::Lost) | None => {}
        }
        for _ in 0..told.carried.len() - had_its_share {
            match told.carried.pop_front() {
                Some(Id::LISTENER) => {
                    admit(told, clients, front, service, observer)?;
                }
                Some(id) => attend(told, clients, id, true, service, observer),
                None => break,
            }
        }
        clients.expire(observer);
    }
    Ok(())
}

/// Takes in who is waiting, asks for signals of each, and looks once without one. A listener that rests is looked after at the end of
/// its rest.
fn admit<S: Service + ?Sized, O: Observer>(
    told: &mut Told<'_>,
    clients: &mut Clients,
    front: &mut Front,
    service: &S,
    observer: &mut O,
) -> Result<(), Failure> {
    if front.rests() {
        return Ok(());
    }
    clients.admit_all(front, service, observer, |connection, id, observer| {
        (0..4).for_each(|_| observer.called(Call::Fcntl));
        // ENOMEM: this client's bad luck.
        told.ask(connection, id).map_err(|_| End::Failed)?;
        told.new.push(id);
        Ok(())
    })?;
    while let Some(id) = told.new.pop() {
        attend(told, clients, id, true, service, observer);
    }
    // Their signals may have been taken already.
    if clients.front_has_more() && !front.rests() {
        told.carried.push_back(Id::LISTENER);
    }
    Ok(())
}

/// Drains a connection, up to its share; what is left over is carried. A short read ends a turn, since each event has a signal of its own;
/// `untold`: the end of the stream may have come before it, without one, and is looked for.
fn attend<S: Service + ?Sized, O: Observer>(
    told: &mut Told<'_>,
    clients: &mut Clients,
    id: Id,
    mut untold: bool,
    service: &S,
    observer: &mut O,
) {
    for _ in 0..RECEIVES_PER_TURN {
        match clients.turn(id, service, observer) {
            Turn::Short if !untold => return,
            Turn::Short => untold = false,
            Turn::Full => {}
            // What has come meanwhile was told while there was no room.
            Turn::Flushed => untold = true,
            // Stalled: the signal that tells of room is still to come.
            Turn::Stalled | Turn::Draining | Turn::StillStalled => return,
            Turn::Empty | Turn::Ended(_) => return,
        }
    }
    clients.carry(id);
    told.carried.push_back(id);
}

impl Told<'_> {
    /// Asks for signals of a descriptor.
    fn ask(&mut self, fd: impl std::os::fd::AsFd, id: Id) -> std::io::Result<()> {
        let number = self.signals.ask(fd)?;
        if number >= self.ids.len() {
            self.ids.resize(number + 1, Id::STOP);
        }
        self.ids[number] = id;
        Ok(())
    }

    /// Signals were lost, and nobody knows whose: asks about everybody, once.
    fn poll<O: Observer>(
        &mut self,
        clients: &Clients,
        front: &Front,
        observer: &mut O,
    ) -> Result<(), Failure> {
        observer.tally().notice(Count::SignalsLost, || {
            "the queue of signals is full (RLIMIT_SIGPENDING): everything is polled once".to_owned()
        });
        let (mut ids, mut list) = (Vec::new(), Vec::new());
        if !front.rests() {
            ids.push(Id::LISTENER);
            list.push(PollFd::new(front, true, false));
        }
        for (id, connection) in clients.iter().filter(|(id, _)| !clients.carried(*id)) {
            ids.push(id);
            list.push(PollFd::new(connection, !connection.stalled(), connection.stalled()));
        }
        let ready = observer.wait(Call::Poll, || sys::poll(&mut list, Some(Duration::ZERO)));
        interrupted_is_none(ready, observer).during("poll", front.endpoint())?;
        let ready = ids.into_iter().zip(list).filter(|(_, entry)| entry.ready());
        self.carried.extend(ready.map(|(id, _)| id));
        Ok(())
    }
}
