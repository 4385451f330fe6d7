//! Hand-made files; those of ssh-keygen are in `tests/remote_settings.rs`.

use super::{KeyError, KeyFile};
use crate::remote::base64::{self, Padding};
use crate::remote::secret::Secret;
use proptest::prelude::*;

/// A file of OpenSSH's format around a public key of this type.
fn openssh(kind: &str, cipher: &str, kdf: &str, rounds: u32, keys: u32, tail: usize) -> Vec<u8> {
    let s = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
    let options = if kdf == "none" {
        Vec::new()
    } else {
        [s(&[7; 16]), rounds.to_be_bytes().to_vec()].concat()
    };
    let public = [s(kind.as_bytes()), s(&[1; 32])].concat();
    let bytes = [
        b"openssh-key-v1\0".to_vec(),
        [s(cipher.as_bytes()), s(kdf.as_bytes()), s(&options), keys.to_be_bytes().to_vec()]
            .concat(),
        [s(&public), s(&[9; 64]), vec![0; tail]].concat(),
    ];
    armour("OPENSSH PRIVATE KEY", &bytes.concat())
}

fn armour(label: &str, bytes: &[u8]) -> Vec<u8> {
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        base64::encode(bytes, Padding::With)
    )
    .into()
}

#[test]
fn keys_that_are_named_and_refused() {
    let (aes, bcrypt) = ("aes256-ctr", "bcrypt");
    let said = |text: Vec<u8>| match KeyFile::from_memory(Secret::from(text)) {
        Ok(key) => format!("taken, encrypted: {}", key.encrypted()),
        Err(KeyError::Unsupported(text)) => format!("unsupported: {text}"),
        Err(error) => error.to_string(),
    };
    for (text, what) in [
        (openssh("ssh-ed25519", aes, bcrypt, 16, 1, 0), "taken, encrypted: true"),
        (openssh("ssh-ed25519", "aes256-gcm@openssh.com", bcrypt, 16, 1, 16), "taken"),
        (openssh("ssh-dss", aes, bcrypt, 16, 1, 0), "unsupported: key: DSA keys"),
        (
            openssh("sk-ssh-ed25519@openssh.com", "none", "none", 0, 1, 0),
            "unsupported: key: a FIDO",
        ),
        (openssh("ssh-xmss@openssh.com", aes, bcrypt, 16, 1, 0), "unsupported: key: a kind of"),
        (openssh("ssh-ed25519", aes, bcrypt, 20_001, 1, 0), "key: no sensible number"),
        (openssh("ssh-ed25519", aes, bcrypt, 0, 1, 0), "key: no sensible number"),
        (openssh("ssh-ed25519", aes, "scrypt", 16, 1, 0), "unsupported: key: its passphrase"),
        (openssh("ssh-ed25519", aes, "none", 16, 1, 0), "key: the private key is cut"),
        (openssh("ssh-ed25519", aes, bcrypt, 16, 2, 0), "unsupported: key: a file with more"),
        (openssh("ssh-ed25519", aes, bcrypt, 16, 1, 7), "key: the private key is cut"),
        (openssh("ssh-ed25519", "none", "none", 0, 1, 0), "key: the private key is cut"),
        (armour("OPENSSH PRIVATE KEY", &plain()), "taken, encrypted: false"),
        (armour("OPENSSH PRIVATE KEY", b"openssh-key-v2\0"), "key: not a private key of OpenSSH's"),
        (armour("DSA PRIVATE KEY", b"x"), "unsupported: key: DSA keys"),
        (armour("ENCRYPTED PRIVATE KEY", b"x"), "taken, encrypted: true"),
        (armour("PUBLIC KEY", b"x"), "key: this is a public key"),
        (armour("PRIVATE KEY", &[0x30, 0x82, 0xff, 0xff, 1]), "key: the private key is cut"),
        (armour("EC PRIVATE KEY", &[0x30, 3, 2, 0x7f, 1]), "key: the private key is cut"),
        (armour("CERTIFICATE", b"x"), "key: not a private key (another"),
        (armour("RSA PRIVATE KEY", b""), "key: the private key is not base64"),
        (
            armour("RSA PRIVATE KEY", &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]),
            "key: the private key is cut",
        ),
        (b"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n".to_vec(), "key: the private key has no end"),
        (b"PuTTY-User-Key-File-3: ssh-ed25519\n".to_vec(), "key: a PuTTY key"),
        (b"ssh-ed25519 AAAA bob\n".to_vec(), "key: this is a public key"),
        (Vec::new(), "key: not a private key"),
    ] {
        assert!(said(text).starts_with(what), "{what}");
    }
}

/// An ed25519 key without a passphrase, decoded: the numbers are no key, but all lengths are right.
fn plain() -> Vec<u8> {
    let s = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
    let public = [s(b"ssh-ed25519"), s(&[1; 32])].concat();
    let private = [vec![5; 8], public.clone(), s(&[2; 64]), s(b"bob"), vec![1, 2, 3]].concat();
    let options = [s(b"none"), s(b"none"), s(b""), vec![0, 0, 0, 1]].concat();
    [&b"openssh-key-v1\0"[..], &options, &s(&public), &s(&private)].concat()
}

#[test]
fn the_comment_is_found_behind_the_fields() {
    let text = armour("OPENSSH PRIVATE KEY", &plain());
    let key = KeyFile::from_memory(Secret::from(text)).unwrap();
    assert_eq!(key.comment(), Some("bob"));
    assert!(!format!("{key:?}").contains("bob"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        label in prop::sample::select(vec![
            "OPENSSH PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "PRIVATE KEY", "x",
        ]),
        noise: Vec<u8>,
        at: prop::sample::Index,
        value: u8,
    ) {
        let _ = KeyFile::from_memory(Secret::from(armour(label, &noise)));
        let sequence = [&[0x30, noise.len() as u8 & 0x7f][..], &noise].concat();
        let _ = KeyFile::from_memory(Secret::from(armour(label, &sequence)));
        // A good key with one byte changed, and with its end cut off.
        let mut bytes = plain();
        let at = at.index(bytes.len());
        bytes[at] = value;
        let _ = KeyFile::from_memory(Secret::from(armour("OPENSSH PRIVATE KEY", &bytes)));
        let cut = KeyFile::from_memory(Secret::from(armour("OPENSSH PRIVATE KEY", &plain()[..at.min(120)])));
        prop_assert!(cut.is_err());
        let mut text = armour("OPENSSH PRIVATE KEY", &plain());
        text.truncate(at);
        let _ = KeyFile::from_memory(Secret::from([text, noise.clone()].concat()));
        let _ = KeyFile::from_memory(Secret::from(noise));
    }
}
