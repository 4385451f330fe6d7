//! Processes: signals to children, and children that do not outlive their parent.

use super::{Signal, check};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Sends a signal to a process (kill(2)).
///
/// # Errors
/// `ESRCH` when it is gone, `EPERM` when it belongs to somebody else, `EINVAL` for a number that
/// is no process (0 would be a whole group).
pub fn kill(process: u32, signal: Signal) -> io::Result<()> {
    let pid = libc::pid_t::try_from(process).unwrap_or(0);
    if pid == 0 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: the call touches no memory of ours.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// The calling thread's number, which is the process' own in its first thread (gettid(2)).
#[must_use]
pub fn gettid() -> u32 {
    // SAFETY: the call takes nothing, touches no memory of ours and cannot fail.
    unsafe { libc::gettid() }.unsigned_abs()
}

/// Has the kernel send SIGTERM to this process when `parent`, its parent, dies, however it dies (`PR_SET_PDEATHSIG`).
///
/// # Errors
/// `ESRCH` when the parent has died already: nobody would tell us.
pub fn end_with_parent(parent: u32) -> io::Result<()> {
    // SAFETY: the call touches no memory of ours.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM as libc::c_ulong) })?;
    if getppid() == parent { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
}

/// The parent's number (getppid(2)); 1 or a reaper's when it has died. Async-signal-safe.
#[must_use]
pub fn getppid() -> u32 {
    std::os::unix::process::parent_id()
}

/// Has the kernel end the child (SIGTERM) when the thread that starts it dies, however it dies:
/// a killed measurement leaves no server behind (`PR_SET_PDEATHSIG`).
pub fn die_with_parent(command: &mut Command) -> &mut Command {
    let parent = std::process::id();
    // The parent may have died before the line below: then it says so.
    let in_child = move || end_with_parent(parent);
    // SAFETY: between fork and exec the closure makes two system calls (prctl, getppid), both
    // async-signal-safe; it takes no lock and allocates nothing.
    unsafe { command.pre_exec(in_child) }
}

/// Has the child run on one core from its first instruction on, and all that it starts with it (sched_setaffinity(2)).
pub fn run_on(command: &mut Command, core: usize) -> &mut Command {
    // SAFETY: between fork and exec the closure makes one system call, on memory of its own stack; it takes no lock and
    // allocates nothing.
    unsafe { command.pre_exec(move || super::sched_setaffinity(0, core)) }
}
