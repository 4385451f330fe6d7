//! The main job: models side by side, each a real server in its own process, each driven by real clients.

use super::{Family, Server};
use crate::client::load::{self, Load, Outcome};
use crate::failure::During;
use crate::json::Value;
use crate::model::Model;
use crate::phase::Nanos;
use crate::sys;
use std::fmt;
use std::time::Duration;

/// What to compare.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The models.
    pub models: Vec<&'static Model>,
    /// Connection counts, each in turn.
    pub connections: Vec<usize>,
    /// Time of each measurement of the rate; the recorded pass takes a third of it.
    pub duration: Duration,
    /// Bytes of each message.
    pub size: usize,
    /// Where there are two: the generator's core and the server's. Left to the scheduler, one client and
    /// its server share a core in one run and not in the next, and rates differ several times over.
    pub cores: Option<[usize; 2]>,
}

/// Two cores that this process may run on, if it may run on two.
#[must_use]
pub fn two_cores() -> Option<[usize; 2]> {
    match sys::sched_getaffinity().ok()?.as_slice() {
        &[one, other, ..] => Some([one, other]),
        _ => None,
    }
}

/// One model under one number of connections.
#[derive(Debug)]
pub struct Cell {
    /// The model's name.
    pub model: &'static str,
    /// How many clients.
    pub connections: usize,
    /// The first pass: rate, latency and CPU, recorder off.
    pub plain: Outcome,
    /// CPU time of the server in the first pass.
    pub server_cpu: Duration,
    /// The second pass, recorder on: what its clients saw, and the server's report.
    pub recorded: Outcome,
    /// See `docs/phases.md`.
    pub report: Value,
}

impl Cell {
    /// Both passes without a wrong byte or a lost connection.
    #[must_use]
    pub fn sound(&self) -> bool {
        self.plain.sound() && self.recorded.sound()
    }

    /// Server CPU per request of the plain pass, in nanoseconds.
    #[must_use]
    pub fn cpu_per_request(&self) -> u64 {
        (self.server_cpu.as_nanos() / u128::from(self.plain.requests.max(1))) as u64
    }

    /// System calls per request of the recorded pass, set-up and stop included.
    #[must_use]
    pub fn calls_per_request(&self) -> f64 {
        self.sum("calls") as f64 / self.requests()
    }

    /// `EAGAIN`s per request of the recorded pass.
    #[must_use]
    pub fn again_per_request(&self) -> f64 {
        self.sum("again") as f64 / self.requests()
    }

    /// A part of the flow's wall time in the recorded pass, in percent.
    #[must_use]
    pub fn share(&self, part: &str) -> f64 {
        let part = self.report.count(&format!("partition_ns.{part}")).unwrap_or(0);
        100.0 * part as f64 / self.report.count("wall_ns").unwrap_or(1).max(1) as f64
    }

    fn sum(&self, member: &str) -> u64 {
        let values = self.report.members(member).map(|(_, value)| value);
        values.filter_map(|value| if let Value::Count(n) = value { Some(n) } else { None }).sum()
    }

    fn requests(&self) -> f64 {
        self.report.count("counts.requests").unwrap_or(0).max(1) as f64
    }

    /// The figures for programs. Times are nanoseconds.
    #[must_use]
    pub fn to_json(&self) -> Value {
        Value::object([
            ("model", self.model.into()),
            ("connections", (self.connections as u64).into()),
            ("sound", self.sound().into()),
            ("requests_per_second", self.plain.rate().into()),
            ("server_cpu_ns_per_request", self.cpu_per_request().into()),
            ("calls_per_request", self.calls_per_request().into()),
            ("again_per_request", self.again_per_request().into()),
            ("plain", outcome_json(&self.plain)),
            ("recorded", outcome_json(&self.recorded)),
            ("report", self.report.clone()),
        ])
    }
}

fn outcome_json(outcome: &Outcome) -> Value {
    let nanos = |time: Duration| Value::from(time.as_nanos() as u64);
    Value::object([
        ("requests", outcome.requests.into()),
        ("wall_ns", nanos(outcome.wall)),
        ("generator_cpu_ns", nanos(outcome.cpu)),
        ("unserved", (outcome.unserved as u64).into()),
        ("unanswered", (outcome.unanswered as u64).into()),
        ("wrong", outcome.wrong.into()),
        ("dead", (outcome.dead as u64).into()),
        ("latency", outcome.latency.to_json()),
    ])
}

