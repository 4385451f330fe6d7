//! getrusage(2) and wait4(2): what a process or thread has used.

use super::check;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::Duration;

/// Whose usage to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// This process, all threads.
    Process,
    /// The calling thread.
    Thread,
    /// Children that ended and were waited for.
    Children,
}

/// A subset of `struct rusage`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in user mode.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// Context switches because the flow slept (`ru_nvcsw`).
    pub voluntary: u64,
    /// Context switches because the scheduler took the CPU away (`ru_nivcsw`).
    pub involuntary: u64,
    /// Largest resident set so far, in KiB (`ru_maxrss`).
    pub max_rss_kib: u64,
}

/// Reads the usage so far.
///
/// # Errors
/// None for the values of [`Who`].
pub fn getrusage(who: Who) -> io::Result<Usage> {
    let who = match who {
        Who::Process => libc::RUSAGE_SELF,
        Who::Thread => libc::RUSAGE_THREAD,
        Who::Children => libc::RUSAGE_CHILDREN,
    };
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the kernel writes one rusage to the pointer and nothing else.
    check(unsafe { libc::getrusage(who, usage.as_mut_ptr()) })?;
    // SAFETY: it returned 0, so it has written the whole of it.
    Ok(Usage::of(&unsafe { usage.assume_init() }))
}

/// Closes a child's input and waits for its end: how it ended, and what it and the children that it waited for have used.
///
/// # Errors
/// `ECHILD` when it has been waited for; `EINTR`.
pub fn wait4(mut child: Child) -> io::Result<(ExitStatus, Usage)> {
    drop(child.stdin.take());
    let process = libc::pid_t::try_from(child.id()).unwrap_or(0);
    let (mut status, mut usage) = (0, MaybeUninit::<libc::rusage>::uninit());
    // SAFETY: the kernel writes one int and one rusage to the pointers and nothing else.
    check(unsafe { libc::wait4(process, &raw mut status, 0, usage.as_mut_ptr()) })?;
    // SAFETY: it returned a process, so it has written the whole of it.
    Ok((ExitStatus::from_raw(status), Usage::of(&unsafe { usage.assume_init() })))
}

impl Usage {
    fn of(usage: &libc::rusage) -> Self {
        let time = |t: libc::timeval| {
            Duration::from_secs(t.tv_sec.unsigned_abs())
                + Duration::from_micros(t.tv_usec.unsigned_abs())
        };
        Self {
            user: time(usage.ru_utime),
            system: time(usage.ru_stime),
            voluntary: usage.ru_nvcsw.unsigned_abs(),
            involuntary: usage.ru_nivcsw.unsigned_abs(),
            max_rss_kib: usage.ru_maxrss.unsigned_abs(),
        }
    }
}
