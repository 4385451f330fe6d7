//! One client's connection: receive, answer, keep what did not fit.

use crate::phase::{Count, End, Id, Observer};
use crate::service::{Answer, Service};
use crate::stop::Stop;
use crate::sys::{self, Received, Rest};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What came of a connection's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Less than a buffer came and is answered: a stream that was read short is drained.
    Short,
    /// A whole buffer came and is answered: there may be more.
    Full,
    /// Nothing was there (`EAGAIN`); on a blocking socket: a signal came first.
    Empty,
    /// The kernel did not take all of the answer. The rest is kept, and nothing is read from this
    /// client until it is gone: from now on the connection waits for room.
    Stalled,
    /// Some more of it is gone, not all.
    Draining,
    /// Still no room.
    StillStalled,
    /// The kept rest is gone: from now on the connection waits for data again.
    Flushed,
    /// It is over.
    Ended(End),
}

/// A connected socket and the part of the last answer that the kernel has not taken.
///
/// The receive buffer belongs to the flow of control, so an idle connection is this and no more.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    /// See [`Observer::receive`].
    pub(super) carried: bool,
    /// `SO_RCVTIMEO` is what a signal has left of the idle time-out, not all of it.
    pub(super) shortened: bool,
    /// When a byte last moved, in ticks of the idle clock.
    pub(super) moved: u32,
    /// With an idle clock: what the peer had not acknowledged when the output last stalled or moved.
    pub(super) unacknowledged: u32,
    /// The rest of one answer; of a ring's connection, of several.
    output: Option<Box<Kept>>,
}

