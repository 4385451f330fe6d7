//! The two phases as the program tells them: the lines of `--phases`, the closing table, `--report`.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use support::{Ended, exchange, report, scratch, serve};
use waitcopy::json::Value;
use waitcopy::model::{self, Per, Who};
use waitcopy::net::Transport;
use waitcopy::phase::{Call, Count, Metric, Waits};

/// How long a client keeps its server waiting.
const PAUSE: Duration = Duration::from_millis(100);
/// What of it the server must have seen: it may be late to begin with its wait, on a busy machine.
const SEEN: Duration = Duration::from_millis(60);

/// Time passes: waits for an event that does not come.
fn pause() {
    let (_keeps_it_open, never) = mpsc::channel::<()>();
    never.recv_timeout(PAUSE).unwrap_err();
}

for_each_model! {
    /// Who types sees each phase at once, and not with the next message.
    fn a_send_is_told_before_the_next_input(model: &str) {
        for transport in [&[][..], &["--udp"]] {
            let udp = !transport.is_empty();
            if udp && model::find(model).unwrap().serves(Transport::Udp).is_err() {
                continue;
            }
            // A line that does not come is the end of all lines then, and nothing stays behind.
            let mut command = Command::new("timeout");
            command.args(["30", support::WAITCOPY, "serve", model, "--phases"]);
            command.args(["--listen", "127.0.0.1:0"]).args(transport);
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
            let ready = lines.next().unwrap();
            let at: SocketAddr = ready.rsplit(' ').next().unwrap().parse().unwrap();
            let _client: Box<dyn std::any::Any> = if !udp {
                let mut client = TcpStream::connect(at).unwrap();
                exchange(&mut client, b"hello");
                Box::new(client)
            } else {
                let client = UdpSocket::bind("127.0.0.1:0").unwrap();
                client.send_to(b"hello", at).unwrap();
                client.recv(&mut [0; 9]).unwrap();
                Box::new(client)
            };
            assert!(lines.any(|line| line.contains("  send ")), "{model} {transport:?}");
            waitcopy::sys::kill(child.id(), waitcopy::sys::SIGTERM).unwrap();
            child.wait().unwrap();
        }
    }
}

/// What the scripted client did.
struct Done {
    ended: Ended,
    report: Value,
    peer: SocketAddr,
    /// From before its first message to after the reply to its last.
    span: Duration,
}

/// A pause, a client; `hello`, a pause, `again`.
fn conversation(model: &str, test: &str) -> Done {
    let path = scratch(&format!("{test}-{model}.json"));
    let server = serve(model).args(&["--phases", "--report", path.to_str().unwrap()]).start();
    pause();
    let mut client = server.connect();
    let start = Instant::now();
    exchange(&mut client, b"hello");
    pause();
    exchange(&mut client, b"again");
    let (span, peer) = (start.elapsed(), client.local_addr().unwrap());
    leave(client);
    Done { ended: server.stop().clean(), report: report(&path), peer, span }
}

/// The client's last word, the server's end of file, in this order.
fn leave(mut client: std::net::TcpStream) {
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

/// `wait 60.2 ms (stamp)  copy 122 us (recvmsg 1024 B)`: the time of a phase, and its remark.
fn phase<'l>(line: &'l str, name: &str) -> Option<(Duration, &'l str)> {
    let part = line.split("  ").find_map(|part| part.strip_prefix(name)?.strip_prefix(' '))?;
    let (time, remark) = part.split_once(" (").unwrap_or((part, ")"));
    let (number, unit) = time.split_once(' ').unwrap();
    let unit = match unit {
        "s" => 1.0,
        "ms" => 1e-3,
        "us" => 1e-6,
        "ns" => 1e-9,
        _ => panic!("no time: {line}"),
    };
    Some((
        Duration::from_secs_f64(number.parse::<f64>().unwrap() * unit),
        remark.strip_suffix(')')?,
    ))
}

/// Whether a line says how this model waits: `epoll_wait, 1 of 1`, `stamp`, `EAGAIN x 11225, ...`.
fn says_how(model: &str, remark: &str, accept: bool) -> bool {
    let entry = model::find(model).unwrap();
    // Whoever accepts for others waits for readiness: the stop and its children are in the same set.
    if accept && entry.who != Who::One {
        return remark == "epoll_wait, 1 of 1";
    }
    match (entry.waits, accept) {
        (Waits::InCall, true) => remark == "call",
        (Waits::InCall, false) => remark == "stamp",
        (Waits::Polling, _) => remark.starts_with("EAGAIN x ") && remark.ends_with(" elsewhere"),
        (Waits::Completion, _) => remark == "io_uring_enter, 1 of 1",
        (Waits::Readiness, _) => remark == format!("{}, 1 of 1", readiness(model).unwrap().name()),
    }
}

