//! A test again, by a user who is not root: permissions bind him.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "as in mod.rs")]

use crate::support::{PATIENCE, scratch, skip, watchdog};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Output};

/// Whether this process is root's.
pub fn root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Runs a test's body as an ordinary user: here, unless root runs this; skips it aloud where root cannot become one.
pub fn by_an_ordinary_user(test: &str, body: impl FnOnce() + Send + 'static) {
    if !root() {
        return watchdog(PATIENCE, body);
    }
    let (output, _) = again(test);
    let errors = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout);
    if said.contains("running 1 test") {
        assert!(output.status.success() && said.contains("1 passed"), "{said}\n{errors}");
        // What it skipped is said here too.
        eprint!("{errors}");
    } else {
        skip(&format!("root cannot run a test as an ordinary user here: {errors}"));
    }
}

/// A test of this program again, by an ordinary user: from a copy, since the build may lie where only root gets, and with an
/// account that has a shell, which is there in no other process. How many files then lie in its folder: the program, the
/// accounts, and what it left.
pub fn again(test: &str) -> (Output, usize) {
    let place = scratch(&format!("ordinary-{test}"));
    fs::create_dir_all(&place).unwrap();
    fs::set_permissions(&place, PermissionsExt::from_mode(0o777)).unwrap();
    fs::copy(std::env::current_exe().unwrap(), place.join("test")).unwrap();
    fs::write(place.join("passwd"), "olga:x:60500:60500::/:/bin/sh\n").unwrap();
    let script = "mount --bind \"$1/passwd\" /etc/passwd && cd / && TMPDIR=$1 exec \
        setpriv --reuid=60500 --regid=60500 --clear-groups \"$1/test\" --exact \"$2\" --nocapture";
    let mut again = Command::new("unshare");
    again.args(["--mount", "sh", "-c", script, "sh"]).arg(&place);
    let output = again.arg(test).output().unwrap();
    let left = fs::read_dir(&place).unwrap().count();
    fs::remove_dir_all(&place).unwrap();
    (output, left)
}
