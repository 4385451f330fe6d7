//! One call with its times, and its form in a report.

use super::{Call, Id};
use crate::json::Value;
use std::net::SocketAddr;

/// What a flow did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum What {
    /// A thread or child on its way from being made to its first instruction for a client.
    Start = 1,
    /// A client taken from the backlog; where the call itself waits, all of that wait.
    Accept,
    /// A readiness call, or a pause.
    Wait,
    /// A receive that brought data or the end of the stream.
    Receive,
    /// The service at work.
    Service,
    /// A send.
    Send,
    /// Nothing to do, outside of any call: a worker of a pool without a client.
    Idle,
    /// The end of a connection.
    Close,
}

impl What {
    /// All of them with their names in reports.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Start, "start"),
        (Self::Accept, "accept"),
        (Self::Wait, "wait"),
        (Self::Receive, "receive"),
        (Self::Service, "service"),
        (Self::Send, "send"),
        (Self::Idle, "idle"),
        (Self::Close, "close"),
    ];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize - 1].1
    }
}

/// How the wait for an input came about, and so how it was measured: `docs/phases.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum How {
    /// In the receive, which the kernel's stamp divides.
    Stamp = 1,
    /// In the receive, and nothing divides it.
    NoStamp,
    /// In a readiness call.
    Ready,
    /// Not the first I/O of its turn.
    SameTurn,
    /// Left over from the turn before.
    Carried,
    /// By asking in vain.
    Polled,
    /// In a call that does nothing else.
    Call,
    /// In a ring's call, which copies too.
    Completed,
}

impl How {
    /// All of them with their names in reports.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Stamp, "stamp"),
        (Self::NoStamp, "no stamp"),
        (Self::Ready, "ready"),
        (Self::SameTurn, "same turn"),
        (Self::Carried, "carried"),
        (Self::Polled, "polled"),
        (Self::Call, "call"),
        (Self::Completed, "completed"),
    ];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize - 1].1
    }
}

/// An input's phases: of a receive that brought data, or of an accept. Times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phases {
    /// How the wait came about.
    pub how: How,
    /// Until the kernel had it. 0 without a stamp.
    pub wait: u64,
    /// In line behind neighbours.
    pub queued: u64,
    /// On its way into the buffer; without a stamp the whole call.
    pub copy: u64,
    /// Runnable without a CPU, inside the call.
    pub wake: Option<u64>,
    /// By its stamp the data was there so long before the call.
    pub age: u64,
    /// The which of those that one readiness call reported, and how many those were; 0 of 0 elsewhere.
    pub nth: (u64, u64),
    /// The calls in vain before it.
    pub again: Asked,
}

/// A row of calls in vain (`EAGAIN`). Times of `CLOCK_MONOTONIC`, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// How many.
    pub calls: u64,
    /// Time inside them.
    pub inside: u64,
    /// When the first one was made.
    pub first: u64,
    /// When the last one was made.
    pub last: u64,
}

/// What a flow did, from when to when. Times of `CLOCK_MONOTONIC`, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub what: What,
    /// By which call, where it is one.
    pub call: Option<Call>,
    /// The process.
    pub process: u32,
    /// The thread of it: the flow of control.
    pub flow: u32,
    /// With whom, where that has an IP address and is one.
    pub client: Option<SocketAddr>,
    /// On which connection of its flow.
    pub id: Option<Id>,
    /// Its beginning.
    pub start: u64,
    /// Its end.
    pub end: u64,
    /// Bytes that moved; of a readiness call, how many it reported.
    pub amount: u64,
    /// Of an accept, and of a receive that brought data.
    pub phases: Option<Phases>,
}

