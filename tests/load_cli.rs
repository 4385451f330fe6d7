//! `waitcopy load` as a command: what it prints, refuses, and ends with; many connections; its limits.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;
use support::{PATIENCE, WAITCOPY, assert_refused, many_descriptors, serve, skip, until, watchdog};
use waitcopy::client::{
    self,
    load::{Load, Mode},
};
use waitcopy::json::Value;
use waitcopy::net::Endpoint;

/// `waitcopy load ADDR WORDS...`
fn load(address: impl ToString, words: &str) -> Command {
    let mut command = Command::new(WAITCOPY);
    command.arg("load").arg(address.to_string()).args(words.split_whitespace());
    command
}

fn ends(mut command: Command, code: i32) -> (String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert_eq!(status.code(), Some(code), "{command:?}\n{stdout}\n{stderr}");
    (stdout, stderr)
}

fn report(command: Command, code: i32) -> Value {
    Value::parse(&ends(command, code).0).unwrap()
}

#[test]
fn the_table_tells_mode_latency_rate_bytes_cpu_and_machine() {
    watchdog(PATIENCE, || {
        let server = serve("epoll").start();
        let (text, said) = ends(load(server.address, "-n 1000 -c 4 --idle 2"), 0);
        assert!(said.is_empty(), "{said}");
        let first = format!(
            "closed loop: 4 connections and 2 idle, 64 bytes a message, 1 thread,\n    tcp {}\n",
            server.address
        );
        assert!(text.starts_with(&first), "{text}");
        let row = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
        for (name, slower) in
            [("p50 ", "500"), ("p90 ", "100"), ("p99 ", "10"), ("p99.9 ", "1"), ("max ", "0")]
        {
            assert!(row(name).ends_with(&format!(" {slower}")), "{text}");
        }
        assert!(row("requests").contains("1,000 in "), "{text}");
        assert!(row("bytes").contains("62 KiB ("), "{text}");
        assert_eq!(row("errors"), "errors      none");
        assert!(row("generator").contains("its thread ") && row("machine").contains("Linux "));
        let (text, _) = ends(load(server.address, "-n 100 --rate 5000"), 0);
        assert!(text.starts_with("open loop, 5,000 a second: 1 connection, "), "{text}");
        assert!(text.contains("corrected") && text.contains("uncorrected"), "{text}");
    });
}

#[test]
fn runs_are_merged_by_their_buckets() {
    watchdog(PATIENCE, || {
        let server = serve("epoll").start();
        let runs = ["-n 300 -c 2 --json", "-n 700 -c 3 --threads 3 --json"];
        let mut buckets = std::collections::BTreeMap::new();
        for words in runs {
            let report = report(load(server.address, words), 0);
            for name in ["kernel", "cpu", "cores", "clocksource", "allowed_cores"] {
                assert!(report.get("environment").unwrap().get(name).is_some(), "{report}");
            }
            assert_eq!(report.get("load.mode"), Some(&Value::from("closed")));
            assert_eq!(
                (report.count("load.depth"), report.count("load.payload_bytes")),
                (Some(1), Some(64))
            );
            assert_eq!(report.get("result.uncorrected"), Some(&Value::Null));
            let Some(Value::List(list)) = report.get("result.latency.buckets") else {
                panic!("{report}")
            };
            for bucket in list {
                let Value::List(pair) = bucket else { panic!("{bucket}") };
                let [Value::Count(value), Value::Count(n)] = pair[..] else { panic!("{bucket}") };
                *buckets.entry(value).or_insert(0) += n;
            }
        }
        // One histogram of both: its quantiles are counted off, never averaged.
        assert_eq!(buckets.values().sum::<u64>(), 1_000);
    });
}

#[test]
fn limits_decide_the_exit_status_and_say_what_was_seen() {
    watchdog(PATIENCE, || {
        let server = serve("epoll").start();
        let fine =
            load(server.address, "-n 200 --fail-if p99>50s --fail-if rate<1 --fail-if errors>0");
        ends(fine, 0);
        let (text, said) = ends(
            load(
                server.address,
                "-n 200 --fail-if p99>1ns --fail-if errors>0 --fail-if requests<=200",
            ),
            1,
        );
        assert!(text.contains("p99.9"), "{text}");
        assert!(
            said.starts_with("waitcopy: p99>1ns holds: ")
                && said.ends_with("; requests<=200 holds: 200\n"),
            "{said}"
        );
        let report = report(load(server.address, "-n 200 --json --fail-if max>1ns"), 1);
        let Some(Value::List(limits)) = report.get("limits") else { panic!("{report}") };
        assert_eq!(limits[0].get("fails"), Some(&Value::Bool(true)));
        assert_eq!(limits[0].get("limit"), Some(&Value::from("max>1ns")));
    });
}

