//! The protocol on a channel: one task sends and receives, everybody else queues requests and waits for replies.
//!
//! So a request that is given up is only a reply that nobody takes: no packet is left half sent.

use super::budget::Budget;
use super::{Broken, Handle, Protocol, Refused, Reply, Request, Status, StatusCode, Ticket};
use crate::reactor::{self, Deadline};
use crate::remote::channel::{Channel, Stream};
use crate::remote::error::{Error, Reason, Step};
use crate::remote::transport::Transport;
use std::cell::{Cell, Ref, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What one call takes from the channel, at most.
const PIECE: usize = 128 * 1024;
/// Bytes of one request for data, or with data, where the server tells no limits: every server takes packets of 34,000 bytes
/// (draft-ietf-secsh-filexfer-02, section 3).
const CHUNK: u32 = 32 * 1024;
/// And the most where it does, which is OpenSSH's own limit: a request costs the server the same whatever its length. A reply
/// must fit into [`PACKET_LIMIT`](super::PACKET_LIMIT), and is in memory.
pub(super) const CHUNK_MAX: u32 = 255 * 1024;

/// Open files that a server is trusted with where it tells no limits: OpenSSH's took a hundred, long ago.
const HANDLES: usize = 100;

/// How long the answers to what was asked are waited for once nobody uses it any more.
const LINGER: Duration = Duration::from_secs(5);

/// SFTP on a session: files and directories. Dropping it closes its channel, as far as the reactor runs on.
pub struct Sftp {
    pub(super) line: Rc<Line>,
}

/// What the task and those who wait have in common.
pub(super) struct Line {
    transport: Rc<Transport>,
    protocol: RefCell<Protocol>,
    waiting: RefCell<Vec<Waker>>,
    /// Who waits for which reply: of many files under way only those are woken that can go on.
    awaiting: RefCell<HashMap<Ticket, Waker>>,
    /// Where relative paths begin, if not in the login's directory.
    pub(super) cwd: RefCell<Option<Vec<u8>>>,
    /// A buffer that nobody reads into just now: one serves all the files that lie on a disk.
    buffer: RefCell<Vec<u8>>,
    /// Bytes of files under way, of all transfers together.
    pub(super) budget: Budget,
    /// The task that sends, when it has nothing to send.
    sender: RefCell<Option<Waker>>,
    /// Why it has ended.
    ended: RefCell<Option<Error>>,
    stop: Cell<bool>,
    /// Somebody waits for the channel, to close it: the task leaves it behind.
    awaited: Cell<bool>,
    left: RefCell<Option<Channel>>,
    /// Bytes to read, and to write, with one request.
    pub(super) read_size: Cell<u32>,
    handles: Cell<usize>,
    pub(super) write_size: Cell<u32>,
}

impl Sftp {
    /// Opens a channel and asks for the subsystem.
    pub(in crate::remote) async fn open(transport: &Rc<Transport>) -> Result<Self, Error> {
        transport.attended(Step::Sftp, "sftp", Self::opened(transport)).await
    }

    async fn opened(transport: &Rc<Transport>) -> Result<Self, Error> {
        let channel = Channel::open(transport).await?;
        channel.start("subsystem", Some(b"sftp")).await.map_err(|error| match error.reason() {
            Reason::Refused => error.hint("the server has no sftp (Subsystem of sshd_config(5))"),
            _ => error,
        })?;
        let line = Rc::new(Line {
            transport: Rc::clone(transport),
            protocol: RefCell::new(Protocol::new()),
            waiting: RefCell::default(),
            awaiting: RefCell::default(),
            cwd: RefCell::default(),
            buffer: RefCell::default(),
            budget: Budget::default(),
            sender: RefCell::default(),
            ended: RefCell::default(),
            stop: Cell::new(false),
            awaited: Cell::new(false),
            left: RefCell::default(),
            read_size: Cell::new(CHUNK),
            handles: Cell::new(HANDLES),
            write_size: Cell::new(CHUNK),
        });
        transport.reactor().spawn(Rc::clone(&line).run(channel));
        let sftp = Self { line };
        sftp.line.greeted().await?;
        sftp.line.learn_limits().await?;
        Ok(sftp)
    }

    /// Ends it and waits for the server's close.
    ///
    /// # Errors
    /// A connection that is gone.
    pub async fn close(self) -> Result<(), Error> {
        let line = Rc::clone(&self.line);
        line.transport.attended(Step::Sftp, "the end", self.closed()).await
    }

    /// Files may still be open: they hold the line, but not the channel.
    async fn closed(self) -> Result<(), Error> {
        let line = Rc::clone(&self.line);
        line.flushed().await?;
        line.awaited.set(true);
        drop(self);
        let left = poll_fn(|cx| line.left.take().map_or_else(|| line.wait(cx), Poll::Ready));
        left.await.close().await
    }
}

impl Drop for Sftp {
    fn drop(&mut self) {
        self.line.stop.set(true);
        self.line.wake();
    }
}

impl Line {
    /// Sends and receives until it is told to stop, and then until all that was asked is answered, for a while.
    async fn run(self: Rc<Self>, channel: Channel) {
        let ended = {
            let mut sending = pin!(self.send_all(&channel));
            let mut receiving = pin!(self.receive_all(&channel));
            let mut going = poll_fn(|cx| {
                if let Poll::Ready(ended) = receiving.as_mut().poll(cx) {
                    return Poll::Ready(ended);
                }
                if let Poll::Ready(ended) = sending.as_mut().poll(cx) {
                    return Poll::Ready(ended);
                }
                if self.stop.get() && self.quiet(cx) {
                    return Poll::Ready(gone("it was closed"));
                }
                *self.sender.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            });
            let reactor = self.transport.reactor();
            let mut late = pin!(reactor.sleep(Deadline::NEVER));
            let mut stopping = false;
            poll_fn(|cx| {
                if let Poll::Ready(ended) = Pin::new(&mut going).poll(cx) {
                    return Poll::Ready(ended);
                }
                if self.stop.get() && !stopping {
                    stopping = true;
                    late.set(reactor.sleep(Deadline::after(LINGER)));
                }
                late.as_mut().poll(cx).map(|()| gone("the server did not answer its end"))
            })
            .await
        };
        self.ended.borrow_mut().get_or_insert(ended);
        *self.left.borrow_mut() = Some(channel).filter(|_| self.awaited.get());
        self.wake_answered();
        self.wake_waiting();
    }

    /// Nothing is left to be sent, nothing is half sent, and everything asked is answered: a server whose answers nobody takes
    /// any more dies of that (EPIPE), with the rest of what was asked undone, such as the removal of a temporary file.
    fn quiet(&self, cx: &Context<'_>) -> bool {
        let protocol = self.protocol.borrow();
        protocol.output().is_empty() && protocol.in_flight() == 0 && !self.transport.mid_packet(cx)
    }

    async fn send_all(&self, channel: &Channel) -> Error {
        loop {
            poll_fn(|cx| {
                if self.protocol.borrow().output().is_empty() {
                    *self.sender.borrow_mut() = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(())
            })
            .await;
            let output = || Ref::map(self.protocol.borrow(), Protocol::output);
            match channel.write_from(Step::Sftp, output).await {
                Ok(n) => self.protocol.borrow_mut().sent(n),
                Err(error) => return error,
            }
            // Whoever waits for room.
            self.wake_waiting();
        }
    }

    async fn receive_all(&self, channel: &Channel) -> Error {
        let mut buffer = vec![0; PIECE];
        loop {
            match channel.read(Step::Sftp, Stream::Output, &mut buffer).await {
                Ok(0) => return gone("the server closed the channel"),
                Err(error) => return error,
                Ok(n) => {
                    if let Err(broken) = self.protocol.borrow_mut().feed(&buffer[..n]) {
                        return broke(&broken);
                    }
                }
            }
            self.close_orphans();
            self.wake_answered();
            self.wake_waiting();
            // Who has its reply asks for more before we take more: the server has work meanwhile, and replies do not pile up.
            reactor::yield_now().await;
        }
    }

    /// A handle that came for a request that nobody waits for any more.
    fn close_orphans(&self) {
        let orphan = || self.protocol.borrow_mut().orphan();
        while let Some(handle) = orphan() {
            self.close_handle(&handle);
        }
    }

    /// Closes a handle without waiting for the answer.
    pub(super) fn close_handle(&self, handle: &Handle) {
        self.forget(Request::Close(handle));
    }

    /// Sends a request of which nobody waits for the answer.
    pub(super) fn forget(&self, request: Request<'_>) {
        if let Ok(ticket) = self.send(request) {
            self.protocol.borrow_mut().abandon(ticket);
        }
    }

    /// Queues a request.
    pub(super) fn send(&self, request: Request<'_>) -> Result<Ticket, Error> {
        if let Some(error) = &*self.ended.borrow() {
            return Err(error.clone());
        }
        let (cwd, mut first, mut second) = (self.cwd.borrow(), Vec::new(), Vec::new());
        let request = match &*cwd {
            Some(cwd) => request.below(cwd, &mut first, &mut second),
            None => request,
        };
        let sent = self.protocol.borrow_mut().send(request);
        let ticket = sent.map_err(|refused| refused_by(&refused))?;
        if let Some(waker) = self.sender.take() {
            waker.wake();
        }
        Ok(ticket)
    }

    /// The reply, if it is here, or why it will not come.
    pub(super) fn take(&self, ticket: Ticket) -> Option<Result<Reply, Error>> {
        if let Some(reply) = self.protocol.borrow_mut().take(ticket) {
            return Some(Ok(reply));
        }
        self.ended.borrow().as_ref().map(|error| Err(error.clone()))
    }

    /// Nobody waits for it any more.
    pub(super) fn abandon(&self, ticket: Ticket) {
        self.protocol.borrow_mut().abandon(ticket);
        self.close_orphans();
    }

    /// Waits for a reply, as long as the connection is not silent.
    pub(super) async fn reply(&self, ticket: Ticket) -> Result<Reply, Error> {
        let waited = Waited { line: self, ticket: Some(ticket) };
        let replied = poll_fn(|cx| match self.take(ticket) {
            Some(reply) => Poll::Ready(reply),
            None => {
                self.awaiting.borrow_mut().insert(ticket, cx.waker().clone());
                Poll::Pending
            }
        });
        let reply = self.transport.attended(Step::Sftp, "an answer", replied).await?;
        waited.done();
        Ok(reply)
    }

    /// A request and its reply.
    pub(super) async fn call(&self, request: Request<'_>) -> Result<Reply, Error> {
        self.reply(self.send(request)?).await
    }

    pub(super) fn offers(&self, extension: super::Extension) -> bool {
        self.protocol.borrow().offers(extension)
    }

    /// To be woken when something came, went, or ended.
    pub(super) fn wait<T>(&self, cx: &Context<'_>) -> Poll<T> {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn wake_waiting(&self) {
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// Wakes who has a reply, or all when there will be none.
    fn wake_answered(&self) {
        let (protocol, ended) = (self.protocol.borrow(), self.has_ended());
        self.awaiting.borrow_mut().retain(|ticket, waker| {
            let answered = ended || protocol.has(*ticket);
            if answered {
                waker.wake_by_ref();
            }
            !answered
        });
    }

    /// Why nothing goes on this line any more, if that is so.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.ended.borrow().as_ref().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Nothing goes on this line any more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    fn wake(&self) {
        if let Some(waker) = self.sender.take() {
            waker.wake();
        }
        self.wake_waiting();
    }

    /// A buffer for the bytes of one request.
    pub(super) fn buffer(&self) -> Vec<u8> {
        let mut buffer = self.buffer.take();
        buffer.resize(self.write_size.get() as usize, 0);
        buffer
    }

    /// Keeps a buffer for the next one.
    pub(super) fn give_back(&self, buffer: Vec<u8>) {
        self.buffer.replace(buffer);
    }

    pub(super) fn reactor(&self) -> &reactor::Handle {
        self.transport.reactor()
    }

    /// The server's key, as it was shown.
    pub(super) fn host_key(&self) -> Vec<u8> {
        self.transport.session().host_key().map(|(key, _)| key.to_vec()).unwrap_or_default()
    }

    /// How many files may be open there at a time.
    pub(super) fn handles(&self) -> usize {
        self.handles.get()
    }

    /// Waits for the server's version.
    async fn greeted(&self) -> Result<(), Error> {
        poll_fn(|cx| {
            if let Some(error) = &*self.ended.borrow() {
                return Poll::Ready(Err(error.clone()));
            }
            if self.protocol.borrow().version().is_some() {
                Poll::Ready(Ok(()))
            } else {
                self.wait(cx)
            }
        })
        .await
    }

    /// Waits until everything queued is sent and answered.
    async fn flushed(&self) -> Result<(), Error> {
        poll_fn(|cx| {
            if let Some(error) = &*self.ended.borrow() {
                return Poll::Ready(Err(error.clone()));
            }
            let protocol = self.protocol.borrow();
            let done = protocol.output().is_empty() && protocol.in_flight() == 0;
            drop(protocol);
            if done { Poll::Ready(Ok(())) } else { self.wait(cx) }
        })
        .await
    }

    /// Asks for the server's limits, where it tells them.
    async fn learn_limits(&self) -> Result<(), Error> {
        if !self.offers(super::Extension::Limits) {
            return Ok(());
        }
        let Reply::Limits(limits) = self.call(Request::Limits).await? else { return Ok(()) };
        let bound = |said: u64| match u32::try_from(said) {
            Ok(0) => CHUNK,
            said => said.map_or(CHUNK_MAX, |said| said.min(CHUNK_MAX)),
        };
        self.read_size.set(bound(limits.read));
        self.write_size.set(bound(limits.write));
        if let Ok(handles @ 1..) = usize::try_from(limits.handles) {
            self.handles.set(handles);
        }
        Ok(())
    }
}

/// A reply that is waited for; given up, it is abandoned.
struct Waited<'a> {
    line: &'a Line,
    ticket: Option<Ticket>,
}

impl Waited<'_> {
    fn done(mut self) {
        self.ticket = None;
    }
}

impl Drop for Waited<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.line.awaiting.borrow_mut().remove(&ticket);
            self.line.abandon(ticket);
        }
    }
}

fn gone(why: &str) -> Error {
    Error::new(Step::Sftp, Reason::Disconnected, format!("the sftp session has ended: {why}"))
}

fn broke(broken: &Broken) -> Error {
    Error::new(Step::Sftp, Reason::Protocol, broken.to_string())
}

fn refused_by(refused: &Refused) -> Error {
    Error::new(Step::Sftp, Reason::Usage, refused.to_string())
}

/// A status that is no success, as an error of `what` on a path.
pub(super) fn failed(what: &str, path: &[u8], status: &Status) -> Error {
    let shown = String::from_utf8_lossy(path);
    let message = format!("{what} {}: {status}", shown.escape_debug());
    let error = Error::new(Step::Sftp, Reason::Status(status.code.number()), message);
    // Version 3 has no status for ENOSPC and EDQUOT.
    if status.code == StatusCode::Failure && matches!(what, "write" | "fsync" | "close") {
        return error.hint("the server says no more: its disk may be full, or a quota used up");
    }
    error
}
