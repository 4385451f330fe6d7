//! The calls and the phases of datagrams: real servers under strace (`faults.md` row 4 for UDP) and under the recorder.

#[path = "support/datagrams.rs"]
mod datagrams;
mod support;
#[path = "support/trace.rs"]
mod trace;

use datagrams::{Peer, Start, entry, served};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use support::{Ended, pattern, report, scratch, strace_works};
use trace::{Trace, Traced};
use waitcopy::json::Value;
use waitcopy::model::{Per, Who, grammar};
use waitcopy::net::Transport;
use waitcopy::phase::{Call, Waits};
use waitcopy::sys::Kind;

/// Whether its receives and sends are operations of a ring, which no trace has and nobody can have fail.
fn ring(model: &str) -> bool {
    entry(model).waits == Waits::Completion
}

fn udp(model: &str) -> bool {
    entry(model).serves(Transport::Udp).is_ok()
}

/// A UDP server under strace with these options serves these messages; its trace and its end.
fn traced(
    model: &str,
    test: &str,
    options: &[&str],
    args: &[&str],
    mut talk: impl FnMut(&Peer),
) -> (Trace, Ended) {
    let file: PathBuf = scratch(&format!("{test}-{model}.strace"));
    let wrapper = [&["strace", "-f", "-o", file.to_str().unwrap()], options].concat();
    let server = Start::new(model, Transport::Udp).wrapper(&wrapper).args(args).start();
    let peer = Peer::of(&server);
    talk(&peer);
    drop(peer);
    let ended = server.stop().clean();
    (trace::read(&file), ended)
}

/// The calls from behind the answer to the first datagram to the answer to the last one.
fn steady(trace: &Trace) -> &[Traced] {
    let answers: Vec<_> =
        (0..trace.calls.len()).filter(|&at| trace.calls[at].is(Call::Sendto)).collect();
    &trace.calls[answers[0] + 1..=answers[answers.len() - 1]]
}

/// A second worker that begins a little later would take over half of the clients.
fn one_worker(model: &str) -> &'static [&'static str] {
    if entry(model).who == Who::Reuseport { &["--workers", "1"] } else { &[] }
}

/// More than a turn takes: between two of them a model that waits for readiness does so at least once.
const ROUNDS: usize = 100;

for_each_model! {
    /// The calls of the catalogue, as families, and no others.
    fn the_calls_of_a_datagram_are_those_of_the_catalogue(model: &str) {
        if !udp(model) || !strace_works() { return }
        let (trace, _) = traced(model, "udp-steps", &[], one_worker(model), |peer| {
            (0..=ROUNDS).for_each(|_| peer.exchange(b"steady"));
        });
        if ring(model) {
            let served = &trace.calls[..trace.stopped.unwrap()];
            let first = served.iter().position(|call| call.is(Call::IoUringEnter)).unwrap();
            assert!(served[first..].iter().all(|call| call.is(Call::IoUringEnter)), "{served:?}");
            // One brings a datagram and hands the answer to the one before over.
            assert!((ROUNDS + 1..ROUNDS + 4).contains(&(served.len() - first)), "{}", served.len() - first);
            return;
        }
        let calls = steady(&trace);
        let steps = entry(model).steps_on(Transport::Udp).filter(|step| step.per != Per::Overflow);
        let expected: BTreeSet<_> = steps.map(|step| step.call.name()).collect();
        let families = calls.iter().filter_map(|call| Call::of_trace(&call.call));
        let mut made: BTreeSet<_> = families.map(Call::name).collect();
        if matches!(entry(model).who, Who::Threads | Who::Fork) {
            // What its own making and its end cost a flow is std's and the supervisor's, in part behind the answer.
            for call in ["close", "fcntl", "epoll_ctl", "pidfd_open", "waitid", "poll"] {
                made.remove(call);
            }
        }
        assert_eq!(made, expected);
        let received = calls.iter().filter(|call| call.is(Call::Recvfrom) && !call.in_vain());
        assert_eq!(received.count(), ROUNDS);
        // One after the other, where one flow serves them; several of them may share a wait.
        if matches!(entry(model).who, Who::One | Who::Reuseport) {
            let words: Vec<_> = calls.iter().filter(|call| !call.in_vain()).map(|call| call.word()).collect();
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            let fits = if model == "sigio" {
                // Each datagram has its signal, also one that an earlier turn has taken along.
                grammar::matches("(rt_sigtimedwait | recvfrom sendto)*", &words)
            } else {
                ["select", "poll", "epoll_wait", "recvfrom"].iter().any(|wait| {
                    grammar::matches(&format!("({wait} recvfrom sendto | recvfrom sendto)*"), &words)
                })
            };
            assert!(fits, "{}", words.join(" "));
        }
    }
}

