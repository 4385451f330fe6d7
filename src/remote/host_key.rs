//! A server's public key, as bytes and as people compare it.

use super::base64::{self, Padding};
use crate::sys;
use std::fmt;

/// OpenSSH takes no longer ones (`SSH_MAX_PUBKEY_BYTES`); an RSA key of 16384 bits has 2 KiB.
const MAX_BLOB: usize = 16 * 1024;

/// RFC 4251, section 6.
const MAX_NAME: usize = 64;

/// Why some bytes are no host key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKeyError {
    /// More than 16 KiB.
    TooLong,
    /// Not whole strings (RFC 4253, section 6.6): cut off, or with something after the end.
    Malformed,
    /// The algorithm's name is empty, longer than 64 bytes, or not what RFC 4251, section 6 allows in a name.
    Name,
    /// A certificate: its authority would have to be checked, which is not done here.
    Certificate,
}

impl fmt::Display for HostKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the key is longer than 16 KiB",
            Self::Malformed => "the key is cut off or has something after its end",
            Self::Name => "the name of the key's algorithm is no name",
            Self::Certificate => "a certificate is no plain key",
        })
    }
}

impl std::error::Error for HostKeyError {}

/// A server's public key in the form that goes over the wire (RFC 4253, section 6.6).
///
/// Equal bytes are the same key. Printed as known_hosts has it: `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5...`.
#[derive(Clone, PartialEq, Eq)]
pub struct HostKey {
    algorithm: String,
    blob: Vec<u8>,
}

impl HostKey {
    /// The key in a blob of RFC 4253, section 6.6: the algorithm's name and then its numbers, each with its length.
    /// The numbers themselves are left to the library that computes with them.
    ///
    /// # Errors
    /// What is wrong with the blob.
    pub fn from_blob(blob: Vec<u8>) -> Result<Self, HostKeyError> {
        if blob.len() > MAX_BLOB {
            return Err(HostKeyError::TooLong);
        }
        let (name, mut rest) = string(&blob).ok_or(HostKeyError::Malformed)?;
        let named = |&byte: &u8| byte.is_ascii_graphic() && byte != b',';
        if name.is_empty() || name.len() > MAX_NAME || !name.iter().all(named) {
            return Err(HostKeyError::Name);
        }
        let algorithm = name.iter().copied().map(char::from).collect::<String>();
        // ssh-ed25519-cert-v01@openssh.com and its kin: OpenSSH's PROTOCOL.certkeys.
        if algorithm.contains("-cert-v") {
            return Err(HostKeyError::Certificate);
        }
        if rest.is_empty() {
            return Err(HostKeyError::Malformed);
        }
        // A line cut off by a full disk can still be good base 64: it must not count as another key.
        while !rest.is_empty() {
            (_, rest) = string(rest).ok_or(HostKeyError::Malformed)?;
        }
        Ok(Self { algorithm, blob })
    }

    /// `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`, ...: 1 to 64 printable ASCII characters, no comma.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        &self.algorithm
    }

    /// The bytes that went over the wire.
    #[must_use]
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// `SHA256:` and 43 characters, as `ssh-keygen -l` prints it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", base64::encode(&sys::sha256(&self.blob), Padding::Without))
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm, base64::encode(&self.blob, Padding::With))
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKey({} {})", self.algorithm, self.fingerprint())
    }
}

/// The first string of RFC 4251, section 5, and what follows it.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}
