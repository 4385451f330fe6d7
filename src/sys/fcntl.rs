//! fcntl(2): `O_NONBLOCK`, the switch between the notes' first and second model; locks; copies of descriptors.

use super::check;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// The status flags of an open file description (`F_GETFL`).
///
/// # Errors
/// None for a descriptor that is open, which `AsFd` promises.
pub fn fcntl_getfl(fd: impl AsFd) -> io::Result<libc::c_int> {
    // SAFETY: F_GETFL takes no argument and touches no memory.
    check(unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETFL) })
}

/// Whether `O_NONBLOCK` is set.
///
/// # Errors
/// As [`fcntl_getfl`].
pub fn nonblocking(fd: impl AsFd) -> io::Result<bool> {
    Ok(fcntl_getfl(fd)? & libc::O_NONBLOCK != 0)
}

/// Sets or clears `O_NONBLOCK` (`F_GETFL`, then `F_SETFL`): calls on the descriptor say `EAGAIN`
/// instead of waiting. The flag belongs to the open file description: every process that
/// shares it sees the change.
///
/// `SOCK_NONBLOCK` in accept4 would save the two calls; the notes switch it on afterwards
/// (`setblocking(False)`), so the trace shows it as they do.
///
/// # Errors
/// None for an open socket.
pub fn set_nonblocking(fd: impl AsFd, on: bool) -> io::Result<()> {
    let flags = fcntl_getfl(fd.as_fd())?;
    let flags = if on { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
    // SAFETY: F_SETFL takes an integer and touches no memory.
    check(unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_SETFL, flags) }).map(drop)
}

/// Waits for the lock on an open file or directory, and holds it until the last copy of the descriptor is
/// closed (flock(2), `LOCK_EX`).
///
/// # Errors
/// `EINTR`, `ENOLCK`.
pub fn flock(fd: impl AsFd) -> io::Result<()> {
    // SAFETY: the call touches no memory of ours.
    check(unsafe { libc::flock(fd.as_fd().as_raw_fd(), libc::LOCK_EX) }).map(drop)
}

/// The same without waiting (`LOCK_EX | LOCK_NB`).
///
/// # Errors
/// `EWOULDBLOCK`: somebody else holds it; `ENOLCK`.
pub fn flock_now(fd: impl AsFd) -> io::Result<()> {
    // SAFETY: the call touches no memory of ours.
    check(unsafe { libc::flock(fd.as_fd().as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }).map(drop)
}

/// A descriptor of our own for one that the process was started with (fcntl(2), `F_DUPFD_CLOEXEC`).
///
/// # Errors
/// `EBADF`: there is none of this number; `EMFILE`.
pub fn fcntl_dupfd(number: u32) -> io::Result<OwnedFd> {
    let number =
        libc::c_int::try_from(number).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: F_DUPFD_CLOEXEC takes an integer and touches no memory; a number that is no descriptor is refused.
    let fd = check(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: the kernel has just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
