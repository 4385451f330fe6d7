//! poll(2) and ppoll(2): readiness by a list of descriptors.

use super::{check, millis, timespec};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::time::Duration;

/// One entry of the list: a descriptor, what is asked about it, and the kernel's answer.
///
/// Like the kernel's `struct pollfd`, which it is, it holds the descriptor's number only: an entry
/// whose descriptor was closed since is answered with `POLLNVAL`, or speaks of its successor.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct PollFd(libc::pollfd);

impl PollFd {
    /// Asks whether `fd` can be read (`POLLIN`), written (`POLLOUT`), or neither: errors and
    /// hang-ups are always told.
    #[must_use]
    pub fn new(fd: impl AsFd, readable: bool, writable: bool) -> Self {
        let events =
            if readable { libc::POLLIN } else { 0 } | if writable { libc::POLLOUT } else { 0 };
        Self(libc::pollfd { fd: fd.as_fd().as_raw_fd(), events, revents: 0 })
    }

    /// Whether the last poll found anything at all: readable, writable, error or hang-up.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.0.revents != 0
    }

    /// Whether a read would not wait (data, end of file, hang-up or an error to collect).
    #[must_use]
    pub fn readable(&self) -> bool {
        self.0.revents & (libc::POLLIN | libc::POLLHUP | libc::POLLERR) != 0
    }

    /// Whether a write would not wait (room, or an error to collect).
    #[must_use]
    pub fn writable(&self) -> bool {
        self.0.revents & (libc::POLLOUT | libc::POLLERR) != 0
    }
}

/// Waits until one of the descriptors is ready or the time is over (rounded up to
/// milliseconds; `None` is for ever) and returns how many are.
///
/// # Errors
/// `EINTR`; `EINVAL` for more entries than `RLIMIT_NOFILE`; `ENOMEM`.
pub fn poll(list: &mut [PollFd], timeout: Option<Duration>) -> io::Result<usize> {
    // SAFETY: PollFd is transparent over pollfd; the kernel writes the `revents` of these entries only.
    check(unsafe {
        libc::poll(list.as_mut_ptr().cast(), list.len() as libc::nfds_t, millis(timeout))
    })
    .map(|n| n as usize)
}

/// [`poll`] with a time-out in nanoseconds; the signal mask stays as it is.
///
/// # Errors
/// As [`poll`].
pub fn ppoll(list: &mut [PollFd], timeout: Option<Duration>) -> io::Result<usize> {
    let time = timeout.map(timespec);
    let time = time.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: as for poll; the timespec is only read (libc works on a copy).
    check(unsafe {
        libc::ppoll(list.as_mut_ptr().cast(), list.len() as libc::nfds_t, time, ptr::null())
    })
    .map(|n| n as usize)
}
