//! Handlers of connections, and the connection that they get.

use super::{Hooks, finally};
use crate::concurrency::{Client, Task, Trouble, Work};
use crate::phase::{Call, Count, End, Id, Observer};
use crate::stop::Stop;
use crate::sys::{self, Address, Clock, Received, Shutdown};
use std::io::{self, BufRead, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Handles a connection. Cloned for each; a closure is one that has only `handle`.
pub trait StreamHandler: Clone + Send + Sync {
    /// Before `handle`.
    ///
    /// # Errors
    /// Any ends the request; neither `handle` nor `finish` is called.
    fn setup(&mut self, _request: &mut Connection<'_>) -> io::Result<()> {
        Ok(())
    }

    /// The work: from the first byte to the last. When it returns, the connection is closed.
    ///
    /// # Errors
    /// Any is told and counted, but for a peer that went away.
    fn handle(&mut self, request: &mut Connection<'_>) -> io::Result<()>;

    /// After `handle`, also when it failed or panicked.
    ///
    /// # Errors
    /// Any is told and counted.
    fn finish(&mut self, _request: &mut Connection<'_>) -> io::Result<()> {
        Ok(())
    }
}

impl<F: FnMut(&mut Connection<'_>) -> io::Result<()> + Clone + Send + Sync> StreamHandler for F {
    fn handle(&mut self, request: &mut Connection<'_>) -> io::Result<()> {
        self(request)
    }
}

/// The time-outs of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) idle: Option<Duration>,
    pub(super) request: Option<Duration>,
    pub(super) linger: Duration,
}

/// Bytes read ahead for [`BufRead`].
const AHEAD: usize = 8192;

/// A client's connection: a buffered reader and an unbuffered writer. Each write is one send, or more if it waits for room.
///
/// [`Read`] with a buffer of its own size or more goes past the reader's buffer, and nothing is allocated then.
pub struct Connection<'c> {
    peer: Address,
    flow: &'c mut dyn Flow,
    ahead: Vec<u8>,
    /// What of `ahead` is read already.
    read: usize,
}

/// The calls of a connection, whoever observes them.
trait Flow {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize>;
    fn socket(&self) -> BorrowedFd<'_>;
}

impl Connection<'_> {
    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Address {
        &self.peer
    }
}

/// The socket itself, for options. Whoever reads from it goes past buffer, stop and observer.
impl AsFd for Connection<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.flow.socket()
    }
}

impl Read for Connection<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.read == self.ahead.len() && buffer.len() >= AHEAD.min(1024) {
            return self.flow.receive(buffer);
        }
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Connection<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.read == self.ahead.len() {
            self.ahead.resize(AHEAD, 0);
            let received = self.flow.receive(&mut self.ahead);
            self.ahead.truncate(*received.as_ref().unwrap_or(&0));
            self.read = 0;
            received?;
        }
        Ok(&self.ahead[self.read..])
    }

    fn consume(&mut self, n: usize) {
        self.read = (self.read + n).min(self.ahead.len());
    }
}

impl Write for Connection<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flow.send(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for Connection<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({})", self.peer)
    }
}

/// A connection's identity for its observer: each flow has one at a time.
const ID: Id = Id { slot: 0, generation: 0 };

/// A connection whose calls an observer hears of.
struct Observed<'o, O> {
    socket: OwnedFd,
    local: bool,
    observer: &'o mut O,
    stop: &'o Stop,
    times: Times,
    /// The end of the whole request, on `CLOCK_MONOTONIC`.
    until: Option<Duration>,
    /// Each wait has a time-out of its own.
    rearms: bool,
    /// The peer has nothing more to say, or is gone.
    over: Option<End>,
}