/// Two calls a datagram, in turn, and not one more of any name.
#[test]
fn blocking_makes_two_calls_a_datagram() {
    support::watchdog(support::PATIENCE, || {
        if !strace_works() {
            return;
        }
        let (trace, _) = traced("blocking", "udp-two", &[], &[], |peer| {
            (0..=50).for_each(|_| peer.exchange(b"two"));
        });
        let words: Vec<_> = steady(&trace).iter().map(Traced::word).collect();
        assert_eq!(words, ["recvfrom", "sendto"].repeat(50));
    });
}

/// Serves some datagrams of all lengths while these calls are tampered with.
fn under(model: &str, test: &str, calls: &[&str], what: &str) -> (Trace, Ended) {
    let mut options = vec!["-e".to_owned(), format!("trace={}", calls.join(","))];
    for call in calls {
        options.extend(["-e".to_owned(), format!("inject={call}:{what}")]);
    }
    let options: Vec<_> = options.iter().map(String::as_str).collect();
    traced(model, test, &options, &[], |peer| {
        (0..12).for_each(|n| peer.exchange(&pattern(90 * n, n as u64)));
    })
}

/// What a model calls to serve datagrams, by all names that a trace may show.
fn interruptible(model: &str) -> Vec<&'static str> {
    let steps = entry(model).steps_on(Transport::Udp);
    let calls: BTreeSet<_> = steps.flat_map(|step| step.call.traced().iter().copied()).collect();
    calls.into_iter().filter(|call| !Call::Clone.traced().contains(call)).collect()
}

for_each_model! {
    /// Row 4, as an error of the call: each datagram has exactly one answer all the same.
    fn interrupted_calls_lose_nothing(model: &str) {
        if !udp(model) || !strace_works() { return }
        let calls = interruptible(model);
        let (trace, ended) = under(model, "udp-eintr", &calls, "error=EINTR:when=1+3");
        for call in calls {
            let made = trace.calls.iter().filter(|traced| traced.call == call).count();
            assert_eq!(trace.injected(call) > 0, made > 0, "{call}");
        }
        assert!(ring(model) || trace.injected("recvfrom") > 0 && trace.injected("sendto") > 0);
        assert_eq!((ended.count("requests"), ended.count("unsent")), (12, 0));
        assert!(ended.count("interrupted") > 0);
    }
}

for_each_model! {
    /// Row 4, as a signal that arrives in the call.
    fn signals_lose_nothing(model: &str) {
        if !udp(model) || !strace_works() { return }
        let calls = interruptible(model);
        let (trace, ended) = under(model, "udp-sigusr1", &calls, "signal=SIGUSR1:when=2+3");
        let arrived = trace.signals.iter().filter(|signal| signal.starts_with("SIGUSR1")).count();
        assert!(arrived >= 3, "{:?}", trace.signals);
        assert_eq!((ended.count("requests"), ended.count("unsent")), (12, 0));
    }
}

for_each_model! {
    /// Row 37, as the kernel reports it to a socket that asks for such errors: on the next receive. Row 2 likewise.
    fn an_earlier_answers_error_is_not_the_next_ones(model: &str) {
        if !udp(model) || ring(model) || !strace_works() { return }
        for errno in ["ECONNREFUSED", "EHOSTUNREACH", "ENOBUFS", "ENOMEM"] {
            let (trace, ended) =
                under(model, errno, &["recvfrom"], &format!("error={errno}:when=2+4"));
            let injected = trace.injected("recvfrom") as u64;
            assert!(injected > 1);
            assert_eq!((ended.count("requests"), ended.count("unsent")), (12, injected), "{errno}");
        }
    }
}

for_each_model! {
    /// An answer that cannot be sent is counted, and told once; the next one is sent.
    fn an_answer_that_fails_is_one_answer(model: &str) {
        if !udp(model) || ring(model) || !strace_works() { return }
        // Each thread and each child counts for itself: every first send of theirs would fail.
        if matches!(entry(model).who, Who::Threads | Who::Fork | Who::Pool) { return }
        let options = ["-e", "trace=sendto", "-e", "inject=sendto:error=ENETUNREACH:when=2..3"];
        let (trace, ended) = traced(model, "unsent", &options, one_worker(model), |peer| {
            peer.exchange(b"one");
            peer.send(b"no answer");
            peer.send(b"nor here");
            peer.exchange(b"four");
        });
        assert_eq!(trace.injected("sendto"), 2);
        assert_eq!((ended.count("requests"), ended.count("unsent")), (4, 2));
        assert_eq!(ended.stderr.matches("(ENETUNREACH)").count(), 1, "{}", ended.stderr);
    }
}

