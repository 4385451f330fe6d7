//! A copy by further sessions: its two places, how those log in, and what the first one has moved itself.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "as in mod.rs")]

use crate::support::scratch;
use std::fs;
use std::path::PathBuf;
use waitcopy::lab::sshd::{KeyKind, Sshd};
use waitcopy::remote::config::IdentityAgent;
use waitcopy::remote::{Client, Error, Session};

/// One direction, its empty folders here and there, and the key of the further sessions.
pub struct Places<'a> {
    pub sshd: &'a Sshd,
    /// Where those log in, if not there.
    pub further: Option<&'a Sshd>,
    pub put: bool,
    pub from: PathBuf,
    pub to: PathBuf,
    pub key: PathBuf,
}

impl<'a> Places<'a> {
    pub fn new(sshd: &'a Sshd, put: bool, name: &str) -> Self {
        let here = scratch(&format!("{name}-{}-{put}", sshd.addr().port()));
        let there = sshd.home().join(format!("{name}-{put}"));
        for folder in [&here, &there] {
            let _ = fs::remove_dir_all(folder);
            fs::create_dir_all(folder).unwrap();
        }
        let [from, to] = if put { [&here, &there] } else { [&there, &here] };
        let key = sshd.client_key(KeyKind::Ed25519).unwrap();
        Self { sshd, further: None, put, from: from.join("from"), to: to.join("to"), key }
    }

    /// How further sessions log in.
    pub fn client(&self) -> impl Fn() -> Result<Client, Error> + Send + Sync + use<> {
        let sshd = self.further.unwrap_or(self.sshd);
        let known = sshd.folder().join("known_hosts_of_further_sessions");
        fs::write(&known, sshd.known_hosts()).unwrap();
        let target = format!("{}@127.0.0.1:{}", sshd.user(), sshd.addr().port());
        let key = self.key.clone();
        move || {
            let client = Client::new(&target)?.agent(IdentityAgent::Off);
            Ok(client.known_hosts(&known).identity(&key))
        }
    }

    /// Bytes that a session has moved in this direction.
    pub fn own(&self, session: &Session) -> u64 {
        let traffic = session.traffic();
        if self.put { traffic.bytes_out } else { traffic.bytes_in }
    }
}

impl Drop for Places<'_> {
    fn drop(&mut self) {
        for path in [&self.from, &self.to] {
            let _ = fs::remove_dir_all(path.parent().unwrap());
        }
    }
}
