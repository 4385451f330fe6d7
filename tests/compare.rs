//! The main job: honest about what it sees.

mod support;

use std::process::Command;
use std::thread;
use support::{PATIENCE, TESTED_MODELS, WAITCOPY, watchdog};
use waitcopy::json::Value;
use waitcopy::model::CATALOGUE;

#[test]
fn every_model_has_its_tests() {
    assert_eq!(CATALOGUE.each_ref().map(|model| model.name), TESTED_MODELS);
}

#[test]
fn the_table_has_a_row_and_the_json_a_cell_per_model_and_count() {
    watchdog(PATIENCE, || {
        let quick = ["compare", "--duration", "90ms", "--connections", "1,3"];
        let table = Command::new(WAITCOPY).args(quick).output().unwrap();
        assert_eq!(table.status.code(), Some(0), "{table:?}");
        let text = String::from_utf8(table.stdout).unwrap();
        for model in TESTED_MODELS {
            let rows = text.lines().filter(|line| line.split(' ').next() == Some(model)).count();
            assert_eq!(rows, 2, "{text}");
        }
        // Not a terminal: a line of progress per cell, on standard error.
        assert_eq!(
            String::from_utf8(table.stderr).unwrap().lines().count(),
            2 * TESTED_MODELS.len()
        );

        let json = Command::new(WAITCOPY).args(quick).args(["epoll", "--json"]).output().unwrap();
        let json = Value::parse(&String::from_utf8(json.stdout).unwrap()).unwrap();
        let Some(Value::List(cells)) = json.get("cells") else { panic!("{json}") };
        assert_eq!(cells.len(), 2);
        for cell in cells {
            assert_eq!(cell.get("sound"), Some(&Value::Bool(true)));
            let calls = cell.get("calls_per_request");
            assert!(matches!(calls, Some(&Value::Number(n)) if n > 1.5 && n < 4.0), "{calls:?}");
            assert!(cell.count("plain.requests").unwrap() > 0);
            assert!(cell.count("server_cpu_ns_per_request").unwrap() > 0);
        }
    });
}

#[test]
fn no_server_outlives_a_killed_comparison() {
    watchdog(PATIENCE, || {
        let mut compare = Command::new(WAITCOPY)
            .args(["compare", "epoll", "--duration", "30s", "--connections", "1"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let pid = compare.id();
        let children = format!("/proc/{pid}/task/{pid}/children");
        let mut server = None;
        support::until("the comparison has a server", || {
            let list = std::fs::read_to_string(&children).unwrap();
            server = list.split_whitespace().next().map(str::to_owned);
            server.is_some()
        });
        let status = format!("/proc/{}/stat", server.unwrap());
        // Between fork and exec the child is still a copy of its parent.
        support::until("it serves", || {
            std::fs::read_to_string(&status).is_ok_and(|stat| stat.contains("(waitcopy) S"))
        });
        compare.kill().unwrap();
        compare.wait().unwrap();
        support::until("the server has ended", || {
            std::fs::read_to_string(&status).map_or(true, |stat| stat.contains(") Z "))
        });
    });
    thread::yield_now();
}

#[test]
fn the_doctor_names_each_ability_with_a_remedy_where_it_is_missing() {
    watchdog(PATIENCE, || {
        let doctor = Command::new(WAITCOPY).args(["doctor", "--json"]).output().unwrap();
        assert_eq!(doctor.status.code(), Some(0));
        let json = Value::parse(&String::from_utf8(doctor.stdout).unwrap()).unwrap();
        let names: Vec<_> = json.members("abilities").map(|(name, _)| name).collect();
        for name in ["toolchain", "strace", "tracefs", "io_uring", "descriptors", "somaxconn"] {
            assert!(names.contains(&name), "{name} missing in {names:?}");
        }
        for (name, ability) in json.members("abilities") {
            let remedy =
                matches!(ability.get("remedy"), Some(Value::Text(text)) if !text.is_empty());
            assert_eq!(ability.get("good"), Some(&Value::Bool(!remedy)), "{name}");
        }
    });
}
