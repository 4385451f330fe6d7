//! The calls of a handler's connection: each waits only as long as it may, and the observer hears of it.

use crate::phase::{Call, Count, End, Id, Observer};
use crate::stop::Stop;
use crate::sys::{self, Address, Clock, PollFd, Received, Shutdown};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The time-outs of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) idle: Option<Duration>,
    pub(super) request: Option<Duration>,
    pub(super) linger: Duration,
}

/// The calls of a connection, whoever observes them.
pub(super) trait Flow {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize>;
    fn socket(&self) -> BorrowedFd<'_>;
}

/// A connection's identity for its observer: each flow has one at a time.
pub(super) const ID: Id = Id { slot: 0, generation: 0 };

/// A connection whose calls an observer hears of.
pub(super) struct Observed<'o, O> {
    socket: OwnedFd,
    /// A Unix socket: what is sent is with the peer at once.
    local: bool,
    observer: &'o mut O,
    stop: &'o Stop,
    times: Times,
    /// The end of the whole request, on `CLOCK_MONOTONIC`.
    until: Option<Duration>,
    /// What `SO_RCVTIMEO` is now.
    armed: Option<Duration>,
    /// The peer has nothing more to say, or the last call failed.
    over: Option<End>,
}

/// How long a call may wait.
#[derive(Clone, Copy)]
struct Patience {
    idle: Option<Duration>,
    until: Option<Duration>,
    /// When the call began; not read where there is no time-out.
    start: Duration,
}

impl Patience {
    /// What is left of it, `None` for ever; all of an idle time-out before a signal has interrupted.
    fn left(&self, interrupted: bool) -> io::Result<Option<Duration>> {
        let waited = if interrupted { now() - self.start } else { Duration::ZERO };
        let idle = self.idle.map(|idle| idle.saturating_sub(waited));
        let until = self.until.map(|until| until.saturating_sub(self.start + waited));
        match [idle, until].into_iter().flatten().min() {
            Some(Duration::ZERO) => Err(timed_out()),
            left => Ok(left),
        }
    }
}

impl<'o, O: Observer> Observed<'o, O> {
    pub(super) fn new(
        socket: OwnedFd,
        peer: &Address,
        times: Times,
        observer: &'o mut O,
        stop: &'o Stop,
    ) -> Self {
        let (local, until) = (peer.ip().is_none(), times.request.map(|limit| now() + limit));
        Self { socket, local, observer, stop, times, until, armed: None, over: None }
    }

    fn patience(&self) -> Patience {
        let Times { idle, .. } = self.times;
        let clocked = idle.is_some() || self.until.is_some();
        Patience { idle, until: self.until, start: if clocked { now() } else { Duration::ZERO } }
    }

