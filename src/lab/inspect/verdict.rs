//! Whether a trace is what the catalogue says: each client's conversation against the model's grammar.

use super::annotate::{Line, Mark, Whose};
use crate::lab::trace::{Trace, Traced};
use crate::model::{Model, Who, grammar};
use crate::net::Transport;
use crate::phase::{Call, Waits};
use crate::sys::Kind;

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every conversation is a sentence of this grammar.
    Holds(String),
    /// The first call that is not.
    Deviates(Deviation),
    /// No client was served.
    Empty,
}

/// Where a trace leaves the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// The line of the trace; `None` where a conversation ends too early.
    pub line: Option<usize>,
    /// Whose conversation.
    pub client: Option<usize>,
    /// The call.
    pub call: String,
    /// What the catalogue has there; nothing: no call at all.
    pub expected: Vec<String>,
}

/// The grammar of a conversation on a transport. Datagrams have no beginning and no end: a flow that serves them alone
/// waits, receives and answers; where it hands them on, others answer meanwhile.
#[must_use]
pub fn grammar_on(model: &Model, transport: Transport) -> String {
    if transport.kind() == Kind::Stream {
        return model.grammar.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    let wait = model.readiness();
    match (model.who, model.waits, wait) {
        (Who::One | Who::Reuseport, Waits::Readiness, Some(wait)) => {
            let wait = wait.name();
            // A signal may come late or not in time; a set that is empty returns 0.
            format!("(({wait} | {wait}:EAGAIN) (recvfrom sendto)* recvfrom:EAGAIN?)*")
        }
        (Who::One, Waits::Completion, _) => "io_uring_enter*".to_owned(),
        (Who::One, Waits::Polling, _) => "(recvfrom:EAGAIN | recvfrom sendto)*".to_owned(),
        (Who::One, ..) => "(recvfrom sendto)*".to_owned(),
        _ => "(recvfrom | recvfrom:EAGAIN | sendto)*".to_owned(),
    }
}

/// Judges a trace that has been annotated.
#[must_use]
pub fn judge(trace: &Trace, lines: &[Line<'_>], model: &Model, transport: Transport) -> Verdict {
    let grammar = grammar_on(model, transport);
    let clients = clients(lines);
    // Whose a datagram is that a ring brings, is in no trace.
    let unseen = model.waits == Waits::Completion && transport.kind() == Kind::Datagram;
    if clients == 0 && !unseen {
        return Verdict::Empty;
    }
    let strange = lines.iter().find(|line| line.mark == Mark::Strange).map(|line| Deviation {
        line: Some(line.call.line),
        client: None,
        call: line.call.to_string(),
        expected: Vec::new(),
    });
    let conversations: Vec<(Option<usize>, Vec<&Traced>)> = if transport.kind() == Kind::Datagram {
        datagrams(lines, model).into_iter().map(|calls| (None, calls)).collect()
    } else {
        let alone = clients == 1;
        let of = |client| (Some(client), conversation(trace, lines, model, client, alone));
        (1..=clients).map(of).collect()
    };
    // One that the stop or the end of the trace has cut off is as long as it is.
    let cut = |calls: &[&Traced]| !calls.iter().any(|call| call.is(Call::Close));
    let strays = conversations.iter().filter_map(|(client, calls)| {
        stray(&grammar, *client, calls).filter(|stray| stray.line.is_some() || !cut(calls))
    });
    // The earliest; one that ends too early comes last.
    let first = strays.chain(strange).min_by_key(|stray| stray.line.unwrap_or(usize::MAX));
    first.map_or(Verdict::Holds(grammar), Verdict::Deviates)
}

/// How many clients a trace has.
#[must_use]
pub fn clients(lines: &[Line<'_>]) -> usize {
    let number = |line: &Line<'_>| if let Whose::Client(n) = line.whose { n } else { 0 };
    lines.iter().filter(|line| line.mark != Mark::Stop).map(number).max().unwrap_or(0)
}

fn stray(grammar: &str, client: Option<usize>, calls: &[&Traced]) -> Option<Deviation> {
    let words: Vec<_> = calls.iter().map(|call| word(call)).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let found = grammar::deviation(grammar, &words)?;
    let call = calls.get(found.at);
    Some(Deviation {
        line: call.map(|call| call.line),
        client,
        call: call.map_or_else(String::new, ToString::to_string),
        expected: found.expected.into_iter().map(str::to_owned).collect(),
    })
}

/// A recorded server receives with the kernel's stamp, by another call of the same meaning.
fn word(call: &Traced) -> String {
    call.word().replace("recvmsg", "recvfrom")
}

/// Ended by a signal, to be made again: no step of its own.
fn interrupted(call: &Traced) -> bool {
    call.errno.as_deref().is_some_and(|errno| errno == "EINTR" || errno.starts_with("ERESTART"))
}

/// One client's calls, from its accept to its close. Alone in a trace, it is everything that its flow did; among others, the
/// calls on its descriptor, and of those that are for all the ones that let it in and that ended its waits.
fn conversation<'t>(
    trace: &'t Trace,
    lines: &[Line<'t>],
    model: &Model,
    client: usize,
    alone: bool,
) -> Vec<&'t Traced> {
    let calls = if !matches!(model.who, Who::One | Who::Reuseport) {
        by_its_flow(lines, client)
    } else if alone && trace.conversation().len() > 1 {
        trace.conversation()
    } else {
        among_others(lines, client)
    };
    let stop = lines.iter().find(|line| line.mark == Mark::Stop).map(|line| line.call.line);
    let before = |call: &&Traced| stop.is_none_or(|stop| call.line < stop);
    calls.into_iter().filter(before).filter(|call| !interrupted(call)).collect()
}

/// What the flow that serves it does with its descriptor, and how that flow was made.
fn by_its_flow<'t>(lines: &[Line<'t>], client: usize) -> Vec<&'t Traced> {
    let its = |line: &&Line<'_>| line.whose == Whose::Client(client) && line.mark != Mark::Stop;
    let Some(accept) = lines.iter().find(its).map(|line| line.call) else { return Vec::new() };
    let receives =
        |line: &&Line<'_>| its(line) && line.call.args != accept.args && received(line.call);
    let flow = lines.iter().find(receives).map(|line| line.call.pid);
    let made = lines.iter().map(|line| line.call).find(|call| {
        call.line > accept.line && call.is(Call::Clone) && call.result == flow.map(i64::from)
    });
    let served = lines.iter().filter(its).map(|line| line.call);
    let served = served.filter(|call| Some(call.pid) == flow && call.line != accept.line);
    [Some(accept), made].into_iter().flatten().chain(served).collect()
}

