//! The one owner of a session: every call of libssh2 is made here, and waited for here.
//!
//! A call that says `EAGAIN` has waited for the socket: **wait**. The call that then takes bytes from the kernel, decrypts
//! them and hands them on is the **copy**. Both are told to the reactor's observer.
//!
//! Three facts of libssh2 shape this file. A call for one channel takes whatever has come on the socket, also what is for
//! another: so whenever bytes came, every waiting call is tried again ([`Transport::moved`]). A packet that was sent in
//! part must be sent to its end by the call that began it: a future that is dropped there leaves a session that cannot go on
//! ([`Reason::Abandoned`]). And until it is sent every other call that has something to send says `EAGAIN` at once, without
//! a look at the socket: such a call waits for the packet, since the socket may be ready all the time.

mod guards;

use super::error::{Error, Reason, Step};
use super::route::Carrier;
use crate::failure::Failure;
use crate::phase::End;
use crate::reactor::{Deadline, Handle, Interest, Source};
use crate::sys::ssh::{self, Channel, SshError, Traffic};
use crate::sys::{self, Shutdown};
use guards::{Closing, Held, Operation};
use ssh2::{BlockDirections, Session};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// libssh2 sometimes says `EAGAIN` and names no direction to wait for (libssh2#1672): then it is asked again after this.
const STALL: Duration = Duration::from_millis(10);
/// How long the close of a channel that was dropped may take.
const CLOSING: Duration = Duration::from_secs(5);

/// What a call is for: which of its phases the observer hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It waits for an answer, or for data.
    Receive,
    /// It gives data away.
    Send,
}

/// A session of libssh2 with its socket, on a reactor.
pub(super) struct Transport {
    session: Session,
    socket: Source<Arc<OwnedFd>>,
    /// Counts what may let a waiting call go on.
    progress: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
    /// The operation whose packet is sent in part.
    sending: Cell<Option<u64>>,
    /// Who waits until it is sent.
    behind: RefCell<Vec<Waker>>,
    operations: Cell<u64>,
    /// An operation holds a state that the session has only once.
    held: Cell<bool>,
    broken: RefCell<Option<Error>>,
    /// Whom it is with, once logged in.
    whom: RefCell<String>,
    /// The last moment at which bytes moved.
    moved_at: Cell<Duration>,
    idle: Cell<Option<Duration>>,
    /// Channels whose close was not driven to its end.
    orphans: RefCell<Vec<Channel>>,
    /// A channel was closed since anybody asked.
    closed: Cell<bool>,
    traffic: Cell<Traffic>,
    /// What the socket is one end of, and lives as long: last, so that it goes last.
    pub(super) carrier: RefCell<Option<Carrier>>,
}

