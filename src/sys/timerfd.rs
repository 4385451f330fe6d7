//! timerfd_create(2): a moment as a descriptor, for readiness calls that would count milliseconds or set up a timer of their own each time.

use super::{check, timespec};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

/// A timer on `CLOCK_MONOTONIC` that is not set, close-on-exec and non-blocking. It is readable from its moment on, until it is
/// set again or read.
///
/// # Errors
/// `EMFILE`, `ENFILE`, `ENOMEM`.
pub fn timerfd_create() -> io::Result<OwnedFd> {
    let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
    // SAFETY: the call touches no memory of ours.
    let fd = check(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) })?;
    // SAFETY: the kernel has just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets the timer to a moment, as [`clock_gettime`](super::clock_gettime) tells it; one that is past makes it readable at once
/// (`TFD_TIMER_ABSTIME`).
///
/// # Errors
/// `EINVAL` on a descriptor that is no timer.
pub fn timerfd_settime(fd: impl AsFd, moment: Duration) -> io::Result<()> {
    // All zeros would switch it off.
    let moment = timespec(moment.max(Duration::from_nanos(1)));
    let timer = libc::itimerspec { it_interval: timespec(Duration::ZERO), it_value: moment };
    let (fd, flags) = (fd.as_fd().as_raw_fd(), libc::TFD_TIMER_ABSTIME);
    // SAFETY: the kernel only reads the timer, during the call; the old one is not asked for.
    check(unsafe { libc::timerfd_settime(fd, flags, &raw const timer, ptr::null_mut()) }).map(drop)
}
