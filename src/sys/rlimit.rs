//! getrlimit(2), setrlimit(2): the number of descriptors.

use super::check;
use std::io;
use std::mem::MaybeUninit;

/// A soft limit and the hard one above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is enforced now.
    pub soft: u64,
    /// How far an ordinary process may raise it.
    pub hard: u64,
}

/// `RLIMIT_NOFILE`: one more than the highest descriptor number that this process may open.
///
/// # Errors
/// None on Linux for this resource.
pub fn getrlimit() -> io::Result<Limit> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the kernel writes one rlimit to the pointer and nothing else.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) })?;
    // SAFETY: it returned 0, so it has written the whole of it.
    let limit = unsafe { limit.assume_init() };
    Ok(Limit { soft: limit.rlim_cur, hard: limit.rlim_max })
}

/// Sets `RLIMIT_NOFILE`.
///
/// # Errors
/// `EPERM` above the hard limit, `EINVAL` for a soft limit above its own hard one.
pub fn setrlimit(limit: Limit) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: limit.soft, rlim_max: limit.hard };
    // SAFETY: the kernel only reads the rlimit, during the call.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }).map(drop)
}
