//! How the program ends when something has failed: soon, and with words that say what it was.
#![cfg(feature = "remote")]

#[path = "support/remote_cli.rs"]
mod remote_cli;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use remote_cli::{Said, names, on_a_server, said};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};
use waitcopy::lab::sshd;
use waitcopy::sys;

/// What lasts less than this once: other work on the machine can only make it longer.
#[track_caller]
fn soon(limit: Duration, what: &str, mut once: impl FnMut() -> Duration) {
    let took: Vec<_> = (0..3).map(|_| once()).collect();
    assert!(took.iter().any(|took| *took < limit), "{what}: {took:?}, each more than {limit:?}");
}

const SECOND: Duration = Duration::from_secs(1);

/// The command there goes on, and its channel is not closed before it ends: nobody waits for that.
#[test]
fn a_goodbye_is_not_waited_for_after_a_deadline_or_a_signal() {
    on_a_server(|remote| {
        for flag in ["--timeout", "--idle-timeout"] {
            soon(2 * SECOND, flag, || {
                let begun = Instant::now();
                remote.exec(&[flag, "500ms"], "sleep 10").failed(255, &["500ms"]);
                begun.elapsed()
            });
        }
        soon(SECOND, "SIGTERM", || {
            let mut exec = remote.verb("exec", &[]);
            let exec = exec.args(["--", "echo begun; exec sleep 10"]).stdout(Stdio::piped());
            let mut child = exec.spawn().unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            assert_eq!(line, "begun\n");
            let begun = Instant::now();
            sys::kill(child.id(), sys::SIGTERM).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(143));
            begun.elapsed()
        });
    });
}

/// A host behind another one that accepts and says nothing.
#[test]
fn a_goodbye_is_not_waited_for_where_there_was_no_session() {
    on_a_server(|remote| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = listener.local_addr().unwrap().to_string();
        soon(Duration::from_millis(2500), "--connect-timeout", || {
            let mut exec = remote.bare("exec");
            exec.arg("--identity").arg(&remote.key).args(["--connect-timeout", "1s", "--jump"]);
            exec.args([&remote.host(), &silent]).args(["--", "true"]);
            let begun = Instant::now();
            said(&mut exec).failed(255, &["no end after 1s"]);
            begun.elapsed()
        });
    });
}

/// A connection that is gone names the host, and says what the kernel said.
#[test]
fn a_host_that_closes_the_connection_is_named() {
    on_a_server(|remote| {
        let closed = format!("{}@{} closed", remote.sshd.user(), remote.sshd.addr().ip());
        for words in [&["exec", "--", "cat"][..], &["put", "-", "there"]] {
            let mut command = remote.verb(words[0], &[]);
            command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(b"echo begun\n").unwrap();
            if words[0] == "put" {
                let part = |name: &String| name.ends_with(".part");
                support::until("it copies", || names(&remote.home("")).iter().any(part));
            } else {
                let mut line = String::new();
                BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
                assert!(line.ends_with("begun\n"), "{line}");
            }
            remote.sshd.sessions().into_iter().for_each(sshd::Session::kill);
            drop(stdin);
            let said = Said::of(child.wait_with_output().unwrap());
            let said = said.failed(255, &[&closed, " the connection"]);
            assert!(!said.err.contains("libssh2"), "{said:?}");
        }
    });
}

#[test]
fn what_stands_in_the_way_of_a_tree_is_named() {
    on_a_server(|remote| {
        fs::create_dir(remote.home("there")).unwrap();
        let file = remote.here("file");
        fs::write(&file, "1").unwrap();
        let file = file.to_str().unwrap();
        let words = format!("{file}: not a directory (ENOTDIR)");
        remote.run("get", &["-r"], &["there", file]).failed(1, &[&words]);
        assert_eq!(fs::read(file).unwrap(), b"1");
    });
}

/// The advice is of flags that the verb has.
#[test]
fn a_port_that_is_taken_is_advised_of_in_the_verbs_own_words() {
    on_a_server(|remote| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap().port();
        for (flag, place) in [("--local", format!("{taken}:h:1")), ("--dynamic", taken.to_string())]
        {
            let said = remote.run("forward", &[flag, &place], &[]);
            let said = said.failed(1, &["EADDRINUSE", "choose another port, or 0 for a free one"]);
            assert!(!said.err.contains("--listen"), "{said:?}");
        }
    });
}
