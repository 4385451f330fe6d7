//! Servers on every transport, and peers that speak to them: UDP, Unix streams, Unix datagrams.
#![allow(dead_code, unreachable_pub, reason = "as in mod.rs")]

use super::support::{Ended, WAITCOPY, scratch, skip, until};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use waitcopy::client;
use waitcopy::model::{Model, find};
use waitcopy::net::{Endpoint, Transport};
use waitcopy::sys::{self, Kind, Signal};

/// x86, Arm and RISC-V agree on these two.
pub const SIGCONT: Signal = 18;
pub const SIGSTOP: Signal = 19;

/// A test that waits longer for a peer has found a fault.
const ANSWERED: Duration = Duration::from_secs(20);

pub fn entry(model: &str) -> &'static Model {
    find(model).unwrap()
}

/// The transports of a kind that a model serves.
pub fn served(model: &str, kind: Kind) -> Vec<Transport> {
    let all = Transport::ALL.into_iter().map(|(transport, _)| transport);
    all.filter(|&t| t.kind() == kind && entry(model).serves(t).is_ok()).collect()
}

/// What a server is told, and what stands in front of it.
pub struct Start<'a> {
    pub model: &'a str,
    pub transport: Transport,
    /// The Unix path; `None` for one that nobody else has.
    pub place: Option<&'a str>,
    pub args: &'a [&'a str],
    pub wrapper: &'a [&'a str],
    pub env: &'a [(&'a str, &'a str)],
}

impl<'a> Start<'a> {
    pub fn new(model: &'a str, transport: Transport) -> Self {
        Self { model, transport, place: None, args: &[], wrapper: &[], env: &[] }
    }

    pub fn args(self, args: &'a [&'a str]) -> Self {
        Self { args, ..self }
    }

    pub fn wrapper(self, wrapper: &'a [&'a str]) -> Self {
        Self { wrapper, ..self }
    }

    pub fn env(self, env: &'a [(&'a str, &'a str)]) -> Self {
        Self { env, ..self }
    }

    pub fn at(self, place: &'a str) -> Self {
        Self { place: Some(place), ..self }
    }

    /// `[WRAPPER] waitcopy serve MODEL --udp --listen 127.0.0.1:0`, `... --unix PATH`.
    pub fn command(&self) -> Command {
        let place = self.place.map_or_else(|| own_path(self.model), str::to_owned);
        let mut words: Vec<&str> = self.wrapper.to_vec();
        words.extend([WAITCOPY, "serve", self.model]);
        match self.transport {
            Transport::Tcp => words.extend(["--listen", "127.0.0.1:0"]),
            Transport::Udp => words.extend(["--udp", "--listen", "127.0.0.1:0"]),
            Transport::Unix => words.extend(["--unix", &place]),
            Transport::Unixgram => words.extend(["--unixgram", &place]),
        }
        // A later --listen stands in the place of the first one.
        words.extend(self.args);
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).envs(self.env.iter().copied()).stdin(Stdio::null());
        command
    }

    /// Starts it and waits for the readiness line.
    pub fn start(self) -> Serving {
        let mut command = self.command();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        let errors = thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let place = line.trim_end().strip_prefix("listening on ").and_then(Endpoint::parse);
        let Some(endpoint) = place else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{command:?}: no readiness line but {line:?}; {}", errors.join().unwrap());
        };
        assert_eq!(endpoint.transport(), self.transport, "{line}");
        let wrapped = !self.wrapper.is_empty();
        Serving { child, stdout: Some(stdout), errors: Some(errors), wrapped, endpoint }
    }
}

/// A path of this run that no other server has had.
pub fn own_path(name: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Relaxed);
    scratch(&format!("{name}-{number}.sock")).to_str().unwrap().to_owned()
}

/// A server in a process of its own; killed with its children when dropped.
pub struct Serving {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    errors: Option<JoinHandle<String>>,
    wrapped: bool,
    pub endpoint: Endpoint,
}

impl Serving {
    /// Where it is: `127.0.0.1:4711`, a path.
    pub fn place(&self) -> String {
        self.endpoint.address().to_string()
    }

    pub fn pid(&self) -> u32 {
        let pid = self.child.id();
        let child = if self.wrapped { children(pid).first().copied() } else { None };
        child.unwrap_or(pid)
    }

    /// The server and its children, who serve under fork, prefork and reuseport.
    pub fn family(&self) -> Vec<u32> {
        [vec![self.pid()], children(self.pid())].concat()
    }

    pub fn descriptors(&self) -> usize {
        let count = |pid| std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        self.family().into_iter().map(count).sum()
    }