/// How long a client keeps its server waiting.
const PAUSE: Duration = Duration::from_millis(100);
/// What of it the server must have seen: it may be late to begin with its wait, on a busy machine.
const SEEN: Duration = Duration::from_millis(60);

/// Time passes: waits for an event that does not come.
fn pause() {
    let (_keeps_it_open, never) = mpsc::channel::<()>();
    never.recv_timeout(PAUSE).unwrap_err();
}

/// `hello`, a pause, `again`, on this transport; its lines, its figures, and the time that it all took.
fn recorded(model: &str, transport: Transport) -> (Ended, Value, Duration) {
    let path = scratch(&format!("{}-{model}.json", transport.name()));
    let args = ["--phases", "--report", path.to_str().unwrap()];
    let workers = [&[][..], &["--workers", "2"]][usize::from(entry(model).who.counted())];
    let server = Start::new(model, transport).args(&[&args[..], workers].concat()).start();
    let peer = Peer::of(&server);
    let start = Instant::now();
    peer.exchange(b"hello");
    pause();
    peer.exchange(b"again");
    let span = start.elapsed();
    drop(peer);
    (server.stop().clean(), report(&path), span)
}

fn text<'v>(figures: &'v Value, path: &str) -> &'v str {
    let Some(Value::Text(text)) = figures.get(path) else { panic!("no {path} in {figures}") };
    text
}

/// The flows' time is divided without a rest.
fn assert_adds_up(figures: &Value) {
    let parts = figures.members("partition_ns").map(|(name, part)| match part {
        &Value::Count(ns) => ns,
        _ => panic!("{name}"),
    });
    assert_eq!(Some(parts.sum()), figures.count("wall_ns"), "{figures}");
}

for_each_model! {
    /// A wait, a copy and a send for each datagram; the pause is in the wait; each figure says how it was taken.
    fn a_datagram_has_its_phases(model: &str) {
        for transport in served(model, Kind::Datagram) {
            let (ended, figures, span) = recorded(model, transport);
            let figure = |path: &str| figures.count(path).unwrap_or_else(|| panic!("no {path}"));
            let counts = ["connections", "requests", "bytes_in", "bytes_out", "unstamped", "lines_lost"];
            let counts = counts.map(|count| figure(&format!("counts.{count}")));
            assert_eq!(counts, [0, 2, 10, 10, 0, 0]);
            for metric in ["wait", "copy", "send"] {
                assert_eq!(figure(&format!("phases.{metric}.count")), 2, "{metric}: {}", ended.stdout);
            }
            let longest = Duration::from_nanos(figure("phases.wait.max_ns"));
            assert!(SEEN <= longest && longest <= span, "{longest:?} of {span:?}");
            assert_adds_up(&figures);
            // The front's receive waits in its own call only where nothing else waits before it.
            let in_call = entry(model).who == Who::One && entry(model).waits == Waits::InCall;
            let receive = if in_call { "recvmsg" } else { "recvfrom" };
            if in_call {
                assert_eq!(text(&figures, "method"), "stamp");
            }
            if !ring(model) {
                let received = figure(&format!("calls.{receive}"));
                let in_vain = figures.count(&format!("again.{receive}")).unwrap_or(0);
                assert!(received - in_vain >= 2, "{figures}");
            }
            let (receive, send) = if ring(model) { ("IORING_OP_RECVMSG", "IORING_OP_SEND") } else { (receive, "sendto") };
            let copies = ended.stdout.lines().filter(|line| line.contains(&format!("({receive} 5 B")));
            let sends = ended.stdout.lines().filter(|line| line.contains(&format!("({send} 5 B")));
            assert_eq!((copies.count(), sends.count()), (2, 2), "{}", ended.stdout);
            assert!(!ended.stdout.contains("accept") && !ended.stdout.contains("close"));
        }
    }
}

for_each_model! {
    /// A Unix stream has no stamp: where the receive itself waits, the call is not divided, and the line says so.
    fn a_unix_stream_has_no_stamp(model: &str) {
        if entry(model).serves(Transport::Unix).is_err() { return }
        let (ended, figures, _) = recorded(model, Transport::Unix);
        assert_eq!(figures.count("counts.requests"), Some(2));
        assert_adds_up(&figures);
        assert!(!ended.stdout.contains("(stamp"), "{}", ended.stdout);
        assert_ne!(text(&figures, "method"), "stamp");
        if entry(model).waits == Waits::InCall {
            assert_eq!(text(&figures, "method"), "call");
            assert!(ended.stdout.contains("no stamp"), "{}", ended.stdout);
        }
    }
}
