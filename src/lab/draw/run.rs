//! One run: a real server that keeps its events, clients with a script, and what both saw.

use super::kernel::{self, Kernel};
use crate::client;
use crate::failure::{During, Failure};
use crate::json::Value;
use crate::lab::Server;
use crate::lab::kernel::{Kernel as Watch, Trouble};
use crate::model::{self, Model, Who};
use crate::net::Endpoint;
use crate::phase::{Event, Nanos, Waits};
use crate::sys::{self, Clock};
use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

/// Events of a run at most: some hundred happen.
const EVENTS: &str = "10000";
/// What each client says.
const MESSAGE: &[u8] = b"hello";
/// How often a run of one client is made until the server was as early at its wait as the client believed.
const TRIES: usize = 5;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// By which model.
    pub model: &'static Model,
    /// How late each client sends.
    pub delay: Duration,
    /// How many of them. One sends one message; several send two each, and come a fifth of the delay after each other.
    pub clients: usize,
    /// Whether the kernel watches, and tells how long each receive slept, waited for a CPU and copied. It needs root.
    pub kernel: bool,
}

/// What a client did. Times of `CLOCK_MONOTONIC`, in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Its address, by which the server's events know it.
    pub client: SocketAddr,
    /// When its `connect` had returned.
    pub connected: u64,
    /// From before each send to after its reply.
    pub requests: Vec<(u64, u64)>,
    /// When it left.
    pub left: u64,
}

/// A run's figures.
#[derive(Clone, Debug)]
pub struct Run {
    /// The model.
    pub model: &'static Model,
    /// How late the clients sent; unknown of a server that others have called.
    pub delay: Option<Duration>,
    /// The server's report.
    pub report: Value,
    /// Its events, by their beginning.
    pub events: Vec<Event>,
    /// What the kernel said of each, if it did.
    pub kernel: Vec<Option<Kernel>>,
    /// What the clients saw, in the order of their coming.
    pub visits: Vec<Visit>,
}

impl Run {
    /// The figures for programs. Times are nanoseconds, of `CLOCK_MONOTONIC` where they are points in time.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let visits = self.visits.iter().map(Visit::to_json).collect();
        Value::object([
            ("model", self.model.name.into()),
            ("delay_ns", self.delay.map(nanos).into()),
            ("clients", Value::List(visits)),
            ("report", self.told()),
        ])
    }

    /// The report, with what the kernel said beside its events.
    fn told(&self) -> Value {
        let Value::Object(mut members) = self.report.clone() else { return self.report.clone() };
        if self.kernel.iter().any(Option::is_some) {
            let events = self.events.iter().zip(&self.kernel).map(|(event, kernel)| {
                let mut event = event.to_json();
                if let (Value::Object(members), Some(kernel)) = (&mut event, kernel) {
                    members.push(("kernel".to_owned(), kernel.to_json()));
                }
                event
            });
            let events = Value::List(events.collect());
            members.retain(|(name, _)| name != "events");
            members.push(("events".to_owned(), events));
        }
        Value::Object(members)
    }

    /// Reads them back, or the bare report of a server that kept its events.
    ///
    /// # Errors
    /// A sentence: what is missing or wrong.
    pub fn of_json(value: &Value) -> Result<Self, String> {
        let report = value.get("report").unwrap_or(value);
        let Some(Value::Text(name)) = report.get("model") else {
            return Err("it is no report: no member 'model'".to_owned());
        };
        let model = model::find(name).ok_or_else(|| format!("there is no model '{name}'"))?;
        let Some(Value::List(list)) = report.get("events") else {
            return Err("it has no events: serve with --report FILE --events N".to_owned());
        };
        let event = |(n, event)| Event::of_json(event).map_err(|e| format!("events[{n}]: {e}"));
        let mut events = list.iter().enumerate().map(event).collect::<Result<Vec<_>, _>>()?;
        let mut kernel: Vec<_> =
            list.iter().map(|event| event.get("kernel").and_then(Kernel::of_json)).collect();
        if !events.is_sorted_by_key(|event| event.start) {
            let mut both: Vec<_> = events.into_iter().zip(kernel).collect();
            both.sort_by_key(|(event, _)| (event.start, event.end));
            (events, kernel) = both.into_iter().unzip();
        }
        let mut visits: Vec<_> = match value.get("clients") {
            Some(Value::List(visits)) => {
                let visit =
                    |(n, visit)| Visit::of_json(visit).ok_or(format!("clients[{n}] is broken"));
                visits.iter().enumerate().map(visit).collect::<Result<_, _>>()?
            }
            _ => Vec::new(),
        };
        in_their_order(&mut visits);
        let delay = value.count("delay_ns").map(Duration::from_nanos);
        Ok(Self { model, delay, report: report.clone(), events, kernel, visits })
    }
}

