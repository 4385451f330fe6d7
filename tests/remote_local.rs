//! The side of a copy that is here: permissions and the umask.
#![cfg(feature = "remote")]

#[path = "support/remote_cli.rs"]
mod remote_cli;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use remote_cli::{Remote, said};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use support::{PATIENCE, watchdog};
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
