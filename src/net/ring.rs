//! A ring of completions in the service of a model: what is in flight, and what comes of it.
//!
//! The model sees clients and inputs; here are the answers' ways back. One send of a connection is in flight at a time, and what is answered
//! meanwhile queues behind it. A send is tried at once, with the turn's next call. If the kernel does not take all of it, the client does not
//! read: its receive is cancelled, and the rest waits for room, in memory of its own, so that a slow reader keeps
//! no buffer from the others.

mod packets;

use super::flights::{Flights, Over, Sending};
use super::{Clients, Front, Settings};
use crate::failure::{During, Failure};
use crate::phase::{Call, Count, End, Id, Observer};
use crate::service::Service;
use crate::stop::Stop;
use crate::sys::{self, Completion, Rest, Sent, Taken, Uring, Wait};
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

/// Operations that are handed over together at most; more take another call.
const OPERATIONS: u32 = 1024;
/// An operation of Linux 6.0, which has multishot receives as well (`IORING_OP_SEND_ZC`).
const LINUX_6_0: u8 = 47;
/// An operation of Linux 6.1, which has sends to an address as well (`IORING_OP_SENDMSG_ZC`).
const LINUX_6_1: u8 = 48;
/// Completions that the ring has room for; the kernel keeps more aside, at a price.
const COMPLETIONS: usize = 4096;
/// Memory of the provided buffers together, in bytes, where that gives a number between the two below.
const MEMORY: usize = 512 << 10;
const LEAST_BUFFERS: usize = 4;
const MOST_BUFFERS: usize = 1 << 15;
/// Bytes of a send of several answers, unless one is longer. Large pieces have a receiver with a small buffer count on large segments: when it
/// begins to read, its window stays below one of them, and the rest trickles by the timers of window probes.
const PIECE: usize = 4096;
/// So many bytes of answers behind a send in flight are enough: no more is received from that client until fewer are left.
const ENOUGH: usize = 64 << 10;
/// At the end: so much in flight is cancelled at once.
const FEW: usize = 64;
/// At the end: how long a completion of what was cancelled is waited for, before it is cancelled again.
const PATIENCE: Duration = Duration::from_millis(10);

/// The operation that brings input, as the lines of `--phases` call it.
const RECEIVE: &str = "IORING_OP_RECV";

/// A ring, its provided buffers, and what is in flight for each connection.
#[derive(Debug)]
pub struct Ring {
    raw: Uring,
    flights: Flights,
    /// Sends that the next call hands over.
    sends: usize,
    /// Something waits for one of them to be over, which nobody will tell: the next call must not wait.
    behind: bool,
    sent: Vec<Sent>,
    completions: VecDeque<Completion>,
    /// Bytes of one send at most, where several answers go out together.
    piece: usize,
    /// One accept after the other, so that the limit is kept by those who wait in the backlog; otherwise one operation takes all.
    limited: bool,
    /// The end has begun: nothing new is asked for.
    landing: bool,
    /// The last call has brought nothing.
    quiet: bool,
}

impl Ring {
    /// A ring with buffers as large as a receive may be.
    ///
    /// # Errors
    /// The call, its errno, and what can be done about it.
    pub fn new(settings: &Settings, front: &Front) -> Result<Self, Failure> {
        let completions = settings.ring.unwrap_or(COMPLETIONS).clamp(2, 1 << 20) as u32;
        let size = match front {
            Front::Stream(_) => settings.buffer,
            Front::Datagram(_) => settings.buffer + Uring::PACKET_FRONT,
        };
        let buffers = (MEMORY / size).clamp(LEAST_BUFFERS, MOST_BUFFERS) as u32;
        let operations = OPERATIONS.min(completions);
        let oldest = oldest(matches!(front, Front::Datagram(_)));
        let raw = start(operations, completions, (buffers, size as u32), oldest)?;
        Ok(Self {
            raw,
            flights: Flights::default(),
            sends: 0,
            behind: false,
            sent: Vec::new(),
            completions: VecDeque::new(),
            piece: settings.buffer.max(PIECE),
            limited: settings.max_connections.is_some(),
            landing: false,
            quiet: false,
        })
    }