impl Event {
    /// Its form in a report.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut members: Vec<(&str, Value)> = vec![
            ("what", self.what.name().into()),
            ("call", self.call.map(Call::name).into()),
            ("process", u64::from(self.process).into()),
            ("flow", u64::from(self.flow).into()),
            ("start_ns", self.start.into()),
            ("end_ns", self.end.into()),
        ];
        if let Some(client) = self.client {
            members.push(("client", client.to_string().into()));
        }
        if let Some(id) = self.id {
            members.push(("slot", u64::from(id.slot).into()));
            members.push(("generation", u64::from(id.generation).into()));
        }
        match self.what {
            What::Wait => members.push(("ready", self.amount.into())),
            What::Receive | What::Send => members.push(("bytes", self.amount.into())),
            _ => {}
        }
        if let Some(phases) = &self.phases {
            members.push(("phases", phases.to_json()));
        }
        Value::object(members)
    }

    /// Reads it back.
    ///
    /// # Errors
    /// Which member is missing or wrong.
    pub fn of_json(value: &Value) -> Result<Self, String> {
        let count = |name| value.count(name).ok_or_else(|| format!("{name} is no whole number"));
        let short = |name| u32::try_from(count(name)?).map_err(|_| format!("{name} is too large"));
        let what = named(&What::ALL, value.get("what")).ok_or("what it was is not known")?;
        let call = match value.get("call") {
            None | Some(Value::Null) => None,
            Some(Value::Text(name)) => {
                Some(Call::of_trace(name).ok_or_else(|| format!("no call '{name}'"))?)
            }
            Some(other) => return Err(format!("call is {other}")),
        };
        let client = match value.get("client") {
            Some(Value::Text(text)) => {
                Some(text.parse().map_err(|_| format!("client '{text}' is no address"))?)
            }
            _ => None,
        };
        let id = match value.get("slot") {
            Some(_) => Some(Id { slot: short("slot")?, generation: short("generation")? }),
            None => None,
        };
        let amount = value.count("ready").or(value.count("bytes")).unwrap_or(0);
        let event = Self {
            what,
            call,
            process: short("process")?,
            flow: short("flow")?,
            client,
            id,
            start: count("start_ns")?,
            end: count("end_ns")?,
            amount,
            phases: value.get("phases").map(Phases::of_json).transpose()?,
        };
        if event.end < event.start { Err("it ends before it begins".to_owned()) } else { Ok(event) }
    }
}

impl Phases {
    fn to_json(self) -> Value {
        let mut members: Vec<(&str, Value)> = vec![
            ("method", self.how.name().into()),
            ("wait_ns", self.wait.into()),
            ("queued_ns", self.queued.into()),
            ("copy_ns", self.copy.into()),
            ("wake_ns", self.wake.into()),
        ];
        match self.how {
            How::Stamp => members.push(("age_ns", self.age.into())),
            How::Ready | How::Completed => {
                members.push(("nth", self.nth.0.into()));
                members.push(("of", self.nth.1.into()));
            }
            _ => {}
        }
        if self.again.calls > 0 {
            let Asked { calls, inside, first, last } = self.again;
            members.extend([
                ("again", calls.into()),
                ("again_ns", inside.into()),
                ("first_again_ns", first.into()),
                ("last_again_ns", last.into()),
            ]);
        }
        Value::object(members)
    }

    fn of_json(value: &Value) -> Result<Self, String> {
        let how = named(&How::ALL, value.get("method")).ok_or("its method is not known")?;
        let count = |name| value.count(name).ok_or_else(|| format!("{name} is no whole number"));
        let or_none = |name| value.count(name).unwrap_or(0);
        Ok(Self {
            how,
            wait: count("wait_ns")?,
            queued: count("queued_ns")?,
            copy: count("copy_ns")?,
            wake: value.count("wake_ns"),
            age: or_none("age_ns"),
            nth: (or_none("nth"), or_none("of")),
            again: Asked {
                calls: or_none("again"),
                inside: or_none("again_ns"),
                first: or_none("first_again_ns"),
                last: or_none("last_again_ns"),
            },
        })
    }
}

fn named<T: Copy>(all: &[(T, &str)], name: Option<&Value>) -> Option<T> {
    let Some(Value::Text(name)) = name else { return None };
    all.iter().find(|(_, known)| known == name).map(|(value, _)| *value)
}
