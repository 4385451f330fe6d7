//! Hosts that vanish, in a network of the test's own, and compression.
#![cfg(feature = "remote")]

#[path = "support/forward.rs"]
mod forward;
#[path = "support/remote_cli.rs"]
mod remote_cli;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use forward::Forward;
use remote_cli::{Remote, said};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{PATIENCE, pattern, skip, watchdog};
use waitcopy::lab::sshd::Options;

/// Runs a test's body in a network namespace that has a loopback and nothing else, or skips it aloud.
fn in_a_network_of_its_own(test: &str, body: impl FnOnce(Remote) + Send + 'static) {
    if std::env::var_os("WAITCOPY_ALONE").is_some() {
        return watchdog(PATIENCE, || {
            link("up");
            if let Some(remote) = Remote::start(Options::default()) {
                body(remote);
            }
        });
    }
    let probe = Command::new("unshare").args(["--net", "ip", "link", "set", "lo", "up"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return skip("no network namespace may be made here, or unshare or ip is missing");
    }
    let mut command = Command::new("unshare");
    command.arg("--net").arg(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--nocapture"]).env("WAITCOPY_ALONE", "1").output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{errors}");
    eprint!("{errors}");
}

/// The one wire of that network.
fn link(state: &str) {
    let done = Command::new("ip").args(["link", "set", "lo", state]).status().unwrap();
    assert!(done.success());
}

#[test]
fn a_host_that_vanishes_is_given_up() {
    in_a_network_of_its_own("a_host_that_vanishes_is_given_up", |remote| {
        // A command that says nothing; a forward that is idle. The one has nothing to send, and so has the other.
        let mut exec = remote.verb("exec", &["--keepalive", "1s"]);
        exec.args(["--", "echo begun; sleep 600"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut exec = exec.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(exec.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "begun\n");
        let mut forward = Forward::start(&remote, &["--keepalive", "1s", "-D", "0"]);
        forward.addr();
        let cut = Instant::now();
        link("down");
        let exec = remote_cli::Said::of(exec.wait_with_output().unwrap());
        let (code, said) = forward.wait();
        let took = cut.elapsed();
        link("up");
        exec.failed(255, &["ETIMEDOUT"]);
        assert_eq!(code, Some(255), "{said}");
        eprintln!("given up after {took:?}: {said}");
        // 1 s of silence, three questions a second apart; and not long before.
        assert!((Duration::from_secs(2)..Duration::from_secs(20)).contains(&took), "{took:?}");
    });
}

#[test]
fn what_is_sent_and_not_acknowledged_ends_it_too() {
    in_a_network_of_its_own("what_is_sent_and_not_acknowledged_ends_it_too", |remote| {
        let mut exec = remote.verb("exec", &["--keepalive", "1s"]);
        exec.args(["--", "echo begun; cat >/dev/null"]);
        exec.stdin(Stdio::from(std::fs::File::open("/dev/zero").unwrap()));
        exec.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut exec = exec.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(exec.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let cut = Instant::now();
        link("down");
        let run = remote_cli::Said::of(exec.wait_with_output().unwrap());
        let took = cut.elapsed();
        link("up");
        let said = run.failed(255, &["ETIMEDOUT"]).err;
        eprintln!("given up after {took:?}: {said}");
        assert!((Duration::from_secs(2)..Duration::from_secs(20)).contains(&took), "{took:?}");
    });
}

#[test]
fn compressed_bytes_are_fewer_and_the_same() {
    watchdog(PATIENCE, || {
        let Some(remote) = Remote::start(Options::default()) else { return };
        let bytes_in = |flags: &[&str]| {
            let words = "yes 'a line that comes again and again' | head -c 4M";
            let json = remote.exec(&[flags, &["--json", "--phases"]].concat(), words).well().json();
            let text = json.get("result.stdout").unwrap().to_string();
            assert!(text.len() > 4 << 20);
            json.count("phases.socket.bytes_in").unwrap()
        };
        let (plain, compressed) = (bytes_in(&[]), bytes_in(&["--compress"]));
        println!("4 MiB of lines: {plain} bytes, {compressed} compressed");
        assert!(plain > 4 << 20 && compressed < plain / 20, "{plain} {compressed}");
        // What cannot be compressed arrives all the same, both ways.
        let (here, back) = (remote.here("bytes"), remote.here("back"));
        std::fs::write(&here, pattern(5 << 20, 17)).unwrap();
        let there = remote.home("bytes");
        let names = |from: &std::path::Path, to: &std::path::Path| {
            [from.to_str().unwrap().to_owned(), to.to_str().unwrap().to_owned()]
        };
        said(remote.verb("put", &["--compress"]).args(names(&here, &there))).well();
        said(remote.verb("get", &["--compress"]).args(names(&there, &back))).well();
        assert!(std::fs::read(&back).unwrap() == pattern(5 << 20, 17));
    });
}