/// The call in which a model waits for readiness.
fn readiness(model: &str) -> Option<Call> {
    let steps = model::find(model).unwrap().steps;
    steps.iter().find(|step| step.per == Per::Turn).map(|step| step.call)
}

/// What sends.
fn send(model: &str) -> &'static str {
    match model::find(model).unwrap().waits {
        Waits::Completion => "IORING_OP_SEND",
        _ => "sendto",
    }
}

/// What receives while the recorder is on.
fn receive(model: &str) -> &'static str {
    match model::find(model).unwrap().waits {
        Waits::InCall => "recvmsg",
        Waits::Completion => "IORING_OP_RECV",
        _ => "recvfrom",
    }
}

for_each_model! {
    fn each_io_has_its_line(model: &str) {
        let done = conversation(model, "lines");
        let lines: Vec<_> = done.ended.stdout.lines().collect();
        let [accept, hello, hello_sent, again, again_sent, close] = lines[..] else {
            panic!("{lines:#?}");
        };
        let peer = done.peer;
        assert!(accept.starts_with(&format!("accept {peer}  wait ")), "{accept}");
        let (wait, remark) = phase(accept, "wait").unwrap();
        assert!(wait >= SEEN && says_how(model, remark, true), "{accept}");

        for line in [hello, hello_sent, again, again_sent] {
            assert!(line.starts_with(&format!("{model} {peer}  ")), "{line}");
        }
        for line in [hello, again] {
            let (_, remark) = phase(line, "copy").unwrap();
            assert_eq!(remark, format!("{} 5 B", receive(model)), "{line}");
        }
        for line in [hello_sent, again_sent] {
            assert_eq!(phase(line, "send").unwrap().1, format!("{} 5 B", send(model)), "{line}");
        }
        // The wait that the client knows of: not shorter than its pause, not longer than all it did.
        let (wait, remark) = phase(again, "wait").unwrap();
        assert!(says_how(model, remark, false), "{again}");
        let span = done.span.mul_f64(1.01);
        assert!(SEEN <= wait && wait <= span, "{again}; the client took {span:?}");
        assert_eq!(close, format!("close {peer}  end of file"));
    }
}

for_each_model! {
    fn the_closing_table_has_its_rows(model: &str) {
        let Done { ended, report, .. } = conversation(model, "table");
        let row = |name: &str| {
            let line = ended.stderr.lines().find(|line| line.starts_with(&format!("  {name} ")));
            line.unwrap_or_else(|| panic!("no row {name}: {}", ended.stderr)).to_owned()
        };
        for name in ["call", "phase", "accept", "wait", "copy", "send", "CPU user"] {
            row(name);
        }
        for (call, calls) in report.members("calls") {
            let &Value::Count(calls) = calls else { panic!("{calls:?}") };
            assert_eq!(row(call).split_whitespace().nth(1), Some(calls.to_string().as_str()));
        }
        let method = report.get("method").unwrap();
        assert!(row("phase").contains(&format!("(method: {})", text(method))));
        assert!(row("of").contains(" wall time:  wait "), "{}", row("of"));
        assert!(row("observing costs").contains(" a request (calibrated)"));
        assert!(row("CPU user").contains(" involuntary; "));
    }
}

fn text(value: &Value) -> &str {
    let Value::Text(text) = value else { panic!("{value:?}") };
    text
}

