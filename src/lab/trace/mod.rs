//! What `strace -f -o FILE` wrote, as calls in the order in which they began.
//!
//! Also without `-f`, with the time stamps of `-t`, `-tt`, `-ttt`, `-r`, the durations of `-T`, and the descriptors that `-y` and
//! `-yy` explain. strace shows the calls; its times are its own, inflated by two stops of the process per call.

mod line;

use crate::phase::Call;
use crate::sys;
use line::Event;
use std::collections::HashMap;
use std::fmt;
use std::path::Path;

/// One system call of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// The line in which it begins, from 1.
    pub line: usize,
    /// Who made it: a thread or process; 0 in a trace of one process without numbers.
    pub pid: u32,
    /// Its name.
    pub call: String,
    /// What stands between the parentheses.
    pub args: String,
    /// `None` where strace shows `?`: the call did not return.
    pub result: Option<i64>,
    /// The error's name.
    pub errno: Option<String>,
    /// strace failed or delayed it.
    pub injected: bool,
}

impl Traced {
    /// Its word of [`grammar`](crate::model::grammar); a call that no model makes keeps its own name.
    #[must_use]
    pub fn word(&self) -> String {
        let name = Call::of_trace(&self.call).map(Call::name);
        let name = name.unwrap_or(&self.call);
        match (&self.errno, name) {
            (Some(errno), _) => format!("{name}:{errno}"),
            (None, "recvfrom" | "recvmsg") if self.result == Some(0) => format!("{name}:0"),
            (None, "epoll_ctl") => {
                let operation = self.args.split("EPOLL_CTL_").nth(1).unwrap_or_default();
                let operation = operation.split(',').next().unwrap_or_default();
                let edge = if self.args.contains("EPOLLET") { "-ET" } else { "" };
                format!("{name}:{operation}{edge}")
            }
            _ => name.to_owned(),
        }
    }

    /// Whether it is a call of this family.
    #[must_use]
    pub fn is(&self, call: Call) -> bool {
        Call::of_trace(&self.call) == Some(call)
    }

    /// Whether it asked in vain.
    #[must_use]
    pub fn in_vain(&self) -> bool {
        self.errno.as_deref() == Some("EAGAIN")
    }

    /// The descriptor that it is made on: its first argument, where that is a number.
    #[must_use]
    pub fn fd(&self) -> Option<i64> {
        let digits = self.args.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.args.len());
        self.args[..digits].parse().ok()
    }

    /// Whether it took in a client.
    #[must_use]
    pub fn accepted(&self) -> bool {
        self.is(Call::Accept4) && self.result >= Some(0)
    }

    /// The descriptor of a client that is new with it: the accepted one, or the one whose name is asked, which a ring has accepted.
    #[must_use]
    pub fn taken_in(&self) -> Option<i64> {
        let named = self.is(Call::Getpeername) && self.result == Some(0);
        if named { self.fd() } else { self.result.filter(|_| self.accepted()) }
    }

    /// Whether it brought data.
    #[must_use]
    pub fn received(&self) -> bool {
        (self.is(Call::Recvfrom) || self.is(Call::Recvmsg)) && self.result > Some(0)
    }
}

/// As strace writes it, in one line whatever was resumed.
impl fmt::Display for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.call, self.args)?;
        match (&self.errno, self.result) {
            (Some(errno), Some(_)) => write!(f, " = -1 {errno}"),
            (Some(errno), None) => write!(f, " = ? {errno}"),
            (None, Some(result)) => write!(f, " = {result}"),
            (None, None) => write!(f, " = ?"),
        }?;
        if self.injected { write!(f, " (INJECTED)") } else { Ok(()) }
    }
}

/// A line that is no line of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Which one, from 1.
    pub line: usize,
    /// Its beginning.
    pub text: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: no system call as strace writes it: '{}'", self.line, self.text)
    }
}

impl std::error::Error for Malformed {}

/// A whole trace.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The calls, each in its place among the others when it began.
    pub calls: Vec<Traced>,
    /// `SIGTERM {si_signo=SIGTERM, ...}` for each signal that arrived.
    pub signals: Vec<String>,
    /// How many calls had begun when the first SIGTERM or SIGINT arrived: the others belong to the end.
    pub stopped: Option<usize>,
}

