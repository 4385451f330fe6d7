//! Whether the server's key is the host's.

use super::error::{Error, Reason, Step};
use super::host_key::HostKey;
use super::known_hosts::{self, KnownHosts, Place, Verdict, entry_name};
use crate::failure::Failure;
use std::path::PathBuf;

/// What to do about a host that no known_hosts file knows. A key that has changed, and one that is revoked, is refused under
/// each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Refuse it: paramiko's RejectPolicy, OpenSSH's `StrictHostKeyChecking yes`.
    #[default]
    Reject,
    /// Take it and save it: paramiko's AutoAddPolicy, OpenSSH's `accept-new`.
    AcceptNew,
    /// Take it, say so, and do not save it: paramiko's WarningPolicy.
    Warn,
}

/// Plain key types, the one we like best first. Certificates are left out: libssh2 does not verify their CA.
const PLAIN: [&str; 6] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
];

/// Where hosts are known, and how strictly.
#[derive(Clone, Debug, Default)]
pub(super) struct Trust {
    pub(super) policy: Policy,
    /// The first is where new keys are saved.
    pub(super) files: Vec<PathBuf>,
    /// Save names hashed (`HashKnownHosts`).
    pub(super) hash: bool,
    /// The name to look up instead of the host's (`HostKeyAlias`).
    pub(super) alias: Option<String>,
    /// The one key that will do, as well.
    pub(super) only: Option<Vec<u8>>,
}

/// The same for one host, its files read.
pub(super) struct Verifier<'a> {
    trust: &'a Trust,
    known: KnownHosts,
    host: &'a str,
    port: u16,
}

impl Trust {
    pub(super) fn read<'a>(&'a self, host: &'a str, port: u16) -> Result<Verifier<'a>, Error> {
        let failed = |failure: Failure| {
            Error::failure(Step::Settings, &failure).hint("hosts cannot be checked without it")
        };
        let known = KnownHosts::load(&self.files).map_err(failed)?;
        // An alias stands for one host, whatever its port (ssh_config(5), HostKeyAlias).
        let (host, port) = self.alias.as_deref().map_or((host, port), |alias| (alias, 22));
        Ok(Verifier { trust: self, known, host, port })
    }
}

