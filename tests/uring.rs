//! What only `io-uring` has: refusals, the ladder of ways, rings and buffers that are too small.

mod support;
#[path = "support/trace.rs"]
mod trace;

use std::io::{Read, Write};
use std::process::{Command, Output};
use support::{
    PATIENCE, TESTED_MODELS, WAITCOPY, assert_refused, exchange, long, many_descriptors, pattern,
    serve, skip, strace_works, watchdog,
};
use trace::{busy, leave, traced};
use waitcopy::json::Value;
use waitcopy::phase::Call;
use waitcopy::sys;

fn test(body: impl FnOnce() + Send + 'static) {
    watchdog(PATIENCE, body);
}

/// A strace that has io_uring_setup fail.
fn failing(how: &str) -> Vec<String> {
    let inject = format!("inject=io_uring_setup:{how}");
    ["-e", &inject].map(str::to_owned).to_vec()
}

/// Fault 40: reason and remedy, exit 69, and never another model instead.
#[test]
fn a_ring_that_is_refused_says_why_and_what_to_do() {
    test(|| {
        if !strace_works() {
            return;
        }
        let cases = [
            ("EPERM", "operation not permitted (EPERM); forbidden by kernel.io_uring_disabled"),
            ("ENOSYS", "function not implemented (ENOSYS); this kernel was built without it"),
            ("ENOMEM", "cannot allocate memory (ENOMEM); memory is short, or RLIMIT_MEMLOCK is"),
            ("EINVAL", "invalid argument (EINVAL); Linux 6.0 or newer is needed"),
        ];
        for (errno, said) in cases {
            let mut command = Command::new("strace");
            command.args(["-o", "/dev/null"]).args(failing(&format!("error={errno}")));
            command.args([WAITCOPY, "serve", "io-uring", "--listen", "127.0.0.1:0"]);
            assert_refused(&mut command, 69, &format!("io-uring: io_uring_setup: {said}"));
        }
    });
}

/// Each way of running a ring serves; a kernel that does not know one is asked for the next.
#[test]
fn every_way_of_the_ladder_serves() {
    test(|| {
        if !strace_works() {
            return;
        }
        // The first call only asks whether there are rings at all.
        for (below, when) in [(1, "2..2"), (2, "2..3"), (3, "2..4")] {
            let strace = failing(&format!("error=EINVAL:when={when}"));
            let strace: Vec<_> = strace.iter().map(String::as_str).collect();
            let (server, file) = traced("io-uring", &format!("ladder-{below}"), &strace, &[]);
            let mut clients: Vec<_> = (0..5).map(|_| server.connect()).collect();
            for round in 0..20 {
                for client in &mut clients {
                    exchange(client, format!("round {round}").as_bytes());
                }
            }
            exchange(&mut clients[0], &pattern(100_000, 4));
            clients.into_iter().for_each(leave);
            assert_eq!(server.stop().clean().count("connections"), 5);
            assert_eq!(trace::read(&file).injected("io_uring_setup"), below);
        }
    });
}

/// Its trace holds no receive, no send and no accept; at 100 busy clients far less than one call a request.
#[test]
fn a_hundred_clients_share_the_calls() {
    test(|| {
        if !strace_works() {
            return;
        }
        const CLIENTS: usize = 100;
        const ROUNDS: usize = 20;
        let (server, file) = traced("io-uring", "hundred", &[], &[]);
        busy(&server, CLIENTS, ROUNDS);
        server.stop().clean();
        let trace = trace::read(&file);
        // The drain of the end polls.
        let served = &trace.calls[..trace.stopped.unwrap()];
        let of = |call: Call| served.iter().filter(|traced| traced.is(call)).count();
        assert_eq!([Call::Recvfrom, Call::Recvmsg, Call::Sendto, Call::Accept4].map(of), [0; 4]);
        assert_eq!([Call::Getpeername, Call::EpollWait].map(of), [CLIENTS, 0]);
        // Each client came alone and was answered alone at first; a round has all its answers before the next one begins.
        let enters = of(Call::IoUringEnter);
        assert!(enters >= CLIENTS + ROUNDS, "{enters} calls cannot have brought all of that");
        let enters = enters.saturating_sub(2 * CLIENTS);
        let per_request = enters as f64 / (CLIENTS * ROUNDS) as f64;
        assert!(per_request <= 0.2, "{per_request} calls per request");
    });
}

/// Fault 41: completions for which the ring has no room are kept aside by the kernel.
#[test]
fn a_completion_queue_that_is_too_small_loses_nobody() {
    test(|| {
        let clients = if long() { 10_000 } else { 1000 };
        let Some(_alone) = many_descriptors(clients + 100) else { return };
        // A ring of 64 the kernel seldom fills: it brings some twenty completions a call. One of 8 it does each time.
        let ring = if long() { "64" } else { "8" };
        let server = serve("io-uring").args(&["--ring", ring]).start();
        let mut clients: Vec<_> = (0..clients).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| exchange(client, b"here"));
        for round in 0..3_u8 {
            // All at once, while nobody takes completions.
            server.while_stopped(|| {
                for (n, client) in clients.iter_mut().enumerate() {
                    client.write_all(&pattern(40, n as u64 + u64::from(round))).unwrap();
                }
            });
            for (n, client) in clients.iter_mut().enumerate() {
                let mut reply = [0; 40];
                client.read_exact(&mut reply).unwrap();
                assert_eq!(
                    &reply[..],
                    pattern(40, n as u64 + u64::from(round)).to_ascii_uppercase()
                );
            }
        }
        let ended = server.stop().clean();
        // Letting go of all of them takes less than the drain's time: the kernel finds each by its token.
        let counts = ["connections", "cut"].map(|name| ended.count(name));
        assert_eq!(counts, [clients.len() as u64, 0]);
    });
}

