//! Floor 0: every `unsafe` line of the crate, one wrapper per system call.
//!
//! Each wrapper bears the call's own name, is one expression where the call
//! allows it, takes and returns *owned or borrowed descriptors* and never a
//! bare number, and reports failure as the [`std::io::Error`] of its `errno`. Nothing
//! in here retries, waits for more, or decides anything: `EINTR`, `EAGAIN`, end
//! of file and a short write are the callers' business, and each has one
//! visible home there.
//!
//! Each `SAFETY:` comment names the promise of the kernel that the block relies on.

mod address;
mod affinity;
#[cfg(feature = "remote")]
mod at;
mod batch;
mod bytes;
mod clock;
#[cfg(feature = "remote")]
mod digest;
mod epoll;
mod eventfd;
mod fcntl;
mod fork;
mod ioctl;
mod message;
mod mmap;
#[cfg(feature = "remote")]
mod passwd;
mod poll;
mod probe;
mod process;
mod published;
mod random;
mod rlimit;
mod select;
mod sigio;
mod signal;
mod socket;
mod sockopt;
#[cfg(feature = "remote")]
pub mod ssh;
mod termios;
mod timerfd;
mod uring;
mod usage;
#[cfg(feature = "remote")]
mod zero;

pub use address::Address;
pub use affinity::{sched_getaffinity, sched_setaffinity};
#[cfg(feature = "remote")]
pub use at::{
    Entry, Open, Stat, fstatat, getdents64, mkdirat, openat2, readlinkat, renameat, symlinkat,
    unlinkat,
};
pub use batch::Batch;
pub use bytes::{read, write};
pub use clock::{Clock, clock_getres, clock_gettime, process_cpu_time};
#[cfg(feature = "remote")]
pub use digest::{hmac_sha1, sha256};
pub use epoll::{Epoll, EpollEvent, Interest, epoll_create1};
pub use eventfd::{eventfd, eventfd_read, eventfd_write};
pub use fcntl::{fcntl_dupfd, fcntl_getfl, flock, flock_now, nonblocking, set_nonblocking};
pub use fork::{Child, Ended, Fork, dup3, fork, probe_pidfd, threads};
pub use ioctl::{fionread, siocoutq};
pub use message::{Packet, Received, no_destination, recvfrom, recvmsg, recvmsg_from, sendto};
pub use mmap::Shared;
#[cfg(feature = "remote")]
pub use passwd::{Passwd, geteuid, getpwuid, getuid};
pub use poll::{PollFd, poll, ppoll};
pub use probe::uname_release;
pub use process::{die_with_parent, end_with_parent, getppid, gettid, kill, run_on};
pub use published::Published;
pub use random::getrandom;
pub use rlimit::{Limit, getrlimit, setrlimit};
pub use select::{FD_SETSIZE, FdSet, OverLimit, number, select};
pub use sigio::{
    SIGIO, SignalSet, TakenSignal, fcntl_setown, fcntl_setsig, set_async, sigrtmin, sigtimedwait,
    tgkill,
};
pub use signal::{
    KILLING_SIGNALS, Mask, SIGABRT, SIGALRM, SIGBUS, SIGCONT, SIGFPE, SIGHUP, SIGILL, SIGINT,
    SIGKILL, SIGQUIT, SIGSEGV, SIGSTOP, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH,
    STOPPING_SIGNALS, Signal, block_signals, default_signal, ending_signals, exit_at_once,
    ignore_signal, is_ignored, on_signal, raise, restore_signals, setitimer, signal_number,
};
pub use socket::{
    Kind, accept4, bind, connect, getpeername, getsockname, listen, recv, recv_discarding,
    recv_now, recv_peek, send, send_now, shutdown, socket, socketpair,
};
pub use sockopt::{
    SocketMemory, set_bind_address_no_port, set_dual_stack, set_linger, set_nodelay, set_quickack,
    set_receive_buffer, set_receive_timeout, set_reuse_address, set_reuse_port, set_send_buffer,
    set_send_timeout, set_timestamps, socket_memory, take_error,
};
#[cfg(feature = "remote")]
pub use sockopt::{set_keepalive, set_user_timeout};
pub use termios::{Termios, tcgetattr, tcsetattr, window_size};
#[cfg(feature = "remote")]
pub use termios::{in_foreground, tcsetattr_now};
pub use timerfd::{timerfd_create, timerfd_settime};
pub use uring::{Completion, Rest, Sent, Taken, Uring, Wait};
pub use usage::{Usage, Who, getrusage, wait4};
#[cfg(feature = "remote")]
pub use zero::zero;

