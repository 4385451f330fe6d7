//! One client's connection: receive, answer, keep what did not fit.

use crate::phase::{Count, End, Id, Observer};
use crate::service::{Answer, Service};
use crate::stop::Stop;
use crate::sys::{self, Received};
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
    /// The service wants it closed once the output is gone.
    closing: bool,
    /// When a byte last moved, in ticks of the idle clock.
    pub(super) moved: u32,
    /// With an idle clock: what the peer had not acknowledged when the output last stalled or moved.
    pub(super) unacknowledged: u32,
    /// Part of `output` that is sent.
    sent: u32,
    /// The rest of one answer, so never more than one buffer; without allocation while empty.
    output: Vec<u8>,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            carried: false,
            shortened: false,
            unacknowledged: 0,
            closing: false,
            moved: 0,
            sent: 0,
            output: Vec::new(),
        }
    }

    /// Whether output is kept: the connection waits for room, not for data.
    #[must_use]
    pub fn stalled(&self) -> bool {
        !self.output.is_empty()
    }

    /// One turn without waiting: sends what is kept, **or** receives once into `scratch` and answers.
    pub(super) fn turn<S: Service + ?Sized, O: Observer>(
        &mut self,
        id: Id,
        scratch: &mut [u8],
        service: &S,
        observer: &mut O,
    ) -> Turn {
        if self.stalled() {
            return self.flush(id, observer);
        }
        let carried = std::mem::take(&mut self.carried);
        // copy
        let received = uninterrupted(observer, |observer| {
            observer.receive(id, carried, || sys::recv(&self.socket, scratch))
        });
        let n = match received {
            Ok(0) => return Turn::Ended(End::EndOfFile),
            Ok(n) => n,
            Err(error) => return failed(&error),
        };
        let (reply, close) = answer(service, observer, &mut scratch[..n]);
        // send
        let sent = match self.send(id, &scratch[..reply], observer) {
            Ok(sent) => sent,
            Err(ended) => return ended,
        };
        if sent < reply {
            self.output.extend_from_slice(&scratch[sent..reply]);
            self.closing = close;
            return Turn::Stalled;
        }
        served(close, n == scratch.len())
    }

    /// Sends what is kept, as far as there is room.
    fn flush<O: Observer>(&mut self, id: Id, observer: &mut O) -> Turn {
        let rest = &self.output[self.sent as usize..];
        match self.send(id, rest, observer) {
            Ok(n) if n == rest.len() => {
                // Gives the memory back: a stall is rare, an idle connection is not.
                self.output = Vec::new();
                self.sent = 0;
                if self.closing { Turn::Ended(End::Served) } else { Turn::Flushed }
            }
            Ok(0) => Turn::StillStalled,
            Ok(n) => {
                self.sent += n as u32;
                Turn::Draining
            }
            Err(ended) => ended,
        }
    }

    /// Sends what the kernel takes without waiting, perhaps nothing; how the connection ended otherwise.
    fn send<O: Observer>(&self, id: Id, bytes: &[u8], observer: &mut O) -> Result<usize, Turn> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let sent = uninterrupted(observer, |observer| {
            observer.send(id, bytes.len(), || sys::send(&self.socket, bytes))
        });
        sent.or_else(|error| match failed(&error) {
            Turn::Empty => Ok(0),
            ended => Err(ended),
        })
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
pub(super) fn uninterrupted<O: Observer>(
    observer: &mut O,
    mut call: impl FnMut(&mut O) -> io::Result<usize>,
) -> io::Result<usize> {
    loop {
        match call(observer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => interrupted(observer),
            result => return result,
        }
    }
}

fn interrupted<O: Observer>(observer: &O) {
    observer.tally().add(Count::Interrupted, 1);
}

/// Has the service answer; how much to send, and whether that is the end.
fn answer<S: Service + ?Sized, O: Observer>(
    service: &S,
    observer: &mut O,
    bytes: &mut [u8],
) -> (usize, bool) {
    match observer.service(|| service.stream(bytes)) {
        Answer::Send(n) => (n.min(bytes.len()), false),
        Answer::SendThenClose(n) => (n.min(bytes.len()), true),
    }
}

fn served(close: bool, full: bool) -> Turn {
    match (close, full) {
        (true, _) => Turn::Ended(End::Served),
        (false, true) => Turn::Full,
        (false, false) => Turn::Short,
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
