//! fork(2) and what a parent knows of its children.

use super::check;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Proof that this process has one thread: only such a process may fork and go on as it was. A lock that another
/// thread held at the fork would be held for ever in the child, the allocator's among them.
#[derive(Clone, Copy, Debug)]
pub struct SingleThreaded(());

impl SingleThreaded {
    /// Counts the threads.
    ///
    /// # Errors
    /// How many there are, where more than one; reading `/proc/self/task` can fail too.
    pub fn check() -> io::Result<Result<Self, usize>> {
        let threads = fs::read_dir("/proc/self/task")?.count();
        Ok(if threads == 1 { Ok(Self(())) } else { Err(threads) })
    }
}

/// Which of the two one is.
#[derive(Debug)]
pub enum Fork {
    /// The one that called, with its child.
    Parent(Child),
    /// The new one.
    Child,
}

/// A child process, by a descriptor that becomes readable when it ends (pidfd_open(2), Linux 5.3): no SIGCHLD is
/// needed, none is lost, and the host's own children are left alone.
#[derive(Debug)]
pub struct Child {
    process: u32,
    pidfd: OwnedFd,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status.
    Exited(i32),
    /// By a signal.
    Killed(i32),
}

/// Makes a child (fork(2)). Both go on from here.
///
/// # Errors
/// `EAGAIN` (RLIMIT_NPROC, cgroup), `ENOMEM`; `EMFILE`, `ENFILE` for the child's descriptor, and then the child, which has
/// not begun, has ended.
pub fn fork(_: SingleThreaded) -> io::Result<Fork> {
    // Made first: a child without a descriptor could neither be waited for nor be stopped.
    let place = super::eventfd()?;
    // SAFETY: this process had one thread when it was counted, so the child's memory is a whole and consistent copy.
    let process = check(unsafe { libc::fork() })?;
    let Ok(process @ 1..) = u32::try_from(process) else { return Ok(Fork::Child) };
    // It has not been waited for, so the number is its own.
    match pidfd_open(process, place) {
        Ok(pidfd) => Ok(Fork::Parent(Child { process, pidfd })),
        Err(error) => {
            super::kill(process, libc::SIGKILL)?;
            let mut status = 0;
            // SAFETY: the kernel writes one int to the pointer.
            check(unsafe { libc::waitpid(process as libc::pid_t, &raw mut status, 0) })?;
            Err(error)
        }
    }
}

/// Frees the place that was kept for it just before it is taken.
fn pidfd_open(process: u32, place: OwnedFd) -> io::Result<OwnedFd> {
    drop(place);
    // SAFETY: the call touches no memory of ours. Close-on-exec is its default.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) };
    let fd = check(fd as libc::c_int)?;
    // SAFETY: the kernel has just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

impl Child {
    /// Its process number.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.process
    }

    /// Takes its end, if it has ended (waitpid(2), `WNOHANG`): it is no zombie from then on.
    ///
    /// # Errors
    /// `ECHILD` where the host ignores SIGCHLD: it has ended, and nobody will say how.
    pub fn try_wait(&self) -> io::Result<Option<Ended>> {
        let mut status = 0;
        let process = self.process as libc::pid_t;
        // SAFETY: the kernel writes one int to the pointer.
        let ended = check(unsafe { libc::waitpid(process, &raw mut status, libc::WNOHANG) })?;
        if ended == 0 {
            return Ok(None);
        }
        let killed = libc::WIFSIGNALED(status);
        Ok(Some(if killed {
            Ended::Killed(libc::WTERMSIG(status))
        } else {
            Ended::Exited(libc::WEXITSTATUS(status))
        }))
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Has a descriptor's number mean what another one means: what it meant before is closed (dup3(2)), close-on-exec.
///
/// # Errors
/// `EBUSY` in a race with open(2).
pub fn dup3(from: impl AsFd, onto: &OwnedFd) -> io::Result<()> {
    // SAFETY: the call touches no memory of ours; `onto` stays open and stays owned by whoever owns it.
    check(unsafe { libc::dup3(from.as_fd().as_raw_fd(), onto.as_raw_fd(), libc::O_CLOEXEC) })
        .map(drop)
}
