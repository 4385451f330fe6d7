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
fn no_server_outlives_a_killed_comparison() {
    watchdog(PATIENCE, || {
        let mut compare = Command::new(WAITCOPY)
            .args(["compare", "epoll", "--duration", "30s", "--connections", "1", "--idle", "none"])
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