/// What the kernel has not taken of an answer, so never more than one buffer.
#[derive(Debug, Default)]
struct Kept {
    rest: Rest,
    /// Before these a ring sends so many bytes more, which it was given.
    in_flight: usize,
    /// The service wants the connection closed once they are gone.
    close: bool,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, carried: false, shortened: false, moved: 0, unacknowledged: 0, output: None }
    }

    /// Whether output is kept: the connection waits for room, not for data.
    #[must_use]
    pub fn stalled(&self) -> bool {
        self.output.is_some()
    }

    /// For a ring: puts an answer behind those that are not sent yet.
    pub(super) fn queue(&mut self, bytes: &[u8]) {
        self.output.get_or_insert_default().rest.bytes.extend_from_slice(bytes);
    }

    /// For a ring: how many bytes are to be sent, with those that it was given to send.
    pub(super) fn unsent(&self) -> usize {
        self.output.as_ref().map_or(0, |kept| kept.rest.unsent().len() + kept.in_flight)
    }

    /// For a ring: gives away what is to be sent. Until [`land`](Self::land) the connection waits for room.
    pub(super) fn fly(&mut self) -> Rest {
        let kept = self.output.get_or_insert_default();
        let rest = std::mem::take(&mut kept.rest);
        kept.in_flight = rest.unsent().len();
        rest
    }

    /// For a ring: takes back what was not sent, before what was answered meanwhile.
    pub(super) fn land(&mut self, rest: Rest) {
        if rest.unsent().is_empty() && self.output.is_none() {
            return;
        }
        let kept = self.output.get_or_insert_default();
        kept.in_flight = 0;
        if !rest.unsent().is_empty() {
            let Rest { mut bytes, mut from } = rest;
            // What is sent goes when it is the larger part: moving the other costs less than it did to send this.
            if from > bytes.len() / 2 {
                drop(bytes.drain(..std::mem::take(&mut from)));
            }
            let behind = std::mem::replace(&mut kept.rest, Rest { bytes, from });
            kept.rest.bytes.extend_from_slice(behind.unsent());
        }
        if kept.rest.unsent().is_empty() {
            self.output = None;
        }
    }

    /// For a ring that stops: what is kept ends the connection.
    pub(super) fn close_behind(&mut self) {
        if let Some(kept) = &mut self.output {
            kept.close = true;
        }
    }

    // The way of a request becomes part of each model's loop (`inline`): what it costs in this process are a few loads and
    // comparisons, and handing them over would cost more. What is rare is left outside (`cold`), where it takes no register.

    /// One turn without waiting: sends what is kept, **or** receives once into `scratch` and answers.
    #[inline(always)]
    pub(super) fn turn<S: Service + ?Sized, O: Observer>(
        &mut self,
        id: Id,
        scratch: &mut [u8],
        service: &S,
        observer: &mut O,
    ) -> Turn {
        if self.output.is_some() {
            return self.flush(id, observer);
        }
        let carried = std::mem::take(&mut self.carried);
        // copy
        match self.receive(id, carried, scratch, observer) {
            Ok(n) => self.received(id, n, scratch, service, observer),
            Err(error) => self.turn_again(id, carried, error, scratch, service, observer),
        }
    }

    #[inline(always)]
    fn receive<O: Observer>(
        &self,
        id: Id,
        carried: bool,
        scratch: &mut [u8],
        observer: &mut O,
    ) -> io::Result<usize> {
        observer.receive(id, carried, || sys::recv(&self.socket, scratch))
    }

    /// The rest of a turn whose receive has failed, and perhaps only by a signal.
    #[cold]
    fn turn_again<S: Service + ?Sized, O: Observer>(
        &mut self,
        id: Id,
        carried: bool,
        error: io::Error,
        scratch: &mut [u8],
        service: &S,
        observer: &mut O,
    ) -> Turn {
        match again(error, observer, |observer| self.receive(id, carried, scratch, observer)) {
            Ok(n) => self.received(id, n, scratch, service, observer),
            Err(error) => failed(&error),
        }
    }

    /// Answers `n` bytes.
    #[inline(always)]
    fn received<S: Service + ?Sized, O: Observer>(
        &mut self,
        id: Id,
        n: usize,
        scratch: &mut [u8],
        service: &S,
        observer: &mut O,
    ) -> Turn {
        if n == 0 {
            Turn::Ended(End::EndOfFile)
        } else if n < scratch.len() {
            self.answer(id, &mut scratch[..n], Turn::Short, service, observer)
        } else {
            self.answer_full(id, scratch, service, observer)
        }
    }

    /// Has the service answer, in place; `served` is what has come of the turn when all of it is sent.
    #[inline(always)]
    fn answer<S: Service + ?Sized, O: Observer>(
        &mut self,
        id: Id,
        bytes: &mut [u8],
        served: Turn,
        service: &S,
        observer: &mut O,
    ) -> Turn {
        match observer.service(|| service.stream(bytes)) {
            Answer::Send(n) if n == bytes.len() => self.reply(id, bytes, served, observer),
            answer => self.reply_otherwise(id, bytes, answer, served, observer),
        }
    }

    #[inline(never)]
    fn answer_full<S: Service + ?Sized, O: Observer>(
        &mut self,
        id: Id,
        bytes: &mut [u8],
        service: &S,
        observer: &mut O,
    ) -> Turn {
        self.answer(id, bytes, Turn::Full, service, observer)
    }

    /// Sends an answer, and keeps what there is no room for.
    #[inline(always)]
    fn reply<O: Observer>(&mut self, id: Id, bytes: &[u8], served: Turn, observer: &mut O) -> Turn {
        // send
        match self.send(id, bytes, observer) {
            Ok(n) if n == bytes.len() => served,
            Ok(n) => self.keep(&bytes[n..], served),
            Err(error) => self.reply_again(id, error, bytes, served, observer),
        }
    }

    /// The same where the answer is shorter than the request, or is the last one.
    #[cold]
    fn reply_otherwise<O: Observer>(
        &mut self,
        id: Id,
        bytes: &[u8],
        answer: Answer,
        served: Turn,
        observer: &mut O,
    ) -> Turn {
        let (n, close) = within(answer, bytes.len());
        let served = if close { Turn::Ended(End::Served) } else { served };
        if n == 0 { served } else { self.reply(id, &bytes[..n], served, observer) }
    }

    /// Sends without waiting.
    #[inline(always)]
    fn send<O: Observer>(&self, id: Id, bytes: &[u8], observer: &mut O) -> io::Result<usize> {
        observer.send(id, bytes.len(), || sys::send(&self.socket, bytes))
    }

    /// The same where the send has failed, and perhaps only for want of room, or by a signal.
    #[cold]
    fn reply_again<O: Observer>(
        &mut self,
        id: Id,
        error: io::Error,
        bytes: &[u8],
        served: Turn,
        observer: &mut O,
    ) -> Turn {
        let sent = again(error, observer, |observer| self.send(id, bytes, observer));
        match room(sent) {
            Ok(n) if n == bytes.len() => served,
            Ok(n) => self.keep(&bytes[n..], served),
            Err(ended) => ended,
        }
    }

    /// What the kernel has not taken of an answer waits until there is room.
    #[cold]
    fn keep(&mut self, rest: &[u8], served: Turn) -> Turn {
        let close = served == Turn::Ended(End::Served);
        let rest = Rest { bytes: rest.to_vec(), from: 0 };
        self.output = Some(Box::new(Kept { rest, in_flight: 0, close }));
        Turn::Stalled
    }

    /// Sends what is kept, as far as there is room.
    #[cold]
    fn flush<O: Observer>(&mut self, id: Id, observer: &mut O) -> Turn {
        let Some(mut kept) = self.output.take() else { return Turn::Empty };
        let bytes = kept.rest.unsent();
        let sent = uninterrupted(observer, |observer| self.send(id, bytes, observer));
        let turn = match room(sent) {
            // The memory is given back: a stall is rare, an idle connection is not.
            Ok(n) if n == bytes.len() => {
                return if kept.close { Turn::Ended(End::Served) } else { Turn::Flushed };
            }
            Ok(0) => Turn::StillStalled,
            Ok(n) => {
                kept.rest.from += n;
                Turn::Draining
            }
            Err(ended) => ended,
        };
        self.output = Some(kept);
        turn
    }

    /// One turn on a blocking socket: waits for data and copies it in one call, then sends all of the
    /// answer, waiting for room as often as it must. The stop interrupts the first, its deadline the second.
    pub(super) fn turn_waiting<S: Service + ?Sized, O: Observer>(
        &mut self,
        id: Id,
        scratch: &mut [u8],
        service: &S,
        observer: &mut O,
        stop: &Stop,
    ) -> Turn {
        let socket = &self.socket;
        // wait and copy, in one call
        let receive = || {
            stop.interruptible(socket, || {
                if O::STAMPS {
                    sys::recvmsg(socket, scratch)
                } else {
                    sys::recv(socket, scratch).map(|bytes| Received { bytes, stamp: None })
                }
            })
        };
        let n = match observer.receive_waiting(id, receive).map(|received| received.bytes) {
            // The stop has shut our side of it: not the peer's end. The drain closes it.
            Ok(0) if stop.left().is_some() => return Turn::Empty,
            Ok(0) => return Turn::Ended(End::EndOfFile),
            Ok(n) => n,
            Err(error) => {
                let turn = failed_waiting(&error);
                if turn == Turn::Empty {
                    interrupted(observer);
                }
                return turn;
            }
        };
        let (reply, close) = answer(service, observer, &mut scratch[..n]);
        // send
        let mut sent = 0;
        while sent < reply {
            let rest = &scratch[sent..reply];
            let send = || stop.interruptible(socket, || sys::send(socket, rest));
            match observer.send_waiting(id, send) {
                Ok(n) => sent += n,
                Err(error) => match failed_waiting(&error) {
                    Turn::Empty => interrupted(observer),
                    // The drain's deadline has shut the socket under the send.
                    Turn::Ended(End::Reset) if stop.over() => return Turn::Ended(End::Cut),
                    ended => return ended,
                },
            }
        }
        served(close, n == scratch.len())
    }
}

