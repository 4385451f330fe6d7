//! `waitcopy draw`: recorded events give the same figure every time, live ones a figure of the same run's numbers.
//!
//! `WAITCOPY_BLESS=1` writes what is drawn now over the figures in `tests/figures`; look at them before they are committed.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use support::{PATIENCE, WAITCOPY, assert_refused, children, scratch, state, until, watchdog};
use waitcopy::json::Value;

fn draw(arguments: &[&str]) -> Output {
    let mut command = Command::new(WAITCOPY);
    command.arg("draw").args(arguments).env("LC_ALL", "C.UTF-8");
    command.output().unwrap()
}

/// What it prints, when it succeeds and has nothing else to say.
fn drawn(arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = draw(arguments);
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.success() && said.is_empty(), "{arguments:?}: {said}");
    String::from_utf8(stdout).unwrap()
}

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/figures").join(name)
}

/// Holds a text against a file, byte by byte.
fn golden(name: &str, text: &str) {
    let path = recorded(name);
    if std::env::var_os("WAITCOPY_BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let differs = text.lines().zip(expected.lines()).position(|(one, other)| one != other);
    assert!(
        text == expected,
        "{name}: line {:?} is another one, or the length",
        differs.map(|n| n + 1)
    );
}

/// A recorded run, drawn in all three forms, each twice.
fn recorded_run_is_drawn_as_before(name: &str) {
    let name = name.to_owned();
    watchdog(PATIENCE, move || {
        let json = recorded(&format!("{name}.json"));
        let from = ["--from", json.to_str().unwrap()];
        for _ in 0..2 {
            let svg = scratch(&format!("{name}.svg"));
            assert_eq!(drawn(&[&from[..], &["--svg", svg.to_str().unwrap()]].concat()), "");
            let svg = fs::read_to_string(svg).unwrap();
            well_formed(&svg);
            golden(&format!("{name}.svg"), &svg);
            golden(&format!("{name}.txt"), &drawn(&from));
            let ascii = drawn(&[&from[..], &["--ascii"]].concat());
            assert!(ascii.is_ascii() && !ascii.contains('?'), "{ascii}");
            golden(&format!("{name}.ascii.txt"), &ascii);
            for line in drawn(&from).lines().chain(ascii.lines()) {
                assert!(line.chars().count() <= 79, "wider than a terminal: {line}");
            }
        }
    });
}

/// Each element ends where it should, and attributes are quoted.
fn well_formed(svg: &str) {
    let mut open = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("a tag ends");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{tag}");
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        assert!(tag.matches('"').count() % 2 == 0, "{tag}");
    }
    assert!(open.is_empty(), "{open:?}");
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox="));
    assert!(svg.contains("@media (prefers-color-scheme:dark)"));
}

