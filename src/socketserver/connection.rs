//! Handlers of connections, and the connection that they get.

use super::flow::{Flow, ID, Observed, Times};
use super::{Hooks, finally};
use crate::concurrency::{Client, Task, Trouble, Work};
use crate::phase::{End, Observer};
use crate::stop::Stop;
use crate::sys::{self, Address, Shutdown};
use std::io::{self, BufRead, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

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

/// Bytes read ahead for [`BufRead`].
const AHEAD: usize = 8192;
/// A read for so many bytes or more goes past that buffer: the notes' `recv(1024)` is one receive.
const PAST: usize = 1024;

/// A client's connection: a buffered reader and an unbuffered writer. Each write is one send, or more if it waits for room.
///
/// A [`Read`] into 1024 bytes or more, while nothing is read ahead, goes past the reader's buffer: it is one receive, and allocates nothing.
pub struct Connection<'c> {
    peer: Address,
    flow: &'c mut dyn Flow,
    ahead: Vec<u8>,
    /// So much of `ahead` was received, and of that so much is read.
    filled: usize,
    read: usize,
}

impl Connection<'_> {
    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Address {
        &self.peer
    }

    /// Ends our direction: the client reads the end of the stream, and can still be read from (shutdown(2), `SHUT_WR`).
    ///
    /// # Errors
    /// `ENOTCONN` when the client is gone.
    pub fn end(&mut self) -> io::Result<()> {
        sys::shutdown(self.flow.socket(), Shutdown::Write)
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
        if self.read == self.filled && buffer.len() >= PAST {
            return self.flow.receive(buffer);
        }
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Connection<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.read == self.filled {
            self.ahead.resize(AHEAD, 0);
            (self.read, self.filled) = (0, 0);
            self.filled = self.flow.receive(&mut self.ahead)?;
        }
        Ok(&self.ahead[self.read..self.filled])
    }

    fn consume(&mut self, n: usize) {
        self.read = (self.read + n).min(self.filled);
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
        let mut flow = Observed::new(socket, &peer, self.times, observer, stop);
        let request = Connection { peer, flow: &mut flow, ahead: Vec::new(), filled: 0, read: 0 };
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
        // That the peer went away, or was too slow, is no fault of the handler, and has a counter of its own.
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
