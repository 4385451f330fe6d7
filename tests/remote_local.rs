//! The side of a copy that is here: pipes that close, permissions and the umask.
#![cfg(feature = "remote")]

#[path = "support/remote_cli.rs"]
mod remote_cli;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use remote_cli::{Remote, Said, said};
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use support::{PATIENCE, pattern, watchdog};
use waitcopy::lab::sshd::Options;

fn on_a_server(options: Options, test: impl FnOnce(Remote) + Send + 'static) {
    watchdog(PATIENCE, || {
        if let Some(remote) = Remote::start(options) {
            test(remote);
        }
    });
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

/// The same command behind a word of a shell, and killed where it does not end: 1009.
fn ending(before: &str, command: &Command) -> Command {
    let mut ending = Command::new("timeout");
    let script = format!("{before}; exec \"$@\"");
    ending.args(["-s", "KILL", "15", "bash", "-c", &script, "bash"]);
    ending.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    ending.env_remove("SSH_AUTH_SOCK").env_remove("SSH_ASKPASS");
    ending
}

/// A verb with its names, killed where it does not end.
fn run(remote: &Remote, verb: &str, flags: &[&str], names: &[&str]) -> Said {
    said(&mut ending(":", remote.verb(verb, flags).args(names)))
}

fn fifo(remote: &Remote, name: &str) -> PathBuf {
    let path = remote.here(name);
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

/// A directory that nobody else may enter stays so, also where it is the tree's own; one that was there already is left as it is.
#[test]
fn the_root_of_a_tree_has_its_sources_permissions() {
    on_a_server(Options::default(), |remote| {
        let there = remote.home("there");
        fs::create_dir(&there).unwrap();
        fs::write(there.join("file"), "1").unwrap();
        let get = |flags: &[&str], name: &str| {
            let (back, mut get) = (remote.here(name), remote.verb("get", &["-r"]));
            let from = if back.is_dir() { "there/." } else { "there" };
            said(&mut ending("umask 022", get.args(flags).args([from, text(&back)]))).well();
            assert_eq!(fs::read(back.join("file")).unwrap(), b"1");
            mode(&back)
        };
        for (there_mode, here_mode) in [(0o700, 0o700), (0o500, 0o500), (0o770, 0o750)] {
            fs::set_permissions(&there, Permissions::from_mode(there_mode)).unwrap();
            let name = format!("new-{there_mode:o}");
            assert_eq!(get(&[], &name), here_mode, "{there_mode:o}");
        }
        let old = remote.here("old");
        fs::create_dir(&old).unwrap();
        fs::set_permissions(&old, Permissions::from_mode(0o711)).unwrap();
        assert_eq!(get(&[], "old"), 0o711);
        assert_eq!(get(&["--preserve"], "old"), 0o770);
        assert_eq!(get(&["--preserve"], "new"), 0o770);
    });
}

/// Standard output may close, as `| head` does; any other place that does not take the file is a failure.
#[test]
fn a_reader_that_leaves_is_a_failure_unless_it_reads_standard_output() {
    on_a_server(Options::default(), |remote| {
        fs::write(remote.home("large"), pattern(4 << 20, 1)).unwrap();
        fs::write(remote.home("small"), "2").unwrap();
        let folder = remote.here("folder");
        fs::create_dir(&folder).unwrap();
        let leave = |path: &Path| {
            let path = path.to_owned();
            thread::spawn(move || File::open(path).unwrap().read_exact(&mut [0; 10]).unwrap())
        };
        let alone = fifo(&remote, "alone");
        let reader = leave(&alone);
        run(&remote, "get", &[], &["large", text(&alone)]).failed(1, &["large", "EPIPE"]);
        reader.join().unwrap();
        // One of several, and the others come.
        let reader = leave(&fifo(&remote, "folder/large"));
        run(&remote, "get", &[], &["large", "small", text(&folder)])
            .failed(1, &["EPIPE", "1 of 2 files were not copied"]);
        reader.join().unwrap();
        assert_eq!(fs::read(folder.join("small")).unwrap(), b"2");
        // What has failed before is not forgotten for it.
        for (names, code, words) in [
            (&["large", "small", "-"][..], 0, ""),
            (&["none", "large", "-"], 1, "1 of 2 files were not copied"),
        ] {
            let mut get = ending(":", remote.verb("get", &[]).args(names));
            let mut child = get.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            child.stdout.take().unwrap().read_exact(&mut [0; 10]).unwrap();
            let said = Said::of(child.wait_with_output().unwrap()).failed(code, &[words]);
            assert!(!said.err.contains("EPIPE"), "{said:?}");
        }
    });
}
