//! The connections of one flow of control: admitted, looked after in turns, drained at the stop.

mod expiry;

use super::idle::{Idle, TICK};
use super::{Accepted, Connection, Front, Listener, Settings, Slab, Taken, Turn};
use crate::failure::Failure;
use crate::phase::{Call, Count, End, Id, Observer};
use crate::service::Service;
use crate::stop::Stop;
use crate::sys::{self, Address, Batch, Clock};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Whether calls on the connections may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Sockets as accept4 made them.
    Blocking,
    /// `O_NONBLOCK` on each.
    Nonblocking,
    /// As accept4 made them, and no call is made on them: a ring's operations wait, and nobody with them.
    Completion,
}

/// Clients taken in per turn: a storm of them must not starve those who are in.
const ADMITTED_PER_TURN: usize = 64;

/// The connections, by [`Id`], and the one receive buffer that they share.
#[derive(Debug)]
pub struct Clients {
    slab: Slab<Connection>,
    mode: Mode,
    most: usize,
    scratch: Box<[u8]>,
    /// Where datagrams come by the batch: room for one.
    batch: Option<Batch>,
    idle: Option<Idle>,
    /// A wait may have to end by itself: there is an idle time-out, or the listener rests.
    timed: bool,
    /// Clients of a Unix socket: what is sent is with the peer at once.
    local: bool,
    /// Of a blocking connection: how long all of it may take, and until when, on `CLOCK_MONOTONIC`.
    request_timeout: Option<Duration>,
    until: Option<Duration>,
    /// The last turn of the front has ended at its share: there may be more.
    more: bool,
}

impl Clients {
    /// Bytes that an idle connection costs in this process: its place in the table. Nothing else is
    /// allocated for it.
    pub const BYTES_PER_IDLE: usize = Slab::<Connection>::PLACE;

    /// No clients yet.
    #[must_use]
    pub fn new(settings: &Settings, mode: Mode) -> Self {
        Self {
            slab: Slab::default(),
            mode,
            most: settings.max_connections.unwrap_or(usize::MAX),
            scratch: vec![0; settings.buffer].into_boxed_slice(),
            batch: (settings.batch > 1).then(|| Batch::new(settings.batch, settings.buffer)),
            idle: settings.idle_timeout.map(Idle::new),
            timed: settings.idle_timeout.is_some(),
            local: false,
            request_timeout: settings.request_timeout,
            until: None,
            more: false,
        }
    }

    /// Takes the next waiting client in, within so many tries; `None` when nobody waits or nobody can be taken.
    fn admit<O: Observer>(
        &mut self,
        tries: &mut usize,
        listener: &mut Listener,
        observer: &mut O,
    ) -> Result<Option<Id>, Failure> {
        while *tries > 0 {
            *tries -= 1;
            match listener.accept(observer)? {
                Accepted::Client(socket, peer) => {
                    if let Some(id) = self.settle(socket, peer, observer) {
                        return Ok(Some(id));
                    }
                }
                Accepted::Gone => {}
                Accepted::Nobody | Accepted::Exhausted => break,
            }
        }
        Ok(None)
    }

    /// Takes in all who wait, up to a turn's share. `enter` puts each into the model's readiness set;
    /// a client that it cannot take is closed for the reason it gives. On a datagram socket nobody is taken in: the
    /// datagrams that wait are answered.
    ///
    /// # Errors
    /// Only when the front itself is broken.
    #[inline(never)]
    pub fn admit_all<S: Service + ?Sized, O: Observer>(
        &mut self,
        front: &mut Front,
        service: &S,
        observer: &mut O,
        mut enter: impl FnMut(&Connection, Id, &mut O) -> Result<(), End>,
    ) -> Result<(), Failure> {
        let mut tries = ADMITTED_PER_TURN;
        let listener = match front {
            Front::Stream(listener) => listener,
            Front::Datagram(socket) => {
                self.more = match &mut self.batch {
                    Some(batch) => socket.turn_batched(tries, batch, service, observer)?,
                    None => socket.turn(tries, &mut self.scratch, service, observer)?,
                };
                return Ok(());
            }
        };
        while let Some(id) = self.admit(&mut tries, listener, observer)? {
            let entered = self.slab.get(id).map(|connection| enter(connection, id, observer));
            if let Some(Err(end)) = entered {
                self.close(id, end, observer);
            }
        }
        self.timed |= front.rests();
        self.more = tries == 0;
        Ok(())
    }

    /// Whether [`admit_all`](Self::admit_all) has ended at a turn's share, and somebody may still wait: for a model
    /// that is told of each only once.
    #[must_use]
    pub fn front_has_more(&self) -> bool {
        self.more
    }

