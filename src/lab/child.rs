//! A server in a process of its own.

use crate::json::Value;
use crate::net::Endpoint;
use crate::sys;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// A server must be ready, and later gone, within this time.
const PATIENCE: Duration = Duration::from_secs(20);

/// `waitcopy serve MODEL` on a free port of loopback. Killed when dropped; ends with this process, however that ends.
#[derive(Debug)]
pub struct Server {
    child: Child,
    endpoint: Endpoint,
    report: Option<File>,
    /// What it prints after its readiness line.
    lines: mpsc::Receiver<String>,
}

/// What a server left.
#[derive(Debug)]
pub struct Left {
    /// What it has printed after its readiness line, `--phases` for one.
    pub lines: Vec<String>,
    /// Its closing summary.
    pub summary: String,
    /// Its report, if it was to write one.
    pub report: Option<Value>,
}

impl Server {
    /// Starts this same program as a server and waits for its readiness line. With `record`, the
    /// server records its phases; with `core`, it and all that it starts run there.
    ///
    /// # Errors
    /// A sentence: it could not be started, or ended without listening, and what it said.
    pub fn start(model: &str, record: bool, core: Option<usize>) -> Result<Self, String> {
        Self::start_with(model, record, core, &[])
    }

    /// The same with more flags.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_with(
        model: &str,
        record: bool,
        core: Option<usize>,
        flags: &[&str],
    ) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|e| sentence("own path", &e))?;
        let mut command = Command::new(program);
        command.args(["serve", model, "--listen", "127.0.0.1:0"]).args(flags);
        if let Some(core) = core {
            sys::run_on(&mut command, core);
        }
        Self::launch(command, model, record)
    }

    /// Starts a command that becomes a server of this program, and waits for its readiness line. With `record` it is
    /// told to write a report, to a file without a name that it has as its standard input.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub(super) fn launch(mut command: Command, model: &str, record: bool) -> Result<Self, String> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let report = record.then(|| nameless("json").map_err(|e| sentence("report", &e)));
        let report = report.transpose()?;
        if let Some(file) = &report {
            let file = file.try_clone().map_err(|e| sentence("report", &e))?;
            command.args(["--report", "/proc/self/fd/0"]).stdin(file);
        }
        let mut child = sys::die_with_parent(&mut command)
            .spawn()
            .map_err(|e| sentence(&format!("serve {model}"), &e))?;
        match ready(&mut child) {
            Ok((endpoint, lines)) => Ok(Self { child, endpoint, report, lines }),
            Err(line) => {
                // It may hang as well as have ended; either way it is over.
                let _ = child.kill();
                let mut said = String::new();
                if let Some(mut stderr) = child.stderr.take() {
                    let _ = stderr.read_to_string(&mut said);
                }
                let _ = child.wait();
                Err(format!("serve {model} does not listen: {line}{}", said.trim_end()))
            }
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM; waits for its end and returns its report, if it records one.
    ///
    /// # Errors
    /// A sentence: it did not end, or not with status 0, or left no report.
    pub fn stop(self) -> Result<Option<Value>, String> {
        self.leave().map(|left| left.report)
    }

    /// [`Server::stop`], and everything that it has said.
    ///
    /// # Errors
    /// As [`Server::stop`].
    pub fn leave(mut self) -> Result<Left, String> {
        sys::kill(self.child.id(), sys::SIGTERM).map_err(|e| sentence("kill", &e))?;
        let mut stderr = self.child.stderr.take();
        let (sender, end) = mpsc::channel();
        // Its summary is read to the end of file, which is its end; a thread, because that may hang.
        thread::spawn(move || {
            let mut said = String::new();
            if let Some(stderr) = &mut stderr {
                let _ = stderr.read_to_string(&mut said);
            }
            let _ = sender.send(said);
        });
        let said = end.recv_timeout(PATIENCE).map_err(|_| "the server did not end".to_owned())?;
        let status = self.child.wait().map_err(|e| sentence("wait", &e))?;
        if !status.success() {
            return Err(format!("the server ended with {status}: {}", said.trim()));
        }
        let report = self.report.take().map(read_report).transpose()?;
        // It has ended, and its children with it: the thread that reads has come to the end.
        let lines = self.lines.iter().collect();
        Ok(Left { lines, summary: said, report })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail when it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the readiness line, but not for longer than [`PATIENCE`]. The lines after it are kept, so that the pipe never
/// is full.
fn ready(child: &mut Child) -> Result<(Endpoint, mpsc::Receiver<String>), String> {
    let stdout = child.stdout.take().ok_or("no standard output")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let line = match lines.recv_timeout(PATIENCE) {
        Ok(line) => line,
        Err(mpsc::RecvTimeoutError::Timeout) => return Err("it says nothing; ".to_owned()),
        Err(mpsc::RecvTimeoutError::Disconnected) => return Err(String::new()),
    };
    let endpoint = line.strip_prefix("listening on ").and_then(Endpoint::parse);
    endpoint.map(|endpoint| (endpoint, lines)).ok_or(line)
}

/// A file that nobody can leave behind: its name is gone before it is used.
///
/// # Errors
/// Of open(2) and unlink(2) in the temporary directory.
pub(super) fn nameless(kind: &str) -> io::Result<File> {
    let mut noise = [0; 8];
    sys::getrandom(&mut noise)?;
    let noise = u64::from_ne_bytes(noise);
    let path =
        std::env::temp_dir().join(format!("waitcopy-{}-{noise:016x}.{kind}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    fs::remove_file(&path).map(|()| file)
}

fn read_report(mut file: File) -> Result<Value, String> {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
    read.map_err(|e| sentence("report", &e))?;
    Value::parse(&text)
}

fn sentence(what: &str, error: &io::Error) -> String {
    format!("{what}: {}", sys::describe(error))
}
