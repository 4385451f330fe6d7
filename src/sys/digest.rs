//! SHA-256 for fingerprints and HMAC-SHA1 for the hashed names of known_hosts, by the OpenSSL that libssh2 brings.

/// The SHA-256 of some bytes (FIPS 180-4).
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    // SAFETY: SHA256 reads `bytes.len()` bytes and writes exactly 32 to `digest`.
    unsafe { openssl_sys::SHA256(bytes.as_ptr(), bytes.len(), digest.as_mut_ptr()) };
    digest
}

/// The SHA-1 of some bytes (FIPS 180-4). Here only inside [`hmac_sha1`], where its weakness does no harm.
fn sha1(bytes: &[u8]) -> [u8; 20] {
    let mut digest = [0; 20];
    // SAFETY: SHA1 reads `bytes.len()` bytes and writes exactly 20 to `digest`.
    unsafe { openssl_sys::SHA1(bytes.as_ptr(), bytes.len(), digest.as_mut_ptr()) };
    digest
}

/// HMAC-SHA1 (RFC 2104): what OpenSSH hashes host names with (`HashKnownHosts`).
#[must_use]
pub fn hmac_sha1(key: &[u8], message: &[u8]) -> [u8; 20] {
    const BLOCK: usize = 64;
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..20].copy_from_slice(&sha1(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |pad: u8, rest: &[u8]| [&block.map(|byte| byte ^ pad)[..], rest].concat();
    sha1(&padded(0x5c, &sha1(&padded(0x36, message))))
}

#[cfg(test)]
mod tests {
    use super::{hmac_sha1, sha256};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    // The test vectors of FIPS 180-4 and RFC 2202.
    #[test]
    fn the_vectors_of_the_standards() {
        assert_eq!(
            hex(&sha256(b"abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            hex(&hmac_sha1(&[0x0b; 20], b"Hi There")),
            "b617318655057264e28bc0b6fb378c8ef146be00"
        );
        assert_eq!(
            hex(&hmac_sha1(&[0xaa; 80], b"Test Using Larger Than Block-Size Key - Hash Key First")),
            "aa4ae5e15272d00e95705637ce8a3b55ed402112"
        );
    }
}
