//! A shell that outlives us by a moment: it runs the server, and ends it when we are gone, however we went.
//!
//! `PR_SET_PDEATHSIG` would not do. It comes when the *thread* that started the server ends, which in a test is not the
//! one that uses it; and it reaches the listener alone, neither its sessions nor their commands. The guard waits on a
//! pipe whose other end only this process holds: end of file comes with `drop`, with a panic and with SIGKILL alike.

use super::StartError;
use crate::failure::During;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// A server must be ready, and later gone, within this time.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Where programs are. An ordinary user's PATH lacks sbin, where the servers are.
pub(super) fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin")
}

/// The guard, what it has heard, and the folder that goes with it.
#[derive(Debug)]
pub(super) struct Guard {
    child: Child,
    /// `None` once it is told to end.
    orders: Option<ChildStdin>,
    log: Arc<Log>,
    folder: PathBuf,
}

impl Guard {
    /// Puts `folder` under guard; `command` is the server, not yet started.
    pub(super) fn over(folder: &Path, command: &[String]) -> Result<Self, StartError> {
        // A session of its own: ^C does not reach it, which is needed most then. A group alone would not do. The kernel sends
        // SIGHUP to a group that loses its last parent in the session while a member is stopped, as the guard stops some.
        let mut shell = Command::new("setsid");
        shell.args(["sh", "-c", include_str!("guard.sh"), "guard"]).arg(folder).args(command);
        // Nothing of the test's environment reaches the sessions.
        shell.env_clear().env("PATH", search_path());
        let shell = shell.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
        let spawned = shell.spawn().during("spawn", "setsid");
        let mut child = spawned.inspect_err(|_| {
            let _ = fs::remove_dir_all(folder);
        })?;
        let log = Arc::new(Log::default());
        if let Some(output) = child.stdout.take() {
            let log = Arc::clone(&log);
            thread::spawn(move || log.hear(output));
        }
        Ok(Self { orders: child.stdin.take(), child, log, folder: folder.to_owned() })
    }

    /// Starts the server and waits until it has said `ready`; its process.
    pub(super) fn start(&mut self, ready: &str) -> Result<u32, StartError> {
        let from = {
            let mut said = self.log.said();
            said.state = State::Stopped;
            said.text.len()
        };
        self.order("start")?;
        let outcome = self.log.wait(PATIENCE, |said| match said.state {
            State::Running(server) if said.text[from..].contains(ready) => Some(Some(server)),
            State::Ended => Some(None),
            _ => said.over.then_some(None),
        });
        let why = match outcome {
            Some(Some(server)) => return Ok(server),
            Some(None) => "it ended",
            None => "it is not ready after 10 s",
        };
        let text = self.log();
        Err(StartError::Failed(format!("the SSH server: {why}: {}", text[from..].trim_end())))
    }

    /// Ends the server, its sessions and their commands; the folder stays.
    pub(super) fn stop(&mut self) -> Result<(), StartError> {
        self.log.said().state = State::Ended;
        self.order("stop")?;
        let stopped = self.log.wait(PATIENCE, |said| (said.state == State::Stopped).then_some(()));
        stopped.ok_or_else(|| StartError::Failed("the SSH server does not stop".to_owned()))
    }

    fn order(&mut self, word: &str) -> Result<(), StartError> {
        let Some(orders) = &mut self.orders else { return Ok(()) };
        Ok(writeln!(orders, "{word}").during("write", "the guard of an SSH server")?)
    }

    /// What the server has said so far.
    pub(super) fn log(&self) -> String {
        self.log.said().text.clone()
    }

    /// Waits until the server has said this; whether it has.
    pub(super) fn await_log(&self, words: &str, limit: Duration) -> bool {
        self.log.wait(limit, |said| said.text.contains(words).then_some(())).is_some()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.child.wait();
        // Every process of the server writes to that pipe: its end says that all are gone.
        let _ = self.log.wait(PATIENCE, |said| said.over.then_some(()));
        // Gone already, unless somebody has killed the guard.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What the server says, and what the guard says of it, as it comes.
#[derive(Debug, Default)]
struct Log {
    said: Mutex<Said>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Said {
    text: String,
    state: State,
    /// Nobody is left who could say anything.
    over: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Stopped,
    Running(u32),
    Ended,
}

impl Log {
    // A reader that panicked has at worst lost a line.
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, output: ChildStdout) {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            self.said().hear(&String::from_utf8_lossy(&line));
            self.news.notify_all();
            line.clear();
        }
        self.said().over = true;
        self.news.notify_all();
    }

    /// What `look` finds, as soon as it finds something.
    fn wait<T>(&self, limit: Duration, look: impl Fn(&Said) -> Option<T>) -> Option<T> {
        let waited = self.news.wait_timeout_while(self.said(), limit, |said| look(said).is_none());
        let (said, _) = waited.unwrap_or_else(PoisonError::into_inner);
        look(&said)
    }
}

impl Said {
    fn hear(&mut self, line: &str) {
        let Some(news) = line.strip_prefix("guard: ") else {
            // sshd ends its lines with CR LF on standard error.
            self.text.push_str(line.trim_end());
            return self.text.push('\n');
        };
        match news.trim_end().split_once(' ') {
            Some(("started", server)) => {
                self.state = server.parse().map_or(State::Ended, State::Running);
            }
            _ if news.starts_with("stopped") => self.state = State::Stopped,
            _ => self.state = State::Ended,
        }
    }
}
