//! Calls that only ask what this machine can do; `waitcopy doctor` prints the answers.

use super::check;
use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};

/// Tries to make the smallest ring. The descriptor is closed by its owner; nothing is mapped.
///
/// # Errors
/// `EPERM`: forbidden by `kernel.io_uring_disabled` or a sandbox; `ENOSYS`: the kernel has none.
pub fn io_uring_setup() -> io::Result<OwnedFd> {
    // struct io_uring_params (linux/io_uring.h) is 120 bytes; all zero asks for the defaults.
    let mut params = [0_u64; 15];
    // SAFETY: the kernel reads and writes 120 bytes at the pointer, the size of `params`.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1_u32, params.as_mut_ptr()) };
    let fd = check(fd as libc::c_int)?;
    // SAFETY: the kernel has just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The kernel's release, as `uname -r` prints it.
#[must_use]
pub fn uname_release() -> String {
    let mut names = MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: the kernel writes one utsname to the pointer and nothing else.
    unsafe { libc::uname(names.as_mut_ptr()) };
    // SAFETY: zeroed at first, so it is initialised whatever uname did.
    let names = unsafe { names.assume_init() };
    // SAFETY: the kernel ends each field with a NUL inside its 65 bytes.
    unsafe { CStr::from_ptr(names.release.as_ptr()) }.to_string_lossy().into_owned()
}