impl Visit {
    fn to_json(&self) -> Value {
        let request = |&(sent, answered): &(u64, u64)| {
            Value::object([("sent_ns", sent.into()), ("answered_ns", Value::from(answered))])
        };
        Value::object([
            ("client", self.client.to_string().into()),
            ("connected_ns", self.connected.into()),
            ("requests", Value::List(self.requests.iter().map(request).collect())),
            ("left_ns", self.left.into()),
        ])
    }

    fn of_json(value: &Value) -> Option<Self> {
        let Some(Value::Text(client)) = value.get("client") else { return None };
        let Some(Value::List(requests)) = value.get("requests") else { return None };
        let request = |request: &Value| {
            let (sent, answered) = (request.count("sent_ns")?, request.count("answered_ns")?);
            (sent <= answered).then_some((sent, answered))
        };
        Some(Self {
            client: client.parse().ok()?,
            connected: value.count("connected_ns")?,
            requests: requests.iter().map(request).collect::<Option<_>>()?,
            left: value.count("left_ns")?,
        })
    }
}

/// Runs one client until the server was seen to wait for as long as the client was late: a busy machine may let the server begin
/// its wait after the client has begun to count. After some tries the last run is taken as it is.
///
/// # Errors
/// As [`run`].
pub fn single(plan: Plan) -> Result<Run, Trouble> {
    let plan = Plan { clients: 1, ..plan };
    let mut made = run(plan)?;
    for _ in 1..TRIES {
        let waits = made.events.iter().filter_map(|event| event.phases).map(|phases| phases.wait);
        if waits.max() >= Some(nanos(plan.delay)) {
            break;
        }
        made = run(plan)?;
    }
    Ok(made)
}

/// Runs it once.
///
/// # Errors
/// A sentence: a server that does not start or stop, a client that is not served; or why the kernel does not tell.
pub fn run(plan: Plan) -> Result<Run, Trouble> {
    let Plan { model, delay, clients, kernel } = plan;
    // As many workers as clients: enough for each to be served at once, and a figure that can be looked over.
    let workers = clients.to_string();
    let mut flags = vec!["--events", EVENTS];
    if model.who.counted() {
        flags.extend(["--workers", &workers]);
    }
    let server = Server::start_with(model.name, true, None, &flags)?;
    let watch = kernel.then(|| Watch::start(server.process())).transpose()?;
    let mut visits = visit(&server, plan).map_err(|failure| failure.to_string())?;
    in_their_order(&mut visits);
    let seen = watch.map(Watch::stop).transpose()?;
    let report = server.stop()?.ok_or_else(|| "the server has left no report".to_owned())?;
    let made = Run::of_json(&report)?;
    let kernel = seen.map(|ios| kernel::join(&made.events, &ios)).unwrap_or_default();
    Ok(Run { delay: Some(delay), visits, kernel, ..made })
}

/// A busy machine may let a client connect before another that was to come first.
fn in_their_order(visits: &mut [Visit]) {
    visits.sort_by_key(|visit| visit.connected);
}

