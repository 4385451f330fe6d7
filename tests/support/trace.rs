//! What `strace -f -o FILE` wrote, as calls in the order in which they began.
#![allow(dead_code, unreachable_pub, reason = "as in mod.rs")]

use crate::support::{Server, exchange, scratch, who, wrapped};
use std::collections::HashMap;
use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use waitcopy::model::{Model, Who, find};
use waitcopy::phase::Call;

/// One system call of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    pub pid: u32,
    pub call: String,
    pub args: String,
    /// `None` where strace shows `?`: the call did not return.
    pub result: Option<i64>,
    pub errno: Option<String>,
    /// strace failed or delayed it.
    pub injected: bool,
}

impl Traced {
    /// Its word of `model::grammar`; a call that no model makes keeps its own name.
    pub fn word(&self) -> String {
        let name = Call::of_trace(&self.call).map(Call::name);
        let name = name.unwrap_or(&self.call);
        match (&self.errno, name) {
            (Some(errno), _) => format!("{name}:{errno}"),
            (None, "recvfrom" | "recvmsg") if self.result == Some(0) => format!("{name}:0"),
            (None, "epoll_ctl") => {
                let operation = self.args.split(", ").nth(1).unwrap();
                let edge = if self.args.contains("EPOLLET") { "-ET" } else { "" };
                format!("{name}:{}{edge}", operation.trim_start_matches("EPOLL_CTL_"))
            }
            _ => name.to_owned(),
        }
    }

    /// Whether it is a call of this family.
    pub fn is(&self, call: Call) -> bool {
        Call::of_trace(&self.call) == Some(call)
    }

    /// Whether it asked in vain.
    pub fn in_vain(&self) -> bool {
        self.errno.as_deref() == Some("EAGAIN")
    }
}

/// A whole trace.
#[derive(Debug, Default)]
pub struct Trace {
    pub calls: Vec<Traced>,
    /// `SIGTERM {si_signo=SIGTERM, ...}` for each signal that arrived.
    pub signals: Vec<String>,
}

impl Trace {
    /// Reads a trace, also one that is still being written: an unfinished last line is left out.
    pub fn read(path: &Path) -> Self {
        // Injected calls show their buffers as they were, which need not be UTF-8.
        let bytes = std::fs::read(path).unwrap_or_default();
        Self::parse(&String::from_utf8_lossy(&bytes))
    }

    pub fn parse(text: &str) -> Self {
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut trace = Self::default();
        // Where the call that each process has not finished stands, and its first half.
        let mut unfinished: HashMap<u32, (usize, String)> = HashMap::new();
        for line in complete.lines() {
            let (pid, event) = line.split_once(' ').unwrap();
            let (pid, event) = (pid.parse().unwrap(), event.trim_start());
            if let Some(signal) = event.strip_prefix("--- ") {
                trace.signals.push(signal.to_owned());
            } else if let Some(half) = event.strip_suffix(" <unfinished ...>") {
                unfinished.insert(pid, (trace.calls.len(), half.to_owned()));
                trace.calls.push(begun(pid, half));
            } else if let Some((_, half)) = event.split_once(" resumed>") {
                let (place, first) = unfinished.remove(&pid).unwrap();
                trace.calls[place] = whole(pid, &format!("{first}{half}"));
            } else if !event.starts_with("+++") && !event.ends_with("<detached ...>") {
                trace.calls.push(whole(pid, event));
            }
        }
        trace
    }

    /// Everything that its flow does from the accept of the first client to the close of its descriptor. Only what is not the
    /// product's is left out: with debug assertions std asks, right before it closes a descriptor that it
    /// owns, whether that is open.
    pub fn conversation(&self) -> Vec<&Traced> {
        let accepted = |call: &Traced| call.is(Call::Accept4) && call.result >= Some(0);
        let start = self.calls.iter().position(accepted).unwrap();
        let flow = self.calls[start].pid;
        let calls: Vec<_> = self.calls[start..].iter().filter(|call| call.pid == flow).collect();
        let fd = calls[0].result.unwrap().to_string();
        let end = calls.iter().position(|call| call.is(Call::Close) && call.args == fd).unwrap();
        let asks = |i: usize| calls[i].is(Call::Fcntl) && calls[i].args == format!("{fd}, F_GETFD");
        let by_std = |i: usize| cfg!(debug_assertions) && i + 1 == end && asks(i);
        (0..=end).filter(|&i| !by_std(i)).map(|i| calls[i]).collect()
    }

