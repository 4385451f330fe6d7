//! The only list of models: commands, help, docs, tests and the Makefile read it.

use super::{
    Failure, Listener, Settings, Stop, blocking, epoll, epoll_et, nonblocking, poll, select,
};
use crate::json::Value;
use crate::phase::{Call, Counting, Recorder, Waits};
use crate::service::Service;

/// What a call is made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// The listener.
    Front,
    /// One client's connection.
    Client,
    /// All of them: a readiness set.
    Set,
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waiting, nothing else.
    Wait,
    /// Copying data that is there.
    Copy,
    /// Both in one call.
    WaitCopy,
    /// Handing the answer to the kernel.
    Answer,
    /// Making a connection ready to be served.
    Open,
    /// Telling that a stall begins or ends.
    Stall,
    /// Ending a connection.
    Close,
}

/// How often a call is made at steady state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// Once a turn, however many requests the turn answers.
    Turn,
    /// Once a request.
    Request,
    /// Once a connection.
    Connection,
    /// Once for the beginning of a stall, once for its end.
    Stall,
    /// In vain, any number of times.
    Poll,
}

/// One kind of call that a model makes at steady state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The call's family.
    pub call: Call,
    /// What it is made on.
    pub on: On,
    /// What it is for.
    pub phase: Phase,
    /// How often.
    pub per: Per,
}

/// The function of a model, for both observers of the program.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Without a recorder.
    pub counting: Serve<Counting>,
    /// With one.
    pub recording: Serve<Recorder>,
}

/// Every model's `serve`.
pub type Serve<O> =
    fn(Listener, &Settings, &(dyn Service + 'static), &mut O, &Stop) -> Result<(), Failure>;

/// One entry.
#[derive(Debug)]
pub struct Model {
    /// As typed: `epoll-et`.
    pub name: &'static str,
    /// One line.
    pub meaning: &'static str,
    /// What blocks, and where.
    pub blocks: &'static str,
    /// Who copies.
    pub copies: &'static str,
    /// What it cannot do.
    pub limits: &'static str,
    /// When to choose it.
    pub choose: &'static str,
    /// How its waits are measured.
    pub waits: Waits,
    /// Its calls at steady state.
    pub steps: &'static [Step],
    /// One conversation from accept to close, see [`grammar`](super::grammar).
    pub grammar: &'static str,
    /// Faults that it does not survive by its nature, with the reason.
    pub exempt: &'static [(&'static str, &'static str)],
    /// The model itself.
    pub run: Run,
}

impl Model {
    /// System calls per request with one client who waits for each answer: what is made per
    /// request and per turn. A model that polls makes any number more.
    #[must_use]
    pub fn calls_per_request(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step.per, Per::Request | Per::Turn)).count()
    }

    /// Whether it is exempt from a fault.
    #[must_use]
    pub fn is_exempt(&self, fault: &str) -> bool {
        self.exempt.iter().any(|(name, _)| *name == fault)
    }

    /// The entry for programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let steps = self.steps.iter().map(|step| {
            Value::object([
                ("call", step.call.name().into()),
                ("on", format!("{:?}", step.on).to_lowercase().into()),
                ("phase", format!("{:?}", step.phase).to_lowercase().into()),
                ("per", format!("{:?}", step.per).to_lowercase().into()),
            ])
        });
        Value::object([
            ("name", self.name.into()),
            ("meaning", self.meaning.into()),
            ("blocks", self.blocks.into()),
            ("copies", self.copies.into()),
            ("limits", self.limits.into()),
            ("choose", self.choose.into()),
            ("transports", vec!["tcp"].into()),
            ("calls_per_request", (self.calls_per_request() as u64).into()),
            ("steps", Value::List(steps.collect())),
            ("grammar", self.grammar.into()),
            ("exempt", Value::object(self.exempt.iter().map(|&(name, why)| (name, why.into())))),
        ])
    }
}

/// The model of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Model> {
    CATALOGUE.iter().find(|model| model.name == name)
}

