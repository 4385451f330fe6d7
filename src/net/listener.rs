//! The listening socket, and what its failures mean.

use super::bind::Bound;
use super::connection::uninterrupted;
use super::{Bind, Endpoint};
use crate::failure::{During, Failure};
use crate::phase::{Call, Count, Observer};
use crate::stop::Stop;
use crate::sys::{self, AcceptFailure, Address, Clock};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// How long the listener is left alone when descriptors or memory are short. Long enough to
/// cost nothing (20 tries a second), short enough that nobody notices the recovery.
const REST: Duration = Duration::from_millis(50);

/// A bound and listening socket; a clone is the same socket.
#[derive(Clone, Debug)]
pub struct Listener {
    bound: Arc<Bound>,
    /// `CLOCK_MONOTONIC`: not to be asked again before.
    rests_until: Option<Duration>,
}

/// What one try to accept brought.
#[derive(Debug)]
pub enum Accepted {
    /// A client; its socket is blocking.
    Client(OwnedFd, Address),
    /// One that was gone again: try again at once.
    Gone,
    /// Nobody is waiting, or a signal or the stop came first: go round.
    Nobody,
    /// Nothing to accept it with: the listener rests.
    Exhausted,
}

impl Listener {
    /// socket, the options, bind, listen.
    ///
    /// # Errors
    /// The call that failed, the address and the errno, with a hint where one helps.
    pub fn bind(endpoint: Endpoint, options: &Bind) -> Result<Self, Failure> {
        let (bound, locked) = Bound::new(endpoint, options, false)?;
        bound.listen(options.backlog)?;
        drop(locked);
        Ok(Self { bound: Arc::new(bound), rests_until: None })
    }

    /// Another one on the same address, see [`Bind::reuse_port`].
    pub(super) fn again(&self) -> Result<Self, Failure> {
        let (bound, _) = Bound::new(self.endpoint(), self.options(), true)?;
        bound.listen(self.options().backlog)?;
        Ok(Self { bound: Arc::new(bound), rests_until: None })
    }

    /// Where it listens, with the port that port 0 became.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.bound.endpoint
    }

    /// How it was made.
    #[must_use]
    pub fn options(&self) -> &Bind {
        &self.bound.options
    }

    /// Takes a client that is waiting, without waiting for one.
    ///
    /// # Errors
    /// Only when the listener itself is broken.
    pub fn accept<O: Observer>(&mut self, observer: &mut O) -> Result<Accepted, Failure> {
        let result =
            uninterrupted(observer, |observer| observer.accept(|| sys::accept4(&*self.bound)));
        self.classify(result, observer)
    }

    /// What an accept that was a ring's has brought. Its client is asked for its name, which accept4 tells along.
    ///
    /// # Errors
    /// As [`Listener::accept`].
    pub fn accepted<O: Observer>(
        &mut self,
        client: io::Result<OwnedFd>,
        observer: &mut O,
    ) -> Result<Accepted, Failure> {
        if client.is_ok() {
            observer.accept_completed();
            observer.called(Call::Getpeername);
        }
        // ENOTCONN: gone already. accept4 would have said ECONNABORTED.
        let named = client.and_then(|socket| sys::getpeername(&socket).map(|peer| (socket, peer)));
        self.classify(named, observer)
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
        let socket = &*self.bound;
        let result = observer.accept(|| stop.interruptible(socket, || sys::accept4(socket)));
        self.classify(result, observer)
    }

    /// The two classes of accept errors: one client's, and everybody's. None ends the loop.
    fn classify<O: Observer>(
        &mut self,
        result: io::Result<(OwnedFd, Address)>,
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
                    let error = Failure::new("accept4", self.endpoint(), error);
                    format!("{error}: new clients wait in the backlog until there is room")
                });
                self.rests_until = Some(sys::clock_gettime(Clock::Monotonic) + REST);
                Ok(Accepted::Exhausted)
            }
            AcceptFailure::Broken => Err(Failure::new("accept4", self.endpoint(), error)),
        }
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
        self.bound.as_fd()
    }
}
