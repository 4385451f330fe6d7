//! The keys by which hosts are known: OpenSSH's files, read by ourselves (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).
//!
//! libssh2's reader stops at the first line that it does not understand, takes `@revoked` for a host's name, knows
//! no patterns, and calls a key of another algorithm a mismatch: it never sees these files.
//!
//! Reading and matching are pure and never fail: a line that is no entry is left where it is and listed in
//! [`KnownHosts::ignored`]. Files are only ever appended to, by [`add`].
//!
//! Where this differs from OpenSSH (`hostfile.c`, `sshconnect.c`):
//! - A server on another port than 22 is known as `[host]:port` and as nothing else. ssh(1) also takes a key that it
//!   knows for the bare name.
//! - A key of another algorithm than the known ones has a verdict of its own, [`Verdict::OtherAlgorithms`].
//! - The address behind a name is not looked up (`CheckHostIP no`, the default since OpenSSH 8.5).

mod line;
mod store;

pub use line::Marker;
pub use store::add;
pub(super) use store::entry_name;

use super::host_key::{HostKey, HostKeyError};
use crate::failure::Failure;
use line::Line;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A line of a file: `/home/me/.ssh/known_hosts:12`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub file: Arc<Path>,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// Why a line is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// More than 64 KiB.
    TooLong,
    /// A word with `@` other than `@cert-authority` or `@revoked`, or two of them.
    Marker,
    /// No names, no key type, or no key.
    Truncated,
    /// A name that starts with `|` but is not `|1|salt|hash` with 20 bytes each.
    Hash,
    /// A key of version 1 of the protocol.
    Rsa1,
    /// The key is not in base 64.
    Base64,
    /// The key is none.
    Key(HostKeyError),
    /// The key is of another algorithm than the line says.
    Algorithm,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the line is longer than 64 KiB",
            Self::Marker => "unknown marker",
            Self::Truncated => "names, key type and key expected",
            Self::Hash => "the hashed name is malformed",
            Self::Rsa1 => "a key of SSH version 1",
            Self::Base64 => "the key is not in base 64",
            Self::Key(error) => return error.fmt(f),
            Self::Algorithm => "the key is of another algorithm than the line says",
        })
    }
}

/// A line that is neither an entry nor blank nor a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// Where it stands.
    pub place: Place,
    /// Why it says nothing.
    pub reason: Reason,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

/// A line with a key.
#[derive(Clone, Debug)]
pub struct Entry {
    place: Place,
    line: Line,
}

impl Entry {
    /// Where it stands.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// `None`: the key is the host's own.
    #[must_use]
    pub fn marker(&self) -> Option<Marker> {
        self.line.marker
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &HostKey {
        &self.line.key
    }
}

/// What the files say of a host and the key that it showed.
///
/// OpenSSH has one status, `HOST_CHANGED`, for [`Verdict::Changed`] and [`Verdict::OtherAlgorithms`]
/// (`check_hostkeys_by_key_or_type`): it refuses both under `StrictHostKeyChecking` `yes`, `ask` and `accept-new`.
/// Whoever wants to do as it does treats the two alike.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// One of its lines has this very key: the first of them. Lines with other keys change nothing.
    Known(Place),
    /// No line has a key of this host (one of an authority, or a revoked one, is none).
    Unknown,
    /// Its lines have other keys, some of them of the same algorithm: those.
    Changed(Vec<(Place, HostKey)>),
    /// Its lines have keys of other algorithms only. Either the host got a new one, or another machine answers
    /// and avoids the algorithm by which it would be found out.
    OtherAlgorithms(Vec<(Place, HostKey)>),
    /// A `@revoked` line for this host has this key. Wins over all others.
    Revoked(Place),
}

/// The entries of some files, in order.
#[derive(Clone, Debug, Default)]
pub struct KnownHosts {
    entries: Vec<Entry>,
    ignored: Vec<Ignored>,
}

