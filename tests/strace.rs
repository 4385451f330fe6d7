//! Which calls a model makes: real servers under strace.

mod support;
#[path = "support/trace.rs"]
mod trace;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use support::{exchange, report, scratch, serve, strace_works, until, who};
use trace::{Trace, Traced, busy, entry, leave, serve_one, traced};
use waitcopy::model::{CATALOGUE, On, Per, Who, grammar};
use waitcopy::phase::{Call, Waits};

/// Whether its grammar is about the calls on the connection alone, because others than the acceptor may serve.
fn projected(model: &str) -> bool {
    !matches!(who(model), Who::One | Who::Reuseport)
}

/// What the grammar of a model is about.
fn sentence<'t>(model: &str, trace: &'t Trace) -> Vec<&'t Traced> {
    if projected(model) { trace.served() } else { trace.conversation() }
}

/// A new socket is writable, which is an edge of its own, and signals are asked for too late for what came first: both models look
/// once for nothing. That has to be over before data makes it something.
fn first_look_is_over(model: &str, file: &Path) {
    if ["epoll-et", "sigio"].contains(&model) {
        until("the first look is over", || {
            trace::read(file).calls.iter().any(|call| call.word() == "recvfrom:EAGAIN")
        });
    }
}

/// One client, message after message, one of them three buffers long; every call is traced.
fn conversation(model: &str, test: &str) -> Trace {
    let (server, file) = traced(model, test, &[], &[]);
    let mut client = server.connect();
    first_look_is_over(model, &file);
    for message in [&b"hello"[..], b"x", &[b'y'; 3000], b"bye"] {
        exchange(&mut client, message);
    }
    leave(client);
    server.stop().clean();
    trace::read(&file)
}

for_each_model! {
    /// Not a call is left out between accept and close, whatever its name.
    fn a_conversation_is_a_sentence_of_its_own_grammar_only(model: &str) {
        if !strace_works() {
            return;
        }
        let trace = conversation(model, "grammar");
        let words: Vec<_> = sentence(model, &trace).into_iter().map(Traced::word).collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        // Two may have the same one: who runs a loop need not change its calls.
        let own = entry(model).0.grammar;
        for other in &CATALOGUE {
            let fits = grammar::matches(other.grammar, &words);
            assert_eq!(fits, other.grammar == own, "{}: {}", other.name, words.join(" "));
        }
    }
}

for_each_model! {
    /// No clock, no write, no getrusage while nobody observes: every call is a step of the catalogue, and
    /// every step but a stall's, or a full queue's, is made.
    fn without_flags_it_makes_the_calls_of_the_catalogue(model: &str) {
        if !strace_works() {
            return;
        }
        let trace = conversation(model, "steps");
        let family = |call: &Traced| call.word().split(':').next().unwrap().to_owned();
        let mut made: Vec<_> = sentence(model, &trace).into_iter().map(family).collect();
        // What the acceptor waits for is not on the connection.
        let steps = entry(model).0.steps.iter();
        let steps = steps.filter(|step| !(projected(model) && step.on == On::Set));
        let steps = steps.filter(|step| step.per != Per::Overflow);
        let mut steps: Vec<_> = steps.map(|step| step.call.name().to_owned()).collect();
        for calls in [&mut made, &mut steps] {
            calls.sort_unstable();
            calls.dedup();
        }
        assert_eq!(made, steps);
    }
}

for_each_model! {
    /// One client: exactly as many calls between two answers as the catalogue says, not counting those in vain.
    fn calls_per_request_are_those_of_the_catalogue(model: &str) {
        if !strace_works() {
            return;
        }
        let (server, file) = traced(model, "per-request", &[], &[]);
        let mut client = server.connect();
        first_look_is_over(model, &file);
        for _ in 0..=50 {
            exchange(&mut client, b"steady");
        }
        drop(client);
        server.stop().clean();
        let trace = trace::read(&file);
        let calls = sentence(model, &trace);
        if entry(model).0.waits == Waits::Completion {
            // Each hands an answer over and waits for the next request; the last one brings the end of file.
            let enters = calls.iter().filter(|call| call.is(Call::IoUringEnter)).count();
            assert_eq!(enters, 51 * entry(model).0.calls_per_request() + 1);
            return;
        }
        let answer = |call: &&Traced| call.is(Call::Sendto);
        let first = calls.iter().position(answer).unwrap();
        let last = calls.iter().rposition(answer).unwrap();
        let between = calls[first + 1..=last].iter().filter(|call| !call.in_vain()).count();
        assert_eq!(between, 50 * entry(model).0.calls_per_request());
    }
}

