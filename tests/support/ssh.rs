//! The real clients against a private SSH server, none of which looks at the files of the user who runs the tests.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "as in mod.rs")]

use crate::support::{skip, state};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use waitcopy::lab::sshd::{Sshd, StartError};

/// The server, or a skip said aloud where it cannot be.
pub fn or_skip(started: Result<Sshd, StartError>) -> Option<Sshd> {
    match started {
        Ok(sshd) => Some(sshd),
        Err(StartError::Unavailable(why)) => {
            skip(&why);
            None
        }
        Err(failed) => panic!("{failed}"),
    }
}

/// `ssh` to the server, with a known_hosts file of its own that knows it; without words or a way to log in.
pub fn ssh(sshd: &Sshd) -> Command {
    let mut command = client("ssh", "-p", sshd);
    command.arg(format!("{}@{}", sshd.user(), sshd.addr().ip()));
    command
}

/// `sftp -b -`, whose commands come on standard input.
pub fn sftp(sshd: &Sshd, key: &Path) -> Command {
    let mut command = client("sftp", "-P", sshd);
    command.arg("-i").arg(key).args(["-b", "-"]);
    command.arg(format!("{}@{}", sshd.user(), sshd.addr().ip()));
    command
}

fn client(program: &str, port: &str, sshd: &Sshd) -> Command {
    let known = sshd.folder().join("known_hosts_of_test");
    if !known.exists() {
        fs::write(&known, sshd.known_hosts()).unwrap();
    }
    let mut command = Command::new(program);
    command.args(["-F", "none", port, &sshd.addr().port().to_string()]);
    command.arg("-o").arg(format!("UserKnownHostsFile={}", known.display()));
    for option in [
        "GlobalKnownHostsFile=none",
        "StrictHostKeyChecking=yes",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "IdentityFile=none",
        "ConnectTimeout=30",
        "NumberOfPasswordPrompts=1",
    ] {
        command.args(["-o", option]);
    }
    command.stdin(Stdio::null());
    command
}

/// Logs in with a key, and runs words there.
pub fn run(sshd: &Sshd, key: &Path, words: &str) -> Output {
    ssh(sshd).arg("-i").arg(key).arg(words).output().unwrap()
}

/// Answers what `command` asks: a question that holds the first word gets the second.
pub fn answering(mut command: Command, sshd: &Sshd, answers: &[(&str, &str)]) -> Command {
    let script = sshd.folder().join("askpass");
    let cases =
        answers.iter().map(|(question, answer)| format!("*{question}*) echo '{answer}';;\n"));
    let text = format!("#!/bin/sh\ncase $1 in\n{}*) exit 1;;\nesac\n", cases.collect::<String>());
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    command.env("SSH_ASKPASS", &script).env("SSH_ASKPASS_REQUIRE", "force");
    command
}

/// Only by these ways, in ssh's own words for them.
pub fn only(mut command: Command, methods: &str) -> Command {
    // An option counts when it comes after the host, too.
    command.arg("-o").arg(format!("PreferredAuthentications={methods}"));
    command
}

/// The Python that has paramiko, which `.ci/deps paramiko` makes in the target folder.
pub fn paramiko() -> Option<PathBuf> {
    // target/PROFILE/deps/TEST
    let program = std::env::current_exe().unwrap();
    let python = program.ancestors().nth(3)?.join("venv/bin/python");
    let works = Command::new(&python).args(["-c", "import paramiko"]).output();
    if works.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    skip("paramiko is missing: .ci/deps paramiko");
    None
}

pub fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{}: {out}{err}", output.status)
}

/// Whether a process has ended; it may stay a zombie where nobody reaps.
pub fn gone(process: u32) -> bool {
    matches!(state(process), 'X' | 'Z')
}

/// Mounts that this process sees below or from a folder.
pub fn mounts_of(folder: &Path) -> usize {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().filter(|line| line.contains(&folder.display().to_string())).count()
}