    /// The same where another flow than the accepting one may serve: the accept of the first client, the clone that made
    /// the flow which serves it (unless that was there before), and what this flow does with the client's descriptor.
    pub fn served(&self) -> Vec<&Traced> {
        let accepted = |call: &Traced| call.is(Call::Accept4) && call.result >= Some(0);
        let start = self.calls.iter().position(accepted).unwrap();
        let (accept, calls) = (&self.calls[start], &self.calls[start + 1..]);
        let fd = accept.result.unwrap().to_string();
        let on_it = |call: &&Traced| call.args.split(", ").next() == Some(fd.as_str());
        // A forking parent closes its copy of the descriptor; only who serves receives from it.
        let receives = |call: &&Traced| call.is(Call::Recvfrom) && on_it(call);
        let flow = calls.iter().find(receives).unwrap().pid;
        let clone = calls.iter().find(|call| {
            call.is(Call::Clone) && call.pid == accept.pid && call.result == Some(i64::from(flow))
        });
        let mut served: Vec<_> = [Some(accept), clone].into_iter().flatten().collect();
        let mine: Vec<_> = calls.iter().filter(|call| call.pid == flow).filter(on_it).collect();
        let end = mine.iter().position(|call| call.is(Call::Close)).unwrap();
        // As above: std asks before it closes.
        let by_std = |i: usize| {
            cfg!(debug_assertions) && i + 1 == end && mine[i].args == format!("{fd}, F_GETFD")
        };
        served.extend((0..=end).filter(|&i| !by_std(i)).map(|i| mine[i]));
        served
    }

    /// How many calls of that name strace has failed or delayed.
    pub fn injected(&self, call: &str) -> usize {
        self.calls.iter().filter(|traced| traced.injected && traced.call == call).count()
    }
}

fn begun(pid: u32, half: &str) -> Traced {
    let (call, args) = half.split_once('(').unwrap();
    Traced {
        pid,
        call: call.to_owned(),
        args: args.to_owned(),
        result: None,
        errno: None,
        injected: false,
    }
}

/// `close(5)    = 0`, `recvfrom(5, ...) = -1 EAGAIN (Resource ...) (INJECTED)`, `select(...) = ? ERESTARTNOHAND (...)`
fn whole(pid: u32, event: &str) -> Traced {
    // No result holds " = "; a buffer may.
    let (head, result) = event.rsplit_once(" = ").unwrap_or_else(|| panic!("no call: {event}"));
    let head = head.trim_end();
    let mut words = result.split(' ');
    let value = words.next().unwrap();
    let value = value.strip_prefix("0x").map_or_else(
        || value.parse().ok(),
        |hexadecimal| i64::from_str_radix(hexadecimal, 16).ok(),
    );
    let errno = words.next().filter(|word| word.starts_with('E')).map(str::to_owned);
    let injected = result.ends_with("(INJECTED)") || result.ends_with("(DELAYED)");
    Traced { result: value, errno, injected, ..begun(pid, head.strip_suffix(')').unwrap_or(head)) }
}

/// A server under `strace -f -o FILE` with more options.
pub fn traced(model: &str, test: &str, options: &[&str], args: &[&str]) -> (Server, PathBuf) {
    let file = scratch(&format!("{test}-{model}.strace"));
    let wrapper = [&["strace", "-f", "-o", file.to_str().unwrap()], options].concat();
    (wrapped(&wrapper, model).args(args).start(), file)
}

/// The catalogue's entry, and the call in which it waits for readiness, if there is one.
pub fn entry(name: &str) -> (&'static Model, Option<Call>) {
    let model = find(name).unwrap();
    let wait = [Call::Select, Call::Poll, Call::EpollWait];
    let wait = wait.into_iter().find(|&call| model.steps.iter().any(|step| step.call == call));
    (model, wait)
}

/// Where several processes accept, strace counts the calls of each.
pub fn one_acceptor(model: &str) -> &'static [&'static str] {
    match who(model) {
        Who::Prefork | Who::Reuseport => &["--workers", "1"],
        _ => &[],
    }
}

/// The client's last word, the server's end of file, in this order.
pub fn leave(mut client: TcpStream) {
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

pub fn serve_one(server: &Server) {
    let mut client = server.connect();
    exchange(&mut client, b"next");
    leave(client);
}