#[test]
fn no_line_is_wider_than_a_terminal() {
    watchdog(PATIENCE, || {
        let server = serve("epoll").start();
        // One byte at a time never makes a whole message in so short a time: only the widths matter.
        let words = "-d 300ms -c 4 --idle 10 --slow 2 --rate 30000 --threads 2 -s 1000";
        let Output { stdout, .. } = load(server.address, words).output().unwrap();
        let text = String::from_utf8(stdout).unwrap();
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let first = format!(
            "open loop, 30,000 a second: 4 connections and 10 idle and 2 slow, 1,000 bytes a message, 2 threads, tcp {}",
            server.address
        );
        assert!(flat.starts_with(&first), "{text}");
        assert!(flat.contains(" received, each one compared generator "), "{text}");
        for line in text.lines() {
            assert!(line.len() <= 80, "{line}");
        }
    });
}

#[test]
fn a_run_may_have_no_warm_up() {
    watchdog(PATIENCE, || {
        let server = serve("epoll").start();
        let words = "-d 100ms --warm-up 0s --ramp 0s --json";
        let report = report(load(server.address, words), 0);
        assert_eq!(report.count("load.warm_up_ns"), Some(0), "{report}");
        assert!(report.count("result.requests").unwrap() > 0, "{report}");
    });
}

#[test]
fn what_went_wrong_is_said_and_fails() {
    watchdog(PATIENCE, || {
        let echo = serve("epoll").args(&["--service", "echo"]).start();
        let (text, said) = ends(load(echo.address, "-n 10 -c 2"), 1);
        assert!(text.contains("no answer to measure"), "{text}");
        assert_eq!(said, "waitcopy: nothing was measured; 2 wrong answers\n");
        let blocking = serve("blocking").start();
        let (_, said) = ends(load(blocking.address, "-n 100 -c 3 --timeout 200ms"), 1);
        assert_eq!(said, "waitcopy: 2 connections never served\n");
        // A port that nobody has: bound, and never listened on.
        let (_, said) = ends(load("127.0.0.1:1", "--udp -n 2 --timeout 50ms"), 1);
        assert_eq!(said, "waitcopy: nothing was measured; 2 datagrams lost\n");
        // Who says how many may be lost is obeyed.
        let (_, said) = ends(load("127.0.0.1:1", "--udp -n 2 --timeout 50ms --fail-if lost>5"), 1);
        assert_eq!(said, "waitcopy: nothing was measured\n");
    });
}

#[test]
fn unix_sockets_and_datagrams_are_driven_too() {
    watchdog(PATIENCE, || {
        for (flag, words) in [
            ("--unix", "-c 5 -n 500"),
            ("--unixgram", "-c 5 -n 500"),
            ("--unix", "--churn -c 3 -n 300"),
        ] {
            let path = support::scratch(&format!("load{}", words.len()));
            let mut server = Command::new(WAITCOPY);
            server
                .args(["serve", "epoll", flag])
                .arg(&path)
                .stdout(Stdio::piped())
                .stderr(Stdio::null());
            let mut server = server.spawn().unwrap();
            let mut line = String::new();
            BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let mut command = Command::new(WAITCOPY);
            command.args(["load", flag]).arg(&path).args(words.split(' '));
            let (text, _) = ends(command, 0);
            assert!(text.contains("errors      none"), "{text}");
            server.kill().unwrap();
            server.wait().unwrap();
        }
        let server = serve("poll").start();
        ends(load(server.address, "-n 100 -s 1"), 0);
        ends(load(server.address, "-n 20 -s 300000 -c 2 --pipeline 3"), 0);
    });
}

