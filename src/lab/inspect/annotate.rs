//! What each call of a trace is for, and whose it is: the catalogue's words beside strace's.

use super::tables::Tables;
use crate::lab::trace::{Trace, Traced};
use crate::model::{Model, Per, Phase, Step, Who};
use crate::net::Transport;
use crate::phase::{Call, Waits};
use crate::sys::Kind;
use std::collections::{HashMap, HashSet};

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The loader's, the runtime's, the allocator's: not the server's.
    Runtime,
    /// Before the first client, or making and watching flows.
    Setup,
    /// Making a connection ready to be served.
    Open,
    /// Waiting, nothing else.
    Wait,
    /// Copying data that is there.
    Copy,
    /// Both in one call.
    WaitCopy,
    /// Handing the answer to the kernel.
    Send,
    /// Telling that a stall begins or ends.
    Stall,
    /// Ending a connection.
    Close,
    /// After the signal to stop.
    Stop,
    /// Made while clients are served, and no call of this model.
    Strange,
}

impl Mark {
    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Runtime => "runtime",
            Self::Setup => "setup",
            Self::Open => "open",
            Self::Wait => "wait",
            Self::Copy => "copy",
            Self::WaitCopy => "wait+copy",
            Self::Send => "send",
            Self::Stall => "stall",
            Self::Close => "close",
            Self::Stop => "stop",
            Self::Strange => "?",
        }
    }
}

impl From<Phase> for Mark {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Wait => Self::Wait,
            Phase::Copy => Self::Copy,
            Phase::WaitCopy => Self::WaitCopy,
            Phase::Answer => Self::Send,
            Phase::Open => Self::Open,
            Phase::Stall => Self::Stall,
            Phase::Close => Self::Close,
        }
    }
}

/// What a call is made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// None of the others.
    Nobody,
    /// The listener or datagram socket.
    Front,
    /// All that the flow watches.
    Set,
    /// The client of that number, from 1 in the order in which they were taken in.
    Client(usize),
}

/// A call with its meaning.
#[derive(Clone, Debug)]
pub struct Line<'t> {
    /// The call.
    pub call: &'t Traced,
    /// What it is for.
    pub mark: Mark,
    /// Whose it is.
    pub whose: Whose,
}

impl Line<'_> {
    /// Whether it waited for nothing: asked, and was told `EAGAIN`.
    #[must_use]
    pub fn polled(&self) -> bool {
        self.mark == Mark::Wait && self.call.in_vain()
    }
}

/// Calls of the allocator, of threads and of returning signals, which any program may make at any time.
const ALWAYS: [&str; 9] = [
    "brk",
    "mmap",
    "munmap",
    "mprotect",
    "mremap",
    "madvise",
    "futex",
    "rt_sigreturn",
    "restart_syscall",
];

/// Calls of the loader, of std and of the C library, where no client is being served.
const AROUND: [&str; 38] = [
    "execve",
    "arch_prctl",
    "access",
    "openat",
    "open",
    "newfstatat",
    "fstat",
    "stat",
    "lstat",
    "read",
    "pread64",
    "getdents64",
    "lseek",
    "readlink",
    "rt_sigaction",
    "rt_sigprocmask",
    "sigaltstack",
    "set_robust_list",
    "set_tid_address",
    "rseq",
    "prlimit64",
    "getrandom",
    "gettid",
    "getpid",
    "getppid",
    "sched_getaffinity",
    "sched_yield",
    "exit",
    "exit_group",
    "uname",
    "prctl",
    "clock_gettime",
    "clock_getres",
    "getrusage",
    "statx",
    "mmap2",
    "setitimer",
    "dup3",
];

/// Which transport a trace is of, as far as it shows: datagrams come with their sender, connections are accepted.
#[must_use]
pub fn transport(trace: &Trace) -> Transport {
    let accepts = trace.calls.iter().any(|call| call.is(Call::Accept4));
    let datagrams = trace.calls.iter().any(|call| call.args.contains("MSG_TRUNC"));
    if !accepts && datagrams { Transport::Udp } else { Transport::Tcp }
}

/// Every call of a trace with its meaning.
#[must_use]
pub fn annotate<'t>(trace: &'t Trace, model: &Model, transport: Transport) -> Vec<Line<'t>> {
    let mut annotator = Annotator::new(trace, model, transport);
    let stopped = trace.stopped.unwrap_or(trace.calls.len());
    let lines = trace.calls.iter().enumerate().map(|(place, call)| {
        let whose = annotator.whose(call);
        let mark = if place < stopped {
            annotator.mark(call, whose)
        } else {
            annotator.ending(call, whose)
        };
        annotator.tables.follow(call);
        Line { call, mark, whose }
    });
    lines.collect()
}

struct Annotator<'m> {
    model: &'m Model,
    steps: Vec<Step>,
    datagrams: bool,
    tables: Tables,
    /// Which flow serves each client.
    servers: HashMap<usize, u32>,
    /// Flows that have begun to wait for clients or to serve them.
    begun: HashSet<u32>,
    /// Flows with a client of their own that they have received from.
    busy: HashSet<u32>,
    /// Whether the loader is through: the first socket was made.
    loaded: bool,
}

