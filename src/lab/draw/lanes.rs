//! Several clients at once: a lane for each flow of control, time to the right.

mod picture;
mod text;

use super::axis::Step;
use super::kernel::Kernel;
use super::run::{Run, Visit, told};
use super::style::{MOST_CLIENTS, letter};
use crate::model::Who;
use crate::phase::{Event, How, Nanos, Waits, What};
use std::net::SocketAddr;

/// What a flow does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Blocked in a call: for one client if it says so, else for whoever comes.
    Wait,
    /// Its call copies a client's data.
    Copy,
    /// It hands an answer to the kernel.
    Send,
    /// It runs.
    Runs,
    /// It runs, asking in vain.
    Asks,
    /// It was made and does not run yet.
    Starts,
}

/// What a flow does from when to when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its beginning.
    pub from: u64,
    /// Its end.
    pub to: u64,
    /// What it does.
    pub state: State,
    /// For whom.
    pub client: Option<usize>,
    /// In which call.
    pub call: Option<&'static str>,
}

/// A flow of control.
#[derive(Clone, Debug)]
pub struct Lane {
    /// As it is written at its beginning.
    pub name: String,
    /// What it does, without gaps.
    pub spans: Vec<Span>,
}

/// The picture.
#[derive(Clone, Debug)]
pub struct Lanes {
    /// The model's name.
    pub model: &'static str,
    /// Under the name.
    pub about: Vec<String>,
    /// The clients' own view, where they have told it.
    pub visits: Vec<Visit>,
    /// The flows, in the order of their first work.
    pub lanes: Vec<Lane>,
    /// The whole time, from when to when.
    pub window: (u64, u64),
    /// Under the picture.
    pub caption: Vec<String>,
}

impl Lanes {
    /// The lanes of a run.
    ///
    /// # Errors
    /// A sentence: nobody came.
    pub fn of(run: &Run) -> Result<Self, String> {
        let clients = clients(run);
        if clients.is_empty() {
            return Err("no client is known in this run".to_owned());
        }
        let window = window(run).ok_or("nobody was served in this run")?;
        let mut lanes: Vec<Lane> = Vec::new();
        let mut others = 0;
        let mut flows: Vec<(u32, u32)> = Vec::new();
        for event in &run.events {
            let flow = (event.process, event.flow);
            if !flows.contains(&flow) {
                flows.push(flow);
            }
        }
        let accepts = |flow: (u32, u32), what: What| {
            let of_flow = |event: &&Event| (event.process, event.flow) == flow;
            run.events.iter().filter(of_flow).any(|event| event.what == what)
        };
        let mut served = 0;
        for flow in flows {
            let (accepting, receiving) =
                (accepts(flow, What::Accept), accepts(flow, What::Receive));
            if !accepting && !receiving {
                others += 1;
                continue;
            }
            served += usize::from(receiving);
            let name = name(run.model.who, accepting && !receiving, served);
            lanes.push(Lane { name, spans: spans(run, flow, &clients, window) });
        }
        let about = vec![run.model.meaning.to_owned(), script(run, clients.len())];
        let caption = caption(run, others);
        Ok(Self {
            model: run.model.name,
            about,
            visits: run.visits.clone(),
            lanes,
            window,
            caption,
        })
    }

    /// The moments at which somebody's state changes, as steps.
    fn steps(&self) -> Vec<Step> {
        let spans = || self.lanes.iter().flat_map(|lane| &lane.spans);
        let mut moments: Vec<u64> = spans().flat_map(|span| [span.from, span.to]).collect();
        moments.extend([self.window.0, self.window.1]);
        moments.sort_unstable();
        moments.dedup();
        let step = |pair: &[u64]| {
            let (from, to) = (pair[0], pair[1]);
            let copies = |span: &Span| matches!(span.state, State::Copy | State::Send);
            let busy = spans().any(|span| copies(span) && span.from <= from && to <= span.to);
            Step { from, to, busy }
        };
        moments.windows(2).map(step).collect()
    }
}

/// Who came, in this order.
fn clients(run: &Run) -> Vec<SocketAddr> {
    let mut clients: Vec<_> = run.visits.iter().map(|visit| visit.client).collect();
    for client in run.events.iter().filter_map(|event| event.client) {
        if !clients.contains(&client) {
            clients.push(client);
        }
    }
    clients
}

/// From the first client's coming to the last one's leaving.
fn window(run: &Run) -> Option<(u64, u64)> {
    let accepts = run.events.iter().filter(|event| event.what == What::Accept).map(|e| e.end);
    let from = run.visits.iter().map(|visit| visit.connected).min().or(accepts.min())?;
    let served = run.events.iter().filter(|event| event.client.is_some()).map(|e| e.end);
    let to = run.visits.iter().map(|visit| visit.left).max().or(served.max())?;
    (from < to).then_some((from, to))
}

