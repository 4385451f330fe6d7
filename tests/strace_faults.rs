//! What a model does when its calls fail or are interrupted: real servers under strace, which injects that.

mod support;
#[path = "support/trace.rs"]
mod trace;

use std::io::Read;
use std::time::{Duration, Instant};
use support::{exchange, report, scratch, strace_works, until};
use trace::{Trace, entry, leave, one_acceptor, serve_one, traced};
use waitcopy::phase::{Call, Waits};
use waitcopy::sys::{self, SIGCONT, SIGSTOP};

/// How long a listener rests.
const REST: Duration = Duration::from_millis(50);

/// Serves two clients while accept4 fails so.
fn accepting_under(model: &str, errno: &str, when: &str) -> (Trace, support::Ended) {
    let inject = format!("inject=accept4:error={errno}:when={when}");
    let options = ["-e", "trace=accept4", "-e", &inject];
    let (server, file) = traced(model, errno, &options, one_acceptor(model));
    serve_one(&server);
    serve_one(&server);
    let ended = server.stop().clean();
    (trace::read(&file), ended)
}

for_each_model! {
    /// faults.md row 3: the error belongs to a client that is gone.
    fn an_accept_that_fails_for_one_client_is_tried_again_at_once(model: &str) {
        // A ring's accepts are no calls.
        if !strace_works() || entry(model).0.waits == Waits::Completion {
            return;
        }
        for errno in ["ECONNABORTED", "EPROTO", "EPERM", "ENETUNREACH"] {
            let (trace, ended) = accepting_under(model, errno, "1");
            assert_eq!(trace.injected("accept4"), 1);
            // At once: it did not rest in between.
            let counts = ["accept retried", "accept rested"].map(|name| ended.count(name));
            assert_eq!(counts, [1, 0], "{errno}");
        }
    }
}

for_each_model! {
    /// faults.md row 2: the listener rests between the tries.
    fn an_accept_without_resources_is_tried_again_after_a_rest(model: &str) {
        if !strace_works() || entry(model).0.waits == Waits::Completion {
            return;
        }
        for errno in ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"] {
            let start = Instant::now();
            let (trace, ended) = accepting_under(model, errno, "1..3");
            // It did not spin.
            assert!(start.elapsed() >= 3 * REST, "{errno}");
            assert_eq!(trace.injected("accept4"), 3);
            let counts = ["accept retried", "accept rested"].map(|name| ended.count(name));
            assert_eq!(counts, [0, 3], "{errno}");
            assert!(ended.stderr.contains(errno), "{}", ended.stderr);
        }
    }
}

for_each_model! {
    /// The same: what is told while the listener rests, and found when the rest is over, is one reason to try again, and not two.
    fn a_rest_is_a_whole_one(model: &str) {
        if !strace_works() || entry(model).0.waits == Waits::Completion {
            return;
        }
        let options = ["-e", "trace=accept4", "-e", "inject=accept4:error=ENOMEM:when=1..3"];
        let (server, file) = traced(model, "whole-rest", &options, one_acceptor(model));
        let failed = || trace::read(&file).injected("accept4");
        let mut first = server.connect();
        until("it rests", || failed() > 0);
        let acceptor = server.accepting_pid();
        sys::kill(acceptor, SIGSTOP).unwrap();
        let said = || std::fs::read_to_string(&file).unwrap();
        until("it is stopped", || said().contains("stopped by SIGSTOP"));
        let mut second = server.connect();
        // So that the rest is over when it goes on.
        std::thread::sleep(REST);
        let (left, start) = (3 - failed(), Instant::now());
        sys::kill(acceptor, SIGCONT).unwrap();
        exchange(&mut first, b"first");
        assert!(start.elapsed() >= REST * u32::try_from(left).unwrap(), "{:?}", start.elapsed());
        leave(first);
        exchange(&mut second, b"second");
        leave(second);
        assert_eq!(server.stop().clean().count("accept rested"), 3);
    }
}

/// Clients one after the other, enough that an acceptor, too, makes its calls several times.
const SERVED: u64 = 8;

/// Several messages for several clients while these calls are tampered with.
fn serving_under(
    model: &str,
    test: &str,
    calls: &[&str],
    what: &str,
    args: &[&str],
) -> (Trace, support::Ended) {
    let mut options = vec!["-e".to_owned(), format!("trace={}", calls.join(","))];
    for call in calls {
        options.extend(["-e".to_owned(), format!("inject={call}:{what}")]);
    }
    let options: Vec<_> = options.iter().map(String::as_str).collect();
    let (server, file) = traced(model, test, &options, args);
    for _ in 0..SERVED {
        let mut client = server.connect();
        for n in 1..10 {
            exchange(&mut client, &support::pattern(300 * n, n as u64));
        }
        leave(client);
    }
    let ended = server.stop().clean();
    (trace::read(&file), ended)
}