fn received(call: &Traced) -> bool {
    call.is(Call::Recvfrom) || call.is(Call::Recvmsg)
}

fn among_others<'t>(lines: &[Line<'t>], client: usize) -> Vec<&'t Traced> {
    let mut calls: Vec<&Traced> = Vec::new();
    let mut flow = None;
    // The readiness call that has not been used yet, and whether the burst of accepts goes on.
    let (mut ready, mut letting_in) = (None, false);
    for line in lines.iter().filter(|line| line.mark != Mark::Stop && line.mark != Mark::Runtime) {
        let call = line.call;
        if line.whose == Whose::Client(client) {
            flow.get_or_insert(call.pid);
            letting_in |= call.accepted();
            if received(call) {
                calls.extend(ready.take());
            }
            calls.push(call);
        } else if flow == Some(call.pid) && line.whose == Whose::Set {
            ready = Some(call);
        } else if flow == Some(call.pid) && call.is(Call::Accept4) && call.in_vain() && letting_in {
            letting_in = false;
            calls.push(call);
        }
    }
    calls
}

/// The calls of each flow that serves datagrams; those of all flows together where they share the work.
fn datagrams<'t>(lines: &[Line<'t>], model: &Model) -> Vec<Vec<&'t Traced>> {
    let steady =
        lines.iter().filter(|line| !matches!(line.mark, Mark::Runtime | Mark::Setup | Mark::Stop));
    let steady = steady.map(|line| (line, line.call)).filter(|(_, call)| !interrupted(call));
    if !matches!(model.who, Who::One | Who::Reuseport) {
        let front =
            steady.filter(|(line, _)| matches!(line.whose, Whose::Client(_) | Whose::Front));
        return vec![front.map(|(_, call)| call).collect()];
    }
    let mut flows: Vec<Vec<&Traced>> = Vec::new();
    for (_, call) in steady {
        match flows.iter_mut().find(|calls| calls[0].pid == call.pid) {
            Some(calls) => calls.push(call),
            None => flows.push(vec![call]),
        }
    }
    flows
}