impl Transport {
    /// A session over a connected, non-blocking socket.
    pub(super) fn new(reactor: &Handle, socket: OwnedFd) -> Result<Rc<Self>, Error> {
        let failed = |error| Error::ssh(Step::Handshake, "session", &SshError::from(error));
        let peer = sys::getpeername(&socket)
            .map_err(|e| Error::failure(Step::Handshake, &Failure::new("getpeername", "", e)))?;
        let mut session = Session::new().map_err(failed)?;
        let socket = Arc::new(socket);
        session.set_tcp_stream(Arc::clone(&socket));
        session.set_blocking(false);
        ssh::count_traffic(&session);
        let socket =
            Source::new(reactor, socket).map_err(|f| Error::failure(Step::Handshake, &f))?;
        reactor.observer().opened(socket.id(), &peer);
        Ok(Rc::new(Self {
            session,
            socket,
            progress: Cell::new(0),
            waiting: RefCell::default(),
            sending: Cell::new(None),
            behind: RefCell::default(),
            operations: Cell::new(0),
            held: Cell::new(false),
            broken: RefCell::default(),
            whom: RefCell::default(),
            moved_at: Cell::new(now()),
            idle: Cell::new(None),
            orphans: RefCell::default(),
            closed: Cell::new(false),
            traffic: Cell::default(),
            carrier: RefCell::default(),
        }))
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    pub(super) fn reactor(&self) -> &Handle {
        self.socket.reactor()
    }

    /// What has passed this session's socket.
    pub(super) fn traffic(&self) -> Traffic {
        self.traffic.get()
    }

    /// From now on what a user waits for fails when no byte has moved for so long.
    pub(super) fn set_idle(&self, idle: Option<Duration>) {
        self.idle.set(idle);
    }

    /// From now on a connection that is gone is told by the name of its host.
    pub(super) fn set_whom(&self, whom: String) {
        self.whom.replace(whom);
    }

    /// Makes a call until it does not say `EAGAIN`. `what` is what it does, for messages.
    pub(super) async fn drive<T>(
        &self,
        way: Way,
        step: Step,
        what: &str,
        mut call: impl FnMut(&Session) -> Result<T, SshError>,
    ) -> Result<T, Error> {
        self.attempt(way, &mut call).await?.map_err(|e| self.failed(step, what, &e))
    }

    /// The same, and what libssh2 says of a failure is the caller's to judge. The outer error: the session is broken.
    async fn attempt<T>(
        &self,
        way: Way,
        call: &mut impl FnMut(&Session) -> Result<T, SshError>,
    ) -> Result<Result<T, SshError>, Error> {
        let operation = Operation::begin(self);
        loop {
            if way == Way::Send {
                // Not only in vain: libssh2 knows a packet by its address and length, and one that lies on the stack (the end
                // of input) where the other lay would pass for it.
                poll_fn(|cx| match operation.is_behind() && self.mid_packet(cx) {
                    true => Poll::Pending,
                    false => Poll::Ready(()),
                })
                .await;
            }
            if let Some(error) = &*self.broken.borrow() {
                return Err(error.clone());
            }
            let looks = self.looks();
            match self.told(way, call) {
                Err(error) if error.again() => {}
                done => {
                    operation.end();
                    return Ok(done);
                }
            }
            operation.note();
            self.wait(&operation, self.looks() != looks).await;
        }
    }

    /// The same for a call whose state the session has only once: one of them at a time, and none given up in the middle.
    pub(super) async fn exclusively<T>(
        &self,
        mut call: impl FnMut(&Session) -> Result<T, SshError>,
    ) -> Result<Result<T, SshError>, Error> {
        poll_fn(|cx| if self.held.get() { self.queue(cx) } else { Poll::Ready(()) }).await;
        self.held.set(true);
        let held = Held(self);
        let done = self.attempt(Way::Receive, &mut call).await;
        std::mem::forget(held);
        self.held.set(false);
        self.wake();
        done
    }

    /// One call, told to the observer: it has copied if bytes passed the socket, whatever it says of its own matter.
    fn told<T>(
        &self,
        way: Way,
        call: &mut impl FnMut(&Session) -> Result<T, SshError>,
    ) -> Result<T, SshError> {
        let before = ssh::traffic();
        let mut result = None;
        let mut told = || {
            let said = call(&self.session);
            let now = ssh::traffic();
            let bytes = match way {
                Way::Receive => now.bytes_in - before.bytes_in,
                Way::Send => now.bytes_out - before.bytes_out,
            };
            let again = matches!(&said, Err(error) if error.again()) && bytes == 0;
            result = Some(said);
            if again { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(bytes as usize) }
        };
        let (observer, id) = (self.reactor().observer(), self.socket.id());
        // What the closure says is for the observer; what libssh2 said is in `result`.
        let _ = match way {
            Way::Receive => observer.receive(id, &mut told),
            Way::Send => observer.send(id, 0, &mut told),
        };
        self.moved(before);
        result.unwrap_or_else(|| unreachable!("an observer makes the call that it is told of"))
    }

    /// Whether it cannot go on.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.borrow().is_some()
    }

    /// Tells the others when bytes moved.
    fn moved(&self, before: Traffic) {
        let now_passed = ssh::traffic();
        let mut mine = self.traffic.get();
        mine.receives += now_passed.receives - before.receives;
        mine.receives_again += now_passed.receives_again - before.receives_again;
        mine.sends += now_passed.sends - before.sends;
        mine.bytes_in += now_passed.bytes_in - before.bytes_in;
        mine.bytes_out += now_passed.bytes_out - before.bytes_out;
        let (came, went) =
            (now_passed.bytes_in != before.bytes_in, now_passed.bytes_out != before.bytes_out);
        self.traffic.set(mine);
        if came || went {
            self.moved_at.set(now());
        }
        if came {
            self.wake();
        }
    }