use std::io;
use std::time::Duration;

/// How a stream or a connection is shut: the arguments of shutdown(2).
pub use std::net::Shutdown;

/// The one converter for calls that return -1 and set `errno`.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The same for calls that return a length, or -1.
fn check_len(result: libc::ssize_t) -> io::Result<usize> {
    // Every negative value is -1 here: the kernel returns no other.
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// A duration as `timespec`; what does not fit saturates (292 thousand million years).
fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(duration.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(duration.subsec_nanos() as i32),
    }
}

/// Milliseconds for poll(2) and epoll_wait(2), **rounded up**: a time-out is never
/// early, and a rest of 0.3 ms does not become a busy loop. `None` is for ever (-1).
fn millis(timeout: Option<Duration>) -> libc::c_int {
    timeout.map_or(-1, |t| {
        libc::c_int::try_from(t.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
    })
}

/// The name of an errno, for messages: `address already in use (EADDRINUSE)`.
#[must_use]
pub fn errno_name(error: &io::Error) -> Option<&'static str> {
    error.raw_os_error().and_then(|code| {
        Some(match code {
            libc::EPERM => "EPERM",
            libc::ENOENT => "ENOENT",
            libc::EINTR => "EINTR",
            libc::EBADF => "EBADF",
            libc::EAGAIN => "EAGAIN",
            libc::ENOMEM => "ENOMEM",
            libc::EACCES => "EACCES",
            libc::EEXIST => "EEXIST",
            libc::EINVAL => "EINVAL",
            libc::ENFILE => "ENFILE",
            libc::EMFILE => "EMFILE",
            libc::EPIPE => "EPIPE",
            libc::ENOSYS => "ENOSYS",
            libc::EPROTO => "EPROTO",
            libc::ENOTSOCK => "ENOTSOCK",
            libc::EOPNOTSUPP => "EOPNOTSUPP",
            libc::EAFNOSUPPORT => "EAFNOSUPPORT",
            libc::EADDRINUSE => "EADDRINUSE",
            libc::EADDRNOTAVAIL => "EADDRNOTAVAIL",
            libc::ENETDOWN => "ENETDOWN",
            libc::ENETUNREACH => "ENETUNREACH",
            libc::ECONNABORTED => "ECONNABORTED",
            libc::ECONNRESET => "ECONNRESET",
            libc::ENOBUFS => "ENOBUFS",
            libc::ENOTCONN => "ENOTCONN",
            libc::ETIMEDOUT => "ETIMEDOUT",
            libc::ECONNREFUSED => "ECONNREFUSED",
            libc::ESRCH => "ESRCH",
            libc::ECHILD => "ECHILD",
            libc::EMSGSIZE => "EMSGSIZE",
            libc::EDESTADDRREQ => "EDESTADDRREQ",
            libc::ENAMETOOLONG => "ENAMETOOLONG",
            libc::ENOTDIR => "ENOTDIR",
            libc::EISDIR => "EISDIR",
            libc::ENOSPC => "ENOSPC",
            libc::EROFS => "EROFS",
            libc::ELOOP => "ELOOP",
            libc::EXDEV => "EXDEV",
            libc::EDQUOT => "EDQUOT",
            libc::ENOPROTOOPT => "ENOPROTOOPT",
            libc::ENONET => "ENONET",
            libc::EHOSTDOWN => "EHOSTDOWN",
            libc::EHOSTUNREACH => "EHOSTUNREACH",
            libc::EINPROGRESS => "EINPROGRESS",
            libc::ECANCELED => "ECANCELED",
            libc::ETIME => "ETIME",
            libc::EBUSY => "EBUSY",
            _ => return None,
        })
    })
}