/// Has all clients come, and waits until they have left.
fn visit(server: &Server, plan: Plan) -> Result<Vec<Visit>, Failure> {
    let (endpoint, process) = (server.endpoint(), server.process());
    if plan.clients == 1 {
        let settle = || {
            if plan.model.waits != Waits::Polling {
                asleep(process, plan.model.who);
            }
        };
        return Ok(vec![client(endpoint, plan.delay, 1, settle)?]);
    }
    let apart = plan.delay / 5;
    let clients: Vec<_> = (0..plan.clients)
        .map(|n| {
            thread::spawn(move || {
                thread::sleep(apart * n as u32);
                client(endpoint, plan.delay, 2, || ())
            })
        })
        .collect();
    let lost = || Failure::new("client", endpoint, std::io::ErrorKind::Other.into());
    clients.into_iter().map(|client| client.join().map_err(|_| lost())?).collect()
}

/// One client: connects, and so many times says something late and reads the reply; leaves.
fn client(
    endpoint: Endpoint,
    delay: Duration,
    messages: usize,
    settle: impl FnOnce(),
) -> Result<Visit, Failure> {
    let socket = client::connect(&[endpoint])?;
    let connected = now();
    settle();
    let address = sys::getsockname(&socket).during("getsockname", endpoint)?.ip();
    let address = address.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
    // Behind others it may wait for all of their delays; nobody waits for ever.
    let patience = delay * 100 + Duration::from_secs(10);
    sys::set_receive_timeout(&socket, patience).during("setsockopt SO_RCVTIMEO", endpoint)?;
    let mut requests = Vec::new();
    for _ in 0..messages {
        thread::sleep(delay);
        let sent = now();
        sys::send(&socket, MESSAGE).during("sendto", endpoint)?;
        let mut reply = [0; MESSAGE.len()];
        let mut read = 0;
        while read < reply.len() {
            match sys::recv(&socket, &mut reply[read..]) {
                // With a time-out it is not made again by itself after a stop or a signal (signal(7)).
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(0) => return Err(Failure::new("recvfrom", endpoint, unexpected_end())),
                received => read += received.during("recvfrom", endpoint)?,
            }
        }
        requests.push((sent, now()));
    }
    let left = now();
    drop(socket);
    Ok(Visit { client: address, connected, requests, left })
}

fn unexpected_end() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the server closed before its reply")
}

/// Until the server and its children sleep: they wait. A connect wakes a server on this machine before it returns, so
/// whoever sleeps now has taken the client. Not for ever: `single` looks at what came of it.
fn asleep(process: u32, who: Who) {
    for _ in 0..200 {
        thread::sleep(Duration::from_micros(100));
        if tasks(process, who).iter().all(|stat| sleeps(stat)) {
            return;
        }
    }
}

/// Every `/proc/PID/task/TID/stat` of a server.
fn tasks(process: u32, who: Who) -> Vec<String> {
    let mut processes = vec![process];
    if matches!(who, Who::Fork | Who::Prefork | Who::Reuseport) {
        let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
        let children = children.unwrap_or_default();
        processes.extend(children.split_ascii_whitespace().filter_map(|n| n.parse::<u32>().ok()));
    }
    let tasks = processes.iter().filter_map(|n| fs::read_dir(format!("/proc/{n}/task")).ok());
    let stats = tasks.flatten().flatten().map(|task| task.path().join("stat"));
    stats.filter_map(|stat| fs::read_to_string(stat).ok()).collect()
}

/// The state stands behind the name, which may hold anything (proc(5)).
fn sleeps(stat: &str) -> bool {
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'))
}

fn now() -> u64 {
    nanos(sys::clock_gettime(Clock::Monotonic))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// `50 ms`, as a person says it.
pub(super) fn told(delay: Duration) -> String {
    let text = Nanos(nanos(delay)).to_string();
    // 50.0 ms was asked for as 50.
    text.replace(".000 ", " ").replace(".0 ", " ")
}