/// Four buffers for fifty clients who all send more than one of them holds.
#[test]
fn buffers_that_are_too_few_lose_nobody() {
    test(|| {
        let server = serve("io-uring").args(&["--buffer", "131072"]).start();
        let mut clients: Vec<_> =
            (0..50).map(|seed| (server.connect(), pattern(140_000, seed))).collect();
        server.while_stopped(|| {
            clients.iter_mut().for_each(|(client, own)| client.write_all(own).unwrap());
        });
        for (client, own) in &mut clients {
            let mut reply = vec![0; own.len()];
            client.read_exact(&mut reply).unwrap();
            assert!(reply == own.to_ascii_uppercase());
        }
        server.stop().clean();
    });
}

/// A reader who stops keeps none of the buffers that all share, and its end takes its operations back before its memory.
#[test]
fn forty_stopped_readers_keep_no_buffer() {
    test(|| {
        let server = serve("io-uring").args(&["--buffer", "16384"]).start();
        let base = server.settled();
        let bytes = pattern(1 << 16, 5);
        let stopped: Vec<_> = (0..40)
            .map(|_| {
                let client = server.connect();
                sys::set_receive_buffer(&client, 4096).unwrap();
                client.set_nonblocking(true).unwrap();
                while sys::send(&client, &bytes).is_ok() {}
                client
            })
            .collect();
        let mut neighbour = server.connect();
        for round in 0..1000_u32 {
            exchange(&mut neighbour, format!("neighbour {round}").as_bytes());
        }
        // Reset with an answer in flight.
        for client in stopped {
            sys::set_linger(&client, 0).unwrap();
        }
        support::until("their descriptors are free", || server.descriptors() == base + 1);
        exchange(&mut neighbour, b"unharmed");
        let ended = server.stop().clean();
        assert_eq!(ended.count("reset"), 40);
    });
}

/// The program in a process to which the kernel refuses rings, and strace nothing; `None`, aloud, where there is no such process.
fn without_rings(words: &[&str]) -> Option<Output> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/without_rings.py");
    let output = Command::new("python3").args([script, WAITCOPY]).args(words).output();
    let output = output.map_err(|error| skip(&format!("python3: {error}"))).ok()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if said.starts_with("no seccomp: ") {
        skip(&said);
        return None;
    }
    Some(output)
}

/// `all` is all that this machine can run: it says why this one is not among them, and succeeds.
#[test]
fn all_the_others_are_drawn_and_inspected_where_it_is_refused() {
    test(|| {
        if !strace_works() {
            return;
        }
        let others: Vec<_> =
            TESTED_MODELS.into_iter().filter(|model| *model != "io-uring").collect();
        for (words, runs) in [
            (["draw", "all", "--delay", "5ms", "--json"], Some("runs")),
            (["inspect", "all", "--messages", "2", "--json"], None),
        ] {
            let Some(output) = without_rings(&words) else { return };
            let said = String::from_utf8(output.stderr).unwrap();
            let why = "waitcopy: io-uring left out: io_uring_setup: operation not permitted (EPERM); forbidden by ";
            assert!(said.starts_with(why) && said.lines().count() == 1, "{words:?}: {said}");
            assert!(output.status.success(), "{words:?}: {}", output.status);
            let value = Value::parse(&String::from_utf8(output.stdout).unwrap()).unwrap();
            let list = runs.map_or(Some(&value), |runs| value.get(runs));
            let Some(Value::List(runs)) = list else { panic!("{words:?}: {value}") };
            let models: Vec<_> =
                runs.iter().map(|run| run.get("model").unwrap().to_string()).collect();
            assert_eq!(
                models,
                others.iter().map(|model| format!("\"{model}\"")).collect::<Vec<_>>(),
                "{words:?}"
            );
        }
        // Alone it cannot be left out.
        let alone = without_rings(&["draw", "io-uring"]).unwrap();
        assert_eq!(alone.status.code(), Some(69));
    });
}

/// Who runs models says why this one is left out, and runs the others.
#[test]
fn the_laboratory_leaves_out_what_this_machine_cannot_run() {
    test(|| {
        if !strace_works() {
            return;
        }
        let refused = |words: &[&str]| {
            let mut command = Command::new("strace");
            command.args(["-f", "-o", "/dev/null"]).args(failing("error=EPERM"));
            command.arg(WAITCOPY).args(words);
            command
        };
        let said = "io-uring: io_uring_setup: operation not permitted (EPERM); forbidden by";
        assert_refused(&mut refused(&["draw", "io-uring"]), 69, said);
        let words =
            ["compare", "io-uring", "--connections", "1", "--idle", "none", "--duration", "50ms"];
        let output = refused(&words).output().unwrap();
        let table = String::from_utf8(output.stdout).unwrap();
        assert!(table.contains("io-uring    ends: not available here: io_uring_setup:"), "{table}");
        assert!(output.status.success(), "{table}");
    });
}

#[test]
fn a_ring_belongs_to_its_model() {
    let mut command = Command::new(WAITCOPY);
    command.args(["serve", "epoll", "--ring", "64"]);
    assert_refused(&mut command, 2, "--ring belongs to io-uring; this is epoll");
}
