//! eventfd(2): a counter that makes every waiter ready. The stop uses one that nobody reads.

use super::{check, read, write};
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

/// A new event counter at 0, close-on-exec and non-blocking.
///
/// # Errors
/// `EMFILE`, `ENFILE`, `ENOMEM`.
pub fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: the call touches no memory of ours.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: the kernel has just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Adds 1 to the counter: it is readable from then on. Async-signal-safe.
///
/// # Errors
/// `EAGAIN` when the counter is full: then it is readable already.
pub fn eventfd_write(fd: impl AsFd) -> io::Result<()> {
    write(fd, &1_u64.to_ne_bytes()).map(drop)
}

/// Takes the counter's value, which is 0 from then on (read(2)).
///
/// # Errors
/// `EAGAIN` when it is 0.
pub fn eventfd_read(fd: impl AsFd) -> io::Result<u64> {
    let mut value = [0; 8];
    read(fd, &mut value)?;
    Ok(u64::from_ne_bytes(value))
}
