//! sched_setaffinity(2): which cores a process may run on.

use super::check;
use std::io;
use std::mem::MaybeUninit;

/// The cores that the calling thread may run on, lowest first.
///
/// # Errors
/// `EINVAL` on a machine with more than 1024 cores.
pub fn sched_getaffinity() -> io::Result<Vec<usize>> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: the kernel writes at most `size` bytes to the pointer, the size of the set.
    check(unsafe { libc::sched_getaffinity(0, size, set.as_mut_ptr()) })?;
    // SAFETY: zeroed at first, so it is initialised however much the kernel wrote.
    let set = unsafe { set.assume_init() };
    // SAFETY: CPU_ISSET reads one bit of the set, and the range ends with the set.
    Ok((0..8 * size).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect())
}

/// Pins a process, which has one thread, to one core; 0 is the calling thread.
///
/// # Errors
/// `EINVAL` for a core that is not there or not allowed, `ESRCH` for a process that is gone.
pub fn sched_setaffinity(process: u32, core: usize) -> io::Result<()> {
    let pid =
        libc::pid_t::try_from(process).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: a set of zeros is the empty one.
    let set = unsafe { set.assume_init_mut() };
    if core >= 8 * size_of::<libc::cpu_set_t>() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: CPU_SET writes one bit, which lies inside of the set (checked above).
    unsafe { libc::CPU_SET(core, set) };
    // SAFETY: the kernel only reads the set, during the call.
    check(unsafe { libc::sched_setaffinity(pid, size_of::<libc::cpu_set_t>(), set) }).map(drop)
}