    /// Whether this machine has what a ring needs, for streams or for datagrams.
    ///
    /// # Errors
    /// The call, its errno, and what can be done about it.
    pub fn available(datagrams: bool) -> Result<(), Failure> {
        start(1, 2, (1, 64), oldest(datagrams)).map(drop)
    }

    /// Has the stop end a wait.
    pub fn watch(&mut self, stop: &Stop) {
        self.raw.poll(stop);
    }

    /// Asks for clients, or for datagrams.
    pub fn listen(&mut self, front: &Front) {
        match front {
            _ if self.landing => {}
            Front::Stream(listener) => self.raw.accept(listener, !self.limited),
            Front::Datagram(socket) => self.raw.receive_packets(socket),
        }
    }

    /// Whether to go on: until the stop, and then until nothing is in flight any more. After the stop everything in flight is
    /// cancelled; what has come before that is answered.
    pub fn flies(&mut self, clients: &Clients, stop: &Stop) -> bool {
        if !stop.requested() {
            return true;
        }
        if !std::mem::replace(&mut self.landing, true) && self.raw.flights() > FEW {
            self.cancel_each(clients);
        }
        if self.raw.flights() > 0 && (self.raw.flights() <= FEW || self.quiet) {
            self.raw.cancel_all();
        }
        self.raw.flights() + self.raw.unread() + self.sends > 0
    }

    /// Cancels what is in flight one by one, since the kernel finds each by its token: all at once it takes 36 s of CPU time for 9,000 clients.
    fn cancel_each(&mut self, clients: &Clients) {
        self.raw.cancel_accept();
        for (id, _) in clients.iter() {
            let flight = self.flights.of(id);
            if flight.receiving && !std::mem::replace(&mut flight.cancelled, true) {
                self.raw.cancel_receive(id.token());
            }
            let waits = flight.sending == Sending::Waiting;
            if waits && !std::mem::replace(&mut flight.broken_off, true) {
                self.raw.cancel_send(id.token());
            }
        }
    }

    /// Hands over what was asked for and answered since the last time, and waits until something has come: **wait** and **copy**.
    ///
    /// # Errors
    /// A ring that does not work any more.
    pub fn enter<O: Observer>(
        &mut self,
        clients: &mut Clients,
        timeout: Option<Duration>,
        observer: &mut O,
    ) -> Result<(), Failure> {
        // Who watches has the sends by themselves, and sees them before the wait. What is sent behind one of them is handed over in turn.
        while O::STAMPS && self.sends > 0 {
            let sends = std::mem::take(&mut self.sends);
            let handed = observer.hand_over(sends, || self.raw.enter(Wait::Not));
            tolerate(handed, observer)?;
            self.raw.collect(&mut self.sent, &mut self.completions);
            self.behind &= self.raw.unread() > 0;
            self.land(clients, observer);
        }
        let wait = match self.landing {
            true if self.raw.flights() > 0 => Wait::For(Some(PATIENCE)),
            true => Wait::Look,
            false if self.behind || !self.completions.is_empty() => Wait::Look,
            false => Wait::For(timeout),
        };
        self.sends = 0;
        let behind = std::mem::take(&mut self.behind);
        let mut more = 0;
        let entered = observer.complete(|| {
            let mut entered = self.raw.enter(wait);
            self.raw.collect(&mut self.sent, &mut self.completions);
            // What is aside comes when there is room, and the sends are over behind it. All of it at once: receives that are asked for
            // again meanwhile, and find no buffer, would put as much aside as is fetched.
            while self.raw.aside() && entered.as_ref().map_or_else(goes_on, |_| true) {
                entered = self.raw.enter(Wait::Look);
                self.raw.collect(&mut self.sent, &mut self.completions);
                more += 1;
            }
            let inputs = || self.completions.iter().filter(|c| !matches!(c, Completion::Ready));
            entered.map(|_| inputs().count())
        });
        (0..more).for_each(|_| observer.called(Call::IoUringEnter));
        // Interrupted before the kernel has read them.
        self.behind = behind && self.raw.unread() > 0;
        tolerate(entered, observer)?;
        self.quiet = self.sent.is_empty() && self.completions.is_empty();
        self.land(clients, observer);
        Ok(())
    }

