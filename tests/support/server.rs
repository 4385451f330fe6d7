//! The server of a test: a process of its own, perhaps with children, which are looked at together.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "as in mod.rs")]

use super::{WAITCOPY, exchange, until};
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;
use waitcopy::model::{self, Who};

/// Who runs a model.
pub fn who(model: &str) -> Who {
    model::find(model).unwrap().who
}

/// Whether a model serves in child processes.
pub fn forks(model: &str) -> bool {
    matches!(who(model), Who::Fork | Who::Prefork | Who::Reuseport)
}

/// How to start a server.
pub struct Starter {
    command: Command,
    who: Who,
    /// Whether another program stands in front of the server.
    wrapped: bool,
}

/// `waitcopy serve MODEL --listen 127.0.0.1:0`, to be extended.
pub fn serve(model: &str) -> Starter {
    wrapped(&[], model)
}

/// The same behind another program: `["strace", "-f", "-o", file]`, `["prlimit", "--nofile=32:32"]`.
pub fn wrapped(wrapper: &[&str], model: &str) -> Starter {
    let starter = starter(wrapper, model);
    // 64 processes take their time, and how many cores there are is no test's business. A later flag replaces these.
    match starter.who {
        Who::Prefork => starter.args(&["--workers", "8"]),
        Who::Reuseport => starter.args(&["--workers", "2"]),
        _ => starter,
    }
}

/// The same with as many workers as the program itself would take.
pub fn bare(model: &str) -> Starter {
    starter(&[], model)
}

fn starter(wrapper: &[&str], model: &str) -> Starter {
    let server = [WAITCOPY, "serve", model, "--listen", "127.0.0.1:0"];
    let mut words = wrapper.iter().chain(&server);
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    Starter { command, who: who(model), wrapped: !wrapper.is_empty() }
}

impl Starter {
    pub fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    /// So many clients at a time: where each takes a worker, there are enough.
    pub fn room_for(self, clients: usize) -> Self {
        match self.who {
            Who::Pool | Who::Prefork => self.args(&["--workers", &(clients + 2).to_string()]),
            _ => self,
        }
    }

    /// Reuseport by one worker: for a limit that each worker keeps for itself.
    pub fn one_reuseport(self) -> Self {
        if self.who == Who::Reuseport { self.args(&["--workers", "1"]) } else { self }
    }

    /// In a process group of its own: a signal to that group reaches the server and its children, as ^C does.
    pub fn own_group(mut self) -> Self {
        self.command.process_group(0);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it and waits for the readiness line.
    pub fn start(mut self) -> Server {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap_or_else(|e| panic!("{:?}: {e}", self.command));
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        let errors = thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let Some(address) = line.strip_prefix("listening on tcp ") else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("no readiness line but {line:?}; {}", errors.join().unwrap());
        };
        let address = address.trim_end().parse().unwrap();
        let Self { who, wrapped, .. } = self;
        let (stdout, errors) = (Some(stdout), Some(errors));
        Server { child: Some(child), stdout, errors, who, wrapped, address }
    }
}

/// A server in a process of its own; killed when dropped.
pub struct Server {
    child: Option<Child>,
    stdout: Option<BufReader<ChildStdout>>,
    errors: Option<thread::JoinHandle<String>>,
    who: Who,
    wrapped: bool,
    pub address: SocketAddr,
}

/// How a server ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    /// After the readiness line.
    pub stdout: String,
    pub stderr: String,
}

impl Server {
    /// The process that was started (a wrapper's, where there is one).
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// The process that listens: the child of a wrapper that stays, such as strace, or the process itself, which
    /// may have begun as a wrapper, such as prlimit.
    pub fn server_pid(&self) -> u32 {
        let pid = self.pid();
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let stays = self.wrapped && name.trim_end() != "waitcopy";
        let child = if stays { children(pid).first().copied() } else { None };
        child.unwrap_or(pid)
    }

    /// The same and its children, who serve under fork, prefork and reuseport.
    pub fn family(&self) -> Vec<u32> {
        let server = self.server_pid();
        [vec![server], children(server)].concat()
    }

    /// The process that accepts: of prefork and reuseport the first of the children.
    pub fn accepting_pid(&self) -> u32 {
        let accepts = matches!(self.who, Who::Prefork | Who::Reuseport);
        if accepts { self.children()[0] } else { self.server_pid() }
    }

