//! explicit_bzero(3).

/// Overwrites bytes with zeros, also where the compiler sees that nobody reads them any more.
pub fn zero(bytes: &mut [u8]) {
    // SAFETY: libc writes `bytes.len()` zeros from the start of the slice.
    unsafe { libc::explicit_bzero(bytes.as_mut_ptr().cast(), bytes.len()) };
}