for_each_model! {
    /// 100 busy clients share the readiness calls, where there are any; the epoll set stays as it is.
    fn busy_clients_share_the_wait(model: &str) {
        if !strace_works() || entry(model).0.waits != Waits::Readiness {
            return;
        }
        const CLIENTS: usize = 100;
        const ROUNDS: usize = 20;
        let (server, file) = traced(model, "busy", &[], &[]);
        busy(&server, CLIENTS, ROUNDS);
        server.stop().clean();
        let trace = trace::read(&file);
        let sends = |place: &usize| trace.calls[*place].is(Call::Sendto);
        let sends: Vec<_> = (0..trace.calls.len()).filter(sends).collect();
        assert_eq!(sends.len(), CLIENTS * (ROUNDS + 1));
        let steady = &trace.calls[sends[CLIENTS - 1] + 1..=sends[sends.len() - 1]];
        let per_request = steady.len() as f64 / (CLIENTS * ROUNDS) as f64;
        // A call takes one signal, however many wait.
        let fewest = if model == "sigio" { 3.0 } else { 2.0 };
        assert!((fewest..=fewest + 0.1).contains(&per_request), "{per_request} calls per request");
        assert!(!steady.iter().any(|call| call.is(Call::EpollCtl)));
    }
}

/// Waits until a process sleeps that has gone to sleep more than `since` times; how often it has.
fn asleep_again(pid: &str, since: u64) -> u64 {
    let mut switches = 0;
    until("the server sleeps", || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        switches = field("voluntary_ctxt_switches:").parse().unwrap();
        field("State:").starts_with('S') && switches > since
    });
    switches
}

for_each_model! {
    /// Attaching interrupts whatever the server sleeps in; with epoll_wait the program hears of it (EINTR).
    fn strace_attached_to_an_idle_server_is_harmless(model: &str) {
        if !strace_works() {
            return;
        }
        let server = serve(model).start();
        let mut client = server.connect();
        exchange(&mut client, b"before");
        let pids: Vec<_> = server.family().iter().map(u32::to_string).collect();
        let polls = entry(model).0.is_exempt("cpu");
        let asleep = |pid: &String| if polls { 0 } else { asleep_again(pid, 0) };
        let switches: Vec<_> = pids.iter().map(asleep).collect();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o", "/dev/null"]);
        pids.iter().for_each(|pid| _ = strace.args(["-p", pid]));
        let mut strace = strace.stderr(Stdio::piped()).spawn().unwrap();
        let mut errors = BufReader::new(strace.stderr.take().unwrap());
        for pid in &pids {
            let mut said = String::new();
            errors.read_line(&mut said).unwrap();
            assert!(said.contains("attached"), "{pid}: {said}");
        }
        if !polls {
            // Told before it is felt: data that came now would end the wait first.
            pids.iter().zip(switches).for_each(|(pid, switches)| _ = asleep_again(pid, switches));
        }
        exchange(&mut client, b"under strace");
        leave(client);
        serve_one(&server);
        waitcopy::sys::kill(strace.id(), waitcopy::sys::SIGTERM).unwrap();
        strace.wait().unwrap();
        serve_one(&server);
        let ended = server.stop().clean();
        assert_eq!((ended.count("connections"), ended.count("requests")), (3, 4));
        if entry(model).1 == Some(Call::EpollWait) {
            assert!(ended.count("interrupted") > 0, "strace interrupted nothing");
        }
    }
}

