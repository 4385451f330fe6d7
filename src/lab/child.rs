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
        let report = record.then(|| nameless(model)).transpose()?;
        let mut command = Command::new(program);
        command.args(["serve", model, "--listen", "127.0.0.1:0"]).args(flags);
        command.stdin(Stdio::null());
        if let Some(file) = &report {
            let file = file.try_clone().map_err(|e| sentence("report", &e))?;
            command.args(["--report", "/proc/self/fd/0"]).stdin(file);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(core) = core {
            sys::run_on(&mut command, core);
        }
        let mut child = sys::die_with_parent(&mut command)
            .spawn()
            .map_err(|e| sentence(&format!("serve {model}"), &e))?;
        match ready(&mut child) {
            Ok(endpoint) => Ok(Self { child, endpoint, report }),
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
    pub fn stop(mut self) -> Result<Option<Value>, String> {
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
        self.report.take().map(read_report).transpose()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail when it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the readiness line, but not for longer than [`PATIENCE`].
fn ready(child: &mut Child) -> Result<Endpoint, String> {
    let stdout = child.stdout.take().ok_or("no standard output")?;
    let (sender, line) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let _ = BufReader::new(stdout).read_line(&mut line);
        let _ = sender.send(line);
    });
    let line = line.recv_timeout(PATIENCE).map_err(|_| "it says nothing; ".to_owned())?;
    let words = line.strip_prefix("listening on ").map(|rest| rest.trim_end_matches('\n'));
    words.and_then(Endpoint::parse).ok_or(line)
}

/// A file without a name, so that nothing is left behind however this ends. The server writes it by way of its standard input.
fn nameless(model: &str) -> Result<File, String> {
    let moment = sys::clock_gettime(sys::Clock::Monotonic).as_nanos();
    let name = format!("waitcopy-{}-{moment}-{model}.json", std::process::id());
    let path = std::env::temp_dir().join(name);
    let mut options = File::options();
    let file = options.read(true).write(true).create_new(true).open(&path);
    let file = file.and_then(|file| fs::remove_file(&path).map(|()| file));
    file.map_err(|e| sentence(&path.display().to_string(), &e))
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
