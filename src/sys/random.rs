//! getrandom(2).

use super::check_len;
use std::io;

/// Fills a buffer of at most 256 bytes from the kernel's random number generator: that many come whole and are
/// not interrupted once the generator is seeded (getrandom(2)).
///
/// # Errors
/// `ENOSYS` before Linux 3.17; `EINTR` while the generator is not seeded yet.
pub fn getrandom(bytes: &mut [u8]) -> io::Result<()> {
    let bytes = &mut bytes[..];
    assert!(bytes.len() <= 256, "larger requests can be cut short");
    // SAFETY: the kernel writes at most `bytes.len()` bytes to the pointer.
    check_len(unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) }).map(drop)
}