#[test]
fn nonsense_is_refused_in_one_sentence() {
    watchdog(PATIENCE, || {
        let refused =
            |words: &str, said: &str| assert_refused(&mut load("127.0.0.1:1", words), 2, said);
        refused("-c 0", "--connections 0: a whole number, 1 or more, is expected");
        refused("-s 0", "--size 0: ");
        refused("-n 0", "--count 0: ");
        refused("-n 5 -d 1s", "--count and --duration: one of them");
        refused("-d 10", "--duration 10: a time has a unit");
        refused("--rate 0", "a rate is above 0");
        refused("--rate nan", "a rate is above 0");
        refused("--rate fast", "--rate fast: messages a second are expected");
        refused("--rate 5 --pipeline 3", "--pipeline and --rate: one mode a run");
        refused("--rate 5 --churn", "--rate and --churn: one mode a run");
        refused("--pipeline 0", "--pipeline 0: ");
        refused("--pipeline 100000", "a pipeline holds from 1 to 65536 messages");
        refused("--threads 3 -c 2", "3 threads for 2 connections");
        refused("--udp --churn", "datagrams have no connections to churn");
        refused("--udp --idle 3", "idle and slow clients hold connections");
        refused("--udp -s 15", "a datagram of 15 bytes: it carries its number in 16 letters");
        refused("--udp -s 65508", "a datagram of 65508 bytes");
        refused("--slow-interval 1s", "--slow-interval belongs to --slow");
        refused("--fail-if p99>5", "--fail-if 'p99>5': a time with its unit is expected");
        refused("--fail-if p98>5ms", "--fail-if 'p98>5ms': no figure 'p98'; there are p50, ");
        refused(
            "--fail-if p99<0ms",
            "--fail-if 'p99<0ms': that can never hold: a latency is above 0",
        );
        refused(
            "--fail-if cpu>500%",
            "--fail-if 'cpu>500%': that can never hold: it is a share of one core",
        );
        refused(
            "--fail-if errors>200%",
            "--fail-if 'errors>200%': that can never hold: a share of ",
        );
        refused(
            "--fail-if errors>=0",
            "--fail-if 'errors>=0': that always holds: a number is 0 or more",
        );
        refused("-d 0s", "--duration 0s: a time of more than zero is expected");
        refused("--slow 1 --slow-interval 0ms", "--slow-interval 0ms: a time of more than zero");
        refused("--warm-up -1s", "--warm-up -1s: a time is not negative");
        refused("--fail-if p99", "--fail-if 'p99': a limit is expected, such as p99>5ms");
        refused("-x", "load has no flag '-x'");
        refused("--unix /a", "--unix has its path, and 127.0.0.1:1 is one too many");
        assert_refused(&mut load("nowhere", ""), 2, "address 'nowhere': ");
    });
}

#[test]
fn a_server_that_is_not_there_is_said() {
    watchdog(PATIENCE, || {
        for words in ["-n 1", "-n 1 --churn", "-n 10 -c 5 --threads 3", "-n 1 --ramp 10ms"] {
            let said = "connect tcp 127.0.0.1:1: connection refused (ECONNREFUSED); no server listens there";
            assert_refused(&mut load("127.0.0.1:1", words), 1, said);
        }
        let mut unix = Command::new(WAITCOPY);
        unix.args(["load", "--unix", "/nowhere/at/all"]);
        assert_refused(
            &mut unix,
            1,
            "connect unix /nowhere/at/all: no such file or directory (ENOENT)",
        );
        // It takes connections no more, and its backlog is full: nothing comes back.
        let full = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = full.local_addr().unwrap();
        waitcopy::sys::listen(&full, 0).unwrap();
        let _first = std::net::TcpStream::connect(address).unwrap();
        assert_refused(
            &mut load(address, "-n 1 --timeout 100ms"),
            1,
            &format!("connect tcp {address}: timed out"),
        );
    });
}

#[test]
fn ctrl_c_ends_the_measurement_and_prints_it() {
    watchdog(PATIENCE, || {
        for threads in ["1", "3"] {
            let answers: Arc<[AtomicU64; 3]> = Arc::default();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let counted = Arc::clone(&answers);
            thread::spawn(move || {
                for (number, stream) in listener.incoming().enumerate() {
                    let (mut stream, counted) = (stream.unwrap(), Arc::clone(&counted));
                    thread::spawn(move || {
                        let mut bytes = [0; 64];
                        while stream.read_exact(&mut bytes).is_ok() {
                            stream.write_all(&bytes.to_ascii_uppercase()).unwrap();
                            counted[number].fetch_add(1, SeqCst);
                        }
                    });
                }
            });
            let mut command = load(address, "-d 10m --warm-up 1us -c 3 --json --threads");
            command.arg(threads).stdout(Stdio::piped()).stderr(Stdio::piped());
            let run = command.spawn().unwrap();
            until("it measures", || answers.iter().all(|n| n.load(SeqCst) > 100));
            waitcopy::sys::kill(run.id(), waitcopy::sys::SIGINT).unwrap();
            let output = run.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            let report = Value::parse(&String::from_utf8(output.stdout).unwrap()).unwrap();
            assert_eq!(report.get("result.stopped"), Some(&Value::Bool(true)));
            assert!(report.count("result.requests").unwrap() > 100, "{report}");
        }
    });
}

