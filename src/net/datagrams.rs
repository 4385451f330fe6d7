//! A datagram socket: receive one, answer it, forget it.

use super::bind::Bound;
use super::connection::uninterrupted;
use super::{Bind, Endpoint, Transport};
use crate::failure::Failure;
use crate::phase::{Call, Count, Id, Observer};
use crate::service::Service;
use crate::stop::Stop;
use crate::sys::{self, AcceptFailure, Packet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// The smallest piece of kernel memory that a queued datagram takes, in bytes, and then some: a bound for how many
/// there can be in a queue.
const LEAST_QUEUED: u32 = 256;

/// Where nobody can tell: more than a Unix queue holds (`net.unix.max_dgram_qlen`, 10 to 512 by default).
const MOST_QUEUED: usize = 4096;

/// What one try to receive brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A datagram, all of it.
    Packet(Packet),
    /// One that cannot be answered, or the error of an earlier answer: there may be others behind it.
    Lost,
    /// None is there, or a signal or the stop came first: go round.
    Nobody,
}

/// A bound datagram socket; a clone is the same socket.
#[derive(Clone, Debug)]
pub struct Datagrams {
    bound: Arc<Bound>,
}

impl Datagrams {
    /// socket, the options, bind.
    ///
    /// # Errors
    /// The call that failed, the address and the errno, with a hint where one helps.
    pub fn bind(endpoint: Endpoint, options: &Bind) -> Result<Self, Failure> {
        // Bound is ready: nothing is left to be locked for.
        let (bound, _) = Bound::new(endpoint, options, false)?;
        Ok(Self { bound: Arc::new(bound) })
    }

    /// Another one on the same address, see [`Bind::reuse_port`].
    pub(super) fn again(&self) -> Result<Self, Failure> {
        let (bound, _) = Bound::new(self.endpoint(), self.options(), true)?;
        Ok(Self { bound: Arc::new(bound) })
    }