/// What a model calls to serve, by all names that a trace may show: what an interruption may meet.
fn interruptible(model: &str) -> Vec<&'static str> {
    let mut calls = vec!["accept4", "recvfrom", "sendto"];
    calls.extend(entry(model).1.map_or(&[][..], Call::traced));
    if entry(model).0.waits == Waits::Completion {
        calls = Call::IoUringEnter.traced().to_vec();
    }
    calls
}

for_each_model! {
    /// faults.md row 4, as an error of the call.
    fn interrupted_calls_lose_nothing(model: &str) {
        if !strace_works() {
            return;
        }
        let calls = interruptible(model);
        let (trace, _) = serving_under(model, "eintr", &calls, "error=EINTR:when=1+3", &[]);
        for call in calls {
            let made = trace.calls.iter().filter(|traced| traced.call == call).count();
            // A family has several names, of which a C library uses one.
            assert_eq!(trace.injected(call) > 0, made > 0, "{call}");
        }
    }
}

for_each_model! {
    /// faults.md row 4, as a signal that arrives in the call.
    fn signals_lose_nothing(model: &str) {
        if !strace_works() {
            return;
        }
        let calls = interruptible(model);
        // From the second call on: std makes the first poll, before there is a handler.
        let what = "signal=SIGUSR1:when=2+3";
        let (trace, _) = serving_under(model, "sigusr1", &calls, what, &[]);
        let arrived = trace.signals.iter().filter(|signal| signal.starts_with("SIGUSR1")).count();
        assert!(arrived >= 3, "{:?}", trace.signals);
    }
}

for_each_model! {
    /// faults.md row 14. Not for edge-triggered epoll and signals, where an injected EAGAIN spends an edge that the kernel
    /// would have kept; nor where a receive waits and EAGAIN is its time-out; nor where it is no call.
    fn spurious_readiness_is_harmless(model: &str) {
        let once = ["epoll-et", "sigio"].contains(&model);
        let waits = entry(model).0.waits;
        if !strace_works() || once || matches!(waits, Waits::InCall | Waits::Completion) {
            return;
        }
        let (trace, ended) =
            serving_under(model, "spurious", &["recvfrom"], "error=EAGAIN:when=1+3", &[]);
        assert!(trace.injected("recvfrom") > 3);
        assert_eq!(ended.count("connections"), SERVED);
    }
}

/// faults.md row 27: no thread, no child for a client. std makes threads by clone3, a C library children by clone.
fn not_started(model: &'static str, call: &str) {
    let call = call.to_owned();
    support::watchdog(support::PATIENCE, move || {
        if !strace_works() {
            return;
        }
        let inject = format!("inject={call}:error=EAGAIN:when=1");
        let options = ["-e", "trace=clone,clone3", "-e", &inject];
        let (server, file) = traced(model, "not-started", &options, &[]);
        let mut refused = server.connect();
        let end = refused.read(&mut [0]);
        assert!(matches!(end, Ok(0)), "{end:?}");
        serve_one(&server);
        let ended = server.stop().clean();
        assert_eq!(trace::read(&file).injected(&call), 1);
        let counts = ["not started", "connections", "requests"].map(|name| ended.count(name));
        assert_eq!(counts, [1, 1, 1], "{}", ended.stderr);
        assert!(ended.stderr.contains("(EAGAIN): client turned away"), "{}", ended.stderr);
    });
}

#[test]
fn a_thread_that_cannot_be_made_costs_its_client_only() {
    not_started("threads", "clone3");
}

#[test]
fn a_child_that_cannot_be_made_costs_its_client_only() {
    not_started("fork", "clone");
}

/// faults.md row 4 where the recorder has its own call: also while it makes sure of its stamps.
#[test]
fn a_recorded_receive_may_be_interrupted() {
    support::watchdog(support::PATIENCE, || {
        if !strace_works() {
            return;
        }
        let file = scratch("interrupted.json");
        let args = ["--report", file.to_str().unwrap()];
        let (trace, ended) =
            serving_under("blocking", "recorded", &["recvmsg"], "error=EINTR:when=1+3", &args);
        assert!(trace.injected("recvmsg") >= 3);
        assert_eq!(report(&file).count("counts.requests"), Some(ended.count("requests")));
    });
}