impl Verifier<'_> {
    /// The key types to ask the server for: those that are known of this host first.
    pub(super) fn preference(&self) -> String {
        let mut order: Vec<&str> = Vec::new();
        for algorithm in self.known.algorithms(self.host, self.port) {
            // One RSA key serves under either name (RFC 8332).
            let fits = |name: &&&str| match algorithm.as_str() {
                "ssh-rsa" => name.starts_with("rsa-"),
                algorithm => **name == algorithm,
            };
            order.extend(PLAIN.iter().filter(fits));
        }
        order.extend(PLAIN);
        let mut seen = std::collections::HashSet::new();
        order.retain(|name| seen.insert(*name));
        order.join(",")
    }

    /// Takes the key or refuses it; a text is what a person should know.
    pub(super) fn check(&self, key: &HostKey) -> Result<Option<String>, Error> {
        if self.trust.only.as_ref().is_some_and(|only| only != key.blob()) {
            let (name, shown) = (self.name(), shown(key));
            let message =
                format!("{name} shows a further session {shown}, and the first one another key");
            let hint = "somebody may stand in between, or several machines answer to this name";
            return Err(Error::new(Step::HostKey, Reason::HostKeyChanged, message).hint(hint));
        }
        match self.known.check(self.host, self.port, key) {
            Verdict::Known(_) => Ok(None),
            Verdict::Unknown => self.unknown(key),
            Verdict::Changed(known) => Err(self.changed(key, &known, "has changed")),
            // Whoever stands in between shows a key of a type that was never seen: as good as changed.
            Verdict::OtherAlgorithms(known) => {
                Err(self.changed(key, &known, "is of a type that was never seen of it"))
            }
            Verdict::Revoked(place) => Err(self.revoked(key, &place)),
        }
    }

    fn unknown(&self, key: &HostKey) -> Result<Option<String>, Error> {
        let (name, shown) = (self.name(), shown(key));
        let file = self.trust.files.first();
        match self.trust.policy {
            Policy::Warn => Ok(Some(format!("{name} is unknown, and taken at its word: {shown}"))),
            Policy::AcceptNew => {
                let Some(file) = file else {
                    return Ok(Some(format!(
                        "{name} is unknown, and there is no file to save it to: {shown}"
                    )));
                };
                let saved = known_hosts::add(file, self.host, self.port, key, self.trust.hash);
                let saved = saved.map_err(|f| {
                    Error::failure(Step::HostKey, &f).hint("its key could not be saved")
                })?;
                // Another process may have saved another key meanwhile, or withdrawn this one.
                match saved {
                    Verdict::Unknown | Verdict::Known(_) => {}
                    Verdict::Changed(known) | Verdict::OtherAlgorithms(known) => {
                        return Err(self.changed(key, &known, "has changed"));
                    }
                    Verdict::Revoked(place) => return Err(self.revoked(key, &place)),
                }
                Ok(Some(format!("{name} was unknown; saved to {}: {shown}", file.display())))
            }
            Policy::Reject => {
                let file = file.map_or("known_hosts".into(), |file| file.display().to_string());
                let message = format!("{name} is unknown: it shows {shown}");
                Err(Error::new(Step::HostKey, Reason::HostKeyUnknown, message).hint(format!(
                    "compare the fingerprint with the server's (ssh-keygen -lf on its console); accept-new saves it to {file}"
                )))
            }
        }
    }

    fn changed(&self, key: &HostKey, known: &[(Place, HostKey)], how: &str) -> Error {
        let known: Vec<String> =
            known.iter().map(|(place, key)| format!("{place} holds {}", shown(key))).collect();
        let message = format!(
            "the key of {} {how}: it shows {}; {}",
            self.name(),
            shown(key),
            known.join(", ")
        );
        Error::new(Step::HostKey, Reason::HostKeyChanged, message).hint(format!(
            "somebody may stand in between; if the change is known to be right: ssh-keygen -R '{}'",
            self.name()
        ))
    }

    fn revoked(&self, key: &HostKey, place: &Place) -> Error {
        let message =
            format!("the key of {} is marked as revoked: {} ({place})", self.name(), shown(key));
        Error::new(Step::HostKey, Reason::HostKeyRevoked, message)
            .hint("the server uses a key that was withdrawn: do not connect")
    }

    /// The host as known_hosts files write it.
    fn name(&self) -> String {
        entry_name(self.host, self.port)
    }
}

fn shown(key: &HostKey) -> String {
    format!("{} {}", key.algorithm(), key.fingerprint())
}

#[cfg(test)]
mod tests {
    use super::{HostKey, Policy, Reason, Trust};
    use std::fs;

    fn key(algorithm: &str) -> HostKey {
        let string = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
        HostKey::from_blob([string(algorithm.as_bytes()), string(&[7; 32])].concat()).unwrap()
    }

    #[test]
    fn what_another_process_has_written_meanwhile_counts() {
        let name = format!("waitcopy-test-{}-meanwhile", std::process::id());
        let file = std::env::temp_dir().join(name);
        let trust =
            Trust { policy: Policy::AcceptNew, files: vec![file.clone()], ..Trust::default() };
        let (shown, other) = (key("ssh-ed25519"), key("ecdsa-sha2-nistp256"));
        for (line, reason) in [
            (format!("@revoked * {shown}\n"), Reason::HostKeyRevoked),
            (format!("h {other}\n"), Reason::HostKeyChanged),
        ] {
            fs::write(&file, "").unwrap();
            let verifier = trust.read("h", 22).unwrap();
            fs::write(&file, &line).unwrap();
            assert_eq!(verifier.check(&shown).unwrap_err().reason(), reason);
            assert_eq!(fs::read_to_string(&file).unwrap(), line);
        }
        fs::remove_file(&file).unwrap();
    }
}
