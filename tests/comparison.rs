//! `waitcopy compare`: a cell for every model and point, and a reason where there is none.

mod support;

use std::fs;
use std::process::{Command, Output};
use support::{
    PATIENCE, TESTED_MODELS, WAITCOPY, assert_refused, many_descriptors, scratch, watchdog,
};
use waitcopy::json::Value;
use waitcopy::lab::compare::{self, Cell, Comparison, Figure, Kind, Plan, Point};
use waitcopy::model::find;
use waitcopy::phase::Waits;

fn compare(words: &str) -> Output {
    let mut command = Command::new(WAITCOPY);
    command.arg("compare").args(words.split(' ')).env("LC_ALL", "C.UTF-8").output().unwrap()
}

fn printed(words: &str) -> String {
    let output = compare(words);
    assert_eq!(output.status.code(), Some(0), "{words}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn measured(words: &str) -> Comparison {
    let text = printed(&format!("{words} --json"));
    Comparison::from_json(&Value::parse(&text).unwrap()).unwrap()
}

fn end(comparison: &Comparison, model: &str, point: Point) -> Option<(Kind, String)> {
    let cell = comparison.cell(model, point).unwrap();
    cell.end.as_ref().map(|end| (end.kind, end.reason.clone()))
}

/// A row of the table and a cell of the JSON for every model at every point, and the JSON read back is the same table.
#[test]
fn every_model_has_a_row_and_a_cell_at_each_point() {
    watchdog(PATIENCE, || {
        let output = compare("--duration 150ms --connections 1,3 --idle none --json");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        // Not a terminal: how long it takes, and a line of progress per visit, on standard error.
        let progress = String::from_utf8(output.stderr).unwrap();
        let models = TESTED_MODELS.len();
        let begins = format!("{models} models at 2 points, {} measurements: about ", 2 * models);
        assert!(progress.starts_with(&begins), "{progress}");
        assert_eq!(progress.lines().count(), 1 + 2 * TESTED_MODELS.len());

        let text = String::from_utf8(output.stdout).unwrap();
        let value = Value::parse(&text).unwrap();
        let comparison = Comparison::from_json(&value).unwrap();
        assert!(format!("{:#}\n", comparison.to_json()) == text, "what was read back differs");
        assert_eq!(comparison.models(), TESTED_MODELS);
        assert_eq!(comparison.points(), [Point::busy(1), Point::busy(3)]);
        comparison.cells.iter().for_each(assert_whole);
        // Not told where they took too long to read, which may be some cells of a busy machine.
        assert!(comparison.cells.iter().any(|cell| cell.value(Figure::Switches).is_some()));
        let of = |model| end(&comparison, model, Point::busy(3));
        let (kind, reason) = of("blocking").unwrap();
        assert_eq!(
            (kind, reason.as_str()),
            (Kind::OneAtATime, "serves 1 client at a time: 2 of 3 never served")
        );
        assert_eq!(TESTED_MODELS.iter().filter(|model| of(model).is_some()).count(), 1);

        let file = scratch("every.json");
        fs::write(&file, &text).unwrap();
        let from = format!("--from {}", file.display());
        assert_eq!(printed(&format!("{from} --json")), text);
        let table = printed(&from);
        for model in TESTED_MODELS {
            let rows = table.lines().filter(|line| line.split(' ').next() == Some(model));
            assert_eq!(rows.count(), 2, "{table}");
        }
        assert!(
            table.contains("blocking    ends: serves 1 client at a time: 2 of 3 never served\n"),
            "{table}"
        );
        assert!(
            table.contains('\u{2588}') && table.lines().all(|line| line.chars().count() <= 100),
            "{table}"
        );
        let ascii = Command::new(WAITCOPY)
            .args(["compare", "--from"])
            .arg(&file)
            .env("LC_ALL", "C")
            .output();
        assert!(ascii.unwrap().stdout.is_ascii());
    });
}

/// All figures that a cell promises are there and plausible.
fn assert_whole(cell: &Cell) {
    let (name, point) = (&cell.model, cell.point);
    assert!(cell.sound(), "{cell:?}");
    let value = |figure: Figure| {
        cell.figure(figure).unwrap_or_else(|| panic!("{name}, {point}: {figure:?}")).median
    };
    for figure in
        [Figure::Rate, Figure::P50, Figure::P99, Figure::P999, Figure::Cpu, Figure::Memory]
    {
        assert!(value(figure) > 0.0, "{name}, {point}: {figure:?}");
    }
    assert!(value(Figure::P50) <= value(Figure::P99) && value(Figure::P99) <= value(Figure::P999));
    let calls = value(Figure::Calls);
    if name == "nonblocking" {
        // It asks in vain at least now and then, and each vain call is a call.
        assert!(value(Figure::Again) > 0.0 && calls > 2.0 + 0.99 * value(Figure::Again), "{calls}");
    } else if cell.samples[0].recorded.requests > 100 {
        // What the notes say: two where a receive waits, three where a readiness call comes before. That one, and a ring's, may be shared
        // by all clients, of whom each has one message in flight; of signals each is taken alone, or none where it looks anyway.
        let model = find(name).unwrap();
        let most = model.calls_per_request() as f64;
        let shared = if model.waits == Waits::InCall { 0.0 } else { 1.0 };
        let clients = if name == "sigio" { f64::INFINITY } else { point.connections as f64 };
        let least = most - shared + shared / clients;
        // At both ends of the measured time a request may be counted without all of its calls.
        assert!(
            (least - 0.05..=most + 0.3).contains(&calls),
            "{name}, {point}: {calls}, not {least} to {most}"
        );
    }
    let shares: f64 = compare::PARTS.iter().map(|part| cell.share(part).unwrap()).sum();
    assert!((shares - 100.0).abs() < 1e-6, "{name}: {shares}");
    assert!(
        cell.samples[0].latency.buckets.iter().map(|(_, n)| n).sum::<u64>()
            == cell.samples[0].plain.requests
    );
}

#[test]
fn a_line_that_ends_says_why() {
    watchdog(PATIENCE, || {
        let Some(_guard) = many_descriptors(2300) else { return };
        let comparison = measured(
            "blocking select epoll thread-pool prefork --connections 2,70,1100 --idle none --duration 90ms",
        );
        let of = |model, clients| end(&comparison, model, Point::busy(clients));
        for clients in [2, 70, 1100] {
            assert_eq!(of("epoll", clients), None);
        }
        assert_eq!(of("select", 70), None);
        let (kind, reason) = of("select", 1100).unwrap();
        assert_eq!(kind, Kind::SetFull);
        let said = "its sets end at descriptor 1023: ";
        assert!(
            reason.starts_with(said) && reason.ends_with(" of 1,100 clients turned away"),
            "{reason}"
        );
        assert!(matches!(of("blocking", 2), Some((Kind::OneAtATime, _))));
        let later = "not tried, its line has ended at 2 clients".to_owned();
        assert_eq!(of("blocking", 70), Some((Kind::OneAtATime, later)));
        for pool in ["thread-pool", "prefork"] {
            assert_eq!(of(pool, 2), None);
            let reason = "serves 64 clients at a time: 6 of 70 never served".to_owned();
            assert_eq!(of(pool, 70), Some((Kind::PoolFull, reason)));
            assert!(matches!(of(pool, 1100), Some((Kind::PoolFull, _))));
        }
        // Whoever has no figure has a reason, and nobody is an error for it.
        for cell in &comparison.cells {
            assert!(cell.end.is_some() || cell.samples.len() == 1, "{cell:?}");
            assert!(cell.sound(), "{cell:?}");
            assert_eq!(cell.value(Figure::Rate).is_some(), cell.end.is_none());
        }
    });
}

#[test]
fn few_descriptors_end_every_line_with_that_reason() {
    watchdog(PATIENCE, || {
        let script = format!(
            "ulimit -n 40; exec {WAITCOPY} compare epoll --connections 1,30 --idle none --duration 60ms --json"
        );
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let comparison = Comparison::from_json(&Value::parse(&text).unwrap()).unwrap();
        assert_eq!(end(&comparison, "epoll", Point::busy(1)), None);
        let (kind, reason) = end(&comparison, "epoll", Point::busy(30)).unwrap();
        assert_eq!(kind, Kind::Descriptors);
        assert!(reason.contains("the 40 descriptors"), "{reason}");
    });
}

#[test]
fn idle_clients_cost_poll_and_not_epoll() {
    watchdog(PATIENCE, || {
        let Some(_guard) = many_descriptors(2000) else { return };
        let comparison =
            measured("poll epoll prefork --connections 10 --idle 900 --duration 200ms");
        assert_eq!(comparison.points(), [Point::busy(10), Point::among(900)]);
        let cell = |model| comparison.cell(model, Point::among(900)).unwrap();
        let cpu = |model| cell(model).value(Figure::Cpu).unwrap();
        // Four times and more on an idle machine.
        assert!(cpu("poll") > 1.5 * cpu("epoll"), "{} {}", cpu("poll"), cpu("epoll"));
        for model in ["poll", "epoll"] {
            let bytes = cell(model).value(Figure::PerConnection).unwrap();
            assert!((20.0..4000.0).contains(&bytes), "{model}: {bytes}");
        }
        let (kind, reason) = end(&comparison, "prefork", Point::among(900)).unwrap();
        assert_eq!(kind, Kind::PoolFull);
        assert_eq!(reason, "serves 64 clients at a time: 846 of 910 would wait unserved");
        assert!(cell("prefork").samples.is_empty());
    });
}

#[test]
fn rounds_take_turns_and_give_medians() {
    watchdog(PATIENCE, || {
        let output = compare(
            "poll epoll select --connections 1 --idle none --duration 150ms --repeat 3 --json",
        );
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let progress = String::from_utf8(output.stderr).unwrap();
        let order: Vec<_> =
            progress.lines().skip(1).filter_map(|line| line.split(' ').nth(3)).collect();
        // Turned by a third each round, and the second one backwards.
        let rounds =
            [["select", "poll", "epoll"], ["select", "epoll", "poll"], ["epoll", "select", "poll"]];
        assert_eq!(order, rounds.concat(), "{progress}");
        let text = String::from_utf8(output.stdout).unwrap();
        let comparison = Comparison::from_json(&Value::parse(&text).unwrap()).unwrap();
        for cell in &comparison.cells {
            assert_eq!(
                cell.samples.iter().map(|sample| sample.round).collect::<Vec<_>>(),
                [0, 1, 2]
            );
            let rate = cell.figure(Figure::Rate).unwrap();
            assert!(rate.low <= rate.median && rate.median <= rate.high && rate.low < rate.high);
        }
    });
}

/// What `waitcopy claims` uses.
#[test]
fn one_cell_can_be_measured_by_the_library() {
    watchdog(PATIENCE, || {
        let plan = Plan::new(Vec::new());
        // The library starts the program that it is in, and a test is no server: the sentence says what it said.
        let failure = compare::measure(&plan, find("epoll").unwrap(), Point::busy(1)).unwrap_err();
        assert!(failure.starts_with("serve epoll does not listen: "), "{failure}");
        let held = compare::measure(&plan, find("blocking").unwrap(), Point::among(5)).unwrap();
        assert!(
            held.samples.is_empty() && held.end.is_some_and(|end| end.kind == Kind::OneAtATime)
        );
    });
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_measured() {
    watchdog(PATIENCE, || {
        let refused = |words: &str, code, said: &str| {
            assert_refused(
                Command::new(WAITCOPY).arg("compare").args(words.split(' ')),
                code,
                said,
            );
        };
        refused("epol", 2, "no model 'epol' (did you mean epoll?)");
        for list in ["0", "-1", "1,,2", "", "x", "1.5", "1;2", "99999999"] {
            let said = format!(
                "--connections {list}: whole numbers from 1 to 1000000 with commas are expected"
            );
            refused(&format!("--connections={list}"), 2, &said);
        }
        refused("--idle 0", 2, "--idle 0: whole numbers from 1");
        refused("--connections none", 2, "--connections none: whole numbers from 1");
        refused("--repeat 0", 2, "--repeat 0: a whole number, 1 or more, is expected");
        refused("--repeat 5000", 2, "--repeat 5000: at most 1000");
        refused("--duration 0s", 2, "--duration 0s");
        refused("--size 0", 2, "--size 0: a whole number");
        refused(
            "--html /nonexistent/page.html",
            1,
            "open /nonexistent/page.html: no such file or directory (ENOENT)",
        );
        refused("--html /", 1, "open /: is a directory (EISDIR)");
        refused("--from x --repeat 2", 2, "--repeat measures, and --from reads what was measured");
        refused("--from x --kernel", 2, "--kernel measures, and --from reads what was measured");
        let page = scratch("no-claims.html");
        let words = format!("--from tests/pages/recorded.json --claims --html {}", page.display());
        refused(&words, 2, "--claims measures, and --from reads what was measured");
        assert!(!page.exists());
        refused("--from x epoll", 2, "--from reads what was measured: it takes no models");
        refused("--from /nonexistent", 1, "read /nonexistent: no such file or directory (ENOENT)");
    });
}

#[test]
fn a_file_that_is_no_comparison_is_refused_and_leaves_no_page() {
    watchdog(PATIENCE, || {
        let (file, new, old) = (scratch("no.json"), scratch("new.html"), scratch("old.html"));
        fs::write(&old, "what was there").unwrap();
        let cases = [
            ("", "JSON: a value expected at byte 0"),
            ("{}", "no comparison: it has no member 'schema'"),
            ("{\"schema\": 2}", "schema 2 is not known here, only 1"),
            ("{\"schema\": 1, \"waitcopy\": 7}", "no comparison: waitcopy is not a string"),
        ];
        let page = include_str!("pages/recorded.json");
        let broken = page.replacen("\"p99_ns\"", "\"p98_ns\"", 1);
        let broken = (
            broken.as_str(),
            "no comparison: cells[0].samples[0].latency.p99_ns is not a whole number",
        );
        for (text, said) in cases.into_iter().chain([broken]) {
            fs::write(&file, text).unwrap();
            for html in [&new, &old] {
                let mut command = Command::new(WAITCOPY);
                command.args(["compare", "--from"]).arg(&file).arg("--html").arg(html);
                assert_refused(&mut command, 1, &format!("{}: {said}", file.display()));
            }
        }
        assert!(!new.exists());
        assert_eq!(fs::read_to_string(&old).unwrap(), "what was there");
    });
}