    /// Makes a call again and again while only signals end it.
    fn call(
        &mut self,
        mut call: impl FnMut(&mut Self, Option<Duration>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let (patience, mut interrupted) = (self.patience(), false);
        let result = loop {
            match patience.left(interrupted).and_then(|left| call(self, left)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.observer.tally().add(Count::Interrupted, 1);
                    interrupted = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Err(timed_out()),
                result => break result,
            }
        };
        // A handler that goes on after a failure, and gets through, has mended it.
        self.over = result.as_ref().err().map(|error| self.end(error));
        result
    }

    /// What a failed call says about the connection.
    fn end(&self, error: &io::Error) -> End {
        use io::ErrorKind as K;
        match error.kind() {
            _ if self.stop.left().is_some_and(|left| left.is_zero()) => End::Cut,
            // Ours has no errno; ETIMEDOUT says that the peer has vanished.
            K::TimedOut if error.raw_os_error().is_none() => End::TimedOut,
            K::ConnectionReset | K::BrokenPipe | K::NotConnected | K::TimedOut => End::Reset,
            _ => End::Failed,
        }
    }

    /// The end of a connection. A plain close while the client still sends would become a reset, which overtakes the reply: what
    /// comes is thrown away until the client has seen our end, or `linger` is over.
    pub(super) fn close(mut self) -> End {
        let end = self.over.unwrap_or(End::Served);
        // An end of file may be the stop's doing, and the client go on.
        if end == End::Served || (end == End::EndOfFile && self.stop.left().is_some()) {
            self.linger();
        }
        self.observer.called(Call::Close);
        end
    }

    fn linger(&mut self) {
        if self.stop.left().is_none() {
            self.observer.called(Call::Shutdown);
            // ENOTCONN: the client is gone, and nothing can be lost. After a stop this would make it worse: with both directions
            // shut the kernel answers late data with a reset.
            if sys::shutdown(&self.socket, Shutdown::Write).is_err() {
                return;
            }
        }
        let end = now() + self.times.linger;
        let (mut rubbish, mut look) = ([0; 4096], Duration::from_millis(1));
        loop {
            let stopped = self.stop.left();
            if stopped.is_some() && (self.local || self.has_arrived()) {
                return;
            }
            let left = stopped.unwrap_or_else(|| end.saturating_sub(now()));
            if left.is_zero() || self.stop.over() {
                return;
            }
            // An error is a signal, and shortens the wait.
            let _ = if stopped.is_some() {
                // Nothing tells when a send queue has drained.
                look = (look * 2).min(Duration::from_millis(20));
                sys::ppoll(&mut [], Some(look.min(left)))
            } else {
                let socket = PollFd::new(&self.socket, true, false);
                sys::ppoll(&mut [socket, PollFd::new(self.stop, true, false)], Some(left))
            };
            match sys::recv_now(&self.socket, &mut rubbish) {
                Ok(0) if stopped.is_none() => return,
                Err(error)
                    if error.kind() != io::ErrorKind::WouldBlock
                        && error.kind() != io::ErrorKind::Interrupted =>
                {
                    return;
                }
                _ => {}
            }
        }
    }

    /// Whether the peer's kernel has all that was sent.
    fn has_arrived(&self) -> bool {
        sys::siocoutq(&self.socket).map_or(true, |n| n == 0)
    }
}

impl<O: Observer> Flow for Observed<'_, O> {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // After the stop has shut it, the kernel would still hand out late data: an end is an end.
        if self.over == Some(End::EndOfFile) {
            return Ok(0);
        }
        let received = self.call(|this, left| {
            if left.is_some() && left != this.armed {
                this.observer.called(Call::Setsockopt);
                sys::set_receive_timeout(&this.socket, left.unwrap_or_default())?;
                this.armed = left;
            }
            let (socket, stop) = (&this.socket, this.stop);
            // wait and copy
            let received = this.observer.receive_waiting(ID, || {
                stop.interruptible(socket, || {
                    if O::STAMPS {
                        sys::recvmsg(socket, buffer)
                    } else {
                        sys::recv(socket, buffer).map(|bytes| Received { bytes, stamp: None })
                    }
                })
            });
            received.map(|received| received.bytes)
        })?;
        if received == 0 {
            self.over = Some(End::EndOfFile);
        }
        Ok(received)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let ended = self.over == Some(End::EndOfFile);
        let sent = self.call(|this, left| {
            let (socket, stop) = (&this.socket, this.stop);
            this.observer.send_waiting(ID, || send(socket, bytes, left, stop))
        })?;
        if ended {
            self.over = Some(End::EndOfFile);
        }
        Ok(sent)
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Sends, and waits for room if it must: at most for `patience`, and after a stop at most until the drain's deadline.
fn send(
    socket: &OwnedFd,
    bytes: &[u8],
    patience: Option<Duration>,
    stop: &Stop,
) -> io::Result<usize> {
    let end = patience.map(|patience| now() + patience);
    loop {
        match sys::send_now(socket, bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
        let stopped = stop.left();
        let left = end.map(|end| end.saturating_sub(now()));
        let left = [left, stopped].into_iter().flatten().min();
        if left.is_some_and(|left| left.is_zero()) {
            return Err(timed_out());
        }
        let mut watch = [PollFd::new(socket, false, true), PollFd::new(stop, true, false)];
        // A stop that was requested is ready for good.
        let watched = if stopped.is_some() { 1 } else { 2 };
        sys::ppoll(&mut watch[..watched], left)?;
    }
}

fn now() -> Duration {
    sys::clock_gettime(Clock::Monotonic)
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the time-out of the connection is over")
}
