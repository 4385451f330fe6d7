//! The command line as its users meet it: what is refused, what is listed, how each command explains itself.

mod support;

use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use support::{PATIENCE, TESTED_MODELS, WAITCOPY, assert_refused, watchdog};
use waitcopy::{json::Value, sys};

/// Each mistake is one line that says what to do instead.
#[test]
fn what_cannot_be_served_is_refused_in_one_line() {
    watchdog(PATIENCE, || {
        let refused = |words: &str, code, said: &str| {
            assert_refused(Command::new(WAITCOPY).args(words.split(' ')), code, said);
        };
        let models = TESTED_MODELS.join(", ");
        refused("serve", 2, &format!("which model?; there are {models}"));
        let near = "no model 'epol' (did you mean epoll?); there are ";
        refused("serve epol", 2, &format!("{near}{models}"));
        refused("serve kqueue", 2, &format!("no model 'kqueue'; there are {models}"));
        refused("serv epoll", 2, "no command 'serv'; there are serve, client");
        refused("serve epoll --listen 8080", 2, "address '8080': HOST:PORT expected");
        refused("serve epoll --nope", 2, "serve has no flag '--nope'");
        refused("serve epoll --listen", 2, "--listen wants a value");
        refused("serve epoll select", 2, "'select' is one argument too many");
        refused(
            "serve prefork --max-connections 3",
            2,
            "--max-connections: prefork has as many as",
        );
        refused(
            "serve epoll --workers 2",
            2,
            "--workers belongs to thread-pool, prefork and reuseport",
        );
        refused("serve threads --queue 2", 2, "--queue belongs to thread-pool");
        refused("serve thread-pool --when-full maybe", 2, "--when-full maybe: wait or refuse");
        refused(
            "serve select --request-timeout 1s",
            2,
            "--request-timeout belongs to models that wait",
        );
        refused("serve epoll --udp --unix /tmp/x", 2, "--udp and --unix: one transport at a time");
        refused("serve epoll --unix /tmp/x --listen 127.0.0.1:1", 2, "--unix has its path");
        refused("client --timeout 1s", 2, "--timeout belongs to datagrams");
        let nowhere = "bind tcp 203.0.113.7:0: cannot assign requested address (EADDRNOTAVAIL)";
        refused("serve epoll --listen 203.0.113.7:0", 1, nowhere);
        // Loading the program takes the one number beside the standard three, and gives it back.
        let mut prlimit = Command::new("prlimit");
        let bare = ["--nofile=4:4", WAITCOPY, "serve", "epoll", "--listen", "127.0.0.1:0"];
        assert_refused(
            prlimit.args(bare),
            1,
            "socket tcp 127.0.0.1:0: too many open files (EMFILE)",
        );
    });
}

#[test]
fn a_privileged_port_is_refused_in_one_line() {
    watchdog(PATIENCE, || {
        let first =
            std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
        if first.trim().parse::<u32>().unwrap() <= 80 {
            return support::skip(
                "no port is privileged here (net.ipv4.ip_unprivileged_port_start)",
            );
        }
        // Root may bind it; nobody (65534) may not, but must be able to reach the program.
        let as_nobody = || {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--clear-groups", WAITCOPY]);
            command
        };
        let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        let unprivileged = || if root { as_nobody() } else { Command::new(WAITCOPY) };
        if !unprivileged().arg("--version").output().unwrap().status.success() {
            return support::skip("no program is in reach of an unprivileged user here");
        }
        let said = "bind tcp 127.0.0.1:80: permission denied (EACCES)";
        let words = ["serve", "epoll", "--listen", "127.0.0.1:80"];
        assert_refused(unprivileged().args(words), 1, said);
    });
}

fn printed(words: &[&str]) -> String {
    let output = Command::new(WAITCOPY).args(words).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_program_lists_the_models_that_are_tested_here() {
    watchdog(PATIENCE, || {
        assert_eq!(printed(&["models", "--names"]).lines().collect::<Vec<_>>(), TESTED_MODELS);
        let Ok(Value::List(models)) = Value::parse(&printed(&["models", "--json"])) else {
            panic!("no JSON list")
        };
        let names: Vec<_> = models.iter().filter_map(|model| model.get("name")).collect();
        assert_eq!(names, TESTED_MODELS.map(Value::from).iter().collect::<Vec<_>>());
    });
}

#[test]
fn every_command_explains_itself() {
    watchdog(PATIENCE, || {
        let overview = printed(&["--help"]);
        let commands = [
            "serve", "client", "load", "compare", "draw", "inspect", "claims", "remote", "models",
            "doctor",
        ];
        for command in commands {
            let usage = format!("waitcopy {command} ");
            assert!(overview.contains(&usage), "{overview}");
            assert!(printed(&[command, "--help"]).starts_with(&usage));
        }
        assert_eq!(overview.matches("\n  waitcopy ").count(), commands.len() + 1, "and --version");
    });
}

/// As behind `| head -1`. The reader of this pipe is gone before the program starts.
#[test]
fn a_closed_pipe_ends_quietly() {
    watchdog(PATIENCE, || {
        for words in [&["models"][..], &["models", "--json"], &["--help"], &["serve", "--help"]] {
            let (_, closed) = sys::socketpair().unwrap();
            let mut command = Command::new(WAITCOPY);
            let output = command.args(words).stdout(closed).stderr(Stdio::piped()).spawn().unwrap();
            let output = output.wait_with_output().unwrap();
            assert!(output.status.success() && output.stderr.is_empty(), "{words:?}: {output:?}");
        }
    });
}

#[test]
fn the_readme_shows_a_table_of_this_catalogue() {
    let readme = include_str!("../README.md");
    for model in TESTED_MODELS {
        let rows = readme.lines().filter(|line| line.split(' ').next() == Some(model));
        // Measured at each point, or the reason why not.
        let told = |row: &&str| row.contains('%') || row.contains("ends: ");
        assert_eq!(rows.filter(told).count(), 4, "{model}");
    }
}

#[cfg(not(feature = "remote"))]
#[test]
fn without_its_feature_remote_says_how_to_get_it() {
    let mut command = Command::new(WAITCOPY);
    assert_refused(
        command.args(["remote", "exec", "host", "--", "df"]),
        69,
        "remote: not built in",
    );
}