impl<O: Observer> Observed<'_, O> {
    /// How long the next call may wait; `None` for ever.
    fn patience(&self, idle: Option<Duration>) -> io::Result<Option<Duration>> {
        let end = [self.until, idle].into_iter().flatten().min();
        let left = end.map(|end| end.saturating_sub(now()));
        if left == Some(Duration::ZERO) { Err(timed_out()) } else { Ok(left) }
    }

    /// Makes a call that may wait, again and again while only signals end it.
    fn call(
        &mut self,
        arm: impl Fn(&OwnedFd, Duration) -> io::Result<()>,
        mut call: impl FnMut(&mut Self) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let idle = self.times.idle.map(|idle| now() + idle);
        let result = (|| {
            loop {
                // With a whole request to bound, or after a signal, each wait is another one; an idle time-out was set at
                // the beginning.
                if let (Some(patience), true) = (self.patience(idle)?, self.rearms) {
                    self.observer.called(Call::Setsockopt);
                    arm(&self.socket, patience)?;
                }
                match call(self) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                        self.observer.tally().add(Count::Interrupted, 1);
                        self.rearms = true;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return Err(timed_out());
                    }
                    result => return result,
                }
            }
        })();
        result.inspect_err(|error| {
            self.over = Some(match error.kind() {
                io::ErrorKind::TimedOut => End::TimedOut,
                _ if self.stop.over() => End::Cut,
                _ => End::Reset,
            });
        })
    }

    /// The end of a connection. A plain close while the client still sends would become a reset, which overtakes the reply: what
    /// comes is thrown away until the client has seen our end, or `linger` is over.
    fn close(mut self) -> End {
        let end = self.over.unwrap_or(End::Served);
        if matches!(end, End::EndOfFile | End::Served) && !self.local {
            if self.stop.left().is_some() {
                self.wait_for_acknowledgement();
            } else if end == End::Served {
                self.throw_away();
            }
        }
        self.observer.called(Call::Close);
        end
    }

    fn throw_away(&mut self) {
        self.observer.called(Call::Shutdown);
        // ENOTCONN: the client is gone, and nothing can be lost.
        if sys::shutdown(&self.socket, Shutdown::Write).is_err() {
            return;
        }
        let end = now() + self.times.linger;
        let mut rubbish = [0; 4096];
        loop {
            let left = end.saturating_sub(now());
            let armed = sys::set_receive_timeout(&self.socket, left);
            if left.is_zero() || armed.is_err() {
                return;
            }
            self.observer.called(Call::Setsockopt);
            self.observer.called(Call::Recvfrom);
            match self.stop.interruptible(&self.socket, || sys::recv(&self.socket, &mut rubbish)) {
                Ok(0) => return,
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return,
                _ => {}
            }
        }
    }

    /// The stop has shut our receiving side: what the client sends late would be answered by a reset. So wait until its kernel
    /// has all of the reply, at most until the drain's deadline.
    fn wait_for_acknowledgement(&mut self) {
        let mut look = Duration::from_millis(1);
        while sys::siocoutq(&self.socket).is_ok_and(|n| n > 0) && !self.stop.over() {
            let Some(left) = self.stop.left().filter(|left| !left.is_zero()) else { return };
            // Nothing tells when a send queue has drained. An error is a signal, and shortens it.
            let _ = sys::ppoll(&mut [], Some(look.min(left)));
            look = (look * 2).min(Duration::from_millis(20));
        }
    }
}

impl<O: Observer> Flow for Observed<'_, O> {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.over == Some(End::EndOfFile) {
            return Ok(0);
        }
        let received = self.call(
            |fd, time| sys::set_receive_timeout(fd, time),
            |this| {
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
            },
        )?;
        if received == 0 && !buffer.is_empty() {
            self.over = Some(End::EndOfFile);
        }
        Ok(received)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.call(
            |fd, time| sys::set_send_timeout(fd, time),
            |this| {
                let (socket, stop) = (&this.socket, this.stop);
                let send = || stop.interruptible(socket, || sys::send(socket, bytes));
                this.observer.send_waiting(ID, send)
            },
        )
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn now() -> Duration {
    sys::clock_gettime(Clock::Monotonic)
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the time-out of the connection is over")
}

/// What a server of connections does with each.
#[derive(Debug)]
pub struct StreamWork<H> {
    handler: H,
    hooks: Arc<Hooks>,
    times: Times,
}

impl<H> StreamWork<H> {
    pub(super) fn new(handler: H, hooks: Arc<Hooks>, times: Times) -> Self {
        Self { handler, hooks, times }
    }
}

impl<H: StreamHandler, O: Observer> Work<O> for StreamWork<H> {
    fn serve(&self, task: Task, observer: &mut O, stop: &Stop) -> io::Result<()> {
        let Task::Connection(Client { socket, peer, pass: _pass }) = task else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        observer.opened(ID, &peer);
        if let Some(idle) = self.times.idle {
            sys::set_receive_timeout(&socket, idle)?;
            sys::set_send_timeout(&socket, idle)?;
        }
        let until = self.times.request.map(|limit| now() + limit);
        let (local, times) = (peer.ip().is_none(), self.times);
        let mut flow = Observed {
            socket,
            local,
            observer,
            stop,
            times,
            until,
            rearms: until.is_some(),
            over: None,
        };
        let request = Connection { peer, flow: &mut flow, ahead: Vec::new(), read: 0 };
        let mut both = (self.handler.clone(), request);
        let handled = catch_unwind(AssertUnwindSafe(|| {
            both.0.setup(&mut both.1).and_then(|()| {
                finally(
                    &mut both,
                    |(handler, it)| handler.handle(it),
                    |(handler, it)| handler.finish(it),
                )
            })
        }));
        drop(both);
        let end = flow.close();
        // The peer's going away is its own business, and has a counter of its own.
        let gone = matches!(end, End::Reset | End::Cut | End::TimedOut);
        let broken = !matches!(handled, Ok(Ok(())));
        observer.closed(ID, if broken && !gone { End::Broken } else { end });
        match handled {
            Err(panic) => resume_unwind(panic),
            Ok(_) if gone => Ok(()),
            Ok(handled) => handled,
        }
    }

    fn admits(&self, peer: &Address) -> bool {
        self.hooks.admits(peer)
    }

    fn took(&self) {
        self.hooks.taken.fetch_add(1, Ordering::Relaxed);
    }

    fn turned(&self) {
        self.hooks.turned();
    }

    fn troubled(&self, peer: &Address, trouble: &Trouble) {
        self.hooks.troubled(peer, trouble);
    }
}
