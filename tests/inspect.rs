//! `waitcopy inspect`: live traces of every model, recorded ones, and traces that are not what the catalogue says.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::{PATIENCE, WAITCOPY, assert_refused, scratch, strace_works, watchdog};
use waitcopy::json::Value;
use waitcopy::lab::inspect::{Inspection, Mark, Summary, Verdict, Whose, transport};
use waitcopy::lab::trace::Trace;
use waitcopy::model::{self, CATALOGUE};
use waitcopy::net::Transport;
use waitcopy::phase::Waits;

fn inspect(words: &[&str]) -> Output {
    Command::new(WAITCOPY).arg("inspect").args(words).output().unwrap()
}

fn json(words: &[&str]) -> Value {
    let output = inspect(&[words, &["--json"]].concat());
    assert!(output.status.success(), "{words:?}: {output:?}");
    Value::parse(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

/// The marks of a trace in JSON, of one client.
fn marks(value: &Value, client: u64) -> Vec<(String, String)> {
    let Some(Value::List(lines)) = value.get("trace") else { panic!("{value}") };
    let of = |line: &Value, name: &str| match line.get(name) {
        Some(Value::Text(text)) => text.clone(),
        other => panic!("{name}: {other:?}"),
    };
    let its = lines.iter().filter(|line| line.count("client") == Some(client));
    its.map(|line| (of(line, "mark"), of(line, "call"))).collect()
}

for_each_model! {
    /// What the catalogue says, what the server counts and what strace saw are one and the same.
    fn a_live_trace_is_what_the_catalogue_says(model: &str) {
        if !strace_works() {
            return;
        }
        let value = json(&[model, "--messages", "5"]);
        assert_eq!(value.get("verdict.holds"), Some(&Value::Bool(true)), "{value}");
        assert_eq!(value.get("agrees"), Some(&Value::Bool(true)));
        let entry = model::find(model).unwrap();
        let ring = entry.waits == Waits::Completion;
        // The script: hello wait copy "upper case" hello.
        let counts = ["connections", "requests", "bytes_in", "bytes_out"].map(|name| {
            let [trace, server] = ["counts", "server"].map(|whose| value.count(&format!("{whose}.{name}")));
            // What a ring has received and sent is in no trace.
            assert_eq!(trace, server.filter(|_| !ring || name == "connections"), "{name}");
            server.unwrap()
        });
        assert_eq!(counts, [1, 5, 28, 28]);
        let per_request = value.get("calls_per_request");
        if model == "sigio" {
            // What comes before its signals are asked for, or while it looks at something else, costs no call to wait for it.
            let Some(&(Value::Number(_) | Value::Count(_))) = per_request else { panic!("{value}") };
            let calls: f64 = per_request.map(ToString::to_string).unwrap().parse().unwrap();
            assert!((2.0..=3.0).contains(&calls), "{calls}");
        } else {
            assert_eq!(per_request, Some(&Value::Count(entry.calls_per_request() as u64)));
        }
        // Each receive and each send has its mark, and belongs to the client.
        let marks = marks(&value, 1);
        let count = |mark: &str, call: &str| {
            marks.iter().filter(|(m, c)| m == mark && c == call).count() as u64
        };
        if ring {
            assert_eq!((count("open", "getpeername"), count("close", "close"), marks.len()), (1, 1, 2), "{marks:?}");
            // A client, five requests and an end: seven waits. The stop may come into one more, and takes back what is in flight by another.
            let enters = value.count("calls.io_uring_enter").unwrap();
            assert!((7..=10).contains(&enters), "{enters}: {value}");
            return;
        }
        let receive = if entry.waits == Waits::InCall { "wait+copy" } else { "copy" };
        // A signal that an earlier turn has served along is answered by a receive in vain; six brought data or the end.
        let vain = if model == "sigio" { value.count("again.recvfrom").unwrap_or(0) } else { 0 };
        assert_eq!((count(receive, "recvfrom"), count("send", "sendto"), count("close", "close")), (6 + vain, 5, 1), "{marks:?}");
        assert!(!value.to_string().contains("\"mark\":\"?\""));
    }
}

for_each_model! {
    /// Several clients at once, or in turn where only one is served; over what the model serves.
    fn several_clients_over_every_transport(model: &str) {
        if !strace_works() {
            return;
        }
        let path = scratch(&format!("inspect-{model}.sock"));
        let path = path.to_str().unwrap();
        let entry = model::find(model).unwrap();
        let flags = [&[][..], &["--udp"], &["--unix", path], &["--unixgram", path]];
        for ((transport, _), flags) in Transport::ALL.into_iter().zip([0, 1, 2, 3].map(|at| flags[at])) {
            let words = [&[model, "--clients", "3", "--messages", "2"], flags].concat();
            if entry.serves(transport).is_err() {
                let mut command = Command::new(WAITCOPY);
                assert_refused(command.arg("inspect").args(words), 2, &format!("{model} does not serve"));
                continue;
            }
            let value = json(&words);
            assert_eq!(value.get("agrees"), Some(&Value::Bool(true)), "{transport:?}: {value}");
            let ring = entry.waits == Waits::Completion;
            let requests = if ring { "server.requests" } else { "counts.requests" };
            assert_eq!(value.count(requests), Some(6), "{transport:?}: {value}");
            // Whose the datagrams are that a ring brings, is in no trace.
            let seen = !ring || matches!(transport, Transport::Tcp | Transport::Unix);
            assert_eq!(value.count("clients"), Some(if seen { 3 } else { 0 }));
        }
    }
}

/// A folder with a `strace` that runs the real one with more options.
fn tampered(options: &str) -> PathBuf {
    let folder = scratch("tampered");
    fs::create_dir_all(&folder).unwrap();
    let script = format!(
        "#!/bin/sh\nPATH=${{PATH#*:}}\ncase $1 in --version) exec strace \"$@\";; esac\nexec strace {options} \"$@\"\n"
    );
    fs::write(folder.join("strace"), script).unwrap();
    let made = Command::new("chmod").arg("755").arg(folder.join("strace")).status().unwrap();
    assert!(made.success());
    folder
}

#[test]
fn a_server_that_calls_otherwise_is_told() {
    watchdog(PATIENCE, || {
        if !strace_works() {
            return;
        }
        // The third receive fails as if a signal had come: the server asks again, which is right, and its own. An EAGAIN is
        // no sentence of epoll's.
        let folder = tampered("--inject=recvfrom:error=EAGAIN:when=2");
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(WAITCOPY);
        let output = command.args(["inspect", "epoll"]).env("PATH", path).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        let last = said.lines().last().unwrap();
        assert!(last.starts_with("the trace is not what the catalogue says: line "), "{last}");
        assert!(
            last.contains("of client 1: recvfrom(") && last.contains(" = -1 EAGAIN (INJECTED)"),
            "{last}"
        );
        assert!(last.ends_with("; expected recvfrom or recvfrom:0"), "{last}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr, "waitcopy: not what the catalogue says: epoll\n");
    });
}

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces").join(name)
}

/// Recorded with strace 6.1 by the commands in docs/inspect.md.
const RECORDED: [(&str, &str); 5] = [
    ("epoll", "epoll.strace"),
    ("nonblocking", "nonblocking.strace"),
    ("fork", "fork.strace"),
    ("threads", "threads-tt-T-yy.strace"),
    ("select", "select-r.strace"),
];

#[test]
fn recorded_traces_are_annotated_as_before() {
    watchdog(PATIENCE, || {
        for (model, name) in RECORDED {
            let file = recorded(name);
            let output = inspect(&[model, "--file", file.to_str().unwrap()]);
            assert!(output.status.success(), "{name}: {output:?}");
            let page = String::from_utf8(output.stdout).unwrap();
            let golden = recorded(&format!("{name}.txt"));
            if std::env::var_os("WAITCOPY_GOLDEN").is_some() {
                fs::write(&golden, &page).unwrap();
            }
            let expected = fs::read_to_string(&golden).unwrap();
            let first = page.lines().zip(expected.lines()).find(|(now, before)| now != before);
            assert!(
                page == expected,
                "{name}: {first:?}; after a look, WAITCOPY_GOLDEN=1 writes it anew"
            );
            assert!(!page.contains('\x1b'), "no colour in a pipe");
        }
    });
}

#[test]
fn every_model_but_its_own_deviates() {
    for (own, name) in RECORDED {
        let trace = Trace::read(&recorded(name)).unwrap();
        for model in &CATALOGUE {
            let inspection = Inspection::of(&trace, model, transport(&trace), None);
            let same = model.grammar == model::find(own).unwrap().grammar;
            assert_eq!(inspection.agrees(), same, "{name} as {}", model.name);
        }
    }
}

#[test]
fn a_doctored_trace_is_told_by_its_line() {
    let text = fs::read_to_string(recorded("epoll.strace")).unwrap();
    let epoll = model::find("epoll").unwrap();
    let judged = |text: &str| {
        let trace = Trace::parse(text).unwrap();
        let inspection = Inspection::of(&trace, epoll, Transport::Tcp, None);
        match inspection.verdict {
            Verdict::Deviates(deviation) => {
                Some((deviation.line, deviation.call, deviation.expected))
            }
            Verdict::Holds(_) => None,
            Verdict::Empty => Some((None, "empty".to_owned(), Vec::new())),
        }
    };
    assert_eq!(judged(&text), None);
    let line = |what: &str| 1 + text.lines().position(|line| line.contains(what)).unwrap();
    let without = |what: &str| -> String {
        text.lines().filter(|line| !line.contains(what)).map(|line| format!("{line}\n")).collect()
    };
    // An answer that is missing, a call that is no step, a readiness call that was not needed.
    let (at, call, expected) = judged(&without("sendto(6, \"WAIT\"")).unwrap();
    assert_eq!(at, Some(line("sendto(6, \"WAIT\"")), "{call}");
    assert_eq!(
        (call.split('(').next(), &expected[..]),
        (Some("epoll_wait"), &["sendto".to_owned()][..])
    );
    let pid = text.split(' ').next().unwrap();
    let answer = format!("{pid}  sendto(6, \"WAIT\"");
    for more in ["getpid() = 7", "clock_gettime(CLOCK_MONOTONIC, {tv_sec=1, tv_nsec=2}) = 0"] {
        let doctored = text.replacen(&answer, &format!("{pid}  {more}\n{answer}"), 1);
        assert!(doctored.len() > text.len());
        let (at, call, _) = judged(&doctored).unwrap();
        assert_eq!((at, &call[..]), (Some(line("sendto(6, \"WAIT\"")), more));
    }
    // Cut off in the middle, it is as long as it is; without a client it says nothing.
    let middle = text.find("sendto(6, \"WAIT\"").unwrap();
    assert_eq!(judged(&text[..text[..middle].rfind('\n').unwrap() + 1]), None);
    let (at, what, _) = judged(&without("(6")).unwrap();
    assert!(at.is_some() || what == "empty", "{at:?} {what}");
}

#[test]
fn stamps_durations_and_decorations_change_nothing() {
    let plain = "7 accept4(3, {sa_family=AF_INET, sin_port=htons(1)}, [128 => 16], SOCK_CLOEXEC) = 5\n\
                 7 recvfrom(5, \"a = b\", 1024, 0, NULL, NULL) = 5\n\
                 7 sendto(5, \"A = B\", 5, MSG_NOSIGNAL, NULL, 0) = 5\n\
                 7 recvfrom(5, \"\", 1024, 0, NULL, NULL) = 0\n\
                 7 close(5)                          = 0\n";
    let decorated = plain
        .replace("(5", "(5<TCP:[127.0.0.1:1->127.0.0.1:2]>")
        .replace("= 5\n", "= 5 <0.000012>\n");
    let stamped = |stamp: &str| decorated.replace("7 ", &format!("7     {stamp} "));
    let bracketed = plain.replace("7 ", "[pid     7] ");
    let alone = plain.replace("7 ", "");
    for text in [
        plain,
        &decorated,
        &stamped("14:42:14.556696"),
        &stamped("1764081734.5"),
        &stamped("0.000021"),
        &bracketed,
        &alone,
    ] {
        let trace = Trace::parse(text).unwrap();
        assert_eq!(trace.calls.len(), 5, "{text}");
        assert!(
            trace.calls.iter().all(|call| call.pid == if text == alone { 0 } else { 7 }),
            "{text}"
        );
        let results: Vec<_> = trace.calls.iter().map(|call| call.result.unwrap()).collect();
        assert_eq!(results, [5, 5, 5, 0, 0], "{text}");
        let inspection =
            Inspection::of(&trace, model::find("blocking").unwrap(), transport(&trace), None);
        assert!(
            matches!(inspection.verdict, Verdict::Holds(_)),
            "{text}: {:?}",
            inspection.verdict
        );
        assert_eq!(
            inspection.counts.summary(),
            Summary { connections: 1, requests: 1, bytes_in: 5, bytes_out: 5 }
        );
    }
}

/// Rounds of EAGAIN are as many as there are, and shown as few.
#[test]
fn rounds_in_vain_are_folded() {
    let mut text = "1 accept4(3, NULL, NULL, SOCK_CLOEXEC) = 5\n1 fcntl(5, F_GETFL) = 2\n1 fcntl(5, F_SETFL, O_RDWR|O_NONBLOCK) = 0\n".to_owned();
    for _ in 0..700 {
        text += "1 accept4(3, NULL, NULL, SOCK_CLOEXEC) = -1 EAGAIN (Resource temporarily unavailable)\n\
                 1 recvfrom(5, 0x5, 1024, 0, NULL, NULL) = -1 EAGAIN (Resource temporarily unavailable)\n";
    }
    text += "1 recvfrom(5, \"\", 1024, 0, NULL, NULL) = 0\n1 close(5) = 0\n";
    let file = scratch("folded.strace");
    fs::write(&file, text).unwrap();
    let output = inspect(&["nonblocking", "--file", file.to_str().unwrap()]);
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{page}");
    assert_eq!(page.matches("= -1 EAGAIN").count(), 2, "{page}");
    assert!(page.contains("\nwait       ... 1,398 more, all EAGAIN\n"), "{page}");
    assert!(
        page.contains("\nrecvfrom            701        701.000        700\n")
            || page.contains("701"),
        "{page}"
    );
}

#[test]
fn threads_share_descriptors_and_children_copy_them() {
    let trace = Trace::read(&recorded("fork.strace")).unwrap();
    let fork = model::find("fork").unwrap();
    let inspection = Inspection::of(&trace, fork, Transport::Tcp, None);
    // The parent closes its copy: it hands the client on, and only the child ends it.
    for client in [1, 2] {
        let closes = inspection
            .lines
            .iter()
            .filter(|line| line.whose == Whose::Client(client) && line.call.call == "close");
        let mut closes: Vec<_> = closes.map(|line| line.mark).collect();
        closes.sort_by_key(|mark| mark.name());
        assert_eq!(closes, [Mark::Close, Mark::Open], "client {client}");
    }
}

#[test]
fn what_cannot_be_inspected_is_refused_in_one_line() {
    watchdog(PATIENCE, || {
        let refused = |words: &[&str], code, said: &str| {
            assert_refused(Command::new(WAITCOPY).arg("inspect").args(words), code, said);
        };
        refused(&[], 2, "which model? all, or one of blocking, nonblocking");
        refused(&["epol"], 2, "no model 'epol' (did you mean epoll?)");
        refused(&["prefork", "--udp"], 2, "prefork does not serve udp: N children");
        refused(&["epoll", "--messages", "0"], 2, "--messages 0: a whole number, 1 or more");
        refused(&["epoll", "--udp", "--unix", "/tmp/x"], 2, "--udp and --unix: one transport");
        refused(&["epoll", "--late", "1ms"], 2, "--late belongs to --kernel");
        refused(&["epoll", "--kernel", "--raw", "/tmp/x"], 2, "--kernel runs without strace");
        refused(&["all", "--raw", "/tmp/x"], 2, "--raw is of one model");
        refused(&["epoll", "--file", "/tmp/x", "--clients", "2"], 2, "--file runs nothing");
        refused(&["epoll", "--raw", "/nonexistent/x"], 1, "open /nonexistent/x: no such file");
        refused(&["epoll", "--file", "/nonexistent"], 1, "open /nonexistent: no such file");
        let file = scratch("no.strace");
        let path = file.to_str().unwrap();
        fs::write(&file, "").unwrap();
        refused(&["epoll", "--file", path], 1, &format!("{path}: no system call in it"));
        fs::write(&file, "1 close(3) = 0\nhello\n").unwrap();
        refused(
            &["epoll", "--file", path],
            1,
            &format!("{path}: line 2: no system call as strace writes it: 'hello'"),
        );
        fs::write(&file, b"\xff\xfe\x00\n").unwrap();
        refused(&["epoll", "--file", path], 1, &format!("{path}: line 1: no system call"));
        let mut command = Command::new(WAITCOPY);
        command.args(["inspect", "epoll"]).env("PATH", "/nonexistent");
        assert_refused(&mut command, 69, "strace: not installed: apt-get install strace");
    });
}

/// Whatever the bytes, it is an error or a trace, and never a panic.
#[test]
fn pieces_of_a_trace_break_nothing() {
    let text = fs::read(recorded("threads-tt-T-yy.strace")).unwrap();
    for step in 1..200 {
        let mut torn = text.clone();
        let mut at = step;
        while at < torn.len() {
            torn[at] = [b' ', b'=', b'(', b'<', b'>', b'\n', b'9', 0xff][(at / step) % 8];
            at += step * 37 + 11;
        }
        for bytes in [&torn[..], &torn[..step * 50], &text[step * 70..]] {
            if let Ok(trace) = Trace::parse(&String::from_utf8_lossy(bytes)) {
                for model in &CATALOGUE {
                    let _ = Inspection::of(&trace, model, transport(&trace), None);
                }
            }
        }
    }
}

#[test]
fn raw_is_what_strace_wrote() {
    watchdog(PATIENCE, || {
        if !strace_works() {
            return;
        }
        let file = scratch("raw.strace");
        let path = file.to_str().unwrap();
        let live = inspect(&["poll", "--raw", path]);
        assert!(live.status.success(), "{live:?}");
        let again = inspect(&["poll", "--file", path]);
        assert!(again.status.success(), "{again:?}");
        let own = "the server itself counts the same\n";
        let live = String::from_utf8(live.stdout).unwrap().replace(own, "");
        assert_eq!(live, String::from_utf8(again.stdout).unwrap());
        // Nothing else is left: the file that strace writes to has no name.
        let name = format!("waitcopy-{}-", std::process::id());
        let left = fs::read_dir(std::env::temp_dir()).unwrap().filter_map(Result::ok);
        assert!(
            !left.map(|e| e.file_name()).any(|n| n.to_string_lossy().starts_with(&name)
                && n.to_string_lossy().ends_with(".strace"))
        );
    });
}