    pub fn signal(&self, signal: Signal) {
        sys::kill(self.pid(), signal).unwrap();
    }

    /// Does something while every process of the server is stopped.
    pub fn while_stopped<T>(&self, act: impl FnOnce() -> T) -> T {
        self.workers_are_there();
        let family = self.family();
        // The parent first: it makes no more children. One of those may just be ending.
        let signal = |signal| family.iter().for_each(|&pid| drop(sys::kill(pid, signal)));
        signal(SIGSTOP);
        let stopped = |&pid: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.contains(") T ") || gone(pid)
        };
        until("every process is stopped", || family.iter().all(stopped));
        let done = act();
        signal(SIGCONT);
        done
    }

    /// The workers of `--workers 2` are made after the readiness line.
    fn workers_are_there(&self) {
        let command = std::fs::read(format!("/proc/{}/cmdline", self.pid())).unwrap();
        let words = String::from_utf8(command).unwrap();
        let counted = words.contains("\0--workers\x002\0");
        if counted && !words.contains("\0thread-pool\0") {
            until("both workers are there", || self.family().len() == 3);
        }
    }

    /// SIGTERM, and how it ended.
    pub fn stop(self) -> Ended {
        self.signal(sys::SIGTERM);
        self.wait()
    }

    pub fn wait(mut self) -> Ended {
        let mut stdout = String::new();
        self.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let status = self.child.wait().unwrap();
        let stderr = self.errors.take().unwrap().join().unwrap();
        Ended { status, stdout, stderr }
    }

    /// SIGKILL to all of them: nothing is cleaned up. Its path is dead from then on.
    pub fn kill(self) {
        let family = self.family();
        let endpoint = self.endpoint;
        drop(self);
        // Its children hold copies of its socket; they end with it, but a little later.
        until("all have ended", || family.iter().all(|&pid| gone(pid)));
        // A ring's operations hold the sockets a moment longer than their process: the kernel ends them behind its back.
        until("nobody answers for a dead server", || client::connect(&[endpoint]).is_err());
    }
}

/// Whether a process is no more than an entry that nobody has read yet.
fn gone(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ")
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Ended and waited for: the number may be somebody else's.
        if self.stdout.is_none() {
            return;
        }
        for pid in self.family() {
            let _ = sys::kill(pid, sys::SIGKILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    text.unwrap_or_default().split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// A connected socket: a client of any transport.
pub struct Peer(pub OwnedFd);

impl Peer {
    pub fn of(server: &Serving) -> Self {
        Self::at(server.endpoint)
    }

    pub fn at(endpoint: Endpoint) -> Self {
        let socket = client::connect(&[endpoint]).unwrap();
        // The watchdog would catch it as well, but this says where.
        sys::set_receive_timeout(&socket, ANSWERED).unwrap();
        sys::set_send_timeout(&socket, ANSWERED).unwrap();
        Self(socket)
    }

    pub fn send(&self, message: &[u8]) {
        assert_eq!(sys::send(&self.0, message).unwrap(), message.len());
    }

    /// What one receive brings.
    pub fn receive(&self) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 16];
        let len = sys::recv(&self.0, &mut bytes).unwrap();
        bytes.truncate(len);
        bytes
    }

    /// What is there, without waiting for it.
    pub fn receive_now(&self) -> Option<Vec<u8>> {
        sys::set_nonblocking(&self.0, true).unwrap();
        let mut bytes = vec![0; 1 << 16];
        let received = sys::recv(&self.0, &mut bytes);
        sys::set_nonblocking(&self.0, false).unwrap();
        let len = received.map_or_else(
            |e| {
                assert_eq!(e.kind(), std::io::ErrorKind::WouldBlock, "{e}");
                None
            },
            Some,
        )?;
        bytes.truncate(len);
        Some(bytes)
    }

    /// To the end of a stream.
    pub fn receive_all(&self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            match self.receive() {
                some if some.is_empty() => return all,
                some => all.extend(some),
            }
        }
    }

    /// Sends and receives the answer of `upper`, which must be the next thing that comes.
    pub fn exchange(&self, message: &[u8]) {
        self.send(message);
        let mut answer = self.receive();
        while answer.len() < message.len() && !answer.is_empty() {
            answer.extend(self.receive());
        }
        assert!(answer == message.to_ascii_uppercase(), "{} of {}", answer.len(), message.len());
    }
}

/// Whether there is a Python; skips aloud if not.
pub fn python_works() -> bool {
    let works = Command::new("python3").arg("--version").output();
    let works = works.is_ok_and(|output| output.status.success());
    if !works {
        skip("python3 is missing");
    }
    works
}