/// A message of 17 whole buffers and a part of one, which is there at once: how many receives follow each readiness call.
#[test]
fn whole_buffers_are_received_in_a_row_up_to_the_share() {
    support::watchdog(support::PATIENCE, || {
        if !strace_works() {
            return;
        }
        // RECEIVES_PER_TURN of src/model/mod.rs.
        let share = 16;
        let (each, drained) = (vec![1; 18], vec![share, 2]);
        for (model, expected) in [
            ("select", &each),
            ("poll", &each),
            ("epoll", &drained),
            ("epoll-et", &drained),
            ("sigio", &drained),
            ("async", &drained),
        ] {
            let (server, file) = traced(model, "in-a-row", &[], &[]);
            let mut client = server.connect();
            first_look_is_over(model, &file);
            exchange(&mut client, &[b'z'; 17 * 1024 + 100]);
            leave(client);
            server.stop().clean();
            let trace = trace::read(&file);
            let calls = trace.conversation();
            let turns = calls.split(|call| entry(model).1.is_some_and(|wait| call.is(wait)));
            let brought = |call: &&&Traced| call.word() == "recvfrom";
            let runs = turns.map(|turn| turn.iter().filter(brought).count());
            let runs: Vec<_> = runs.filter(|&receives| receives > 0).collect();
            assert_eq!(&runs, expected, "{model}");
        }
    });
}

/// The kernel's stamp against strace's delay: the data of every receive is there before the receive begins.
#[test]
fn data_that_waits_for_its_receive_has_wait_0() {
    support::watchdog(support::PATIENCE, || {
        if !strace_works() {
            return;
        }
        // Microseconds.
        let inject = "inject=recvmsg:delay_enter=50000";
        let file = scratch("delayed.json");
        let args = ["--buffer", "5", "--report", file.to_str().unwrap()];
        let (server, trace) = traced("blocking", "delayed", &["-e", inject], &args);
        // Holds the server in a receive until the other one's data is in the backlog.
        let first = server.connect();
        let mut second = server.connect();
        second.write_all(b"four times five data").unwrap();
        leave(first);
        let mut reply = [0; 20];
        second.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"FOUR TIMES FIVE DATA");
        leave(second);
        server.stop().clean();
        let (trace, figures) = (trace::read(&trace), report(&file));
        assert!(trace.injected("recvmsg") >= 5);
        let figure = |path: &str| figures.count(path).unwrap();
        assert_eq!(figure("counts.unstamped"), 0);
        assert_eq!((figure("phases.wait.count"), figure("phases.wait.max_ns")), (4, 0));
        // The delay is there, and in the copy: the call was made, the data waited for it.
        assert!(figure("phases.copy.total_ns") >= 4 * 50_000_000);
        assert_eq!(figures.get("method"), Some(&"stamp".into()));
    });
}

#[test]
fn the_halves_of_a_call_are_joined_where_it_began() {
    let trace = Trace::parse(
        "7  accept4(3, 0x7ffe, [128], SOCK_CLOEXEC <unfinished ...>\n\
         71 write(1, \"a = b) = 2\", 10)  = 10\n\
         7  <... accept4 resumed>) = ? ERESTARTSYS (To be restarted if SA_RESTART is set)\n\
         7  --- SIGTERM {si_signo=SIGTERM} ---\n\
         7  recvfrom(5, \"\", 9, 0, NULL, NULL) = -1 EAGAIN (Resource ...) (INJECTED)\n\
         7  close(5",
    );
    let trace = trace.unwrap();
    let told = |traced: &Traced| (traced.pid, traced.word(), traced.result, traced.injected);
    let expected = [
        (7, "accept4:ERESTARTSYS".to_owned(), None, false),
        (71, "write".to_owned(), Some(10), false),
        (7, "recvfrom:EAGAIN".to_owned(), Some(-1), true),
    ];
    assert_eq!(trace.calls.iter().map(told).collect::<Vec<_>>(), expected);
    assert_eq!(trace.calls[0].args, "3, 0x7ffe, [128], SOCK_CLOEXEC");
    assert_eq!(trace.signals.len(), 1);
}
