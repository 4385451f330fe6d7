//! How the program ends when something has failed: soon.
#![cfg(feature = "remote")]

#[path = "support/remote_cli.rs"]
mod remote_cli;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use remote_cli::{Remote, said};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::{PATIENCE, watchdog};
use waitcopy::lab::sshd::Options;
use waitcopy::sys;

fn on_a_server(test: impl FnOnce(Remote) + Send + 'static) {
    watchdog(PATIENCE, || {
        if let Some(remote) = Remote::start(Options::default()) {
            test(remote);
        }
    });
}

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
