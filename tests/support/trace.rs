//! What `strace -f -o FILE` wrote, as calls in the order in which they began.
#![allow(dead_code, unreachable_pub, reason = "as in mod.rs")]

use std::collections::HashMap;
use std::path::Path;
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

    /// Everything from the accept of the first client to the close of its descriptor. Only what is not the
    /// product's is left out: with debug assertions std asks, right before it closes a descriptor that it
    /// owns, whether that is open.
    pub fn conversation(&self) -> Vec<&Traced> {
        let accepted = |call: &Traced| call.is(Call::Accept4) && call.result >= Some(0);
        let start = self.calls.iter().position(accepted).unwrap();
        let calls = &self.calls[start..];
        let fd = calls[0].result.unwrap().to_string();
        let end = calls.iter().position(|call| call.is(Call::Close) && call.args == fd).unwrap();
        let asks = |i: usize| calls[i].is(Call::Fcntl) && calls[i].args == format!("{fd}, F_GETFD");
        let by_std = |i: usize| cfg!(debug_assertions) && i + 1 == end && asks(i);
        (0..=end).filter(|&i| !by_std(i)).map(|i| &calls[i]).collect()
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
