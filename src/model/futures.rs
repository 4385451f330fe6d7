//! **async**: a future for each connection, on epoll. The same waits and copies; only the code has another shape.
//!
//! - What blocks: the process, in `epoll_wait`, for all of its clients at once; never in a receive. A future that waits is put aside.
//! - Who copies: the kernel, inside the `recvfrom` that follows, and those after it while each brings a whole buffer.
//! - Calls per request: those of `epoll`, one for one: 3 with one client, towards 2 the more are ready at once.
//! - Limits: those of `epoll`; and each connection costs its future, which the compiler makes of `handle`, and a waker. One that computes
//!   for long holds up all the others, as in any loop.
//! - See it: `make strace-async`, and `diff src/model/epoll.rs src/model/futures.rs`: `attend`, which had to find out anew each time where
//!   its connection stood, is `handle`, which stands there.

use super::executor::{Readiness, Ready, Tasks};
use super::{Call, Clients, Failure, Front, Mode, Observer, Service, Settings, Stop, Turn};
use super::{During, EVENTS_PER_TURN, RECEIVES_PER_TURN, interrupted_is_none};
use crate::phase::{End, Id};
use crate::sys::{EpollEvent, Interest};
use std::cell::RefCell;

/// What the futures of one flow share. They run one at a time, and none holds it across an `.await`.
struct Server<'s, S: ?Sized, O> {
    service: &'s S,
    flow: RefCell<Flow<'s, O>>,
    readiness: RefCell<Readiness>,
}

struct Flow<'s, O> {
    front: Front,
    clients: Clients,
    observer: &'s mut O,
    /// Taken in, without a future so far.
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
    front.set_nonblocking()?;
    let clients = Clients::new(settings, Mode::Nonblocking);
    let readiness = Readiness::new().during("epoll_create1", "")?;
    readiness.add(stop, Id::STOP).during("epoll_ctl", "stop")?;
    readiness.add(&front, Id::LISTENER).during("epoll_ctl", "listener")?;
    let flow = RefCell::new(Flow { front, clients, observer, new: Vec::new() });
    let server = Server { service, flow, readiness: RefCell::new(readiness) };
    let mut tasks = Tasks::default();
    tasks.spawn(Id::LISTENER, admit(&server));
    let mut events = [EpollEvent::EMPTY; EVENTS_PER_TURN];
    while !stop.requested() {
        // copy: each future goes on to its next wait
        tasks.run()?;
        while let Some(id) = server.newcomer() {
            tasks.spawn(id, handle(Conn { server: &server, id, interest: Interest::READ }));
            tasks.run()?;
        }
        // wait
        let ready = server.wait(&mut events)?;
        for event in &events[..ready] {
            server.readiness.borrow_mut().wake(Id::of_token(event.token()));
        }
        if server.expire() {
            tasks.retain(|id| server.is_here(id));
        }
    }
    drop(tasks);
    let Flow { front, clients, observer, .. } = server.flow.into_inner();
    clients.drain(front, service, observer, stop)
}

/// Takes in who is waiting, over and over; of a datagram front, answers.
async fn admit<S: Service + ?Sized, O: Observer>(server: &Server<'_, S, O>) -> Result<(), Failure> {
    loop {
        Ready::new(&server.readiness, Id::LISTENER).await;
        server.take_in()?;
    }
}

/// One connection, from its first byte to its end.
async fn handle<S: Service + ?Sized, O: Observer>(
    mut conn: Conn<'_, '_, S, O>,
) -> Result<(), Failure> {
    loop {
        // wait
        conn.ready(Interest::READ).await;
        // copy, and answer; where a whole buffer came, another is likely to be there
        let mut turn = conn.turn();
        for _ in 1..RECEIVES_PER_TURN {
            if turn != Turn::Full {
                break;
            }
            turn = conn.turn();
        }
        // What the kernel did not take waits for room, and nothing is read meanwhile.
        while let Turn::Stalled | Turn::Draining | Turn::StillStalled = turn {
            conn.ready(Interest::WRITE).await;
            turn = conn.turn();
        }
        if let Turn::Ended(_) = turn {
            return Ok(());
        }
    }
}

/// A connection as its future has it.
struct Conn<'c, 's, S: ?Sized, O> {
    server: &'c Server<'s, S, O>,
    id: Id,
    /// What epoll tells of it.
    interest: Interest,
}

impl<S: Service + ?Sized, O: Observer> Conn<'_, '_, S, O> {
    /// Waits until it can be read, or written.
    async fn ready(&mut self, interest: Interest) {
        if interest != self.interest && !self.server.change(self.id, interest) {
            // Closed: its next turn says so.
            return;
        }
        self.interest = interest;
        Ready::new(&self.server.readiness, self.id).await;
    }

    /// One turn: see [`Clients::turn`].
    fn turn(&self) -> Turn {
        let Flow { clients, observer, .. } = &mut *self.server.flow.borrow_mut();
        if clients.get(self.id).is_none() {
            return Turn::Ended(End::Failed);
        }
        clients.turn(self.id, self.server.service, *observer)
    }
}

/// What the loop and the futures do with what they share: each a borrow that ends before the next `.await`.
impl<S: Service + ?Sized, O: Observer> Server<'_, S, O> {
    fn wait(&self, events: &mut [EpollEvent]) -> Result<usize, Failure> {
        let Flow { front, clients, observer, .. } = &mut *self.flow.borrow_mut();
        let readiness = self.readiness.borrow();
        if front.wakes() {
            readiness
                .modify(&*front, Id::LISTENER, Interest::READ)
                .during("epoll_ctl", "listener")?;
        }
        let timeout = clients.timeout(front);
        let ready = observer.wait(Call::EpollWait, || readiness.wait(events, timeout));
        interrupted_is_none(ready, *observer).during("epoll_wait", "")
    }

    /// Takes in who is waiting, and puts each into the set.
    fn take_in(&self) -> Result<(), Failure> {
        let Flow { front, clients, observer, new } = &mut *self.flow.borrow_mut();
        let readiness = self.readiness.borrow();
        clients.admit_all(front, self.service, *observer, |connection, id, observer| {
            observer.called(Call::EpollCtl);
            // ENOMEM, ENOSPC: this client's bad luck.
            readiness.add(connection, id).map_err(|_| End::Failed)?;
            new.push(id);
            Ok(())
        })?;
        if !front.rests() {
            return Ok(());
        }
        readiness.modify(&*front, Id::LISTENER, Interest::NONE).during("epoll_ctl", "listener")
    }

    fn newcomer(&self) -> Option<Id> {
        self.flow.borrow_mut().new.pop()
    }

    /// Changes what epoll tells of a connection; where that fails it is closed.
    fn change(&self, id: Id, interest: Interest) -> bool {
        let Flow { clients, observer, .. } = &mut *self.flow.borrow_mut();
        observer.called(Call::EpollCtl);
        let told = clients.get(id).map(|c| self.readiness.borrow().modify(c, id, interest));
        let told = told.is_some_and(|told| told.is_ok());
        if !told {
            clients.close(id, End::Failed, *observer);
        }
        told
    }

    /// Whether somebody was idle for too long, and is closed.
    fn expire(&self) -> bool {
        let Flow { clients, observer, .. } = &mut *self.flow.borrow_mut();
        let before = clients.len();
        clients.expire(*observer);
        clients.len() < before
    }

    fn is_here(&self, id: Id) -> bool {
        id == Id::LISTENER || self.flow.borrow().clients.get(id).is_some()
    }
}