    /// What is to be said and done of the sends that are over.
    fn land<O: Observer>(&mut self, clients: &mut Clients, observer: &mut O) {
        let mut sent = std::mem::take(&mut self.sent);
        sent.drain(..).for_each(|sent| self.landed(clients, sent, observer));
        // For its memory.
        self.sent = sent;
    }

    /// The next completion of the last call.
    pub fn completion(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    /// Asks for the input of a new client.
    pub fn receive(&mut self, clients: &mut Clients, id: Id) {
        self.flights.begin(id);
        if let Some(connection) = clients.get(id).filter(|_| !self.landing) {
            self.raw.receive(connection, id.token());
            self.flights.of(id).receiving = true;
        }
    }

    /// Answers what a receive has brought; `more` says that it goes on by itself.
    pub fn answer<S: Service + ?Sized, O: Observer>(
        &mut self,
        clients: &mut Clients,
        id: Id,
        (input, more): (io::Result<Option<Taken>>, bool),
        service: &S,
        observer: &mut O,
    ) {
        let flight = self.flights.of(id);
        flight.receiving = more;
        flight.cancelled &= more;
        match input {
            // It has said its last word already.
            Ok(Some(taken)) if flight.over.is_some() => self.raw.give_back(taken),
            Ok(Some(taken)) => self.reply(clients, id, taken, service, observer),
            Ok(None) => {
                observer.receive_completed(id, RECEIVE, &0_usize);
                flight.over.get_or_insert(Over::Sent(End::EndOfFile));
            }
            Err(error) => match super::connection::completed(&error) {
                // No buffer was left, or it was cancelled: asked for again as soon as it may be.
                None => {}
                Some(end) => flight.over = Some(Over::Now(end)),
            },
        }
        self.go_on(clients, id, observer);
    }

    fn reply<S: Service + ?Sized, O: Observer>(
        &mut self,
        clients: &mut Clients,
        id: Id,
        mut taken: Taken,
        service: &S,
        observer: &mut O,
    ) {
        observer.receive_completed(id, RECEIVE, &taken.len());
        let bytes = self.raw.bytes(&mut taken);
        let (reply, close) = super::connection::answer(service, observer, bytes);
        clients.moved(id);
        let flight = self.flights.of(id);
        if close {
            flight.over = Some(Over::Sent(End::Served));
        }
        let Some(connection) = clients.get_mut(id) else { return self.raw.give_back(taken) };
        if reply == 0 {
            self.raw.give_back(taken);
        } else if flight.sending == Sending::Nothing && !connection.stalled() {
            flight.sending = Sending::AtOnce;
            self.sends += 1;
            self.raw.send_buffer(&*connection, id.token(), taken, reply);
        } else {
            connection.queue(&self.raw.bytes(&mut taken)[..reply]);
            self.raw.give_back(taken);
        }
    }

    /// A send is over.
    fn landed<O: Observer>(&mut self, clients: &mut Clients, sent: Sent, observer: &mut O) {
        if sent.packet {
            return packets::posted(&sent, observer);
        }
        let Sent { token, len, result, waited, rest, .. } = sent;
        let id = Id::of_token(token);
        let flight = self.flights.of(id);
        flight.sending = Sending::Nothing;
        let Some(connection) = clients.get_mut(id) else { return };
        let short = !matches!(result, Ok(n) if n == len);
        connection.land(rest);
        match result {
            Ok(n) => observer.send_completed(id, len, n, waited),
            Err(error) => match super::connection::completed(&error) {
                None => observer.send_completed(id, len, 0, waited),
                Some(end) => flight.over = Some(Over::Now(end)),
            },
        }
        if short && flight.over.is_none_or(|over| matches!(over, Over::Sent(_))) && !self.landing {
            // There was no room for it: now it waits for some.
            let rest = connection.fly();
            self.raw.send_waiting(&*connection, token, rest, self.piece);
            flight.sending = Sending::Waiting;
        }
        // A whole one at once was over before the wait that ended just now, and moved when it was handed over.
        if waited || short {
            clients.moved(id);
        }
        self.go_on(clients, id, observer);
    }

    /// What is to be done next for a connection.
    fn go_on<O: Observer>(&mut self, clients: &mut Clients, id: Id, observer: &mut O) {
        let (token, landing) = (id.token(), self.landing);
        let flight = self.flights.of(id);
        let Some(connection) = clients.get_mut(id) else { return };
        if flight.sending == Sending::Nothing && !matches!(flight.over, Some(Over::Now(_))) {
            match (flight.over, connection.stalled()) {
                (_, true) if !landing => {
                    // Answered while another send was in flight.
                    let rest: Rest = connection.fly();
                    self.raw.send_bytes(&*connection, token, rest, self.piece);
                    flight.sending = Sending::AtOnce;
                    self.sends += 1;
                }
                // The drain sends it, and must not answer what has come behind the service's last word.
                (Some(Over::Sent(End::Served)), true) => connection.close_behind(),
                (Some(Over::Sent(end)), false) => flight.over = Some(Over::Now(end)),
                _ => {}
            }
        }
        self.behind |=
            flight.sending == Sending::AtOnce && (connection.stalled() || flight.over.is_some());
        let enough = connection.unsent() > ENOUGH.max(self.piece);
        let unread = flight.sending == Sending::Waiting || flight.over.is_some() || enough;
        if unread && flight.receiving && !flight.cancelled {
            flight.cancelled = true;
            self.raw.cancel_receive(token);
        } else if !unread && !flight.receiving && !landing {
            self.raw.receive(&*connection, token);
            flight.receiving = true;
        }
        let Some(Over::Now(end)) = flight.over else { return };
        if flight.sending == Sending::Waiting && !flight.broken_off {
            flight.broken_off = true;
            self.raw.cancel_send(token);
        }
        // Closed when nothing is in flight on it: the kernel would go on with the socket, and we with a stranger's number.
        if !flight.receiving && flight.sending == Sending::Nothing {
            clients.close(id, end, observer);
        }
    }

    /// Closes the connections on which no byte has moved for too long.
    pub fn expire<O: Observer>(&mut self, clients: &mut Clients, observer: &mut O) {
        for id in clients.expired(observer) {
            self.flights.of(id).over = Some(Over::Now(End::TimedOut));
            self.go_on(clients, id, observer);
        }
    }
}

/// The operation that tells whether a kernel is new enough.
fn oldest(datagrams: bool) -> u8 {
    if datagrams { LINUX_6_1 } else { LINUX_6_0 }
}

/// Makes a ring, or says why there is none.
fn start(
    operations: u32,
    completions: u32,
    (buffers, size): (u32, u32),
    oldest: u8,
) -> Result<Uring, Failure> {
    let mut ring = Uring::setup(operations, completions)
        .map_err(|error| refused("io_uring_setup", "", error))?;
    let known = ring.knows(oldest).map_err(|error| refused("io_uring_register", "probe", error))?;
    if !known {
        return Err(refused("io_uring_register", "probe", sys::uring_too_old()));
    }
    ring.provide(buffers, size).map_err(|error| refused("io_uring_register", "buffers", error))?;
    Ok(ring)
}

fn refused(call: &'static str, object: &str, error: io::Error) -> Failure {
    let hint = sys::uring_remedy(&error);
    Failure::new(call, object, error).hint(Some(hint))
}

/// Whether a ring goes on after this: a signal, the end of the time, no memory at this moment.
fn goes_on(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted || sys::uring_goes_on(error)
}

/// What may happen to a ring's call in any turn.
fn tolerate<O: Observer>(entered: io::Result<usize>, observer: &O) -> Result<(), Failure> {
    match entered {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            observer.tally().add(Count::Interrupted, 1);
            Ok(())
        }
        Err(error) if sys::uring_goes_on(&error) => Ok(()),
        entered => entered.map(drop).during("io_uring_enter", ""),
    }
}