#[test]
fn a_reader_who_leaves_is_no_error() {
    watchdog(PATIENCE, || {
        let server = serve("epoll").start();
        for words in ["-n 100", "-n 100 --json"] {
            let mut command = load(server.address, words);
            let mut run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            drop(run.stdout.take());
            let output = run.wait_with_output().unwrap();
            assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]));
        }
        // And hides no failure.
        let mut command = load(server.address, "-n 100 --fail-if p50>1ns");
        let mut run = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        drop(run.stdout.take());
        assert_eq!(run.wait().unwrap().code(), Some(1));
    });
}

#[test]
fn a_terminal_has_one_line_that_is_taken_away() {
    watchdog(PATIENCE, || {
        let server = serve("epoll").start();
        let terminal = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/terminal.py");
        let mut command = Command::new("python3");
        command.args([terminal, "measuring", "", "--", WAITCOPY, "load"]);
        command.args([&server.address.to_string(), "-d", "2100ms", "--warm-up", "1ms", "-c", "2"]);
        let (text, _) = ends(command, 0);
        assert!(text.contains("\r\x1b[Kmeasuring 1 s, 2 open, "), "{text:?}");
        assert!(text.contains("/s, p50 ") && text.contains("\r\x1b[Kclosed loop: "), "{text:?}");
    });
}

#[test]
fn the_soft_limit_is_raised_and_a_hard_one_is_said() {
    watchdog(PATIENCE, || {
        let server = serve("epoll").start();
        let limited = |limit: &str, words: &str| {
            let mut command = Command::new("prlimit");
            command.arg(format!("--nofile={limit}")).args([WAITCOPY, "load"]);
            command.arg(server.address.to_string()).args(words.split(' '));
            command
        };
        let (text, _) = ends(limited("40:400", "-c 200 -n 400"), 0);
        assert!(text.contains("errors      none"), "{text}");
        let said =
            "218 descriptors are needed, and this process may have 100 (RLIMIT_NOFILE, hard limit)";
        assert_refused(&mut limited("40:100", "-c 150 --idle 50 -n 1"), 78, said);
    });
}

#[test]
fn ten_thousand_connections_in_one_process() {
    watchdog(PATIENCE, || {
        let Some(_limit) = many_descriptors(10_100) else { return };
        let server = serve("epoll").args(&["--backlog", "4096"]).start();
        let report = report(load(server.address, "-c 10000 -n 20000 --timeout 20s --json"), 0);
        assert_eq!(report.count("result.requests"), Some(20_000));
        assert_eq!(server.stop().clean().count("connections"), 10_000);
    });
}

#[test]
fn when_ports_run_out_the_next_loopback_address_is_taken() {
    watchdog(PATIENCE, || {
        // A network of its own, with 40 ports.
        let script = "echo '40000 40039' > /proc/sys/net/ipv4/ip_local_port_range || exit 90
            python3 -c 'import fcntl, socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(s, 0x8914, struct.pack(\"16sh\", b\"lo\", 65))' || exit 90
            \"$0\" serve epoll --listen 127.0.0.1:80 > ready & server=$!
            until grep -q listening ready; do :; done
            \"$0\" load 127.0.0.1:80 -c 100 -n 300 && \"$0\" load 127.0.0.1:80 --churn -c 3 -n 200
            status=$?
            kill $server
            exit $status";
        let folder = support::scratch("ports");
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--net", "--", "sh", "-c", script, WAITCOPY]).current_dir(folder);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(90) || said.starts_with("unshare:") {
            return skip(&format!("no network of its own: {said}"));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}\n{said}");
        assert_eq!(text.matches("errors      none").count(), 2, "{text}");
    });
}

#[test]
fn a_full_backlog_does_not_stall_the_start() {
    watchdog(PATIENCE, || {
        let server = serve("blocking").args(&["--backlog", "1"]).start();
        let report = report(load(server.address, "-c 40 -n 50 --timeout 300ms --json"), 1);
        assert_eq!(report.count("result.errors.unserved"), Some(39), "{report}");
        assert!(report.count("result.requests").unwrap() > 0, "{report}");
    });
}

#[test]
fn a_load_without_sense_is_refused() {
    let server = Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], 1)));
    let usual = Load::new(server);
    for load in [
        Load { connections: 0, ..usual },
        Load { size: 0, ..usual },
        Load { count: Some(0), ..usual },
        Load { duration: Duration::ZERO, ..usual },
        Load { threads: 0, ..usual },
        Load { threads: 2, ..usual },
        Load { mode: Mode::Pipeline(0), ..usual },
        Load { mode: Mode::Open(0.0), ..usual },
        Load { mode: Mode::Open(f64::NAN), ..usual },
        Load { mode: Mode::Open(-1.0), ..usual },
    ] {
        let failure = client::load::run(&load, &mut ()).unwrap_err().to_string();
        assert!(failure.starts_with("load: "), "{failure}");
    }
}