    /// Waits for the next client and takes it in; `None` to go round: interrupted, stopped or exhausted. On a
    /// datagram socket: waits for a datagram and answers it.
    ///
    /// # Errors
    /// As [`Clients::admit_all`].
    pub fn admit_waiting<S: Service + ?Sized, O: Observer>(
        &mut self,
        front: &mut Front,
        service: &S,
        observer: &mut O,
        stop: &Stop,
    ) -> Result<Option<Id>, Failure> {
        let listener = match front {
            Front::Stream(listener) => listener,
            Front::Datagram(socket) => {
                if let Some(batch) = &mut self.batch {
                    socket.turn_batched_waiting(batch, service, observer, stop)?;
                    return Ok(None);
                }
                let taken = socket.receive_waiting(&mut self.scratch, observer, stop)?;
                if let Taken::Packet(packet) = taken {
                    socket.answer(&packet, &mut self.scratch[..packet.len], service, observer);
                }
                return Ok(None);
            }
        };
        match listener.accept_waiting(observer, stop)? {
            Accepted::Client(socket, peer) => Ok(self.settle(socket, peer, observer)),
            Accepted::Gone | Accepted::Nobody => Ok(None),
            Accepted::Exhausted => listener.sit_out(observer, stop).map(|()| None),
        }
    }

    /// Gives an accepted client its place, or turns it away.
    pub fn settle<O: Observer>(
        &mut self,
        socket: OwnedFd,
        peer: Address,
        observer: &mut O,
    ) -> Option<Id> {
        if self.slab.len() >= self.most {
            observer.tally().notice(Count::Refused, || {
                format!("{peer} refused: {} connections are the limit", self.most)
            });
            observer.called(Call::Close);
            return None;
        }
        match self.mode {
            Mode::Nonblocking => {
                observer.called(Call::Fcntl);
                observer.called(Call::Fcntl);
                // Cannot fail on a socket that is open, and this one is.
                sys::set_nonblocking(&socket, true).ok()?;
            }
            Mode::Completion => {}
            // The two time-outs of the socket are the idle time-out of a flow that sleeps in its calls.
            Mode::Blocking => {
                if let Some(idle) = &self.idle {
                    observer.called(Call::Setsockopt);
                    observer.called(Call::Setsockopt);
                    sys::set_receive_timeout(&socket, idle.limit).ok()?;
                    sys::set_send_timeout(&socket, idle.limit).ok()?;
                }
            }
        }
        self.local = peer.ip().is_none();
        self.until = self.request_timeout.map(|limit| sys::clock_gettime(Clock::Monotonic) + limit);
        let mut connection = Connection::new(socket);
        if let Some(idle) = &self.idle {
            connection.moved = idle.now();
        }
        let id = self.slab.insert(connection);
        observer.opened(id, &peer);
        Some(id)
    }

    /// One turn of a connection; it is closed when that ends it. An identity whose connection is gone
    /// already (a stale event) is answered [`Turn::Empty`].
    #[inline(always)]
    pub fn turn<S: Service + ?Sized, O: Observer>(
        &mut self,
        id: Id,
        service: &S,
        observer: &mut O,
    ) -> Turn {
        let Some(connection) = self.slab.get_mut(id) else { return Turn::Empty };
        match connection.turn(id, &mut self.scratch, service, observer) {
            // Almost always: there is nothing to be done after it.
            Turn::Short if !self.timed => Turn::Short,
            turn => self.after(id, turn, observer),
        }
    }

    /// The same on a blocking connection: waits inside its calls.
    pub fn turn_waiting<S: Service + ?Sized, O: Observer>(
        &mut self,
        id: Id,
        service: &S,
        observer: &mut O,
        stop: &Stop,
    ) -> Turn {
        if let Some(over) = self.within_request(id, observer) {
            return self.after(id, over, observer);
        }
        let Some(connection) = self.slab.get_mut(id) else { return Turn::Empty };
        let turn = connection.turn_waiting(id, &mut self.scratch, service, observer, stop);
        let turn = if turn == Turn::Empty { self.shorten(id, observer) } else { turn };
        self.after(id, turn, observer)
    }

    #[inline(never)]
    fn after<O: Observer>(&mut self, id: Id, turn: Turn, observer: &mut O) -> Turn {
        match turn {
            Turn::Ended(end) => self.close(id, end, observer),
            Turn::Empty | Turn::StillStalled => {}
            _ => self.moved(id),
        }
        turn
    }