/// A test for each recording: its name, its file.
macro_rules! recordings {
    ($($name:ident $file:literal)*) => {
        $(#[test] fn $name() { recorded_run_is_drawn_as_before($file) })*
    };
}

recordings! {
    recorded_blocking "blocking"
    recorded_nonblocking "nonblocking"
    recorded_epoll "epoll"
    recorded_threads "threads"
    recorded_with_tracepoints "kernel"
    recorded_without_stamps "unstamped"
    recorded_lanes_of_blocking "blocking-lanes"
    recorded_lanes_of_epoll "epoll-lanes"
    recorded_lanes_of_threads "threads-lanes"
    recorded_all "all"
}

/// A client's thread may have started before another's and connected after it.
#[test]
fn clients_are_named_in_the_order_of_their_connecting() {
    watchdog(PATIENCE, || {
        let text = fs::read_to_string(recorded("blocking-lanes.json")).unwrap();
        let Value::Object(mut members) = Value::parse(&text).unwrap() else { panic!("{text}") };
        let clients = members.iter_mut().find(|(name, _)| name == "clients");
        let Some((_, Value::List(clients))) = clients else { panic!("{text}") };
        assert_eq!(clients.len(), 3);
        clients.rotate_left(1);
        let turned = scratch("turned.json");
        fs::write(&turned, Value::Object(members).to_string()).unwrap();
        golden("blocking-lanes.txt", &drawn(&["--from", turned.to_str().unwrap()]));
    });
}

/// The heights of the rectangles of a class.
fn heights(svg: &str, class: &str) -> Vec<f64> {
    let rects = svg
        .lines()
        .filter(|line| line.starts_with("<rect ") && line.contains(&format!("class=\"{class}\"")));
    rects
        .map(|rect| {
            rect.split("height=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
        })
        .collect()
}

fn text(value: &Value) -> &str {
    let Value::Text(text) = value else { panic!("{value}") };
    text
}

fn list(value: Option<&Value>) -> &[Value] {
    let Some(Value::List(list)) = value else { panic!("{value:?}") };
    list
}

for_each_model! {
    fn a_live_figure_has_the_numbers_of_its_own_run(model: &str) {
        const DELAY: u64 = 20_000_000;
        let path = scratch(&format!("live-{model}.svg"));
        let json = drawn(&[model, "--delay", "20ms", "--json", "--svg", path.to_str().unwrap()]);
        let (json, svg) = (Value::parse(&json).unwrap(), fs::read_to_string(path).unwrap());
        well_formed(&svg);
        let times = list(json.get("figure"));
        let time = |what: &str| times.iter().find(|time| text(time.get("what").unwrap()) == what);
        for time in times {
            assert!(svg.contains(text(time.get("shown").unwrap())), "{time} is not in {svg}");
        }
        let ns = |what: &str| time(what).and_then(|time| time.count("ns"));
        let (wait, copy) = (ns("wait").unwrap(), ns("copy").unwrap());
        assert!(wait >= DELAY, "waited {wait} ns");
        // The same as in the report, which adds up all inputs: there was one.
        assert_eq!(json.count("report.phases.wait.total_ns"), Some(wait));
        assert_eq!(json.count("report.phases.copy.total_ns"), Some(copy));
        assert_eq!(json.count("report.phases.send.total_ns"), ns("send"));
        assert_eq!(json.count("delay_ns"), Some(DELAY));
        assert_eq!(list(json.get("clients")).len(), 1);
        // In proportion the copy would be a hundredth of a pixel.
        let [copy_height] = heights(&svg, "copy")[..] else { panic!("{svg}") };
        let [wait_height] = heights(&svg, "wait")[..] else { panic!("{svg}") };
        assert!(copy_height >= 60.0, "{copy_height}");
        // A busy machine may hold the copy up for as long as the wait; heights grow with powers of ten.
        if wait >= 10 * copy {
            assert!(wait_height > copy_height, "{wait_height}, {copy_height}");
            assert!(svg.contains("The axis is broken: this wait is "));
        }
        // Drawn once more from what was printed.
        let printed = scratch(&format!("live-{model}.json"));
        fs::write(&printed, json.to_string()).unwrap();
        let again = scratch(&format!("again-{model}.svg"));
        drawn(&["--from", printed.to_str().unwrap(), "--svg", again.to_str().unwrap()]);
        assert!(fs::read_to_string(again).unwrap() == svg, "another figure from the same run");
        let shown = drawn(&["--from", printed.to_str().unwrap()]);
        assert!(shown.contains(text(time("wait").unwrap().get("shown").unwrap())), "{shown}");
    }
}

/// A run of three clients: for each its connect's, first receive's and leaving's times.
fn three(model: &str) -> Vec<[u64; 3]> {
    let json =
        Value::parse(&drawn(&[model, "--delay", "20ms", "--clients", "3", "--json"])).unwrap();
    let events = list(json.get("report.events")).to_vec();
    let clients = list(json.get("clients"));
    assert_eq!(clients.len(), 3);
    let seen = clients.iter().map(|client| {
        let name = client.get("client").unwrap();
        let received = |event: &&Value| {
            event.get("what") == Some(&"receive".into()) && event.get("client") == Some(name)
        };
        let first = events.iter().find(received).unwrap_or_else(|| panic!("{name} is not served"));
        [client.count("connected_ns"), first.count("start_ns"), client.count("left_ns")]
            .map(Option::unwrap)
    });
    seen.collect()
}

#[test]
fn one_blocking_process_makes_the_third_client_wait_for_the_first_two() {
    watchdog(PATIENCE, || {
        let [first, second, third] = three("blocking")[..] else { panic!() };
        assert!(
            second[0] < first[2] && third[0] < first[2],
            "they did not come while the first was there"
        );
        // The client leaves before the server sees it.
        assert!(second[1] > first[2] && third[1] > second[2]);
    });
}

#[test]
fn epoll_threads_and_children_serve_the_third_while_the_first_is_there() {
    watchdog(PATIENCE, || {
        for model in ["epoll", "threads", "thread-pool", "prefork", "fork"] {
            let [first, _, third] = three(model)[..] else { panic!() };
            assert!(third[1] < first[2], "{model}: {first:?}, {third:?}");
        }
    });
}

#[test]
fn all_models_stand_side_by_side() {
    watchdog(PATIENCE, || {
        let path = scratch("all.svg");
        let json = drawn(&["all", "--delay", "5ms", "--json", "--svg", path.to_str().unwrap()]);
        let (json, svg) = (Value::parse(&json).unwrap(), fs::read_to_string(path).unwrap());
        well_formed(&svg);
        let runs = list(json.get("runs"));
        let models: Vec<_> = runs.iter().map(|run| text(run.get("model").unwrap())).collect();
        assert_eq!(models, support::TESTED_MODELS);
        // All but nonblocking, which asks instead.
        let models = models.len();
        assert_eq!(
            (heights(&svg, "copy").len(), heights(&svg, "wait").len()),
            (models, models - 1)
        );
        for run in runs {
            let [name, times] = [run.get("model"), run.get("figure")];
            assert!(svg.contains(&format!(">{}<", text(name.unwrap()))));
            for time in list(times).iter().take(1) {
                assert!(svg.contains(text(time.get("shown").unwrap())), "{time}");
            }
        }
    });
}

#[test]
fn a_report_of_a_server_that_others_have_called_is_drawn() {
    watchdog(PATIENCE, || {
        let path = scratch("served.json");
        let flags = ["--report", path.to_str().unwrap(), "--events", "100"];
        let server = support::serve("epoll").args(&flags).start();
        let mut clients = [server.connect(), server.connect()];
        clients.iter_mut().for_each(|client| support::exchange(client, b"hello"));
        drop(clients);
        server.stop().clean();
        let from = ["--from", path.to_str().unwrap()];
        assert!(drawn(&from).contains("the input that waited longest in a recorded run"));
        let lanes = drawn(&[&from[..], &["--clients", "2"]].concat());
        assert!(
            lanes.contains("2 clients of a recorded run") && lanes.contains("the process"),
            "{lanes}"
        );
    });
}

#[test]
fn a_locale_without_unicode_and_a_stream_that_is_no_terminal() {
    watchdog(PATIENCE, || {
        let json = recorded("epoll.json");
        let output = |locale: &str| {
            let mut command = Command::new(WAITCOPY);
            command.args(["draw", "--from"]).arg(&json);
            command.env_remove("LC_CTYPE").env_remove("LANG").env("LC_ALL", locale);
            command.output().unwrap().stdout
        };
        for (locale, ascii) in
            [("C", true), ("de_DE.UTF-8", false), ("en_US.utf8", false), ("POSIX", true)]
        {
            let drawn = output(locale);
            assert_eq!(drawn.is_ascii(), ascii, "{locale}");
            assert!(!drawn.contains(&0x1b), "colours without a terminal");
        }
    });
}

#[test]
fn nonsense_is_refused_in_one_line() {
    watchdog(PATIENCE, || {
        let refused = |words: &str, code, said: &str| {
            assert_refused(Command::new(WAITCOPY).args(words.split(' ')), code, said);
        };
        refused("draw", 2, "which model?; there are all, blocking, ");
        refused("draw epol", 2, "no model 'epol' (did you mean epoll?); there are ");
        refused("draw epoll --delay 5", 2, "--delay 5: a time has a unit");
        refused("draw epoll --delay 1us", 2, "--delay: from 1ms to 10s");
        refused("draw epoll --delay 1m", 2, "--delay: from 1ms to 10s");
        refused("draw epoll --clients 0", 2, "--clients 0: a whole number, 1 or more");
        refused("draw epoll --clients 9", 2, "--clients: at most 8");
        refused("draw all --clients 2", 2, "draw all has one client for each model");
        refused("draw epoll --from /dev/null", 2, "--from has its run");
        refused(
            "draw --from /nowhere.json",
            1,
            "read /nowhere.json: no such file or directory (ENOENT)",
        );
        refused("draw --from /dev/null", 1, "/dev/null: JSON: ");
        let all = recorded("all.json");
        let all = format!("draw --from {} --clients 2", all.display());
        refused(&all, 2, "--from has several runs of one client each: no --clients beside it");
        // Before the run, which would take ten seconds.
        let started = std::time::Instant::now();
        refused(
            "draw epoll --delay 10s --svg /nowhere/x.svg",
            1,
            "open /nowhere/x.svg: no such file",
        );
        refused("draw epoll --delay 10s --svg /", 1, "open /: is a directory (EISDIR)");
        assert!(started.elapsed().as_secs() < 5);
    });
}

#[test]
fn a_broken_recording_is_refused_with_what_is_wrong() {
    watchdog(PATIENCE, || {
        let event = |rest: &str| {
            format!(
                r#"{{"model": "epoll", "events": [{{"what": "wait", "call": "poll", "process": 1, "flow": 1{rest}}}]}}"#
            )
        };
        let cases = [
            ("[]".to_owned(), "it is no report: no member 'model'"),
            (r#"{"model": "kqueue"}"#.to_owned(), "there is no model 'kqueue'"),
            (
                r#"{"model": "epoll"}"#.to_owned(),
                "it has no events: serve with --report FILE --events N",
            ),
            (r#"{"model": "epoll", "events": []}"#.to_owned(), "nothing was received in this run"),
            (r#"{"runs": []}"#.to_owned(), "there is no run to draw"),
            (event(""), "events[0]: start_ns is no whole number"),
            (event(r#", "start_ns": 5, "end_ns": 4"#), "events[0]: it ends before it begins"),
            (
                event(r#", "start_ns": 5, "end_ns": 6"#).replace("\"poll\"", "\"fly\""),
                "events[0]: no call 'fly'",
            ),
            (
                event(r#", "start_ns": 5, "end_ns": 6, "client": "me""#),
                "events[0]: client 'me' is no address",
            ),
            (
                r#"{"report": {"model": "epoll", "events": []}, "clients": [{}]}"#.to_owned(),
                "clients[0] is broken",
            ),
        ];
        for (n, (json, said)) in cases.iter().enumerate() {
            let path = scratch(&format!("broken-{n}.json"));
            fs::write(&path, json).unwrap();
            let output = draw(&["--from", path.to_str().unwrap()]);
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.code() == Some(1) && stderr.contains(said), "{json}: {stderr}");
            assert!(stderr.lines().count() == 1 && output.stdout.is_empty(), "{json}: {stderr}");
        }
    });
}

#[test]
fn a_run_that_is_broken_off_leaves_nothing_behind() {
    watchdog(PATIENCE, || {
        let svg = scratch("broken-off.svg");
        let mut child = Command::new(WAITCOPY)
            .args(["draw", "fork", "--delay", "10s", "--svg", svg.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let process = child.id();
        // The server, and its child, which serves.
        until("the server serves", || {
            children(process).first().is_some_and(|server| !children(*server).is_empty())
        });
        let server = children(process)[0];
        let family = [vec![server], children(server)].concat();
        waitcopy::sys::kill(process, waitcopy::sys::SIGINT).unwrap();
        assert!(!child.wait().unwrap().success());
        until("all of its processes are gone", || {
            family.iter().all(|process| matches!(state(*process), 'X' | 'Z'))
        });
        assert!(!svg.exists());
        let ours = format!("waitcopy-{process}-");
        let left = fs::read_dir(std::env::temp_dir()).unwrap().flatten();
        let left: Vec<_> =
            left.filter(|entry| entry.file_name().to_string_lossy().starts_with(&ours)).collect();
        assert!(left.is_empty(), "{left:?}");
    });
}