    /// Its children, dead or alive, that nobody has waited for.
    pub fn children(&self) -> Vec<u32> {
        children(self.server_pid())
    }

    /// Sends a signal to all of its processes.
    pub fn signal_family(&self, signal: i32) {
        for process in self.family() {
            // ESRCH: a child that has ended since it was listed.
            let _ = waitcopy::sys::kill(process, signal);
        }
    }

    /// Does something while the server is stopped: all of it is there at once when the server goes on. The parent is
    /// stopped first, so that it makes no children that nobody stops.
    pub fn while_stopped<T>(&self, act: impl FnOnce() -> T) -> T {
        self.signal(SIGSTOP);
        until("the server is stopped", || state(self.server_pid()) == 'T');
        self.signal_family(SIGSTOP);
        let still = |process: &u32| matches!(state(*process), 'T' | 'Z' | 'X');
        until("its children are stopped", || self.family().iter().all(still));
        let done = act();
        self.signal_family(SIGCONT);
        done
    }

    /// How many descriptors it has without clients. Only after an answer is it sure to have them all.
    pub fn settled(&self) -> usize {
        let mut first = self.connect();
        exchange(&mut first, b"settled");
        if !matches!(self.who, Who::Fork | Who::Prefork | Who::Reuseport) {
            let base = self.descriptors() - 1;
            drop(first);
            until("settled", || self.descriptors() == base);
            return base;
        }
        // The end comes when the descriptor is closed.
        first.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(first.read(&mut [0]).unwrap(), 0);
        // A child that has just begun still has its parent's descriptors; asleep, it has closed what is not for it.
        let asleep = |process: &u32| state(*process) == 'S';
        let only = self.who == Who::Fork;
        until("all wait", || {
            let family = self.family();
            (!only || family.len() == 1) && family.iter().all(asleep)
        });
        self.descriptors()
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        // The watchdog would catch it as well, but this says where.
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    pub fn signal(&self, signal: i32) {
        waitcopy::sys::kill(self.server_pid(), signal).unwrap();
    }

    /// CPU time of the server's processes so far.
    pub fn cpu(&self) -> Duration {
        // One that has ended since it was listed counts no more.
        let time = |pid| waitcopy::sys::process_cpu_time(pid).unwrap_or_default();
        self.family().into_iter().map(time).sum()
    }

    /// Resident set of the server's largest process now, in KiB.
    pub fn rss_kib(&self) -> u64 {
        self.family().into_iter().map(|pid| proc_status(pid, "VmRSS:")).max().unwrap()
    }

    /// Descriptors that the server's processes have open.
    pub fn descriptors(&self) -> usize {
        let count = |pid| std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        self.family().into_iter().map(count).sum()
    }

    /// SIGTERM, and how it ended.
    pub fn stop(self) -> Ended {
        self.signal(waitcopy::sys::SIGTERM);
        self.wait()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ended {
        // Read first: a full pipe would keep it from ending.
        let mut stdout = String::new();
        self.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let status = self.child.take().unwrap().wait().unwrap();
        let stderr = self.errors.take().unwrap().join().unwrap();
        Ended { status, stdout, stderr }
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Behind a wrapper the server would outlive it: a killed strace lets its child go on.
        let family = self.child.as_ref().map_or(Vec::new(), |_| self.family());
        if let Some(child) = &mut self.child {
            for process in family {
                let _ = waitcopy::sys::kill(process, 9);
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Ended {
    /// Exit status 0 asserted.
    pub fn clean(self) -> Self {
        assert_eq!(
            self.status.code(),
            Some(0),
            "{}
{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// A counter of the closing summary: `Ended::count("requests")`, 0 when it is not printed.
    pub fn count(&self, name: &str) -> u64 {
        let words = self.stderr.lines().flat_map(|line| line.trim().split(", "));
        words
            .filter_map(|words| words.rsplit_once(' '))
            .find(|(what, _)| *what == name)
            .map_or(0, |(_, n)| n.parse().unwrap())
    }
}

/// The processes that a process has made and not waited for.
pub fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let numbers = text.unwrap_or_default();
    numbers.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// x86, Arm and RISC-V agree on these two.
const SIGCONT: i32 = 18;
const SIGSTOP: i32 = 19;

/// A process' state as ps(1) shows it; `X` when it is gone.
pub fn state(pid: u32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('X')
}

/// A figure of a process; 0 when it has ended.
pub fn proc_status(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap_or("? 0");
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
