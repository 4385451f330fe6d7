//! fork(2) and what a parent knows of its children.

use super::check;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Threads of this process. Only a process with one may fork and go on as it was: a lock that another thread held at the
/// fork would be held for ever in the child, the allocator's among them.
///
/// # Errors
/// Of reading `/proc/self/task`.
pub fn threads() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/task")?.count())
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
/// `Unsupported` in a process with threads; `EAGAIN` (RLIMIT_NPROC, cgroup), `ENOMEM`; `EMFILE`, `ENFILE` for the child's
/// descriptor. Where that fails after the fork (`ENOMEM`; `ENOSYS` before Linux 5.3), the child is killed.
pub fn fork() -> io::Result<Fork> {
    if threads()? != 1 {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "this process has threads"));
    }
    // Made first: a child without a descriptor could neither be waited for nor be stopped.
    let place = super::eventfd()?;
    // SAFETY: this process has one thread, as was counted just now, and only that one could make another: the child's memory is a
    // whole and consistent copy.
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

/// Whether the kernel has pidfd_open(2), and nobody forbids it.
///
/// # Errors
/// `ENOSYS` before Linux 5.3, `EPERM` in a sandbox.
pub fn probe_pidfd() -> io::Result<()> {
    let place = super::eventfd()?;
    pidfd_open(std::process::id(), place).map(drop)
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

    /// Takes its end, if it has ended: it is no zombie from then on (waitid(2), `P_PIDFD`, `WNOHANG`).
    ///
    /// # Errors
    /// `ECHILD` where the host ignores SIGCHLD, or waits for any child itself: it has ended, and nobody will say how.
    pub fn try_wait(&self) -> io::Result<Option<Ended>> {
        self.wait(libc::WNOHANG)
    }

    /// SIGKILL, and takes its end.
    ///
    /// # Errors
    /// As [`Child::try_wait`].
    pub fn end_now(&self) -> io::Result<()> {
        self.signal(libc::SIGKILL)?;
        self.wait(0).map(drop)
    }

    /// Sends it a signal, and never to another process that has got its number (pidfd_send_signal(2)).
    ///
    /// # Errors
    /// `ESRCH` when it has ended and was waited for.
    pub fn signal(&self, signal: super::Signal) -> io::Result<()> {
        let none = std::ptr::null::<libc::siginfo_t>();
        let fd = self.pidfd.as_raw_fd();
        // SAFETY: without a siginfo the call touches no memory of ours.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, none, 0) };
        check(sent as libc::c_int).map(drop)
    }

    fn wait(&self, flags: libc::c_int) -> io::Result<Option<Ended>> {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        let (fd, flags) = (self.pidfd.as_raw_fd() as libc::id_t, flags | libc::WEXITED);
        // SAFETY: the kernel writes one siginfo_t to the pointer.
        check(unsafe { libc::waitid(libc::P_PIDFD, fd, info.as_mut_ptr(), flags) })?;
        // SAFETY: zeroed at first, so it is initialised whatever the kernel wrote.
        let info = unsafe { info.assume_init() };
        // SAFETY: with WEXITED the kernel has filled the fields of a child's end, or left zeros where none has ended.
        let (process, status) = (unsafe { info.si_pid() }, unsafe { info.si_status() });
        if process == 0 {
            return Ok(None);
        }
        let by_itself = info.si_code == libc::CLD_EXITED;
        Ok(Some(if by_itself { Ended::Exited(status) } else { Ended::Killed(status) }))
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
pub fn dup3(from: impl AsFd, onto: impl AsFd) -> io::Result<()> {
    let (from, onto) = (from.as_fd().as_raw_fd(), onto.as_fd().as_raw_fd());
    // SAFETY: the call touches no memory of ours; `onto` stays open and stays owned by whoever owns it.
    check(unsafe { libc::dup3(from, onto, libc::O_CLOEXEC) }).map(drop)
}