    fn wake(&self) {
        self.progress.set(self.progress.get() + 1);
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// To be woken at the next progress.
    fn queue<T>(&self, cx: &Context<'_>) -> Poll<T> {
        enlist(&self.waiting, cx);
        Poll::Pending
    }

    /// How often a call has looked at the socket.
    fn looks(&self) -> u64 {
        let Traffic { receives, receives_again, .. } = self.traffic.get();
        receives + receives_again
    }

    /// Waits until a call is worth another try; `looked`: it has found nothing more to read.
    async fn wait(&self, operation: &Operation<'_>, looked: bool) {
        let (seen, behind) = (self.progress.get(), operation.is_behind());
        if self.held.get() {
            // An answer is all that is waited for. sshd sends its first packets by Nagle's algorithm, so that the answer may be behind a
            // packet that waits for its acknowledgement: 40 ms, if that is delayed. What is no TCP has no such delay.
            let _ = sys::set_quickack(self.socket.get_ref());
        }
        let (interest, stall) = match self.session.block_directions() {
            _ if behind => (looked.then_some(Interest::Read), None),
            _ if operation.is_mid_packet() && !looked => (Some(Interest::Write), None),
            BlockDirections::Inbound => (Some(Interest::Read), None),
            BlockDirections::Outbound => (Some(Interest::Write), None),
            BlockDirections::Both => (Some(Interest::Either), None),
            BlockDirections::None => (Some(Interest::Read), Some(STALL)),
        };
        let mut ready = pin!(interest.map(|interest| self.socket.ready(interest)));
        let mut stalled = pin!(self.reactor().sleep(Deadline::after_or_never(stall)));
        poll_fn(|cx| {
            let go_on = self.progress.get() != seen
                || behind && !self.mid_packet(cx)
                || ready.as_mut().as_pin_mut().is_some_and(|ready| ready.poll(cx).is_ready())
                || stalled.as_mut().poll(cx).is_ready();
            if go_on { Poll::Ready(()) } else { self.queue(cx) }
        })
        .await;
    }

    /// Something that a user waits for: it fails when no byte has moved for too long.
    pub(super) async fn attended<T>(
        &self,
        step: Step,
        what: &str,
        future: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.attended_for(None, step, what, future).await
    }

    /// The same with an idle time of its own, if it has one.
    pub(super) async fn attended_for<T>(
        &self,
        idle: Option<Duration>,
        step: Step,
        what: &str,
        future: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut future = pin!(future);
        let mut silent = pin!(self.silent(idle, now()));
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Pending => silent.as_mut().poll(cx).map(|idle| {
                Err(Error::timed_out(step, format_args!("{what}: the connection is silent"), idle))
            }),
            done => done,
        })
        .await
    }

    /// Ends when no byte has moved for the idle time, from a moment on.
    async fn silent(&self, idle: Option<Duration>, since: Duration) -> Duration {
        loop {
            let Some(idle) = idle.or(self.idle.get()) else { return std::future::pending().await };
            let still = now().saturating_sub(self.moved_at.get().max(since));
            if still >= idle {
                return idle;
            }
            self.reactor().sleep(Deadline::after(idle - still)).await;
        }
    }

    /// A failure in words; a connection that is gone is gone for all.
    pub(super) fn failed(&self, step: Step, what: &str, error: &SshError) -> Error {
        let whom = self.whom.borrow();
        let error = match error.disconnected() && !whom.is_empty() {
            true => Error::disconnected(step, &whom, error.errno),
            false => Error::ssh(step, what, error),
        };
        if error.reason() == Reason::Disconnected {
            self.broken.borrow_mut().get_or_insert_with(|| error.clone());
            self.wake();
        }
        error
    }

    /// Whether a packet is sent in part. Whoever hears so is woken once it is sent.
    pub(super) fn mid_packet(&self, cx: &Context<'_>) -> bool {
        let half = self.sending.get().is_some();
        if half {
            enlist(&self.behind, cx);
        }
        half
    }

    /// No packet is sent in part any more.
    fn sent(&self) {
        if self.sending.take().is_some() {
            self.behind.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Closes a channel that its owner has dropped, as far as the reactor runs on.
    pub(super) fn close_later(self: &Rc<Self>, channel: Channel) {
        let mut closing = Closing { channel: Some(channel), transport: Rc::clone(self) };
        if self.broken.borrow().is_some() {
            return;
        }
        let reactor = self.reactor().clone();
        self.reactor().spawn(async move {
            let deadline = Deadline::after(CLOSING);
            // What cannot be closed in time goes with its session.
            let _ = reactor.within(deadline, closing.drive()).await;
        });
    }

    /// Closes a channel, and waits for the server's close.
    pub(super) async fn close_now(self: &Rc<Self>, channel: Channel) -> Result<(), Error> {
        Closing { channel: Some(channel), transport: Rc::clone(self) }.drive().await
    }

    /// Whether a channel was closed since this was asked last.
    pub(super) fn has_closed(&self) -> bool {
        self.closed.take()
    }

    /// Says goodbye (SSH_MSG_DISCONNECT); the socket is closed when the last owner drops.
    pub(super) async fn disconnect(&self) -> Result<(), Error> {
        let goodbye =
            |session: &Session| session.disconnect(None, "done", None).map_err(SshError::from);
        self.drive(Way::Send, Step::Close, "disconnect", goodbye).await
    }
}

impl Drop for Transport {
    /// Never waits: the socket is shut first, so that libssh2 has nothing to wait for when it frees what it has.
    fn drop(&mut self) {
        // ENOTCONN: the peer was faster.
        let _ = sys::shutdown(self.socket.get_ref(), Shutdown::Both);
        for orphan in self.orphans.take() {
            orphan.read_out();
            // It cannot say EAGAIN any more: the session knows that its socket is at its end.
            let _ = orphan.free();
        }
        self.reactor().observer().closed(self.socket.id(), End::Served);
    }
}

impl Transport {
    fn abandon(&self, r#where: &str) {
        let error = Error::new(
            Step::Close,
            Reason::Abandoned,
            format!("an earlier operation was given up {where}: the session cannot go on", where = r#where),
        );
        self.broken.borrow_mut().get_or_insert(error);
        self.held.set(false);
        // Nobody will send the rest, and whoever waits for it must hear why.
        self.sent();
        self.wake();
    }
}

/// Puts a task's waker into a list, once.
fn enlist(list: &RefCell<Vec<Waker>>, cx: &Context<'_>) {
    let mut list = list.borrow_mut();
    if !list.iter().any(|waker| waker.will_wake(cx.waker())) {
        list.push(cx.waker().clone());
    }
}

fn now() -> Duration {
    sys::clock_gettime(sys::Clock::Monotonic)
}
