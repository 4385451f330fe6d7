//! What a server listens on: a listener, whose clients have connections, or a datagram socket, which has none.

use super::{Accepted, Bind, Datagrams, Endpoint, Listener};
use crate::failure::{During, Failure};
use crate::phase::Observer;
use crate::sys::{self, Kind};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The front of a server. A model's one loop serves both kinds.
#[derive(Clone, Debug)]
pub enum Front {
    /// Clients are accepted, and each has a connection.
    Stream(Listener),
    /// Each datagram is a request of its own.
    Datagram(Datagrams),
}

impl Front {
    /// The socket of an endpoint, ready to be served.
    ///
    /// # Errors
    /// The call that failed, the address and the errno, with a hint where one helps.
    pub fn bind(endpoint: Endpoint, options: &Bind) -> Result<Self, Failure> {
        Ok(match endpoint.transport().kind() {
            Kind::Stream => Self::Stream(Listener::bind(endpoint, options)?),
            Kind::Datagram => Self::Datagram(Datagrams::bind(endpoint, options)?),
        })
    }

    /// What an accept that was a ring's has brought, see [`Listener::accepted`]. Of a datagram socket: nobody.
    ///
    /// # Errors
    /// Only when the listener itself is broken.
    pub fn accepted<O: Observer>(
        &mut self,
        client: io::Result<OwnedFd>,
        observer: &mut O,
    ) -> Result<Accepted, Failure> {
        match self {
            Self::Stream(listener) => listener.accepted(client, observer),
            Self::Datagram(_) => Ok(Accepted::Nobody),
        }
    }

    /// Another socket on the same address, for which this one must have been bound with [`Bind::reuse_port`].
    ///
    /// # Errors
    /// As [`Front::bind`].
    pub fn again(&self) -> Result<Self, Failure> {
        Ok(match self {
            Self::Stream(listener) => Self::Stream(listener.again()?),
            Self::Datagram(socket) => Self::Datagram(socket.again()?),
        })
    }

    /// Has a listener accept nobody any more, in all processes that share it; who waits in its backlog is reset.
    pub fn shut(&self) {
        if let Self::Stream(listener) = self {
            // It is open and listens: no error is possible.
            let _ = sys::shutdown(listener, sys::Shutdown::Read);
        }
    }

    /// Counts the datagrams that the kernel had to drop so far, for the process that bound the socket.
    pub fn count_dropped<O: Observer>(&self, observer: &O) {
        if let Self::Datagram(socket) = self {
            socket.count_dropped(observer);
        }
    }

    /// Where it is, with the port that port 0 became.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        match self {
            Self::Stream(listener) => listener.endpoint(),
            Self::Datagram(socket) => socket.endpoint(),
        }
    }

    /// Whether the kernel stamps what is received.
    #[must_use]
    pub fn stamped(&self) -> bool {
        let options = match self {
            Self::Stream(listener) => listener.options(),
            Self::Datagram(socket) => socket.options(),
        };
        options.stamps && self.endpoint().transport().stamps()
    }

    /// `O_NONBLOCK`, for every model but `blocking`: a client may be gone again between
    /// readiness and accept, and the accept would then wait for the next one.
    ///
    /// # Errors
    /// As [`sys::set_nonblocking`].
    pub fn set_nonblocking(&self) -> Result<(), Failure> {
        sys::set_nonblocking(self, true).during("fcntl", self.endpoint())
    }

    /// Whether it rests, because descriptors or memory are short: then it does not belong into a readiness set.
    #[must_use]
    #[inline]
    pub fn rests(&self) -> bool {
        self.rests_until().is_some()
    }

    /// When the rest ends, on `CLOCK_MONOTONIC`. A datagram socket needs no descriptor for a client and never rests.
    #[must_use]
    pub fn rests_until(&self) -> Option<Duration> {
        match self {
            Self::Stream(listener) => listener.rests_until(),
            Self::Datagram(_) => None,
        }
    }

    /// True once, when a rest is over.
    pub fn wakes(&mut self) -> bool {
        match self {
            Self::Stream(listener) => listener.wakes(),
            Self::Datagram(_) => false,
        }
    }
}

impl AsFd for Front {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Stream(listener) => listener.as_fd(),
            Self::Datagram(socket) => socket.as_fd(),
        }
    }
}