impl KnownHosts {
    /// Where ssh(1) looks, in its order: the user's two files and the machine's two
    /// (ssh_config(5), `UserKnownHostsFile` and `GlobalKnownHostsFile`). New keys go to the first.
    #[must_use]
    pub fn usual_files(home: &Path) -> [PathBuf; 4] {
        [
            home.join(".ssh/known_hosts"),
            home.join(".ssh/known_hosts2"),
            PathBuf::from("/etc/ssh/ssh_known_hosts"),
            PathBuf::from("/etc/ssh/ssh_known_hosts2"),
        ]
    }

    /// Reads some files; one that is missing is as good as empty.
    ///
    /// # Errors
    /// A file that is there and cannot be read (`EACCES`, `EISDIR`, ...), or has more than 64 MiB: without its
    /// `@revoked` lines, no key is to be trusted.
    pub fn load<P: AsRef<Path>>(files: &[P]) -> Result<Self, Failure> {
        let mut all = Self::default();
        for file in files {
            let file = file.as_ref();
            all.read(file, &store::contents(file)?);
        }
        Ok(all)
    }

    /// The entries of a file's text; `file` is only for the places.
    #[must_use]
    pub fn parse(file: &Path, text: &[u8]) -> Self {
        let mut hosts = Self::default();
        hosts.read(file, text);
        hosts
    }

    fn read(&mut self, file: &Path, text: &[u8]) {
        let file = Arc::from(file);
        for (number, line) in (1..).zip(text.split(|&byte| byte == b'\n')) {
            let place = || Place { file: Arc::clone(&file), line: number };
            match Line::parse(line) {
                Ok(None) => {}
                Ok(Some(line)) => self.entries.push(Entry { place: place(), line }),
                Err(reason) => self.ignored.push(Ignored { place: place(), reason }),
            }
        }
    }

    /// The lines that say nothing, each with its reason, in order.
    #[must_use]
    pub fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }

    /// The entries that speak of a host, those with a marker too, in order: as `ssh-keygen -F` finds them.
    ///
    /// `host` is what the user typed, or the alias; letters compare in lower case, IPv6 addresses as written.
    pub fn matching(&self, host: &str, port: u16) -> impl Iterator<Item = &Entry> {
        let name = entry_name(host, port);
        self.entries.iter().filter(move |entry| entry.line.names(&name))
    }

    /// What the files say of a host that showed this key.
    pub fn check(&self, host: &str, port: u16, key: &HostKey) -> Verdict {
        let (mut known, mut others) = (None, Vec::new());
        for entry in self.matching(host, port) {
            match (entry.marker(), entry.key() == key) {
                (Some(Marker::Revoked), true) => return Verdict::Revoked(entry.place.clone()),
                (None, true) => known = known.or(Some(&entry.place)),
                (None, false) => others.push((entry.place.clone(), entry.key().clone())),
                (Some(_), _) => {}
            }
        }
        if let Some(place) = known {
            return Verdict::Known(place.clone());
        }
        if others.is_empty() {
            return Verdict::Unknown;
        }
        let same = |other: &(Place, HostKey)| other.1.algorithm() == key.algorithm();
        if others.iter().any(same) {
            others.retain(same);
            return Verdict::Changed(others);
        }
        Verdict::OtherAlgorithms(others)
    }

    /// The algorithms of the keys by which a host is known, each once, in order. To be asked for first: a server
    /// shows the key of the first algorithm that it has, and another one would not be known.
    ///
    /// Keys of authorities and revoked keys are left out. `ssh-rsa` is the key's name here; on the wire its
    /// signatures are called `rsa-sha2-512` and `rsa-sha2-256` (RFC 8332).
    #[must_use]
    pub fn algorithms(&self, host: &str, port: u16) -> Vec<String> {
        let (plain, marked): (Vec<_>, Vec<_>) =
            self.matching(host, port).partition(|entry| entry.marker().is_none());
        let revoked = |entry: &&Entry| {
            let of = |m: &&Entry| m.marker() == Some(Marker::Revoked) && m.key() == entry.key();
            marked.iter().any(of)
        };
        let mut algorithms = Vec::new();
        for entry in plain.into_iter().filter(|entry| !revoked(entry)) {
            let algorithm = entry.key().algorithm();
            if !algorithms.iter().any(|listed| listed == algorithm) {
                algorithms.push(algorithm.to_owned());
            }
        }
        algorithms
    }
}
