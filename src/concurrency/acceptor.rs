//! Takes requests from the front, one at a time, and hears of everything else that its flow waits for: the stop, children
//! that end, a pool that has room again. On epoll, so that each costs the same however many there are.

use super::admission::{Admission, Pass};
use super::{Client, Letter, Limits, Task, Work};
use crate::failure::{During, Failure};
use crate::net::{Accepted, Front, Taken, interrupted_is_none};
use crate::phase::{Call, Count, Id, Observer};
use crate::stop::Stop;
use crate::sys::{self, Address, Clock, Epoll, EpollEvent, Interest};
use std::os::fd::AsFd;
use std::time::Duration;

/// Why [`Acceptor::next`] returned.
#[derive(Debug)]
pub(super) enum Event {
    /// A request, to be served by whoever.
    Task(Box<Task>),
    /// Something else that was put into the set is ready.
    Ready(Id),
    /// Nothing has happened for as long as the caller asked.
    Idle,
    /// No more requests: the stop, or the limits, say so.
    Over,
}

/// What a look at the front brought.
enum Got {
    Task(Box<Task>),
    /// Somebody who is gone again, or may not come in; there may be others.
    NotThisOne,
    Nobody,
}

/// The front of a server and the set that its flow waits for.
#[derive(Debug)]
pub(super) struct Acceptor<'l> {
    front: Option<Front>,
    epoll: Option<Epoll>,
    limits: &'l Limits,
    admission: Admission,
    /// For datagrams.
    buffer: Box<[u8]>,
    interest: Interest,
    /// What the front is registered for now.
    told: Interest,
    paused: bool,
    taken: u64,
    gives_up: Option<Duration>,
}

impl<'l> Acceptor<'l> {
    /// With `shared`, other processes wait for the same front, and a client wakes one of them only.
    pub(super) fn new(
        front: Front,
        shared: bool,
        limits: &'l Limits,
        stop: &Stop,
    ) -> Result<Self, Failure> {
        front.set_nonblocking()?;
        let interest = if shared { Interest::READ_EXCLUSIVE } else { Interest::READ };
        let epoll = sys::epoll_create1().during("epoll_create1", "")?;
        epoll.add(stop, Interest::READ, Id::STOP.token()).during("epoll_ctl", "stop")?;
        epoll.add(&front, interest, Id::LISTENER.token()).during("epoll_ctl", "listener")?;
        let datagrams = matches!(front, Front::Datagram(_));
        let now = || sys::clock_gettime(Clock::Monotonic);
        Ok(Self {
            front: Some(front),
            epoll: Some(epoll),
            limits,
            admission: Admission::new(limits.max_connections, limits.per_peer),
            buffer: vec![0; if datagrams { limits.buffer } else { 0 }].into_boxed_slice(),
            interest,
            told: interest,
            paused: false,
            taken: 0,
            gives_up: limits.timeout.map(|timeout| now() + timeout),
        })
    }

    /// In a forked child, which has nothing to accept: closes its copies of all of it.
    pub(super) fn give_up(&mut self) {
        (self.front, self.epoll) = (None, None);
    }

    fn epoll(&self) -> &Epoll {
        self.epoll.as_ref().expect("only a child has given it up, and it accepts nobody")
    }

    /// Hears of `fd` as well, as [`Event::Ready`] with this identity.
    pub(super) fn watch(&self, fd: impl AsFd, id: Id) -> Result<(), Failure> {
        self.epoll().add(fd, Interest::READ, id.token()).during("epoll_ctl", "")
    }

    /// Not any more. Closing would not be enough: a child may hold a copy.
    pub(super) fn forget(&self, fd: impl AsFd) {
        // ENOENT is what is wanted.
        let _ = self.epoll().delete(fd);
    }

    /// Takes nobody until told otherwise: who comes waits in the kernel.
    pub(super) fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Closes the listener; a datagram socket stays, for the answers, and is returned.
    pub(super) fn close(&mut self) -> Option<crate::net::Datagrams> {
        let front = self.front.take()?;
        self.forget(&front);
        match front {
            Front::Stream(_) => None,
            Front::Datagram(socket) => Some(socket),
        }
    }

    /// Waits for the next event, at most for `timeout`.
    ///
    /// # Errors
    /// Set-up and a broken front; no client's.
    pub(super) fn next<W: Work<O>, O: Observer>(
        &mut self,
        work: &W,
        observer: &mut O,
        stop: &Stop,
        timeout: Option<Duration>,
    ) -> Result<Event, Failure> {
        loop {
            let spent = self.limits.requests.is_some_and(|most| self.taken >= most);
            let now = || sys::clock_gettime(Clock::Monotonic);
            if stop.requested() || spent || self.gives_up.is_some_and(|end| end <= now()) {
                return Ok(Event::Over);
            }
            work.turned();
            self.adjust(observer)?;
            let wait = self.patience(timeout);
            // wait
            let mut events = [EpollEvent::EMPTY];
            let ready =
                observer.wait(Call::EpollWait, || self.epoll().epoll_wait(&mut events, wait));
            let ready = interrupted_is_none(ready, observer).during("epoll_wait", "")?;
            match Id::of_token(events[0].token()) {
                _ if ready == 0 => {
                    if self.gives_up.is_none() {
                        return Ok(Event::Idle);
                    }
                }
                Id::STOP => {}
                Id::LISTENER => {
                    if let Got::Task(task) = self.take(work, observer)? {
                        self.taken += 1;
                        work.took();
                        return Ok(Event::Task(task));
                    }
                }
                id => return Ok(Event::Ready(id)),
            }
        }
    }

