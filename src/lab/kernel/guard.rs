//! Somebody who survives us, to remove what the kernel would keep.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A shell that waits for our end, on a pipe that only we hold, and then removes the instance: after a panic, a signal, or a
/// SIGKILL as well. It has a process group of its own, so that ^C does not reach it.
#[derive(Debug)]
pub(super) struct Guard(Child);

/// The directory goes only when nobody has a file of it open: a killed reader may be a moment behind.
const SCRIPT: &str = "read _; for try in 1 2 3 4 5 6 7 8 9 10; do \
     rmdir \"$1\" && break; [ -d \"$1\" ] || break; sleep 0.1; done";

impl Guard {
    pub(super) fn of(instance: &Path) -> io::Result<Self> {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", SCRIPT, "sh"]).arg(instance).process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        shell.spawn().map(Self)
    }
}

/// Lets it go: it removes what is still there, and ends.
impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It cannot fail for a child that nobody else waits for.
        let _ = self.0.wait();
    }
}