impl Trace {
    /// Reads a trace, also one that is still being written: an unfinished last line is left out.
    ///
    /// # Errors
    /// A sentence: the file cannot be read, or holds a line that is none of a trace.
    pub fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let bytes =
            std::fs::read(path).map_err(|e| format!("open {name}: {}", sys::describe(&e)))?;
        // Injected calls show their buffers as they were, which need not be UTF-8.
        Self::parse(&String::from_utf8_lossy(&bytes)).map_err(|e| format!("{name}: {e}"))
    }

    /// Reads the text of one.
    ///
    /// # Errors
    /// The first line that is no line of a trace.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut trace = Self::default();
        // Where the call that each process has not finished stands, and its first half.
        let mut unfinished: HashMap<u32, (usize, String)> = HashMap::new();
        for (number, text) in (1..).zip(complete.lines()) {
            let malformed = || Malformed { line: number, text: text.chars().take(60).collect() };
            let (pid, event) = line::event(text).ok_or_else(malformed)?;
            let call = match event {
                Event::Signal(signal) => {
                    if signal.starts_with("SIGTERM ") || signal.starts_with("SIGINT ") {
                        trace.stopped.get_or_insert(trace.calls.len());
                    }
                    trace.signals.push(signal.to_owned());
                    continue;
                }
                Event::Begun(half) => {
                    unfinished.insert(pid, (trace.calls.len(), half.to_owned()));
                    line::begun(half)
                }
                Event::Resumed(name, half) => {
                    // A trace that was attached, or cut, begins with ends.
                    let (place, first) =
                        unfinished.remove(&pid).unwrap_or((trace.calls.len(), format!("{name}(")));
                    let call = line::whole(&format!("{first}{half}")).ok_or_else(malformed)?;
                    if let Some(earlier) = trace.calls.get_mut(place) {
                        *earlier = Traced { line: earlier.line, pid, ..call };
                        continue;
                    }
                    Some(call)
                }
                Event::Whole(event) => line::whole(event),
                Event::Nothing => continue,
            };
            trace.calls.push(Traced { line: number, pid, ..call.ok_or_else(malformed)? });
        }
        Ok(trace)
    }

    /// Everything that its flow does from the accept of the first client to the close of its descriptor. Only what is not the
    /// product's is left out: with debug assertions std asks, right before it closes a descriptor that it
    /// owns, whether that is open. Nothing where there was no client, or one whose descriptor was not closed.
    #[must_use]
    pub fn conversation(&self) -> Vec<&Traced> {
        let taken_in = |call: &Traced| call.taken_in().is_some();
        let Some(start) = self.calls.iter().position(taken_in) else { return Vec::new() };
        let flow = self.calls[start].pid;
        let calls: Vec<_> = self.calls[start..].iter().filter(|call| call.pid == flow).collect();
        let fd = calls[0].taken_in();
        let end = calls.iter().position(|call| call.is(Call::Close) && call.fd() == fd);
        without_std(&calls, end)
    }

    /// The same where another flow than the accepting one may serve: the accept of the first client, the clone that made
    /// the flow which serves it (unless that was there before), and what this flow does with the client's descriptor.
    #[must_use]
    pub fn served(&self) -> Vec<&Traced> {
        let Some(start) = self.calls.iter().position(Traced::accepted) else { return Vec::new() };
        let (accept, calls) = (&self.calls[start], &self.calls[start + 1..]);
        let on_it = |call: &&Traced| call.fd().is_some() && call.fd() == accept.result;
        // A forking parent closes its copy of the descriptor; only who serves receives from it.
        let receives = |call: &&Traced| call.is(Call::Recvfrom) && on_it(call);
        let Some(flow) = calls.iter().find(receives).map(|call| call.pid) else {
            return Vec::new();
        };
        let clone = calls.iter().find(|call| {
            call.is(Call::Clone) && call.pid == accept.pid && call.result == Some(i64::from(flow))
        });
        let mut served: Vec<_> = [Some(accept), clone].into_iter().flatten().collect();
        let mine: Vec<_> = calls.iter().filter(|call| call.pid == flow).filter(on_it).collect();
        let end = mine.iter().position(|call| call.is(Call::Close));
        served.extend(without_std(&mine, end));
        served
    }

    /// How many calls of that name strace has failed or delayed.
    #[must_use]
    pub fn injected(&self, call: &str) -> usize {
        self.calls.iter().filter(|traced| traced.injected && traced.call == call).count()
    }
}

/// The calls up to a close, without what std asks before it.
fn without_std<'t>(calls: &[&'t Traced], end: Option<usize>) -> Vec<&'t Traced> {
    let Some(end) = end else { return Vec::new() };
    let by_std =
        |i: usize| cfg!(debug_assertions) && i + 1 == end && calls[i].args.ends_with(", F_GETFD");
    (0..=end).filter(|&i| !by_std(i)).map(|i| calls[i]).collect()
}
