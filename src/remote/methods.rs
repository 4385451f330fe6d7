//! Which ciphers and MACs are asked for first: by what they cost here, with none left out.

use ssh2::{Error, MethodType, Session};

/// The cheapest first, measured (`docs/performance.md`): ChaCha20 is OpenSSL's vector code, and libssh2 hands AES to OpenSSL 16 bytes
/// at a time, where counter mode with a MAC costs less than GCM.
const CIPHERS: [&str; 6] = [
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
];
/// The same; those that cover what was encrypted, not what was said, before all others.
const MACS: [&str; 2] = ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"];

/// Tells libssh2 so. What it has besides comes after those, in its own order.
pub(super) fn prefer(session: &Session) -> Result<(), Error> {
    for (kind, first) in [
        (MethodType::CryptCs, &CIPHERS[..]),
        (MethodType::CryptSc, &CIPHERS),
        (MethodType::MacCs, &MACS),
        (MethodType::MacSc, &MACS),
    ] {
        let all = session.supported_algs(kind)?;
        session.method_pref(kind, &ordered(first, &all))?;
    }
    Ok(())
}

fn ordered(first: &[&str], all: &[&str]) -> String {
    let known = first.iter().filter(|name| all.contains(name));
    let others = all.iter().filter(|name| !first.contains(name));
    known.chain(others).copied().collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::ordered;

    #[test]
    fn none_is_left_out_and_none_made_up() {
        assert_eq!(ordered(&["c", "a", "x"], &["a", "b", "c"]), "c,a,b");
    }
}
