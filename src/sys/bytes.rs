//! read(2) and write(2), for any descriptor.

use super::check_len;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Writes to a descriptor (write(2)) and returns how much was taken, which may be less.
/// Async-signal-safe.
///
/// # Errors
/// `EAGAIN`, `EINTR`, `EPIPE`, `ENOSPC`, ...
pub fn write(fd: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the kernel only reads `bytes.len()` bytes, during the call.
    check_len(unsafe { libc::write(fd.as_fd().as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) })
}

/// Reads from a descriptor (read(2)) and returns how much came; 0 is the end.
///
/// # Errors
/// `EAGAIN`, `EINTR`, `EIO`, ...
pub fn read(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let (start, len) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: the kernel writes at most `len` bytes to the pointer.
    check_len(unsafe { libc::read(fd.as_fd().as_raw_fd(), start, len) })
}