impl<'m> Annotator<'m> {
    fn new(trace: &Trace, model: &'m Model, transport: Transport) -> Self {
        let datagrams = transport.kind() == Kind::Datagram;
        // Who closes a client's descriptor without ever receiving from it only hands it on.
        let (mut tables, mut servers) = (Tables::new(datagrams), HashMap::new());
        for call in &trace.calls {
            if let (true, Some(client)) = (receives(call), tables.client(call)) {
                servers.entry(client).or_insert(call.pid);
            }
            tables.follow(call);
        }
        // A trace that was attached to a server that runs shows no socket being made.
        let loaded = !trace.calls.iter().any(|call| call.call == "socket");
        let steps = model.steps_on(transport).collect();
        let tables = Tables::new(datagrams);
        let (begun, busy) = (HashSet::new(), HashSet::new());
        Self { model, steps, datagrams, tables, servers, begun, busy, loaded }
    }

    fn whose(&self, call: &Traced) -> Whose {
        if call.taken_in().is_some() && !self.datagrams {
            return Whose::Client(self.tables.next());
        }
        match self.tables.client(call) {
            Some(client) => Whose::Client(client),
            None if call.is(Call::Accept4) => Whose::Front,
            None if self.datagrams && (receives(call) || call.is(Call::Sendto)) => Whose::Front,
            None if call.is(Call::IoUringEnter) => Whose::Set,
            None if Call::READINESS.into_iter().any(|wait| call.is(wait)) => Whose::Set,
            None => Whose::Nobody,
        }
    }

    /// The step of the catalogue that a call is.
    fn step(&self, call: &Traced) -> Option<&Step> {
        let family = Call::of_trace(&call.call)?;
        // The stamped receive takes the place of the plain one.
        let family = if family == Call::Recvmsg { Call::Recvfrom } else { family };
        let vain = call.in_vain();
        let of_it = |step: &&Step| step.call == family && step.phase != Phase::Stall;
        let polled = |step: &&Step| (step.per == Per::Poll) == vain;
        let mut steps = self.steps.iter().filter(of_it);
        steps.clone().find(polled).or_else(|| steps.next())
    }

    fn mark(&mut self, call: &Traced, whose: Whose) -> Mark {
        self.loaded |= call.call == "socket";
        let name = call.call.as_str();
        if !self.loaded || ALWAYS.contains(&name) || call.args.ends_with(", F_GETFD") {
            return Mark::Runtime;
        }
        let mark = self.meaning(call, whose);
        let flow = call.pid;
        if matches!(mark, Some(Mark::Wait | Mark::Copy | Mark::WaitCopy)) {
            self.begun.insert(flow);
        }
        // A datagram makes no flow its client's own.
        if matches!(whose, Whose::Client(_)) && !self.datagrams {
            if receives(call) {
                self.busy.insert(flow);
            } else if call.is(Call::Close) {
                self.busy.remove(&flow);
            }
        }
        let around = if AROUND.contains(&name) { Mark::Runtime } else { Mark::Setup };
        mark.unwrap_or(if self.serves(flow) { Mark::Strange } else { around })
    }

    /// Whether a flow does nothing now but serve: its every call is the model's.
    fn serves(&self, flow: u32) -> bool {
        match self.model.who {
            Who::One | Who::Reuseport => self.begun.contains(&flow),
            _ => self.busy.contains(&flow),
        }
    }

    /// What the catalogue says of a call; `None` if nothing.
    fn meaning(&self, call: &Traced, whose: Whose) -> Option<Mark> {
        let family = Call::of_trace(&call.call)?;
        match (family, whose) {
            (Call::Fcntl | Call::Getpeername, Whose::Client(_)) => {
                self.step(call).map(|_| Mark::Open)
            }
            (Call::EpollCtl, Whose::Client(_)) => {
                let stall = call.args.contains("EPOLL_CTL_MOD");
                let stalls = self.steps.iter().any(|step| step.phase == Phase::Stall);
                let step = self.step(call).map(|step| step.phase.into());
                if stall { stalls.then_some(Mark::Stall) } else { step }
            }
            (Call::Close, Whose::Client(client)) => {
                let hands_on = self.servers.get(&client).is_some_and(|&flow| flow != call.pid);
                Some(if hands_on { Mark::Open } else { Mark::Close })
            }
            (Call::Fcntl | Call::EpollCtl | Call::Close, _) => None,
            (Call::Clone, _) => self.step(call).map(|_| Mark::Open),
            // A listener that has no one more to give ends the taking in; of a model that polls it is the wait.
            (Call::Accept4, _) | (Call::Sendto, Whose::Client(_) | Whose::Front) => {
                self.step(call).map(|step| step.phase.into())
            }
            (Call::Recvfrom | Call::Recvmsg, Whose::Client(_) | Whose::Front) => {
                let phase = self.step(call).map(|step| step.phase.into());
                let polls = self.model.waits == Waits::Polling;
                if call.in_vain() && !polls && !self.datagrams { Some(Mark::Copy) } else { phase }
            }
            (
                Call::Select
                | Call::Poll
                | Call::EpollWait
                | Call::Sigtimedwait
                | Call::IoUringEnter,
                _,
            ) => self.step(call).map(|step| step.phase.into()),
            _ => None,
        }
    }

    fn ending(&self, call: &Traced, whose: Whose) -> Mark {
        let name = call.call.as_str();
        let own = whose != Whose::Nobody || !(ALWAYS.contains(&name) || AROUND.contains(&name));
        if own { Mark::Stop } else { Mark::Runtime }
    }
}

fn receives(call: &Traced) -> bool {
    call.is(Call::Recvfrom) || call.is(Call::Recvmsg)
}
