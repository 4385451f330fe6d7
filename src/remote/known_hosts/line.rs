//! One line of known_hosts: marker, names, key type, key, comment.

use super::Reason;
use crate::remote::base64::{self, Padding};
use crate::remote::host_key::HostKey;
use crate::remote::pattern::{Listed, listed};
use crate::sys;

/// An RSA key of 16384 bits takes 3 KiB; what is longer than this is no line of a person or of OpenSSH.
pub(super) const MAX_LINE: usize = 64 * 1024;

/// The length of a SHA-1, and of the salt that goes with it.
const SHA1: usize = 20;

/// The word before the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// `@cert-authority`: the key signs certificates of hosts, and is none itself.
    CertAuthority,
    /// `@revoked`: the key is refused.
    Revoked,
}

/// Whom a line speaks of.
#[derive(Clone, Debug)]
enum Names {
    /// A comma list of patterns, in lower case.
    Listed(Vec<u8>),
    /// `|1|salt|hash`: the HMAC-SHA1 of a single name.
    Hashed { salt: [u8; SHA1], hash: [u8; SHA1] },
}

/// A line that holds a key.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) marker: Option<Marker>,
    names: Names,
    pub(super) key: HostKey,
}

impl Line {
    /// Reads a line without its newline; `None` for blank ones and comments.
    pub(super) fn parse(line: &[u8]) -> Result<Option<Self>, Reason> {
        if line.len() > MAX_LINE {
            return Err(Reason::TooLong);
        }
        let line = trim_start(line.strip_suffix(b"\r").unwrap_or(line));
        if line.is_empty() || line.starts_with(b"#") {
            return Ok(None);
        }
        let (marker, line) = marker(line)?;
        let (names, line) = word(line);
        let (algorithm, line) = word(line);
        let (key, _comment) = word(line);
        if key.is_empty() {
            return Err(Reason::Truncated);
        }
        let (names, key) = (Names::parse(names)?, parse_key(algorithm, key)?);
        Ok(Some(Self { marker, names, key }))
    }

    /// Whether the line speaks of this host, by the name that [`super::store::entry_name`] makes.
    pub(super) fn names(&self, name: &str) -> bool {
        match &self.names {
            Names::Listed(patterns) => listed(patterns, name.as_bytes()) == Listed::Yes,
            Names::Hashed { salt, hash } => sys::hmac_sha1(salt, name.as_bytes()) == *hash,
        }
    }
}

impl Names {
    fn parse(text: &[u8]) -> Result<Self, Reason> {
        if !text.starts_with(b"|") {
            return Ok(Self::Listed(text.to_ascii_lowercase()));
        }
        // One hashed name and nothing else stands on a line: no list, no pattern.
        let hashed = text.strip_prefix(b"|1|").ok_or(Reason::Hash)?;
        let bar = hashed.iter().position(|&byte| byte == b'|').ok_or(Reason::Hash)?;
        Ok(Self::Hashed { salt: sha1(&hashed[..bar])?, hash: sha1(&hashed[bar + 1..])? })
    }
}

/// A line's first words in hashed form, `|1|salt|hash`.
pub(super) fn hashed(name: &str, salt: [u8; SHA1]) -> String {
    let text = |bytes: &[u8]| base64::encode(bytes, Padding::With);
    format!("|1|{}|{}", text(&salt), text(&sys::hmac_sha1(&salt, name.as_bytes())))
}

/// Salt or hash.
fn sha1(text: &[u8]) -> Result<[u8; SHA1], Reason> {
    let bytes = base64::decode(text, Padding::With).ok_or(Reason::Hash)?;
    bytes.try_into().map_err(|_| Reason::Hash)
}

/// The marker, if there is one, and what follows. OpenSSH takes a marker before a tab for an unknown one; here
/// a key stays revoked.
fn marker(line: &[u8]) -> Result<(Option<Marker>, &[u8]), Reason> {
    if !line.starts_with(b"@") {
        return Ok((None, line));
    }
    let (marker, rest) = word(line);
    let marker = match marker {
        b"@cert-authority" => Marker::CertAuthority,
        b"@revoked" => Marker::Revoked,
        _ => return Err(Reason::Marker),
    };
    if rest.starts_with(b"@") { Err(Reason::Marker) } else { Ok((Some(marker), rest)) }
}

fn parse_key(algorithm: &[u8], key: &[u8]) -> Result<HostKey, Reason> {
    // Version 1 of the protocol: bits, exponent and modulus in decimal.
    if algorithm.iter().all(u8::is_ascii_digit) {
        return Err(Reason::Rsa1);
    }
    let blob = base64::decode(key, Padding::With).ok_or(Reason::Base64)?;
    let key = HostKey::from_blob(blob).map_err(Reason::Key)?;
    // Names of signatures by the same RSA key (RFC 8332); OpenSSH takes such a line, so it must not be lost here.
    let algorithm = match algorithm {
        b"rsa-sha2-256" | b"rsa-sha2-512" => b"ssh-rsa",
        other => other,
    };
    if key.algorithm().as_bytes() == algorithm { Ok(key) } else { Err(Reason::Algorithm) }
}

/// The first word and what follows the blanks behind it; blanks are spaces and tabs.
fn word(line: &[u8]) -> (&[u8], &[u8]) {
    let end = line.iter().position(blank).unwrap_or(line.len());
    (&line[..end], trim_start(&line[end..]))
}

fn trim_start(line: &[u8]) -> &[u8] {
    let start = line.iter().position(|byte| !blank(byte)).unwrap_or(line.len());
    &line[start..]
}

fn blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}
