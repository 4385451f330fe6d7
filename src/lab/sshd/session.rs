//! One connection's processes, to stop and kill in the middle of a transfer.

use crate::sys::{self, Signal};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// A stopped process must be seen to be so within this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection as the server sees it: the listener's child and all that this has started. As root that is a monitor,
/// the process that serves the connection with the user's rights, and its commands (sshd(8), privilege separation).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    process: u32,
}

impl Session {
    /// The sessions of a listener, oldest first.
    pub(super) fn all(listener: u32) -> Vec<Self> {
        children(listener).into_iter().map(|process| Self { process }).collect()
    }

    /// The listener's child.
    #[must_use]
    pub fn process(self) -> u32 {
        self.process
    }

    /// That child and what it has started, parents first.
    #[must_use]
    pub fn processes(self) -> Vec<u32> {
        let mut all = vec![self.process];
        let mut next = 0;
        while let Some(&process) = all.get(next) {
            all.extend(children(process));
            next += 1;
        }
        all
    }

    /// SIGSTOP to all of them; on return none of them runs. The kernel still acknowledges what a client sends.
    pub fn stop(self) {
        halt(self.process);
    }

    /// SIGCONT to all of them.
    pub fn resume(self) {
        for process in self.processes() {
            signal(process, sys::SIGCONT);
        }
    }

    /// SIGKILL to all of them, commands included: the client sees a reset or an end of file.
    pub fn kill(self) {
        self.stop();
        for process in self.processes() {
            signal(process, sys::SIGKILL);
        }
    }
}

/// Stops a process, then its children: a stopped one makes no more of them.
fn halt(process: u32) {
    signal(process, sys::SIGSTOP);
    let start = Instant::now();
    // The signal is on its way when kill(2) returns, and no event says that it has come.
    while state(process).is_some_and(|state| !"TZX".contains(state)) && start.elapsed() < PATIENCE {
        thread::yield_now();
    }
    for child in children(process) {
        halt(child);
    }
}

fn signal(process: u32, signal: Signal) {
    // ESRCH: it has ended by itself.
    let _ = sys::kill(process, signal);
}

/// The letter of its state (proc(5), `/proc/pid/stat`); `None` when it is gone.
fn state(process: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name before it is in parentheses and may hold some itself.
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Its children (proc(5), `/proc/pid/task/tid/children`); none when it is gone.
fn children(process: u32) -> Vec<u32> {
    let listed = fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    listed.unwrap_or_default().split_whitespace().filter_map(|word| word.parse().ok()).collect()
}
