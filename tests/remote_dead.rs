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
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{PATIENCE, pattern, skip, until, watchdog};
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

/// A command that has begun and says nothing more, up to its drop.
struct Begun(Child);

impl Begun {
    fn of(mut exec: Command) -> Self {
        exec.args(["--", "echo begun; sleep 600"]).stdout(Stdio::piped());
        let mut child = exec.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "begun\n");
        Self(child)
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// In how many seconds the kernel asks the other side of our connection to a port whether it is there (proc(5), `/proc/net/tcp`: timer 2);
/// `None`: not at all. While something is unacknowledged another timer runs, so that it is looked at until it does not.
fn asks_in(port: u16) -> Option<f64> {
    let mut asks = None;
    until("all is acknowledged", || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let there = format!(":{port:04X}");
        let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let line = fields.into_iter().find(|line| line[2].ends_with(&there) && line[3] == "01");
        let (timer, ticks) = line.as_ref().unwrap()[5].split_once(':').unwrap();
        asks = (timer == "02").then(|| u32::from_str_radix(ticks, 16).unwrap() as f64 / 100.0);
        matches!(timer, "00" | "02")
    });
    asks
}

#[test]
fn whoever_wants_to_be_asked_is() {
    if !Command::new("ssh").arg("-V").output().is_ok_and(|output| output.status.success()) {
        return skip("ssh is missing, and so is its configuration");
    }
    watchdog(PATIENCE, || {
        let Some(remote) = Remote::start(Options::default()) else { return };
        let Some(gate) = Remote::start(Options::default()) else { return };
        let port = remote.sshd.addr().port();
        let config = remote.here("config");
        let configured = |lines: &str, flags: &[&str]| {
            std::fs::write(&config, format!("Host *\n{lines}")).unwrap();
            let mut exec = remote.verb("exec", flags);
            exec.arg("--config").arg(&config);
            Begun::of(exec)
        };
        for (lines, flags, least, most) in [
            ("", &[][..], 50.0, 60.0),
            ("", &["--keepalive", "2m"], 110.0, 120.0),
            ("ServerAliveInterval 300\n", &[], 290.0, 300.0),
            // As ssh_config(5) advises against messages that can be forged.
            ("TCPKeepAlive no\nServerAliveInterval 300\n", &[], 290.0, 300.0),
            ("TCPKeepAlive no\n", &["--keepalive", "2m"], 110.0, 120.0),
        ] {
            let _begun = configured(lines, flags);
            let asks = asks_in(port).unwrap_or_else(|| panic!("{lines}{flags:?}: nobody asks"));
            assert!(least < asks && asks <= most, "{lines}{flags:?}: in {asks} s");
        }
        let _begun = configured("TCPKeepAlive no\n", &[]);
        assert_eq!(asks_in(port), None);
        // Through a jump host it is the connection to that which is ours, and the flag is for it.
        let known = remote.here("known_of_both");
        std::fs::write(&known, gate.sshd.known_hosts() + &remote.sshd.known_hosts()).unwrap();
        let jump = [gate.host(), known.display().to_string()];
        let flags = ["--jump", &jump[0], "--known-hosts", &jump[1], "--keepalive", "2m"];
        let _begun = configured("", &flags);
        let asks = asks_in(gate.sshd.addr().port()).expect("nobody asks the jump host");
        assert!(110.0 < asks && asks <= 120.0, "in {asks} s");
    });
}

#[test]
fn a_time_beyond_the_kernels_is_its_longest() {
    watchdog(PATIENCE, || {
        let Some(remote) = Remote::start(Options::default()) else { return };
        let port = remote.sshd.addr().port();
        for (time, asked) in
            [("1us", 1.0), ("32767s", 32_767.0), ("32768s", 32_767.0), ("1e17m", 32_767.0)]
        {
            let _begun = Begun::of(remote.verb("exec", &["--keepalive", time]));
            let asks = asks_in(port).unwrap();
            assert!(asks <= asked && asks > asked - 20.0, "{time}: in {asks} s");
        }
        for (wrong, why) in [
            ("0s", "a time of more than zero"),
            ("-1s", "a time is not negative"),
            ("1", "a time has a unit"),
            ("1e30m", "a time has"),
            ("inf s", "a time has"),
            ("nans", "a time has"),
        ] {
            let run = remote.exec(&["--keepalive", wrong], "true");
            run.failed(2, &["--keepalive", why]);
        }
    });
}

#[test]
fn who_is_silent_behind_a_jump_host_is_the_idle_times_to_find_out() {
    watchdog(PATIENCE, || {
        let Some(remote) = Remote::start(Options::default()) else { return };
        let Some(gate) = Remote::start(Options::default()) else { return };
        let known = remote.here("known_of_both");
        std::fs::write(&known, gate.sshd.known_hosts() + &remote.sshd.known_hosts()).unwrap();
        let jump = [gate.host(), known.display().to_string()];
        let flags = ["--jump", &jump[0], "--known-hosts", &jump[1], "--keepalive", "1s"];
        let mut exec = remote.verb("exec", &[&flags[..], &["--idle-timeout", "5s"]].concat());
        exec.stderr(Stdio::piped());
        let mut begun = Begun::of(exec);
        let stopped = Instant::now();
        let sessions = remote.sshd.sessions();
        sessions.iter().for_each(|session| session.stop());
        let mut said = String::new();
        begun.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let took = stopped.elapsed();
        sessions.iter().for_each(|session| session.resume());
        assert!(said.contains("the command: the connection is silent"), "{said}");
        assert_eq!(begun.0.wait().unwrap().code(), Some(255), "{said}");
        // The jump host has answered all the time: the four seconds in which it would have been given up are over.
        assert!(took >= Duration::from_secs(4), "{took:?}");
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