/// An error in the program's words: what strerror(3) says in lower case, and the
/// errno's name: `address already in use (EADDRINUSE)`.
#[must_use]
pub fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    // std appends " (os error 98)"; the name says it better than the number.
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_ascii_lowercase());
    let text: String = first.into_iter().chain(letters).collect();
    match (errno_name(error), error.raw_os_error()) {
        (Some(name), _) => format!("{text} ({name})"),
        (None, Some(code)) => format!("{text} (errno {code})"),
        (None, None) => text,
    }
}

/// Whether a connect(2) on a non-blocking socket has begun and goes on by itself (`EINPROGRESS`).
#[must_use]
pub fn in_progress(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINPROGRESS)
}

/// Whether the kernel had no memory for a datagram on its way out (`ENOBUFS`).
#[must_use]
pub fn no_buffers(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOBUFS)
}

/// What can be done about a ring that the kernel refuses.
#[must_use]
pub fn uring_remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "forbidden by kernel.io_uring_disabled (sysctl kernel.io_uring_disabled=0 allows it) or by the seccomp \
             filter of a container or sandbox (allow io_uring_setup, io_uring_enter, io_uring_register)"
        }
        Some(libc::ENOSYS) => {
            "this kernel was built without it, or a sandbox hides it; another model does not need it"
        }
        Some(libc::ENOMEM) => {
            "memory is short, or RLIMIT_MEMLOCK is (ulimit -l), which rings are charged to"
        }
        _ => "Linux 6.0 or newer is needed, and 6.1 for datagrams",
    }
}

/// What a kernel is refused with that has rings and not the operations that are needed: `EOPNOTSUPP`.
#[must_use]
pub fn uring_too_old() -> io::Error {
    io::Error::from_raw_os_error(libc::EOPNOTSUPP)
}

/// Whether a ring goes on after this: the time was over (`ETIME`), memory or room for completions is short at this moment (`EAGAIN`,
/// `EBUSY`, `ENOBUFS`), or an operation was cancelled (`ECANCELED`).
#[must_use]
pub fn uring_goes_on(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ETIME | libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::ECANCELED)
    )
}

/// Classes of an accept4(2) failure, see [`accept_failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptFailure {
    /// No client is waiting (`EAGAIN`): on a non-blocking listener, a phase border.
    Again,
    /// A signal came first (`EINTR`).
    Interrupted,
    /// It belongs to one client, who is gone: try again at once.
    OneClient,
    /// No descriptors or no memory: stop listening for a moment.
    NoResources,
    /// The listener was shut (`EINVAL`): the stop does that on purpose.
    Shut,
    /// The listener itself is broken (`EBADF`, `ENOTSOCK`, ...): nothing will help.
    Broken,
}

/// What a failed accept4(2) means for the loop around it (accept(2), "Error handling":
/// Linux passes pending network errors of the new socket on to accept).
#[must_use]
pub fn accept_failure(error: &io::Error) -> AcceptFailure {
    match error.raw_os_error() {
        // EWOULDBLOCK is EAGAIN on Linux.
        Some(libc::EAGAIN) => AcceptFailure::Again,
        Some(libc::EINTR) => AcceptFailure::Interrupted,
        Some(
            libc::ECONNABORTED
            | libc::EPROTO
            | libc::EPERM
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EHOSTUNREACH
            | libc::EOPNOTSUPP
            | libc::ENETUNREACH
            | libc::ETIMEDOUT
            | libc::ENOTCONN,
        ) => AcceptFailure::OneClient,
        // Of a ring's accept, at the stop.
        Some(libc::ECANCELED) => AcceptFailure::Again,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
            AcceptFailure::NoResources
        }
        Some(libc::EINVAL) => AcceptFailure::Shut,
        _ => AcceptFailure::Broken,
    }
}
