//! Descriptors that futures wait for.

use super::Handle;
use crate::failure::Failure;
use crate::net::Slab;
use crate::phase::Id;
use crate::sys::{self, Epoll, EpollEvent};
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// What a future waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Data, the end of a stream, or an error to collect.
    Read,
    /// Room, or an error to collect.
    Write,
    /// The first of both.
    Either,
}

impl Interest {
    const fn read(self) -> bool {
        matches!(self, Self::Read | Self::Either)
    }

    const fn write(self) -> bool {
        matches!(self, Self::Write | Self::Either)
    }
}

/// A descriptor that futures on a reactor wait for. It owns what it was made from.
///
/// Registration is level-triggered, and changed only when what the waiters want has changed: a future that waits for
/// the same thing again and again costs no epoll_ctl per wait. What is ready while nobody waits is silenced.
pub struct Source<F: AsFd + 'static> {
    reactor: Handle,
    id: Id,
    fd: Rc<F>,
}

/// Everything registered with one reactor.
#[derive(Default)]
pub(super) struct Sources {
    table: Slab<Registered>,
    /// Those whose waiters have changed since the last wait.
    changed: Vec<Id>,
    tickets: u64,
}

struct Registered {
    fd: Rc<dyn AsFd>,
    /// What the kernel reports of it; `None`: a regular file, which epoll refuses (`EPERM`). It is always ready, as
    /// it is for poll(2).
    armed: Option<sys::Interest>,
    waiters: Vec<Waiter>,
}

struct Waiter {
    ticket: u64,
    interest: Interest,
    waker: Waker,
}

impl Registered {
    /// What its waiters want, together.
    fn wanted(&self) -> sys::Interest {
        let read = self.waiters.iter().any(|waiter| waiter.interest.read());
        let write = self.waiters.iter().any(|waiter| waiter.interest.write());
        match (read, write) {
            (true, true) => sys::Interest::BOTH,
            (true, false) => sys::Interest::READ,
            (false, true) => sys::Interest::WRITE,
            (false, false) => sys::Interest::QUIET,
        }
    }

    fn wake(&mut self, matches: impl Fn(Interest) -> bool) -> bool {
        let before = self.waiters.len();
        self.waiters.retain(|waiter| {
            let woken = matches(waiter.interest);
            if woken {
                waiter.waker.wake_by_ref();
            }
            !woken
        });
        self.waiters.len() < before
    }

    /// Brings the kernel's set to what is wanted.
    fn arm(&mut self, epoll: &Epoll, id: Id) {
        let wanted = self.wanted();
        // It is registered, so a change cannot fail.
        if self.armed.is_some_and(|armed| armed != wanted)
            && epoll.modify(&self.fd, wanted, id.token()).is_ok()
        {
            self.armed = Some(wanted);
        }
    }
}

impl Sources {
    /// Before a wait: tells the kernel what has changed.
    pub(super) fn arm(&mut self, epoll: &Epoll) {
        for id in self.changed.drain(..) {
            if let Some(registered) = self.table.get_mut(id) {
                registered.arm(epoll, id);
            }
        }
    }

    /// After a wait: wakes whom an event concerns.
    pub(super) fn report(&mut self, epoll: &Epoll, event: &EpollEvent) {
        let id = Id::of_token(event.token());
        // An event of the same batch may have ended it.
        let Some(registered) = self.table.get_mut(id) else { return };
        let woken = registered.wake(|interest| {
            (interest.read() && event.readable()) || (interest.write() && event.writable())
        });
        if !woken {
            // Nobody waits for this: it would be told again and again.
            registered.arm(epoll, id);
        }
    }
}

impl<F: AsFd + 'static> Source<F> {
    /// Lets futures on `reactor` wait for a descriptor.
    ///
    /// # Errors
    /// `EEXIST` for a descriptor that is registered already; `ENOSPC` at `/proc/sys/fs/epoll/max_user_watches`; `ENOMEM`.
    pub fn new(reactor: &Handle, fd: F) -> Result<Self, Failure> {
        let fd = Rc::new(fd);
        let armed = Some(sys::Interest::QUIET);
        let registered =
            Registered { fd: Rc::clone(&fd) as Rc<dyn AsFd>, armed, waiters: Vec::new() };
        let mut sources = reactor.0.sources.borrow_mut();
        let id = sources.table.insert(registered);
        match reactor.0.epoll.add(&fd, sys::Interest::QUIET, id.token()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                if let Some(file) = sources.table.get_mut(id) {
                    file.armed = None;
                }
            }
            Err(error) => {
                sources.table.remove(id);
                return Err(Failure::new("epoll_ctl", "EPOLL_CTL_ADD", error));
            }
        }
        drop(sources);
        Ok(Self { reactor: reactor.clone(), id, fd })
    }

    /// Waits until the descriptor is ready. A regular file always is.
    pub fn ready(&self, interest: Interest) -> Ready<'_> {
        Ready { reactor: &self.reactor, id: self.id, interest, ticket: None }
    }

    /// Makes a call until it does not say `EAGAIN`, waiting before each further try.
    ///
    /// # Errors
    /// Those of the call, `EINTR` and `EAGAIN` excepted.
    pub async fn until<T>(
        &self,
        interest: Interest,
        mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match call(self.fd.as_fd()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready(interest).await
                }
                done => return done,
            }
        }
    }

    /// What it was made from.
    pub fn get_ref(&self) -> &F {
        &self.fd
    }

    /// Its identity among the sources of its reactor.
    #[must_use]
    pub fn id(&self) -> Id {
        self.id
    }

    /// The reactor that it is registered with.
    #[must_use]
    pub fn reactor(&self) -> &Handle {
        &self.reactor
    }
}

impl<F: AsFd + 'static> Drop for Source<F> {
    fn drop(&mut self) {
        let registered = self.reactor.0.sources.borrow_mut().table.remove(self.id);
        if registered.is_some_and(|registered| registered.armed.is_some()) {
            // By hand: the close does not do it where a copy of the descriptor lives on (a forked child, a dup).
            // It can only fail where somebody closed what he did not own.
            let _ = self.reactor.0.epoll.delete(&self.fd);
        }
    }
}

/// Waits for a descriptor: [`Source::ready`].
#[must_use = "a future does nothing until it is awaited"]
pub struct Ready<'a> {
    reactor: &'a Handle,
    id: Id,
    interest: Interest,
    ticket: Option<u64>,
}

impl Future for Ready<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut sources = self.reactor.0.sources.borrow_mut();
        let sources = &mut *sources;
        let registered = sources.table.get_mut(self.id).filter(|source| source.armed.is_some());
        let Some(registered) = registered else { return Poll::Ready(()) };
        if let Some(ticket) = self.ticket {
            return match registered.waiters.iter_mut().find(|waiter| waiter.ticket == ticket) {
                Some(waiter) => {
                    waiter.waker.clone_from(cx.waker());
                    Poll::Pending
                }
                // An event has taken it off the list.
                None => Poll::Ready(()),
            };
        }
        sources.tickets += 1;
        let waiter =
            Waiter { ticket: sources.tickets, interest: self.interest, waker: cx.waker().clone() };
        registered.waiters.push(waiter);
        sources.changed.push(self.id);
        self.ticket = Some(sources.tickets);
        Poll::Pending
    }
}

impl Drop for Ready<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        if let Some(registered) = self.reactor.0.sources.borrow_mut().table.get_mut(self.id) {
            registered.waiters.retain(|waiter| waiter.ticket != ticket);
        }
    }
}