for_each_model! {
    fn the_report_says_what_the_client_did(model: &str) {
        let Done { report, span, .. } = conversation(model, "report");
        let figure = |path: &str| report.count(path).unwrap_or_else(|| panic!("no {path}"));
        assert_eq!(report.get("recorded"), Some(&Value::Bool(true)));
        assert_eq!(text(report.get("model").unwrap()), model);
        assert_eq!(
            ["connections", "requests", "bytes_in", "bytes_out", "unstamped", "lines_lost"]
                .map(|count| figure(&format!("counts.{count}"))),
            [1, 2, 10, 10, 0, 0]
        );
        // Every call but the polls, whose number nobody knows: two messages and an end of file, two answers.
        let made = |call: &str| figure(&format!("calls.{call}")) - figure(&format!("again.{call}"));
        if model::find(model).unwrap().waits == Waits::Completion {
            // A ring's operations are no calls. A client, two messages and an end of file: as many waits.
            assert_eq!(["getpeername", "close"].map(made), [1, 1]);
            let enters = made("io_uring_enter");
            // The stop is one more, and what is in flight then comes back by others.
            assert!((4..=8).contains(&enters), "{enters}");
        } else {
            assert_eq!([receive(model), send(model), "close"].map(made), [3, 2, 1]);
        }
        for (metric, count) in [("accept", 1), ("wait", 2), ("copy", 2), ("send", 2), ("room", 0)] {
            assert_eq!(figure(&format!("phases.{metric}.count")), count, "{metric}");
        }
        // None of them takes no time, and none more than there was.
        for metric in ["wait", "copy", "send"] {
            let total = figure(&format!("phases.{metric}.total_ns"));
            assert!(0 < total && total <= figure("wall_ns"), "{metric}: {total}");
        }
        let wait = figure("phases.wait.max_ns");
        assert!(u128::from(wait) >= SEEN.as_nanos() && u128::from(wait) <= span.as_nanos());
    }
}

for_each_model! {
    fn the_parts_of_the_time_add_up(model: &str) {
        let Done { report, .. } = conversation(model, "parts");
        let figure = |path: &str| report.count(path).unwrap();
        let count = |value: &Value| if let &Value::Count(n) = value { n } else { panic!("{value:?}") };
        let parts: u64 = report.members("partition_ns").map(|(_, part)| count(part)).sum();
        assert_eq!(parts, figure("wall_ns"));
        let waited = Duration::from_nanos(figure("partition_ns.wait"));
        if !model::find(model).unwrap().is_exempt("cpu") {
            // Twice a pause; a model that polls waits inside its calls and between them.
            assert!(waited >= 2 * SEEN, "{waited:?}");
        }
        for (name, metric) in report.members("phases") {
            let Some(Value::List(buckets)) = metric.get("buckets") else { panic!("{name}") };
            let filled = buckets.iter().map(|bucket| {
                let Value::List(pair) = bucket else { panic!("{bucket:?}") };
                count(&pair[1])
            });
            assert_eq!(filled.sum::<u64>(), metric.count("count").unwrap(), "{name}");
        }
    }
}

for_each_model! {
    fn without_flags_nothing_follows_the_readiness_line(model: &str) {
        let server = serve(model).start();
        let mut client = server.connect();
        exchange(&mut client, b"quietly");
        leave(client);
        assert_eq!(server.stop().clean().stdout, "");
    }
}

#[test]
fn who_is_ready_with_many_others_is_queued_behind_them() {
    support::watchdog(support::PATIENCE, || {
        const CLIENTS: usize = 100;
        let path = scratch("queued.json");
        let server = serve("epoll").args(&["--phases", "--report", path.to_str().unwrap()]).start();
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| exchange(client, b"one by one"));
        server.while_stopped(|| {
            clients.iter_mut().for_each(|client| client.write_all(b"all at once").unwrap());
        });
        for client in &mut clients {
            client.read_exact(&mut [0; 11]).unwrap();
        }
        let stdout = server.stop().clean().stdout;
        // In the order of their turn.
        let together = stdout.lines().filter(|line| line.contains("(recvfrom 11 B)"));
        let queued: Vec<_> = together
            .map(|line| phase(line, "queued").map_or(Duration::ZERO, |(time, _)| time))
            .collect();
        assert_eq!(queued.len(), CLIENTS);
        assert!(queued.is_sorted(), "{queued:?}");
        assert!(stdout.contains(&format!("(epoll_wait, {CLIENTS} of {CLIENTS})")), "{stdout}");
        // The last one stood behind 99 receives and sends, the first behind none.
        let figures = report(&path);
        let copy = Duration::from_nanos(figures.count("phases.copy.p50_ns").unwrap());
        assert!(queued[CLIENTS - 1] > 50 * copy, "{queued:?}, copy {copy:?}");
    });
}

#[test]
fn the_second_receive_of_a_turn_has_waited_for_nothing() {
    support::watchdog(support::PATIENCE, || {
        let server = serve("epoll-et").args(&["--phases"]).start();
        let mut client = server.connect();
        exchange(&mut client, b"hello");
        server.while_stopped(|| client.write_all(&[b'x'; 3000]).unwrap());
        client.read_exact(&mut [0; 3000]).unwrap();
        let stdout = server.stop().clean().stdout;
        let waits: Vec<_> = stdout.lines().filter(|line| line.contains("(recvfrom ")).collect();
        let [_, first, second, third] = waits[..] else { panic!("{stdout}") };
        assert_eq!(phase(first, "wait").unwrap().1, "epoll_wait, 1 of 1");
        for line in [second, third] {
            assert_eq!(phase(line, "wait"), Some((Duration::ZERO, "same turn")), "{line}");
        }
    });
}