    /// Waits for something of the set that is no request, at most for `timeout`: for the time after the last one.
    pub(super) fn wait<O: Observer>(
        &mut self,
        observer: &mut O,
        timeout: Option<Duration>,
    ) -> Result<Option<Id>, Failure> {
        let mut events = [EpollEvent::EMPTY];
        let ready =
            observer.wait(Call::EpollWait, || self.epoll().epoll_wait(&mut events, timeout));
        let ready = interrupted_is_none(ready, observer).during("epoll_wait", "")?;
        Ok((ready > 0).then(|| Id::of_token(events[0].token())))
    }

    /// Tells epoll whether the front is wanted: not while it rests or is paused.
    fn adjust<O: Observer>(&mut self, observer: &mut O) -> Result<(), Failure> {
        let (Some(front), Some(epoll)) = (&mut self.front, &self.epoll) else { return Ok(()) };
        front.wakes();
        let wanted = !(front.rests() || self.paused);
        let interest = if wanted { self.interest } else { Interest::NONE };
        if interest == self.told {
            return Ok(());
        }
        observer.called(Call::EpollCtl);
        // An exclusive registration cannot be modified (epoll_ctl(2)): out and in again.
        let token = Id::LISTENER.token();
        if self.interest == Interest::READ_EXCLUSIVE {
            epoll.delete(&*front).during("epoll_ctl", "listener")?;
            epoll.add(&*front, interest, token).during("epoll_ctl", "listener")?;
        } else {
            epoll.modify(&*front, interest, token).during("epoll_ctl", "listener")?;
        }
        self.told = interest;
        Ok(())
    }

    /// How long the next wait may take.
    fn patience(&self, timeout: Option<Duration>) -> Option<Duration> {
        let rest = self.front.as_ref().and_then(Front::rests_until);
        let until = [rest, self.gives_up].into_iter().flatten().min();
        let until = until.map(|end| end.saturating_sub(sys::clock_gettime(Clock::Monotonic)));
        [until, timeout, self.limits.interval].into_iter().flatten().min()
    }

    /// The request that waits, unless it is gone again or may not come in.
    fn take<W: Work<O>, O: Observer>(
        &mut self,
        work: &W,
        observer: &mut O,
    ) -> Result<Got, Failure> {
        let task = match &mut self.front {
            Some(Front::Stream(listener)) => {
                let (socket, peer) = match listener.accept(observer)? {
                    Accepted::Client(socket, peer) => (socket, peer),
                    Accepted::Gone => return Ok(Got::NotThisOne),
                    Accepted::Nobody | Accepted::Exhausted => return Ok(Got::Nobody),
                };
                let pass = self.pass(&peer, work, observer);
                match pass {
                    Some(_) => observer.accepted(&peer),
                    None => observer.called(Call::Close),
                }
                pass.map(|pass| Task::Connection(Client { socket, peer, pass }))
            }
            Some(Front::Datagram(socket)) => {
                let socket = socket.clone();
                let packet = match socket.receive(&mut self.buffer, observer)? {
                    Taken::Packet(packet) => packet,
                    Taken::Lost => return Ok(Got::NotThisOne),
                    Taken::Nobody => return Ok(Got::Nobody),
                };
                let bytes = self.buffer[..packet.len].into();
                let pass = self.pass(&packet.from, work, observer);
                pass.map(|pass| Task::Datagram(Letter { packet, bytes, socket, pass }))
            }
            None => return Ok(Got::Nobody),
        };
        Ok(task.map_or(Got::NotThisOne, |task| Got::Task(Box::new(task))))
    }

    /// Whether a peer comes in.
    fn pass<W: Work<O>, O: Observer>(
        &self,
        peer: &Address,
        work: &W,
        observer: &O,
    ) -> Option<Pass> {
        let refuse = |why: &str| {
            observer.tally().notice(Count::Refused, || format!("{peer} refused: {why}"));
        };
        if !work.admits(peer) {
            refuse("not admitted");
            return None;
        }
        self.admission.enter(peer).inspect_err(|why| refuse(why)).ok()
    }

    /// What the datagram socket still holds at the end, one after the other, each for `then`; counts what it dropped.
    pub(super) fn drain<W: Work<O>, O: Observer>(
        &mut self,
        work: &W,
        observer: &mut O,
        mut then: impl FnMut(Task, &mut O),
    ) -> Result<(), Failure> {
        let Some(Front::Datagram(socket)) = &self.front else { return Ok(()) };
        let spent = self.limits.requests.is_some();
        for _ in 0..if spent { 0 } else { socket.last_look(observer) } {
            match self.take(work, observer)? {
                Got::Task(task) => then(*task, observer),
                Got::NotThisOne => {}
                Got::Nobody => break,
            }
        }
        Ok(())
    }
}
