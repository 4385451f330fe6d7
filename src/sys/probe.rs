//! Calls that only ask what this machine can do; `waitcopy doctor` prints the answers.

use std::ffi::CStr;
use std::mem::MaybeUninit;

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