fn name(who: Who, only_accepts: bool, n: usize) -> String {
    match who {
        Who::One => "the process".to_owned(),
        Who::Threads | Who::Pool if only_accepts => "acceptor".to_owned(),
        Who::Fork if only_accepts => "parent".to_owned(),
        Who::Threads => format!("thread {n}"),
        Who::Pool => format!("worker {n}"),
        Who::Fork | Who::Prefork | Who::Reuseport => format!("child {n}"),
    }
}

/// What a flow does within the window.
fn spans(run: &Run, flow: (u32, u32), clients: &[SocketAddr], window: (u64, u64)) -> Vec<Span> {
    let polls = run.model.waits == Waits::Polling;
    let between = if polls { State::Asks } else { State::Runs };
    let mut spans: Vec<Span> = Vec::new();
    let mut add = |from: u64, to: u64, state, client, call| {
        let (from, to) = (from.clamp(window.0, window.1), to.clamp(window.0, window.1));
        match spans.last_mut() {
            // What runs on runs on.
            Some(last) if last.to == from && last.state == state && state == between => {
                last.to = to
            }
            _ if from < to => spans.push(Span { from, to, state, client, call }),
            _ => {}
        }
    };
    let mut at = None;
    for event in run.events.iter().filter(|event| (event.process, event.flow) == flow) {
        let client = event.client.and_then(|client| clients.iter().position(|one| *one == client));
        let call = event.call.map(|call| call.name());
        if let Some(at) = at.filter(|&at| at < event.start) {
            add(at, event.start, between, None, None);
        }
        let (start, end) = (event.start.max(at.unwrap_or(0)), event.end);
        at = Some(end.max(at.unwrap_or(0)));
        if end < start {
            continue;
        }
        match (event.what, event.phases) {
            (What::Start, _) => add(start, end, State::Starts, None, call),
            (What::Wait | What::Idle, _) => add(start, end, State::Wait, None, call),
            (What::Accept, Some(phases)) if phases.how == How::Call => {
                add(start, end, State::Wait, None, call);
            }
            (What::Receive, Some(phases)) => {
                let copy = end.saturating_sub(phases.copy).max(start);
                add(start, copy, State::Wait, client, call);
                add(copy, end, State::Copy, client, call);
            }
            // The end of the stream: where the call waits, for that.
            (What::Receive, None) if run.model.waits == Waits::InCall || blocks(event) => {
                add(start, end, State::Wait, client, call);
            }
            (What::Send, _) => add(start, end, State::Send, client, call),
            (What::Accept | What::Receive | What::Service | What::Close, _) => {
                add(start, end, between, None, None);
            }
        }
    }
    spans
}

/// Only receives that wait are made for a stamp.
fn blocks(event: &Event) -> bool {
    event.call == Some(crate::phase::Call::Recvmsg)
}

fn script(run: &Run, clients: usize) -> String {
    match run.delay {
        Some(delay) if clients == 1 => {
            format!("one client says something {} after it has come, and leaves", told(delay))
        }
        Some(delay) => format!(
            "{clients} clients come {} apart; each says something {} after it has come, again so long after the reply, and leaves",
            told(delay / 5),
            told(delay)
        ),
        None => format!("{clients} clients of a recorded run"),
    }
}

/// How long each client's messages took to be answered, and what is not shown.
fn caption(run: &Run, others: usize) -> Vec<String> {
    let mut lines: Vec<String> = run
        .visits
        .iter()
        .enumerate()
        .map(|(n, visit)| {
            let took = |&(sent, answered): &(u64, u64)| Nanos(answered - sent).to_string();
            let took: Vec<_> = visit.requests.iter().map(took).collect();
            let [first, rest @ ..] = took.as_slice() else {
                return format!("Client {} said nothing.", letter(n));
            };
            let rest = rest.iter().map(|time| format!(", then {time}")).collect::<String>();
            format!("Client {}: answered {first} after it sent{rest}.", letter(n))
        })
        .collect();
    lines.extend(kernel(run));
    if others > 0 {
        let flows = if others == 1 { "flow" } else { "flows" };
        lines.push(format!("{others} {flows} that served nobody: not shown."));
    }
    lines
}

/// What the kernel said of all receives together.
fn kernel(run: &Run) -> Option<String> {
    let said: Vec<_> = run.kernel.iter().flatten().collect();
    let sum = |of: fn(&Kernel) -> u64| Kernel::told(said.iter().map(|kernel| of(kernel)).sum());
    let receives = if said.len() == 1 { "1 receive" } else { &format!("{} receives", said.len()) };
    (!said.is_empty()).then(|| {
        format!(
            "By the kernel, {receives} with their waits: asleep {}, runnable {}, copied in {}.",
            sum(|kernel| kernel.asleep),
            sum(|kernel| kernel.runnable),
            sum(|kernel| kernel.copied)
        )
    })
}

/// As many clients as can be told apart by colour.
pub const MOST: usize = MOST_CLIENTS;