/// A call that does not wait is made again at once when a signal came first: nobody would report what it
/// left undone, least of all an edge.
pub(super) fn uninterrupted<T, O: Observer>(
    observer: &mut O,
    mut call: impl FnMut(&mut O) -> io::Result<T>,
) -> io::Result<T> {
    call(observer).or_else(|error| again(error, observer, call))
}

/// The same for a call that has failed once.
fn again<T, O: Observer>(
    mut error: io::Error,
    observer: &mut O,
    mut call: impl FnMut(&mut O) -> io::Result<T>,
) -> io::Result<T> {
    while error.kind() == io::ErrorKind::Interrupted {
        interrupted(observer);
        match call(observer) {
            Ok(done) => return Ok(done),
            Err(next) => error = next,
        }
    }
    Err(error)
}

fn interrupted<O: Observer>(observer: &O) {
    observer.tally().add(Count::Interrupted, 1);
}

/// Has the service answer; how much to send, and whether that is the end.
pub(super) fn answer<S: Service + ?Sized, O: Observer>(
    service: &S,
    observer: &mut O,
    bytes: &mut [u8],
) -> (usize, bool) {
    within(observer.service(|| service.stream(bytes)), bytes.len())
}

/// How much to send of so many bytes, and whether that is the end.
fn within(answer: Answer, bytes: usize) -> (usize, bool) {
    match answer {
        Answer::Send(n) => (n.min(bytes), false),
        Answer::SendThenClose(n) => (n.min(bytes), true),
    }
}

fn served(close: bool, full: bool) -> Turn {
    match (close, full) {
        (false, false) => Turn::Short,
        (false, true) => Turn::Full,
        (true, _) => Turn::Ended(End::Served),
    }
}

/// What a failed receive or send means for the connection.
fn failed(error: &io::Error) -> Turn {
    use io::ErrorKind as K;
    match error.kind() {
        K::WouldBlock | K::Interrupted => Turn::Empty,
        K::ConnectionReset | K::BrokenPipe | K::TimedOut | K::NotConnected => {
            Turn::Ended(End::Reset)
        }
        _ => Turn::Ended(End::Failed),
    }
}

/// A send that found no room has sent nothing; another that failed has ended the connection.
fn room(sent: io::Result<usize>) -> Result<usize, Turn> {
    sent.or_else(|error| match failed(&error) {
        Turn::Empty => Ok(0),
        ended => Err(ended),
    })
}

/// The same of a ring's operation: how the connection ends by it, if it does. None does that was cancelled, found no buffer, or did not
/// wait.
pub(super) fn completed(error: &io::Error) -> Option<End> {
    match failed(error) {
        Turn::Ended(End::Failed) if sys::uring_goes_on(error) => None,
        Turn::Ended(end) => Some(end),
        _ => None,
    }
}

/// The same where the call was willing to wait: `EAGAIN` is its time-out.
fn failed_waiting(error: &io::Error) -> Turn {
    if error.kind() == io::ErrorKind::WouldBlock {
        Turn::Ended(End::TimedOut)
    } else {
        failed(error)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