    /// A byte has moved: the idle time-out begins anew.
    pub(super) fn moved(&mut self, id: Id) {
        let (Some(idle), Some(connection)) = (&self.idle, self.slab.get_mut(id)) else { return };
        connection.moved = idle.now();
        if connection.stalled() {
            connection.unacknowledged = sys::siocoutq(&*connection).unwrap_or(0) as u32;
        }
        if connection.shortened {
            connection.shortened = sys::set_receive_timeout(&*connection, idle.limit).is_err();
        }
    }

    /// A signal has interrupted a receive that waits. The next one would wait for the whole time-out again,
    /// and under a steady stream of signals for ever: it gets what is left.
    fn shorten<O: Observer>(&mut self, id: Id, observer: &mut O) -> Turn {
        let (Some(idle), Some(connection)) = (&self.idle, self.slab.get_mut(id)) else {
            return Turn::Empty;
        };
        let waited = TICK * idle.now().saturating_sub(connection.moved);
        let left = idle.limit.saturating_sub(waited);
        if left.is_zero() {
            return Turn::Ended(End::TimedOut);
        }
        observer.called(Call::Setsockopt);
        connection.shortened = sys::set_receive_timeout(&*connection, left).is_ok();
        Turn::Empty
    }

    /// With `--request-timeout`: no call of the next turn may wait past its end.
    fn within_request<O: Observer>(&self, id: Id, observer: &mut O) -> Option<Turn> {
        let left = self.until?.saturating_sub(sys::clock_gettime(Clock::Monotonic));
        let connection = self.slab.get(id)?;
        if left.is_zero() {
            return Some(Turn::Ended(End::TimedOut));
        }
        let idle = self.idle.as_ref().map(|idle| idle.limit);
        let left = idle.map_or(left, |idle| left.min(idle));
        observer.called(Call::Setsockopt);
        observer.called(Call::Setsockopt);
        let armed = sys::set_receive_timeout(connection, left)
            .and_then(|()| sys::set_send_timeout(connection, left));
        armed.is_err().then_some(Turn::Ended(End::Failed))
    }

    /// Closes a connection. Its identity finds nothing from now on.
    #[inline(never)]
    pub fn close<O: Observer>(&mut self, id: Id, end: End, observer: &mut O) {
        if let Some(connection) = self.slab.remove(id) {
            if end == End::TimedOut {
                expiry::cut(&connection, observer);
            }
            observer.called(Call::Close);
            observer.closed(id, end);
        }
    }

    /// Whether the connection has more than one turn's share waiting, see [`Observer::receive`].
    #[must_use]
    pub fn carried(&self, id: Id) -> bool {
        self.slab.get(id).is_some_and(|connection| connection.carried)
    }

    /// Notes that the rest of a connection's input is left for the next turn.
    pub fn carry(&mut self, id: Id) {
        if let Some(connection) = self.slab.get_mut(id) {
            connection.carried = true;
        }
    }

    /// A connection, unless it is gone. Asked for where a stall begins or ends: rarely.
    #[must_use]
    #[inline(never)]
    pub fn get(&self, id: Id) -> Option<&Connection> {
        self.slab.get(id)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Connection> {
        self.slab.get_mut(id)
    }

    /// All connections.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &Connection)> {
        self.slab.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// Upper end of the slots to walk while connections come and go; see [`Clients::at`].
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.slab.places()
    }

    /// Who has this slot now.
    #[must_use]
    pub fn at(&self, slot: u32) -> Option<Id> {
        self.slab.at(slot)
    }

    /// Whether calls on the connections may wait.
    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether what is sent is with the peer at once, and need not be acknowledged.
    pub(super) fn local(&self) -> bool {
        self.local
    }

    /// The receive buffer.
    pub(super) fn scratch(&mut self) -> &mut [u8] {
        &mut self.scratch
    }

    /// Bytes of one receive at most.
    pub(super) fn buffer(&self) -> usize {
        self.scratch.len()
    }

    /// For the drain: the turn receives at most `most` bytes, which fit into the buffer.
    pub(super) fn turn_limited<S: Service + ?Sized, O: Observer>(
        &mut self,
        id: Id,
        most: usize,
        service: &S,
        observer: &mut O,
    ) -> Turn {
        let Some(connection) = self.slab.get_mut(id) else { return Turn::Empty };
        let turn = connection.turn(id, &mut self.scratch[..most], service, observer);
        self.after(id, turn, observer)
    }
}

#[cfg(test)]
mod tests {
    use super::Clients;

    #[test]
    fn an_idle_connection_costs_what_the_docs_say() {
        // docs/architecture.md and docs/models.md state this figure.
        assert_eq!(Clients::BYTES_PER_IDLE, 32);
    }
}
