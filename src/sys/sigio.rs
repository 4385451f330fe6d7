//! Signal-driven I/O: descriptors that announce readiness by a signal (fcntl(2), `O_ASYNC`), and the call that takes it
//! (sigtimedwait(2)).

use super::signal::{Mask, mask_more};
use super::{Signal, check, timespec};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::time::Duration;

/// What the kernel sends when it has no room to queue a real-time signal: it names no descriptor.
pub const SIGIO: Signal = libc::SIGIO;

/// The first real-time signal that the C library leaves to programs (signal(7)). Unlike others it queues: one for each event.
#[must_use]
pub fn sigrtmin() -> Signal {
    libc::SIGRTMIN()
}

// fcntl(2); linux/fcntl.h. The libc crate has them for some C libraries only.
const F_SETSIG: libc::c_int = 10;
const F_SETOWN_EX: libc::c_int = 15;
const F_OWNER_TID: libc::c_int = 0;

/// `struct f_owner_ex`.
#[repr(C)]
struct Owner {
    kind: libc::c_int,
    number: libc::pid_t,
}

/// Has the descriptor's signals go to one thread (`F_SETOWN_EX`, `F_OWNER_TID`). `F_SETOWN` would mean the process, and any
/// of its threads might take them.
///
/// # Errors
/// `EPERM` for a thread of somebody else's.
pub fn fcntl_setown(fd: impl AsFd, thread: u32) -> io::Result<()> {
    let owner = Owner { kind: F_OWNER_TID, number: thread as libc::pid_t };
    // SAFETY: with F_SETOWN_EX the kernel only reads one f_owner_ex, which has this layout, during the call.
    check(unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), F_SETOWN_EX, &raw const owner) }).map(drop)
}

/// Chooses the descriptor's signal (`F_SETSIG`). Any but the default SIGIO carries the descriptor's number.
///
/// # Errors
/// `EINVAL` for a number that is no signal.
pub fn fcntl_setsig(fd: impl AsFd, signal: Signal) -> io::Result<()> {
    // SAFETY: F_SETSIG takes an integer and touches no memory.
    check(unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), F_SETSIG, signal) }).map(drop)
}

/// Switches the signals on or off (`O_ASYNC`, by `F_GETFL` and `F_SETFL`). Unlike on BSD an accepted socket does not inherit it.
///
/// # Errors
/// None for an open socket; `ENOMEM`.
pub fn set_async(fd: impl AsFd, on: bool) -> io::Result<()> {
    let flags = super::fcntl_getfl(fd.as_fd())?;
    let flags = if on { flags | libc::O_ASYNC } else { flags & !libc::O_ASYNC };
    // SAFETY: F_SETFL takes an integer and touches no memory.
    check(unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_SETFL, flags) }).map(drop)
}

/// Signals to be taken by [`sigtimedwait`].
#[derive(Clone, Copy)]
pub struct SignalSet(libc::sigset_t);

impl SignalSet {
    /// A set of these; a number that is no signal is not in it.
    #[must_use]
    pub fn of(signals: &[Signal]) -> Self {
        let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: sigemptyset writes one sigset_t to the pointer.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        for &signal in signals {
            // SAFETY: sigaddset changes one bit of the set; a number that is no signal is refused.
            unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
        }
        // SAFETY: written by sigemptyset.
        Self(unsafe { set.assume_init() })
    }

    /// Blocks these for the calling thread as well, and returns what was blocked before (pthread_sigmask(3), `SIG_BLOCK`). One
    /// that arrives stays pending until it is taken.
    ///
    /// # Errors
    /// None for a set of this type.
    pub fn block(&self) -> io::Result<Mask> {
        mask_more(&self.0)
    }
}

impl std::fmt::Debug for SignalSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SignalSet")
    }
}

/// A signal that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenSignal {
    /// Which one.
    pub signal: Signal,
    /// The number of the descriptor that it is about, where the kernel sent it for one (`si_fd`). As old as the signal: the
    /// descriptor may be closed, and its number another's.
    pub number: Option<usize>,
}

/// The head of a `siginfo_t` whose signal is about a descriptor (sigaction(2), `_sigpoll`).
#[repr(C)]
struct SigPoll {
    signal: libc::c_int,
    errno: libc::c_int,
    code: libc::c_int,
    of: Polled,
}

#[repr(C)]
struct Polled {
    band: libc::c_long,
    fd: libc::c_int,
}

// The kernel's union begins where the alignment of its longest member says; a siginfo_t has room for it.
const _: () = assert!(size_of::<SigPoll>() <= size_of::<libc::siginfo_t>());
const _: () = assert!(align_of::<SigPoll>() <= align_of::<libc::siginfo_t>());

/// Takes a pending signal of the set, lowest number first, or waits for one, at most as long as `timeout`; `None` is for ever
/// (sigtimedwait(2)). The calling thread must have them blocked.
///
/// # Errors
/// `EAGAIN`: none came in time; `EINTR`: a handler ran for another one.
pub fn sigtimedwait(set: &SignalSet, timeout: Option<Duration>) -> io::Result<TakenSignal> {
    let time = timeout.map(timespec);
    let time = time.as_ref().map_or(ptr::null(), ptr::from_ref);
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the kernel reads the set and the time, and writes one siginfo_t.
    let signal = check(unsafe { libc::sigtimedwait(&raw const set.0, info.as_mut_ptr(), time) })?;
    // SAFETY: zeroed at first, so every byte of it is written, and integers have no forbidden values; size and alignment are
    // asserted above.
    let poll = unsafe { info.as_ptr().cast::<SigPoll>().read() };
    // POLL_IN to POLL_HUP, 1 to 6: sent for a descriptor. A SIGIO of the kernel's own has SI_KERNEL, a thread's is negative.
    let of_descriptor = signal != SIGIO && poll.signal == signal && (1..=6).contains(&poll.code);
    let number = if of_descriptor { usize::try_from(poll.of.fd).ok() } else { None };
    Ok(TakenSignal { signal, number })
}

/// Sends a signal to a thread of this process (tgkill(2)). Async-signal-safe. One below the real-time signals is never refused for want
/// of room in the queue.
///
/// # Errors
/// `ESRCH` when it is gone; `EAGAIN` for a real-time signal when the queue is full.
pub fn tgkill(thread: u32, signal: Signal) -> io::Result<()> {
    let (process, thread) = (std::process::id() as libc::pid_t, thread as libc::pid_t);
    // SAFETY: the call touches no memory of ours.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) };
    if sent == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
