//! The listening socket, and what its failures mean.

use super::Endpoint;
use crate::failure::{During, Failure};
use crate::phase::{Call, Count, Observer};
use crate::stop::Stop;
use crate::sys::{self, AcceptFailure, Clock};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// How long the listener is left alone when descriptors or memory are short. Long enough to
/// cost nothing (20 tries a second), short enough that nobody notices the recovery.
const REST: Duration = Duration::from_millis(50);

/// A bound and listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    endpoint: Endpoint,
    /// `CLOCK_MONOTONIC`: not to be asked again before.
    rests_until: Option<Duration>,
}

/// What one try to accept brought.
#[derive(Debug)]
pub enum Accepted {
    /// A client; its socket is blocking.
    Client(OwnedFd, SocketAddr),
    /// One that was gone again: try again at once.
    Gone,
    /// Nobody is waiting, or a signal or the stop came first: go round.
    Nobody,
    /// Nothing to accept it with: the listener rests.
    Exhausted,
}

impl Listener {
    /// socket, `SO_REUSEADDR`, bind, listen; `TCP_NODELAY` for all connections to inherit, since each
    /// answer is complete when it is sent. With `stamps` also `SO_TIMESTAMPNS`.
    ///
    /// # Errors
    /// The call that failed, the address and the errno, with a hint where one helps.
    pub fn bind(endpoint: Endpoint, backlog: u32, stamps: bool) -> Result<Self, Failure> {
        let address = endpoint.address();
        let hinted = |call: &'static str| {
            move |error: io::Error| {
                let hint = bind_hint(&error);
                Failure::new(call, endpoint, error).hint(hint)
            }
        };
        let socket = sys::socket(&address).map_err(hinted("socket"))?;
        sys::set_reuse_address(&socket).during("setsockopt SO_REUSEADDR", endpoint)?;
        sys::set_nodelay(&socket).during("setsockopt TCP_NODELAY", endpoint)?;
        if stamps {
            sys::set_timestamps(&socket).during("setsockopt SO_TIMESTAMPNS", endpoint)?;
        }
        sys::bind(&socket, &address).map_err(hinted("bind"))?;
        sys::listen(&socket, backlog).map_err(hinted("listen"))?;
        let address = sys::getsockname(&socket).during("getsockname", endpoint)?;
        Ok(Self { socket, endpoint: Endpoint::Tcp(address), rests_until: None })
    }

    /// Where it listens, with the port that port 0 became.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// `O_NONBLOCK`, for every model but `blocking`: a client may be gone again between
    /// readiness and accept, and the accept would then wait for the next one.
    ///
    /// # Errors
    /// As [`sys::set_nonblocking`].
    pub fn set_nonblocking(&self) -> Result<(), Failure> {
        sys::set_nonblocking(&self.socket, true).during("fcntl", self.endpoint)
    }

    /// Takes a client that is waiting, without waiting for one.
    ///
    /// # Errors
    /// Only when the listener itself is broken.
    pub fn accept<O: Observer>(&mut self, observer: &mut O) -> Result<Accepted, Failure> {
        let result = observer.accept(|| sys::accept4(&self.socket));
        self.classify(result, observer)
    }

    /// Waits for a client; the stop interrupts it.
    ///
    /// # Errors
    /// As [`Listener::accept`].
    pub fn accept_waiting<O: Observer>(
        &mut self,
        observer: &mut O,
        stop: &Stop,
    ) -> Result<Accepted, Failure> {
        let socket = &self.socket;
        let result = observer.accept(|| stop.interruptible(socket, || sys::accept4(socket)));
        self.classify(result, observer)
    }

    /// The two classes of accept errors: one client's, and everybody's. None ends the loop.
    fn classify<O: Observer>(
        &mut self,
        result: io::Result<(OwnedFd, SocketAddr)>,
        observer: &mut O,
    ) -> Result<Accepted, Failure> {
        let error = match result {
            Ok((socket, peer)) => return Ok(Accepted::Client(socket, peer)),
            Err(error) => error,
        };
        let tally = observer.tally();
        match sys::accept_failure(&error) {
            AcceptFailure::Again | AcceptFailure::Shut => Ok(Accepted::Nobody),
            AcceptFailure::Interrupted => {
                tally.add(Count::Interrupted, 1);
                Ok(Accepted::Nobody)
            }
            AcceptFailure::OneClient => {
                tally.add(Count::AcceptRetried, 1);
                Ok(Accepted::Gone)
            }
            AcceptFailure::NoResources => {
                tally.notice(Count::AcceptRested, || {
                    let error = Failure::new("accept4", self.endpoint, error);
                    format!("{error}: new clients wait in the backlog until there is room")
                });
                self.rests_until = Some(sys::clock_gettime(Clock::Monotonic) + REST);
                Ok(Accepted::Exhausted)
            }
            AcceptFailure::Broken => Err(Failure::new("accept4", self.endpoint, error)),
        }
    }

    /// Whether it rests: then it does not belong into a readiness set.
    #[must_use]
    pub fn rests(&self) -> bool {
        self.rests_until.is_some()
    }

    /// When the rest ends, on `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn rests_until(&self) -> Option<Duration> {
        self.rests_until
    }

    /// True once, when a rest is over.
    pub fn wakes(&mut self) -> bool {
        // Without a rest, which is almost always, this reads no clock.
        let over = self.rests_until.is_some_and(|end| end <= sys::clock_gettime(Clock::Monotonic));
        if over {
            self.rests_until = None;
        }
        over
    }

    /// Sits out a rest; the stop ends it early. For the model that has no other clients meanwhile.
    ///
    /// # Errors
    /// From poll(2), none that an open descriptor allows.
    pub fn sit_out<O: Observer>(&mut self, observer: &mut O, stop: &Stop) -> Result<(), Failure> {
        let mut watch = [sys::PollFd::new(stop, true, false)];
        let ready = observer.wait(Call::Poll, || sys::ppoll(&mut watch, Some(REST)));
        super::interrupted_is_none(ready, observer).during("ppoll", "stop")?;
        self.rests_until = None;
        Ok(())
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn bind_hint(error: &io::Error) -> Option<&'static str> {
    if sys::accept_failure(error) == AcceptFailure::NoResources {
        return Some("this process may have too few descriptors: ulimit -n");
    }
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            Some("another server has it: choose another --listen ADDR, or port 0 for a free one")
        }
        io::ErrorKind::PermissionDenied => {
            Some("ports below net.ipv4.ip_unprivileged_port_start (1024) need privileges")
        }
        io::ErrorKind::AddrNotAvailable => Some("no interface of this machine has that address"),
        _ => None,
    }
}
