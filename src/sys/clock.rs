//! clock_gettime(2): the clocks that stamps and durations are taken from.

use super::check;
use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

/// Which clock to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// `CLOCK_MONOTONIC`: durations. Never stepped.
    Monotonic,
    /// `CLOCK_MONOTONIC_COARSE`: the same at the scheduler tick (1-10 ms), cheaper.
    MonotonicCoarse,
    /// `CLOCK_REALTIME`: the clock of the kernel's receive stamps. May be stepped.
    Realtime,
    /// `CLOCK_PROCESS_CPUTIME_ID`: CPU time of this process, all threads.
    ProcessCpu,
    /// `CLOCK_THREAD_CPUTIME_ID`: CPU time of this thread.
    ThreadCpu,
}

impl Clock {
    const fn id(self) -> libc::clockid_t {
        match self {
            Clock::Monotonic => libc::CLOCK_MONOTONIC,
            Clock::MonotonicCoarse => libc::CLOCK_MONOTONIC_COARSE,
            Clock::Realtime => libc::CLOCK_REALTIME,
            Clock::ProcessCpu => libc::CLOCK_PROCESS_CPUTIME_ID,
            Clock::ThreadCpu => libc::CLOCK_THREAD_CPUTIME_ID,
        }
    }
}

/// Reads a clock. Async-signal-safe; for the first three clocks no system call is made on
/// most machines (vDSO, see `waitcopy doctor`).
#[must_use]
pub fn clock_gettime(clock: Clock) -> Duration {
    // The clocks of the enum exist in every kernel since 2.6.32; reading them cannot fail.
    read(clock.id()).unwrap_or_default()
}

/// The resolution of a clock (clock_getres(2)).
///
/// # Errors
/// `EINVAL` where the kernel does not know the clock.
pub fn clock_getres(clock: Clock) -> io::Result<Duration> {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the kernel writes one timespec to the pointer and nothing else.
    check(unsafe { libc::clock_getres(clock.id(), time.as_mut_ptr()) })?;
    // SAFETY: it returned 0, so it has written the whole timespec.
    Ok(duration(unsafe { time.assume_init() }))
}

/// CPU time, user and system together, that another process of this user has
/// used so far: nanoseconds, all its threads (clock_getcpuclockid(3)).
///
/// # Errors
/// `ESRCH` when no such process exists.
pub fn process_cpu_time(process: u32) -> io::Result<Duration> {
    let pid =
        libc::pid_t::try_from(process).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
    let mut id: libc::clockid_t = 0;
    // SAFETY: libc writes one clockid_t to the pointer and nothing else.
    let error = unsafe { libc::clock_getcpuclockid(pid, &raw mut id) };
    // This one returns the errno instead of setting it.
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    read(id)
}

fn read(id: libc::clockid_t) -> io::Result<Duration> {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the kernel writes one timespec to the pointer and nothing else.
    check(unsafe { libc::clock_gettime(id, time.as_mut_ptr()) })?;
    // SAFETY: it returned 0, so it has written the whole timespec.
    Ok(duration(unsafe { time.assume_init() }))
}

/// A kernel timespec (never negative for these clocks) as a duration since the clock's zero.
pub(super) fn duration(time: libc::timespec) -> Duration {
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