/// Measures all cells, one after the other, and pins the calling thread if the plan has cores; `progress` hears of each before it begins.
///
/// # Errors
/// A sentence: a server that does not start or stop, a load that cannot run.
pub fn run(plan: &Plan, mut progress: impl FnMut(&str)) -> Result<Vec<Cell>, String> {
    let mut cells = Vec::new();
    let all = plan.models.len() * plan.connections.len();
    for &connections in &plan.connections {
        for model in &plan.models {
            let clients = if connections == 1 { "client" } else { "clients" };
            let n = cells.len() + 1;
            progress(&format!("{n} of {all}: {} under {connections} {clients}", model.name));
            cells.push(measure(plan, model, connections)?);
        }
    }
    Ok(cells)
}

fn measure(plan: &Plan, model: &Model, connections: usize) -> Result<Cell, String> {
    let (plain, server_cpu, _) = pass(plan, model, connections, false)?;
    let (recorded, _, report) = pass(plan, model, connections, true)?;
    let report = report.ok_or("the server has left no report")?;
    Ok(Cell { model: model.name, connections, plain, server_cpu, recorded, report })
}

fn pass(
    plan: &Plan,
    model: &Model,
    connections: usize,
    record: bool,
) -> Result<(Outcome, Duration, Option<Value>), String> {
    let server = Server::start(model.name, record, plan.cores.map(|[_, serving]| serving))?;
    if let Some([generator, _]) = plan.cores {
        let pinned = sys::sched_setaffinity(0, generator);
        let named = pinned.during("sched_setaffinity", format_args!("core {generator}"));
        named.map_err(|failure| failure.to_string())?;
    }
    let duration = if record { plan.duration / 3 } else { plan.duration };
    let load = Load { connections, size: plan.size, duration, ..Load::new(server.endpoint()) };
    let mut family = Family::of(server.process());
    let outcome = load::run(&load, &mut family).map_err(|failure| failure.to_string())?;
    let cpu =
        family.cpu().during("clock_gettime", "server").map_err(|failure| failure.to_string())?;
    Ok((outcome, cpu, server.stop()?))
}

/// The table for people.
#[derive(Debug)]
pub struct Table<'c>(pub &'c [Cell]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<12} {:>7} {:>10} {:>9} {:>9} {:>9} {:>7} {:>8}   time of the server's flow",
            "model", "clients", "requests/s", "p50", "p99", "CPU/req", "calls", "EAGAIN"
        )?;
        writeln!(
            f,
            "{:<12} {:>7} {:>10} {:>9} {:>9} {:>9} {:>7} {:>8}   wait  recv  send  other",
            "", "", "", "", "", "", "/req", "/req"
        )?;
        let mut connections = None;
        for cell in self.0 {
            if connections.replace(cell.connections).is_some_and(|n| n != cell.connections) {
                writeln!(f)?;
            }
            cell.row(f)?;
        }
        Ok(())
    }
}

impl Cell {
    fn row(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99] = [0.5, 0.99].map(|q| Nanos(self.plain.latency.quantile(q)));
        let other = self.share("other") + self.share("service") + self.share("undivided");
        write!(
            f,
            "{:<12} {:>7} {:>10.0} {p50:>9} {p99:>9} {:>9} {:>7.2} {:>8.1}   {:>3.0}%  {:>3.0}%  {:>3.0}%  {:>4.0}%",
            self.model,
            self.connections,
            self.plain.rate(),
            Nanos(self.cpu_per_request()),
            self.calls_per_request(),
            self.again_per_request(),
            self.share("wait"),
            self.share("receive"),
            self.share("send"),
            other,
        )?;
        for (name, pass) in [("", &self.plain), ("recorded: ", &self.recorded)] {
            let Outcome { wrong, dead, unanswered, unserved, .. } = *pass;
            if !pass.sound() {
                write!(f, "  {name}{wrong} wrong replies, {dead} dead, {unanswered} unanswered")?;
            }
            if unserved > 0 && name.is_empty() {
                write!(f, "  {unserved} clients never served")?;
            }
        }
        writeln!(f)
    }
}
