//! The notes' programs with paramiko (`tests/notes/paramiko_*.py`) and ours (`docs/examples/remote_jobs.rs`), both as
//! programs, against the same sshd: the same bytes come out, and each reads what the other has copied.
#![cfg(feature = "remote")]

#[path = "support/ssh.rs"]
mod ssh;
mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{PATIENCE, pattern, watchdog};
use waitcopy::lab::sshd::{Accounts, KeyKind, Options, Sshd};

/// The two kinds of program, against one server.
struct Both {
    sshd: Sshd,
    python: PathBuf,
}

impl Both {
    fn start() -> Option<Self> {
        let python = ssh::paramiko()?;
        let options = Options { accounts: Accounts::Password, ..Options::default() };
        Some(Self { sshd: ssh::or_skip(Sshd::start(options))?, python })
    }

    /// One of the notes' programs, for this server; its further arguments come after.
    fn theirs(&self, program: &str) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(format!("{}/tests/notes/{program}", env!("CARGO_MANIFEST_DIR")));
        let addr = self.sshd.addr();
        command.args([&addr.ip().to_string(), &addr.port().to_string(), self.sshd.user()]);
        command
    }

    /// One job of ours.
    fn ours(&self, job: &str) -> Command {
        let test = std::env::current_exe().unwrap();
        let program =
            test.parent().and_then(Path::parent).unwrap().join("examples").join("remote_jobs");
        assert!(program.exists(), "{program:?} is missing: cargo build --examples");
        let mut command = Command::new(program);
        command.arg(job).arg(self.sshd.folder().join("known_hosts_of_ours"));
        command.arg(format!("{}@{}", self.sshd.user(), self.sshd.addr()));
        command
    }

    /// Runs it with the password on its standard input, and returns its output.
    fn says(&self, mut command: Command) -> Vec<u8> {
        command.env_remove("SSH_AUTH_SOCK").stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let line = format!("{}\n", self.sshd.password());
        // One that logs in by key does not read it.
        let _ = child.stdin.take().unwrap().write_all(line.as_bytes());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", ssh::said(&output));
        output.stdout
    }

    /// The sessions' home, where relative names there begin.
    fn there(&self, name: &str) -> PathBuf {
        self.sshd.home().join(name)
    }

    /// A file here, in the server's folder so that it goes with it.
    fn here(&self, name: &str) -> PathBuf {
        self.sshd.folder().join(name)
    }

    /// A command of theirs and the same of ours say the same, of `df` as far as it stands still.
    fn agree(&self, theirs: impl Fn() -> Command, ours: impl Fn() -> Command) {
        let both = |words: &str| {
            let (mut theirs, mut ours) = (theirs(), ours());
            (
                self.says({
                    theirs.arg(words);
                    theirs
                }),
                self.says({
                    ours.arg(words);
                    ours
                }),
            )
        };
        // The notes' command: without one, each runs df.
        let (a, b) = (self.says(theirs()), self.says(ours()));
        assert_eq!(columns(&a), columns(&b));
        assert!(columns(&a).len() > 1, "{}", String::from_utf8_lossy(&a));
        // Bytes of all values, more than a channel's window.
        let bytes = pattern(5_000_001, 1);
        fs::write(self.there("bytes"), &bytes).unwrap();
        let (a, b) = both("cat bytes");
        assert!(a == bytes && b == bytes, "{} and {} bytes", a.len(), b.len());
        // Whose session it is, and that error output is not mixed in.
        let (a, b) = both("printf '%s %s' \"$USER\" \"$HOME\"; echo aside >&2");
        let said = format!("{} {}", self.sshd.user(), self.sshd.home().display());
        assert_eq!([&a[..], &b[..]], [said.as_bytes(); 2]);
        let (a, b) = both("exit 3");
        assert!(a.is_empty() && b.is_empty());
    }
}

/// Of each line of df, the file system and where it is mounted: the numbers between change.
fn columns(df: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(df);
    let ends = text.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words[0].to_owned(), words[words.len() - 1].to_owned())
    });
    ends.collect()
}

#[test]
fn a_command_by_password() {
    watchdog(PATIENCE, || {
        let Some(both) = Both::start() else { return };
        both.agree(|| both.theirs("paramiko_password.py"), || both.ours("password"));
    });
}

#[test]
fn a_command_by_key() {
    watchdog(PATIENCE, || {
        let Some(both) = Both::start() else { return };
        let key = both.sshd.client_key(KeyKind::Rsa3072).unwrap();
        let with_key = |mut command: Command| {
            command.arg(&key);
            command
        };
        both.agree(|| with_key(both.theirs("paramiko_key.py")), || with_key(both.ours("key")));
    });
}

#[test]
fn files_crosswise() {
    watchdog(PATIENCE, || {
        let Some(both) = Both::start() else { return };
        for (len, seed) in [(0, 2), (1, 3), (32_768, 4), (7_340_033, 5)] {
            let (ours, theirs) = (pattern(len, seed), pattern(len, seed + 100));
            let here = |name: &str| both.here(&format!("{name}-{len}"));
            fs::write(here("ours"), &ours).unwrap();
            fs::write(here("theirs"), &theirs).unwrap();
            // Each puts a file and fetches one; then each fetches what the other has put.
            let name = |who: &str| format!("{who}-{len}");
            let job = |mut command: Command, put: [&str; 2], get: [&str; 2]| {
                command.arg(here(put[0])).arg(name(put[1])).arg(name(get[0])).arg(here(get[1]));
                both.says(command);
            };
            let [a, b] = ["by_theirs", "by_ours"];
            job(both.theirs("paramiko_sftp.py"), ["theirs", a], [a, "theirs_by_theirs"]);
            job(both.ours("files"), ["ours", b], [a, "theirs_by_ours"]);
            job(both.theirs("paramiko_sftp.py"), ["theirs", a], [b, "ours_by_theirs"]);
            let same = |path: PathBuf, bytes: &[u8]| {
                assert!(fs::read(&path).unwrap() == bytes, "{path:?}");
            };
            same(both.there(&name(a)), &theirs);
            same(both.there(&name(b)), &ours);
            same(here("theirs_by_theirs"), &theirs);
            same(here("theirs_by_ours"), &theirs);
            same(here("ours_by_theirs"), &ours);
        }
    });
}
