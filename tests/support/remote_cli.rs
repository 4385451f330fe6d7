//! `waitcopy remote` against a private server.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "as in mod.rs")]

use crate::support::{PATIENCE, WAITCOPY, watchdog};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use waitcopy::json::Value;
use waitcopy::lab::sshd::{KeyKind, Options, Sshd};

/// A server, and a user with a key and a file that knows the host.
pub struct Remote {
    pub sshd: Sshd,
    pub key: PathBuf,
    pub known: PathBuf,
}

impl Remote {
    pub fn start(options: Options) -> Option<Self> {
        crate::ssh::or_skip(Sshd::start(options)).map(Self::of)
    }

    pub fn of(sshd: Sshd) -> Self {
        let key = sshd.client_key(KeyKind::Ed25519).unwrap();
        let known = sshd.folder().join("known_hosts_of_the_user");
        fs::write(&known, sshd.known_hosts()).unwrap();
        Self { sshd, key, known }
    }

    pub fn host(&self) -> String {
        format!("{}@{}", self.sshd.user(), self.sshd.addr())
    }

    /// A place in the account's home.
    pub fn home(&self, name: &str) -> PathBuf {
        self.sshd.home().join(name)
    }

    /// A place that is nobody's.
    pub fn here(&self, name: &str) -> PathBuf {
        let folder = self.sshd.folder().join("here");
        fs::create_dir_all(&folder).unwrap();
        folder.join(name)
    }

    /// `waitcopy remote VERB`, which finds neither agent nor configuration of the user who runs the tests.
    pub fn bare(&self, verb: &str) -> Command {
        let mut command = Command::new(WAITCOPY);
        command.args(["remote", verb, "--config", "none", "--known-hosts"]).arg(&self.known);
        command.env_remove("SSH_AUTH_SOCK").env_remove("SSH_ASKPASS").stdin(Stdio::null());
        command
    }

    /// The same by key.
    pub fn verb(&self, verb: &str, flags: &[&str]) -> Command {
        let mut command = self.bare(verb);
        command.arg("--identity").arg(&self.key).args(flags).arg(self.host());
        command
    }

    /// Runs a verb with its names.
    pub fn run(&self, verb: &str, flags: &[&str], names: &[&str]) -> Said {
        said(self.verb(verb, flags).args(names))
    }

    /// Runs a command there.
    pub fn exec(&self, flags: &[&str], words: &str) -> Said {
        said(self.verb("exec", flags).arg("--").arg(words))
    }
}

/// What a run came to; a signal that ended it is 1000 and its number.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: Vec<u8>,
    pub err: String,
}

impl Said {
    pub fn of(output: Output) -> Self {
        let code =
            output.status.code().unwrap_or_else(|| 1000 + output.status.signal().unwrap_or(0));
        Self { code, out: output.stdout, err: String::from_utf8(output.stderr).unwrap() }
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }

    /// It went well and had nothing to say beside its result.
    #[track_caller]
    pub fn well(self) -> Self {
        assert!(self.code == 0 && self.err.is_empty(), "{self:?}");
        self
    }

    /// It ended with this status, and these words on standard error.
    #[track_caller]
    pub fn failed(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        for words in words {
            assert!(self.err.contains(words), "{words}: {self:?}");
        }
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        Value::parse(self.text()).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A test of the program against an sshd of its own, where there can be one.
pub fn on_a_server(test: impl FnOnce(Remote) + Send + 'static) {
    on_a_server_with(Options::default(), test);
}

pub fn on_a_server_with(options: Options, test: impl FnOnce(Remote) + Send + 'static) {
    watchdog(PATIENCE, || {
        if let Some(remote) = Remote::start(options) {
            test(remote);
        }
    });
}

pub fn said(command: &mut Command) -> Said {
    Said::of(command.output().unwrap_or_else(|error| panic!("{command:?}: {error}")))
}

/// The names in a folder, temporary ones too.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