/// The name that was perhaps meant: at most two letters away.
#[must_use]
pub fn suggest(name: &str) -> Option<&'static str> {
    let near = CATALOGUE.iter().map(|model| (distance(name, model.name), model.name)).min()?;
    (near.0 <= 2).then_some(near.1)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

const fn step(call: Call, on: On, phase: Phase, per: Per) -> Step {
    Step { call, on, phase, per }
}

const ACCEPT_WAITING: Step = step(Call::Accept4, On::Front, Phase::WaitCopy, Per::Connection);
const ACCEPT: Step = step(Call::Accept4, On::Front, Phase::Open, Per::Connection);
const ACCEPT_IN_VAIN: Step = step(Call::Accept4, On::Front, Phase::Wait, Per::Poll);
const NONBLOCK: Step = step(Call::Fcntl, On::Client, Phase::Open, Per::Connection);
const REGISTER: Step = step(Call::EpollCtl, On::Client, Phase::Open, Per::Connection);
const RECEIVE_WAITING: Step = step(Call::Recvfrom, On::Client, Phase::WaitCopy, Per::Request);
const RECEIVE: Step = step(Call::Recvfrom, On::Client, Phase::Copy, Per::Request);
const RECEIVE_IN_VAIN: Step = step(Call::Recvfrom, On::Client, Phase::Wait, Per::Poll);
const SEND: Step = step(Call::Sendto, On::Client, Phase::Answer, Per::Request);
const STALL: Step = step(Call::EpollCtl, On::Client, Phase::Stall, Per::Stall);
const CLOSE: Step = step(Call::Close, On::Client, Phase::Close, Per::Connection);

const fn waits_by(call: Call) -> Step {
    step(call, On::Set, Phase::Wait, Per::Turn)
}

