//! epoll(7): readiness by a set that lives in the kernel.

use super::{check, millis};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// What a descriptor is registered for. `EPOLLERR` and `EPOLLHUP` are always told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest(u32);

impl Interest {
    /// `EPOLLIN`, level-triggered: told again as long as there is something to read.
    pub const READ: Self = Self(libc::EPOLLIN as u32);
    /// `EPOLLOUT`, level-triggered: told again as long as there is room.
    pub const WRITE: Self = Self(libc::EPOLLOUT as u32);
    /// Both, level-triggered.
    pub const BOTH: Self = Self((libc::EPOLLIN | libc::EPOLLOUT) as u32);
    /// Errors and hang-ups only.
    pub const NONE: Self = Self(0);
    /// Nothing that lasts: errors and hang-ups, told once (`EPOLLET`).
    pub const QUIET: Self = Self(libc::EPOLLET as u32);
    /// Both directions and the peer's half-close, edge-triggered (`EPOLLIN | EPOLLOUT |
    /// EPOLLRDHUP | EPOLLET`): told once per change.
    pub const EDGE: Self =
        Self((libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET) as u32);
    /// `EPOLLIN | EPOLLEXCLUSIVE`, for a listener that several processes wait for: a client wakes one of them, not all.
    pub const READ_EXCLUSIVE: Self = Self((libc::EPOLLIN | libc::EPOLLEXCLUSIVE) as u32);
    /// `EPOLLIN | EPOLLET`, for a listener.
    pub const READ_EDGE: Self = Self((libc::EPOLLIN | libc::EPOLLET) as u32);
}

/// One event: what happened, and the number under which the descriptor was registered.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct EpollEvent(libc::epoll_event);

impl EpollEvent {
    /// An event that says nothing, to fill a buffer with.
    pub const EMPTY: Self = Self(libc::epoll_event { events: 0, u64: 0 });

    /// The 64 bits given at registration.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.0.u64
    }

    /// Whether a read would not wait: data, end of file, or an error to collect.
    #[must_use]
    pub fn readable(&self) -> bool {
        self.has(libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR)
    }

    /// Whether a write would not wait: room, or an error to collect.
    #[must_use]
    pub fn writable(&self) -> bool {
        self.has(libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR)
    }

    /// Whether the peer has ended its direction, or the connection is dead: a short read
    /// is then not the end of what there is to learn.
    #[must_use]
    pub fn hung_up(&self) -> bool {
        self.has(libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR)
    }

    fn has(&self, bits: libc::c_int) -> bool {
        self.0.events & bits as u32 != 0
    }
}

/// An epoll instance.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

/// A new, empty epoll instance, close-on-exec.
///
/// # Errors
/// `EMFILE`, `ENFILE`, `ENOMEM`.
pub fn epoll_create1() -> io::Result<Epoll> {
    // SAFETY: the call touches no memory of ours.
    let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: the kernel has just made this descriptor and nobody else owns it.
    Ok(Epoll(unsafe { OwnedFd::from_raw_fd(fd) }))
}

impl Epoll {
    /// Registers a descriptor (`EPOLL_CTL_ADD`); `token` comes back in its events.
    ///
    /// # Errors
    /// `EEXIST`; `EPERM` for a regular file; `ENOSPC` at `/proc/sys/fs/epoll/max_user_watches`; `ENOMEM`.
    pub fn add(&self, fd: impl AsFd, interest: Interest, token: u64) -> io::Result<()> {
        self.epoll_ctl(libc::EPOLL_CTL_ADD, fd, interest, token)
    }

    /// Changes the interest (`EPOLL_CTL_MOD`). With an edge-triggered interest this also arms again:
    /// a state that is ready now is told once more.
    ///
    /// # Errors
    /// `ENOENT` for a descriptor that is not registered.
    pub fn modify(&self, fd: impl AsFd, interest: Interest, token: u64) -> io::Result<()> {
        self.epoll_ctl(libc::EPOLL_CTL_MOD, fd, interest, token)
    }

    /// Takes a descriptor out (`EPOLL_CTL_DEL`). Closing the last copy of it does the same.
    ///
    /// # Errors
    /// `ENOENT` for a descriptor that is not registered.
    pub fn delete(&self, fd: impl AsFd) -> io::Result<()> {
        self.epoll_ctl(libc::EPOLL_CTL_DEL, fd, Interest::NONE, 0)
    }

    #[inline(never)]
    fn epoll_ctl(
        &self,
        op: libc::c_int,
        fd: impl AsFd,
        interest: Interest,
        token: u64,
    ) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest.0, u64: token };
        // SAFETY: with ADD and MOD the kernel only reads the event; with DEL it does not look at it.
        check(unsafe {
            libc::epoll_ctl(self.0.as_raw_fd(), op, fd.as_fd().as_raw_fd(), &raw mut event)
        })
        .map(drop)
    }

    /// Waits for events (epoll_wait(2)), at most as long as `timeout` (rounded up to milliseconds;
    /// `None` is for ever), and returns how many of the buffer's events were filled.
    ///
    /// # Errors
    /// `EINTR`; `EINVAL` for an empty buffer.
    pub fn epoll_wait(
        &self,
        events: &mut [EpollEvent],
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        let room = libc::c_int::try_from(events.len()).unwrap_or(libc::c_int::MAX);
        // SAFETY: the kernel writes at most `room` events from the start of the buffer.
        check(unsafe {
            libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr().cast(), room, millis(timeout))
        })
        .map(|n| n as usize)
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
