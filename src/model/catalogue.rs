//! The only list of models: commands, help, docs, tests and the Makefile read it.

use super::{Failure, Front, Settings, Stop};
use crate::json::Value;
use crate::net::{Ring, Transport};
use crate::phase::{Call, Counting, Recorder, Waits};
use crate::service::Service;
use crate::sys::Kind;

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
    /// Once each time that the kernel could not queue a signal.
    Overflow,
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

/// Whose flows run it: see [`concurrency`](crate::concurrency).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The one that listens.
    One,
    /// A thread for each request.
    Threads,
    /// N threads behind a queue.
    Pool,
    /// A child for each request.
    Fork,
    /// N children on one listener.
    Prefork,
    /// N children with a listener each.
    Reuseport,
}

impl Who {
    /// Whether `--workers` says how many there are.
    #[must_use]
    pub fn counted(self) -> bool {
        matches!(self, Self::Pool | Self::Prefork | Self::Reuseport)
    }
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
    fn(Front, &Settings, &(dyn Service + 'static), &mut O, &Stop) -> Result<(), Failure>;

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
    /// Who runs it.
    pub who: Who,
    /// The transports that it does not serve, and why.
    pub refuses: &'static [(Transport, &'static str)],
    /// Its calls at steady state.
    pub steps: &'static [Step],
    /// One conversation from accept to close, see [`grammar`](super::grammar). Where it is not the flow that accepts
    /// which serves: the calls on the connection, by the flow that serves it, and how that flow was made.
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

    /// The call in which its flow, or the one that accepts for it, waits for readiness, if there is one.
    #[must_use]
    pub fn readiness(&self) -> Option<Call> {
        self.steps.iter().map(|step| step.call).find(|call| Call::READINESS.contains(call))
    }

    /// Whether it serves a transport.
    ///
    /// # Errors
    /// The reason why not, as a sentence.
    pub fn serves(&self, transport: Transport) -> Result<(), &'static str> {
        let refused = self.refuses.iter().find(|(refused, _)| *refused == transport);
        refused.map_or(Ok(()), |(_, why)| Err(why))
    }

    /// Whether this machine has what it needs for a transport: rings need Linux 6.0, with datagrams 6.1.
    ///
    /// # Errors
    /// What was refused, and what can be done about it.
    pub fn available(&self, transport: Transport) -> Result<(), Failure> {
        match self.waits {
            Waits::Completion => Ring::available(transport.kind() == Kind::Datagram),
            _ => Ok(()),
        }
    }

    /// Its calls at steady state on a transport. Datagrams have no connection that is opened, stalls and is closed: what
    /// would be made on it is made on the front, and what would be made once a connection, once a request. Where another flow
    /// answers, the acceptor has waited already and its receive only copies.
    pub fn steps_on(&self, transport: Transport) -> impl Iterator<Item = Step> {
        let datagrams = transport.kind() == Kind::Datagram;
        let handed_on = matches!(self.who, Who::Threads | Who::Pool | Who::Fork);
        let of_connections = |step: &Step| {
            matches!(step.call, Call::Accept4 | Call::Getpeername)
                || (step.call != Call::Clone
                    && matches!(step.phase, Phase::Open | Phase::Stall | Phase::Close))
        };
        let as_datagram = move |step: Step| Step {
            on: if step.on == On::Client { On::Front } else { step.on },
            per: if step.per == Per::Connection { Per::Request } else { step.per },
            phase: match step.phase {
                Phase::WaitCopy if handed_on => Phase::Copy,
                phase => phase,
            },
            ..step
        };
        self.steps
            .iter()
            .filter(move |step| !(datagrams && of_connections(step)))
            .map(move |&step| if datagrams { as_datagram(step) } else { step })
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
        let transports = Transport::ALL.map(|(transport, name)| {
            let served = match self.serves(transport) {
                Ok(()) => true.into(),
                Err(why) => Value::from(why),
            };
            (name, served)
        });
        Value::object([
            ("name", self.name.into()),
            ("meaning", self.meaning.into()),
            ("blocks", self.blocks.into()),
            ("copies", self.copies.into()),
            ("limits", self.limits.into()),
            ("choose", self.choose.into()),
            ("who", format!("{:?}", self.who).to_lowercase().into()),
            ("transports", Value::object(transports)),
            ("calls_per_request", (self.calls_per_request() as u64).into()),
            ("steps", Value::List(steps.collect())),
            ("grammar", self.grammar.into()),
            ("exempt", Value::object(self.exempt.iter().map(|&(name, why)| (name, why.into())))),
        ])
    }
}