    /// Where it is, with the port that port 0 became.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.bound.endpoint
    }

    /// How it was made.
    #[must_use]
    pub fn options(&self) -> &Bind {
        &self.bound.options
    }

    /// Takes a datagram that is there, without waiting for one.
    ///
    /// # Errors
    /// Only when the socket itself is broken.
    pub fn receive<O: Observer>(
        &self,
        buffer: &mut [u8],
        observer: &mut O,
    ) -> Result<Taken, Failure> {
        // copy
        let received = uninterrupted(observer, |observer| {
            observer.receive(Id::LISTENER, false, || sys::recvfrom(self, buffer))
        });
        self.classify(received, observer)
    }

    /// Waits for a datagram, and copies it, in one call; the stop interrupts it.
    ///
    /// # Errors
    /// As [`Datagrams::receive`].
    pub fn receive_waiting<O: Observer>(
        &self,
        buffer: &mut [u8],
        observer: &mut O,
        stop: &Stop,
    ) -> Result<Taken, Failure> {
        // wait and copy
        let received = observer.receive_waiting(Id::LISTENER, || {
            stop.interruptible(self, || {
                if O::STAMPS {
                    sys::recvmsg_from(self, buffer)
                } else {
                    sys::recvfrom(self, buffer)
                }
            })
        });
        // The stop has shut the socket: no datagram, though an empty one looks the same.
        if stop.left().is_some()
            && matches!(&received, Ok(packet) if packet.len == 0 && packet.from.unnamed())
        {
            return Ok(Taken::Nobody);
        }
        self.classify(received, observer)
    }

    /// What a receive has brought. None of its errors but a broken socket ends the loop.
    pub(super) fn classify<O: Observer>(
        &self,
        received: io::Result<Packet>,
        observer: &mut O,
    ) -> Result<Taken, Failure> {
        let tally = observer.tally();
        let error = match received {
            Ok(packet) if packet.truncated => {
                tally.notice(Count::Truncated, || {
                    let Packet { len, from, .. } = packet;
                    format!("{len} bytes from {from} are more than the buffer holds: not answered")
                });
                return Ok(Taken::Lost);
            }
            Ok(packet) => return Ok(Taken::Packet(packet)),
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::WouldBlock => Ok(Taken::Nobody),
            io::ErrorKind::Interrupted => {
                tally.add(Count::Interrupted, 1);
                Ok(Taken::Nobody)
            }
            // An ICMP message about an earlier answer, or memory is short: the next datagram is another matter.
            kind => match sys::accept_failure(&error) {
                AcceptFailure::Broken if kind != io::ErrorKind::ConnectionRefused => {
                    Err(Failure::new("recvfrom", self.endpoint(), error))
                }
                _ => {
                    tally.add(Count::Unsent, 1);
                    Ok(Taken::Lost)
                }
            },
        }
    }

    /// Has the service answer a datagram, and sends the answer: never more bytes than came, so that a forged sender
    /// gains nothing by us.
    pub fn answer<S: Service + ?Sized, O: Observer>(
        &self,
        packet: &Packet,
        bytes: &mut [u8],
        service: &S,
        observer: &mut O,
    ) {
        let Some(reply) = observer.service(|| service.datagram(bytes)) else { return };
        // Counted; there is nobody to tell.
        let _ = self.send(packet, &bytes[..reply.min(bytes.len())], observer);
    }

    /// Sends an answer to where a datagram came from. One that cannot be sent is counted as well.
    ///
    /// # Errors
    /// `EAGAIN` (no room), `EMSGSIZE`, `ECONNREFUSED`, ...; `EDESTADDRREQ` for a sender without a name.
    pub fn send<O: Observer>(&self, to: &Packet, bytes: &[u8], observer: &mut O) -> io::Result<()> {
        if to.from.unnamed() {
            observer.tally().add(Count::Unsent, 1);
            return Err(sys::no_destination());
        }
        let sent = uninterrupted(observer, |observer| {
            let call = || sys::sendto(self, bytes, &to.from);
            observer.send(Id::LISTENER, bytes.len(), call)
        });
        let sent = sent.inspect_err(|error| {
            observer.tally().notice(Count::Unsent, || {
                format!("sendto {} to {}: {}", self.endpoint(), to.from, sys::describe(error))
            });
        });
        sent.map(drop)
    }

    /// One turn: answers the datagrams that are there, at most `most` of them; whether there may be more.
    ///
    /// # Errors
    /// As [`Datagrams::receive`].
    pub(super) fn turn<S: Service + ?Sized, O: Observer>(
        &self,
        most: usize,
        buffer: &mut [u8],
        service: &S,
        observer: &mut O,
    ) -> Result<bool, Failure> {
        for _ in 0..most {
            match self.receive(buffer, observer)? {
                Taken::Packet(packet) => {
                    self.answer(&packet, &mut buffer[..packet.len], service, observer);
                }
                Taken::Lost => {}
                Taken::Nobody => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The end: answers what the socket holds at this moment, and counts what it had to drop in its life.
    ///
    /// # Errors
    /// As [`Datagrams::receive`].
    pub fn drain<S: Service + ?Sized, O: Observer>(
        &self,
        buffer: &mut [u8],
        service: &S,
        observer: &mut O,
    ) -> Result<(), Failure> {
        let most = self.last_look(observer);
        self.turn(most, buffer, service, observer).map(drop)
    }

    /// Makes the socket non-blocking, counts what was dropped, and says how many datagrams there are at most.
    pub fn last_look<O: Observer>(&self, observer: &mut O) -> usize {
        observer.called(Call::Fcntl);
        observer.called(Call::Fcntl);
        // Cannot fail on a socket that is open, and this one is.
        let _ = sys::set_nonblocking(self, true);
        self.count_dropped(observer);
        // A Unix datagram's memory is its sender's, and an old kernel does not know.
        let known = self.endpoint().transport() == Transport::Udp;
        let memory = sys::socket_memory(self).ok().filter(|_| known);
        memory.map_or(MOST_QUEUED, |memory| (memory.received / LEAST_QUEUED) as usize + 1)
    }

    /// Counts the datagrams that the kernel had to drop so far, once, in the process that bound the socket.
    pub(super) fn count_dropped<O: Observer>(&self, observer: &O) {
        let dropped = sys::socket_memory(self).map_or(0, |memory| memory.dropped);
        if dropped > 0 && self.bound.is_ours() {
            observer.tally().add(Count::Dropped, u64::from(dropped));
        }
    }
}

impl AsFd for Datagrams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bound.as_fd()
    }
}
