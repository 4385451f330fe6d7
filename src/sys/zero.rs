//! explicit_bzero(3).

/// Overwrites bytes with zeros, even where nothing reads them any more: the compiler may not leave this out
/// (explicit_bzero(3)).
pub fn zero(bytes: &mut [u8]) {
    // SAFETY: the call writes exactly `bytes.len()` bytes to the pointer, all of them this borrow's.
    unsafe { libc::explicit_bzero(bytes.as_mut_ptr().cast(), bytes.len()) };
}

#[cfg(test)]
mod tests {
    #[test]
    fn all_bytes_and_no_others() {
        let mut bytes = [7; 9];
        super::zero(&mut bytes[1..8]);
        assert_eq!(bytes, [7, 0, 0, 0, 0, 0, 0, 0, 7]);
        super::zero(&mut []);
    }
}
