//! ioctl(2) on sockets: how much lies in the two queues of a connection. The drain needs both.

use super::check;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Bytes received by the kernel and not read yet (`FIONREAD`, tcp(7)).
///
/// # Errors
/// `EINVAL` on a listening socket.
pub fn fionread(fd: impl AsFd) -> io::Result<usize> {
    queue(fd, libc::FIONREAD)
}

/// Bytes sent and not yet acknowledged by the peer's kernel, a pending FIN counted as one
/// (`SIOCOUTQ`, tcp(7)). 0: everything has arrived.
///
/// # Errors
/// `EINVAL` on a listening socket.
pub fn siocoutq(fd: impl AsFd) -> io::Result<usize> {
    // SIOCOUTQ is TIOCOUTQ on Linux (linux/sockios.h).
    queue(fd, libc::TIOCOUTQ)
}

fn queue(fd: impl AsFd, request: libc::Ioctl) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: both requests write one int to the pointer and nothing else.
    check(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request, &raw mut bytes) })?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}