/// The figures of a non-blocking server whose client makes it wait once.
fn polling(test: &str, args: &[&str]) -> Value {
    let path = scratch(test);
    let server =
        serve("nonblocking").args(args).args(&["--report", path.to_str().unwrap()]).start();
    let mut client = server.connect();
    exchange(&mut client, b"hello");
    pause();
    exchange(&mut client, b"again");
    leave(client);
    server.stop().clean();
    report(&path)
}

#[test]
fn a_pause_makes_fewer_calls_in_vain() {
    support::watchdog(support::PATIENCE, || {
        let (busy, pausing) =
            (polling("busy.json", &[]), polling("pause.json", &["--pause", "20ms"]));
        let in_vain = |figures: &Value| figures.count("again.recvfrom").unwrap();
        assert!(in_vain(&busy) > 10 * in_vain(&pausing), "{busy}, {pausing}");
        assert_eq!(busy.count("calls.poll"), None);
        // One pause a round, one question a round.
        let pauses = pausing.count("calls.poll").unwrap();
        assert!(in_vain(&pausing) >= 1 && in_vain(&pausing) <= pauses + 1, "{pausing}");
    });
}

#[test]
fn a_slow_reader_of_the_lines_loses_lines_and_stalls_nobody() {
    support::watchdog(support::PATIENCE, || {
        const EXCHANGES: usize = 3000;
        let server = serve("epoll").args(&["--phases"]).start();
        let mut client = server.connect();
        // Nobody reads standard output meanwhile; the pipe holds 64 KiB.
        for _ in 0..EXCHANGES {
            exchange(&mut client, b"more");
        }
        leave(client);
        let ended = server.stop().clean();
        assert_eq!(ended.count("requests"), EXCHANGES as u64);
        let lost = ended.count("lines lost") as usize;
        let told = ended.stdout.lines().filter(|line| !line.starts_with('(')).count();
        assert!(lost > 0 && told > 0, "lost {lost}, told {told}");
        // An accept, a receive and a send each, a close.
        assert_eq!(lost + told, 1 + 2 * EXCHANGES + 1);
    });
}

#[test]
fn a_report_that_cannot_be_written_fails_at_once() {
    support::watchdog(support::PATIENCE, || {
        let path = scratch("no-such-directory").join("report.json");
        let output = Command::new(support::WAITCOPY)
            .args(["serve", "epoll", "--listen", "127.0.0.1:0", "--report"])
            .arg(&path)
            .output()
            .unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
        let told = String::from_utf8(output.stderr).unwrap();
        let expected =
            format!("waitcopy: open {}: no such file or directory (ENOENT)\n", path.display());
        assert_eq!(told, expected);
    });
}

for_each_model! {
    /// A signal in the middle of a wait does not begin another one.
    fn an_interrupted_wait_is_one_wait(model: &str) {
        let path = scratch(&format!("interrupted-{model}.json"));
        let server = serve(model).args(&["--report", path.to_str().unwrap()]).start();
        let mut client = server.connect();
        exchange(&mut client, b"hello");
        let start = Instant::now();
        for _ in 0..3 {
            pause();
            server.signal_family(waitcopy::sys::SIGUSR1);
        }
        pause();
        let waited = start.elapsed();
        exchange(&mut client, b"again");
        leave(client);
        server.stop().clean();
        let longest = Duration::from_nanos(report(&path).count("phases.wait.max_ns").unwrap());
        // Four pauses, not one of them; the reply to the first message took the rest.
        assert!(longest >= waited * 7 / 8, "{longest:?} of {waited:?}");
    }
}

#[test]
fn the_document_names_every_count_and_phase_of_the_report() {
    let document = include_str!("../docs/phases.md");
    let row = |member: &str| {
        let row = document.lines().find(|line| line.starts_with(&format!("| `{member}")));
        row.unwrap_or_else(|| panic!("no row of {member}"))
    };
    for (_, name) in Count::ALL {
        assert!(row("counts.").contains(&format!("`{name}`")), "counts.{name}");
    }
    let names = row("phases.").split(['{', '}']).nth(1).unwrap();
    let told = Metric::ALL.map(|(_, name)| name);
    assert_eq!(names.split(',').collect::<Vec<_>>(), told);
}
