//! The kernel's own word where it is shown: `inspect`, `draw` and `compare` with `--kernel`.

mod support;
#[path = "support/tracefs.rs"]
mod tracefs;

use std::fs;
use std::process::Command;
use support::{WAITCOPY, scratch};
use tracefs::with_tracefs;
use waitcopy::json::Value;
use waitcopy::model;
use waitcopy::phase::Waits;

#[test]
fn inspect_prints_the_kernels_word_beside_the_recorders() {
    with_tracefs("inspect_prints_the_kernels_word_beside_the_recorders", || {
        let words = ["inspect", "all", "--kernel", "--messages", "4", "--json"];
        let output = Command::new(WAITCOPY).args(words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let value = Value::parse(&String::from_utf8(output.stdout).unwrap()).unwrap();
        let Value::List(models) = value else { panic!("no list") };
        assert_eq!(models.len(), model::CATALOGUE.len());
        let mut copied = 0;
        for (value, model) in models.iter().zip(&model::CATALOGUE) {
            let Some(Value::List(requests)) = value.get("requests") else { panic!("{value}") };
            assert_eq!(requests.len(), 4, "{}", model.name);
            for request in requests {
                let figure = |name: &str| request.count(&format!("receive.{name}")).unwrap();
                assert_eq!(figure("bytes"), 64);
                copied += figure("copied_ns");
                // A ring's call returns how many operations it has taken in.
                assert_eq!(figure("result") == 64, model.waits != Waits::Completion);
                assert_eq!(
                    request.get("readiness") != Some(&Value::Null),
                    model.waits == Waits::Readiness
                );
                assert!(
                    matches!(request.get("recorder"), Some(Value::Text(said)) if said.starts_with("wait "))
                );
            }
            let mean = |name: &str| value.count(&format!("means_ns.{name}"));
            assert!(mean("calibrated_copy").unwrap() < mean("recorder_copy").unwrap(), "{value}");
            if model.waits != Waits::Polling {
                // Both know of the same 5 ms; how they differ is measured, not asserted.
                let (own, kernel) = (mean("recorder_wait").unwrap(), mean("kernel_wait").unwrap());
                assert!(kernel > 2_000_000 && own > kernel / 2, "{}: {own} {kernel}", model.name);
            }
        }
        // Whole microseconds: not each of them has one.
        assert!(copied > 0, "nothing was ever copied");
        let words = ["inspect", "threads", "--kernel", "--messages", "2"];
        let page = Command::new(WAITCOPY).args(words).output().unwrap();
        let page = String::from_utf8(page.stdout).unwrap();
        assert_eq!(
            (
                page.matches("  kernel    recvmsg ").count(),
                page.matches("  recorder  wait ").count()
            ),
            (2, 2),
            "{page}"
        );
        let table = printed(&["inspect", "all", "--kernel", "--messages", "2"]);
        let epoll = printed(&["inspect", "epoll", "--kernel", "--messages", "2"]);
        for line in page.lines().chain(table.lines()).chain(epoll.lines()) {
            assert!(line.chars().count() <= 80, "wider than a terminal: {line}");
        }
    });
}

/// What a command prints, when it succeeds.
fn printed(words: &[&str]) -> String {
    let output = Command::new(WAITCOPY).args(words).env("LC_ALL", "C.UTF-8").output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    let Some(Value::List(list)) = value.get(name) else { panic!("no {name}: {value}") };
    list
}

for_each_model! {
    fn a_figure_has_the_kernels_word_on_its_own_receive(model: &str) {
        let name = model.to_owned();
        let test = format!("a_figure_has_the_kernels_word_on_its_own_receive::{}", model.replace('-', "_"));
        with_tracefs(&test, move || {
            // The kernel's text tells whole microseconds, and five bytes may be copied within one: not each time.
            let told = |_| figure_and_kernel(&name);
            assert!((0..8).any(told), "{name}: nothing is ever copied, or nobody ever woken");
        });
    }
}

/// Draws a run with the kernel watching, and holds its word against the recorder's; whether each of its times is more than none.
fn figure_and_kernel(name: &str) -> bool {
    let polls = model::find(name).unwrap().waits == Waits::Polling;
    let text = printed(&["draw", name, "--kernel", "--delay", "20ms", "--json"]);
    let run = Value::parse(&text).unwrap();
    let events = list(run.get("report").unwrap(), "events");
    let brought = |event: &&Value| {
        event.get("bytes") == Some(&Value::Count(5)) && event.get("phases").is_some()
    };
    let receives: Vec<_> = events.iter().filter(brought).collect();
    let [receive] = receives[..] else { panic!("{text}") };
    let of = |what: &str| receive.count(what).unwrap();
    let [asleep, runnable, copied] =
        ["kernel.asleep_ns", "kernel.runnable_ns", "kernel.copied_ns"].map(of);
    let (wait, copy) = (of("phases.wait_ns"), of("phases.copy_ns"));
    // The wake-up comes after the kernel's stamp, where that divides the call. A microsecond for rounding.
    let most = wait + copy + 1_000;
    let expected = if polls { 0..=0 } else { wait / 2..=most };
    assert!(expected.contains(&asleep), "{asleep} of {wait}: {receive}");
    // One more, for two numbers.
    assert!(asleep + runnable <= most + 1_000, "{runnable} beside {asleep} of {most}: {receive}");
    assert!(!polls || runnable == 0, "who never sleeps is not woken: {receive}");
    assert!(copied <= copy + 1_000, "{copied} of {copy}: {receive}");
    let figure = list(&run, "figure");
    for (what, ns) in [("asleep", asleep), ("runnable", runnable), ("copied", copied)] {
        let shown = figure.iter().find(|time| time.get("what") == Some(&Value::from(what)));
        assert_eq!(shown.and_then(|time| time.count("ns")), Some(ns), "{what}: {figure:?}");
    }
    // What was written draws the same figure as the run itself.
    let file = scratch(&format!("kernel-{name}.json"));
    fs::write(&file, &text).unwrap();
    let drawn = printed(&["draw", "--from", file.to_str().unwrap()]);
    assert!(drawn.contains("copied in "), "{drawn}");
    assert_eq!(drawn.contains("asleep "), !polls, "{drawn}");
    copied > 0 && (polls || runnable > 0)
}

#[test]
fn lanes_and_the_figure_of_all_have_the_kernels_word() {
    with_tracefs("lanes_and_the_figure_of_all_have_the_kernels_word", || {
        let lanes = printed(&["draw", "epoll", "--kernel", "--delay", "10ms", "--clients", "2"]);
        assert!(lanes.contains("By the kernel, 4 receives with their waits: asleep "), "{lanes}");
        let all = printed(&["draw", "all", "--kernel", "--delay", "10ms", "--json"]);
        let file = scratch("kernel-all.json");
        fs::write(&file, &all).unwrap();
        let drawn = printed(&["draw", "--from", file.to_str().unwrap()]);
        let runs = list(&Value::parse(&all).unwrap(), "runs").len();
        assert_eq!(drawn.matches("us)").count(), runs, "{drawn}");
        assert!(drawn.contains("In parentheses"), "{drawn}");
    });
}

#[test]
fn a_comparison_has_the_kernels_word_in_a_third_pass() {
    with_tracefs("a_comparison_has_the_kernels_word_in_a_third_pass", || {
        let base = ["compare", "blocking", "epoll", "nonblocking", "--connections", "1"];
        let short = ["--idle", "none", "--duration", "60ms", "--json"];
        let measured = || printed(&[&base[..], &short, &["--kernel"]].concat());
        let heard = |text: &String| {
            let value = Value::parse(text).unwrap();
            let requests =
                |cell: &Value| list(cell, "samples")[0].count("kernel.requests").unwrap();
            let polls = |cell: &&Value| cell.get("model") == Some(&Value::from("nonblocking"));
            let (polling, others): (Vec<_>, Vec<_>) = list(&value, "cells").iter().partition(polls);
            assert!(others.into_iter().all(|cell| requests(cell) > 0), "{value}");
            polling.into_iter().all(|cell| requests(cell) > 0)
        };
        // On a busy machine a server that polls may not get a turn in so short a time.
        let text = std::iter::repeat_with(measured).take(3).find(heard).expect("it is never heard");
        let value = Value::parse(&text).unwrap();
        assert_eq!(value.count("kernel_ns"), Some(100_000_000));
        for cell in list(&value, "cells") {
            let [sample] = list(cell, "samples") else { panic!("{cell}") };
            let told = |what: &str| sample.count(&format!("kernel.{what}")).unwrap();
            let [requests, asleep, copied] = ["requests", "asleep_ns", "copied_ns"].map(told);
            // One flow: it cannot sleep for longer than the time was. Each message of 64 bytes is copied once.
            assert!(asleep <= told("wall_ns"), "{cell}");
            assert_eq!(told("copied_bytes"), requests * 64);
            // Hundreds of copies of half a microsecond or more: some of them reach into the next whole one.
            assert!(copied > 0, "{cell}");
            let polls = cell.get("model") == Some(&Value::from("nonblocking"));
            assert_eq!(asleep == 0, polls, "{cell}");
            let shown = cell.get("figures").unwrap().get("kernel_copied_ns_per_request").unwrap();
            let Some(&Value::Number(median)) = shown.get("median") else { panic!("{shown}") };
            assert!((median - copied as f64 / requests as f64).abs() < 1e-6, "{median}: {cell}");
        }
        let file = scratch("kernel-compare.json");
        fs::write(&file, &text).unwrap();
        let page = scratch("kernel-compare.html");
        let from = ["compare", "--from", file.to_str().unwrap(), "--html", page.to_str().unwrap()];
        let table = printed(&from);
        assert!(table.lines().next().unwrap().contains("asleep runnable  copied"), "{table}");
        assert!(table.contains("a third pass of 100 ms"), "{table}");
        let page = fs::read_to_string(page).unwrap();
        assert!(
            page.contains("<th scope=\"col\">asleep/req</th>")
                && page.contains("<dt>third pass</dt>")
        );
        // Nobody asked, nobody is told.
        let without = printed(&[&base[..], &short].concat());
        let value = Value::parse(&without).unwrap();
        assert_eq!(value.get("kernel_ns"), Some(&Value::Null));
        let [cell, ..] = list(&value, "cells") else { panic!("{value}") };
        assert_eq!(list(cell, "samples")[0].get("kernel"), Some(&Value::Null));
        fs::write(&file, &without).unwrap();
        let table = printed(&["compare", "--from", file.to_str().unwrap()]);
        assert!(!table.contains("asleep"), "{table}");
    });
}