/// Every model, in the order of the notes and of Stevens.
pub static CATALOGUE: [Model; 6] = [
    Model {
        name: "blocking",
        meaning: "one call waits and copies; one client at a time",
        blocks: "the process, in accept4 and in recvfrom, through both phases",
        copies: "the kernel, inside the same recvfrom",
        limits: "one client at a time: the next waits in the backlog until this one leaves",
        choose: "one peer, or one per thread or process: the simplest code and the fewest calls",
        waits: Waits::InCall,
        steps: &[ACCEPT_WAITING, RECEIVE_WAITING, SEND, CLOSE],
        grammar: "accept4 (recvfrom sendto)* recvfrom:0 close",
        exempt: &[("neighbour", "one client at a time: a silent or stopped one holds up the next")],
        run: Run { counting: blocking::serve, recording: blocking::serve },
    },
    Model {
        name: "nonblocking",
        meaning: "every call returns at once; the process asks again and again",
        blocks: "nothing: a call that would wait says EAGAIN",
        copies: "the kernel, inside the one recvfrom of many that finds data",
        limits: "a core is always busy; a round costs a call per client, ready or not",
        choose: "never alone; to see what readiness calls save, or where a core may spin for latency",
        waits: Waits::Polling,
        steps: &[ACCEPT, ACCEPT_IN_VAIN, NONBLOCK, RECEIVE_IN_VAIN, RECEIVE, SEND, CLOSE],
        grammar: "accept4 fcntl fcntl (accept4:EAGAIN | recvfrom:EAGAIN | recvfrom sendto)* \
                  recvfrom:0 close",
        exempt: &[("cpu", "it polls: one core is always busy, whether anything happens or not")],
        run: Run { counting: nonblocking::serve, recording: nonblocking::serve },
    },
    Model {
        name: "select",
        meaning: "one call waits for all clients, by sets of at most 1024 descriptors",
        blocks: "the process, in select, for all clients at once; never in a receive",
        copies: "the kernel, inside the recvfrom that follows",
        limits: "descriptors below 1024; each turn builds, copies and scans the sets anew",
        choose: "few descriptors and code that must run anywhere",
        waits: Waits::Readiness,
        steps: &[ACCEPT, NONBLOCK, waits_by(Call::Select), RECEIVE, SEND, CLOSE],
        grammar: "accept4 fcntl fcntl accept4:EAGAIN (select recvfrom sendto)* \
                  select recvfrom:0 close",
        exempt: &[],
        run: Run { counting: select::serve, recording: select::serve },
    },
    Model {
        name: "poll",
        meaning: "one call waits for all clients, by a list of any length",
        blocks: "the process, in poll, for all clients at once; never in a receive",
        copies: "the kernel, inside the recvfrom that follows",
        limits: "each turn builds, copies and scans the whole list anew",
        choose: "up to some hundred descriptors, most of them busy, or a few of changing kind",
        waits: Waits::Readiness,
        steps: &[ACCEPT, NONBLOCK, waits_by(Call::Poll), RECEIVE, SEND, CLOSE],
        grammar: "accept4 fcntl fcntl accept4:EAGAIN (poll recvfrom sendto)* poll recvfrom:0 close",
        exempt: &[],
        run: Run { counting: poll::serve, recording: poll::serve },
    },
    Model {
        name: "epoll",
        meaning: "one call waits for all clients, the set lives in the kernel; level-triggered",
        blocks: "the process, in epoll_wait, for all clients at once; never in a receive",
        copies: "the kernel, inside the recvfrom that follows",
        limits: "Linux only; one epoll_ctl per connection, two per stall",
        choose: "many connections, few of them busy at a time: the default on Linux",
        waits: Waits::Readiness,
        steps: &[
            ACCEPT,
            NONBLOCK,
            REGISTER,
            waits_by(Call::EpollWait),
            RECEIVE,
            SEND,
            STALL,
            CLOSE,
        ],
        grammar: "accept4 fcntl fcntl epoll_ctl:ADD accept4:EAGAIN (epoll_wait recvfrom sendto)* \
                  epoll_wait recvfrom:0 close",
        exempt: &[],
        run: Run { counting: epoll::serve, recording: epoll::serve },
    },
    Model {
        name: "epoll-et",
        meaning: "the same, edge-triggered: each change is told once, the model drains",
        blocks: "the process, in epoll_wait, for all clients at once; never in a receive",
        copies: "the kernel, inside the recvfroms that drain the socket",
        limits: "Linux only; forgetting to drain loses a client, draining without a cap starves others",
        choose: "as epoll, where stalls are frequent (no epoll_ctl for them) or messages are long",
        waits: Waits::Readiness,
        steps: &[ACCEPT, NONBLOCK, REGISTER, waits_by(Call::EpollWait), RECEIVE, SEND, CLOSE],
        grammar: "accept4 fcntl fcntl epoll_ctl:ADD-ET accept4:EAGAIN \
                  (epoll_wait (recvfrom sendto)* recvfrom:EAGAIN | epoll_wait (recvfrom sendto)+)* \
                  epoll_wait recvfrom:0 close",
        exempt: &[],
        run: Run { counting: epoll_et::serve, recording: epoll_et::serve },
    },
];

#[cfg(test)]
mod tests {
    use super::{CATALOGUE, find, suggest};

    #[test]
    fn names_are_found_and_near_misses_suggested() {
        for model in &CATALOGUE {
            assert!(find(model.name).is_some_and(|found| std::ptr::eq(found, model)));
            assert_eq!(suggest(model.name), Some(model.name));
        }
        assert_eq!(suggest("epol"), Some("epoll"));
        assert_eq!(suggest("slect"), Some("select"));
        assert_eq!(suggest("kqueue"), None);
    }

    #[test]
    fn calls_per_request_are_those_of_the_files() {
        let calls = |name| find(name).unwrap().calls_per_request();
        assert_eq!(["blocking", "select", "poll", "epoll", "epoll-et"].map(calls), [2, 3, 3, 3, 3]);
    }

    #[test]
    fn a_grammar_names_only_calls_of_its_steps() {
        for model in &CATALOGUE {
            assert!(!super::super::grammar::matches(model.grammar, &["nothing"]));
            let signs = ['(', ')', '|', '*', '+', '?', ' '];
            for word in model.grammar.split(signs).filter(|word| !word.is_empty()) {
                let family = word.split(':').next().unwrap();
                let known = model.steps.iter().any(|step| step.call.name() == family);
                assert!(known, "{}: {word}", model.name);
            }
        }
    }
}
