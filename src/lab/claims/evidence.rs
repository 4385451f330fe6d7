//! What the claims are judged by, as plain figures, and how it is measured: real servers in processes of their own.

use super::sockets;
use crate::client::connect;
use crate::client::load::{self, Load};
use crate::failure::{During, Failure};
use crate::json::Value;
use crate::lab::compare::{self, Point};
use crate::lab::{Family, Server};
use crate::model::find;
use crate::net::Transport;
use crate::phase::Call;
use crate::sys;
use std::io;
use std::time::Duration;

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Of each measurement under load.
    pub duration: Duration,
    /// Paired rounds, for what is compared.
    pub rounds: usize,
    /// The generator's core and the server's.
    pub cores: Option<[usize; 2]>,
}

/// Everything that was measured.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// What a fresh socket is, by kind: non-blocking or not.
    pub fresh: Vec<(&'static str, bool)>,
    /// Receives without data after the switch.
    pub switch: Switch,
    /// A client who sends late, by model.
    pub late_blocking: Late,
    /// The same.
    pub late_nonblocking: Late,
    /// The same.
    pub late_select: Late,
    /// The same.
    pub late_epoll: Late,
    /// 10 active clients among silent ones.
    pub crowd: Vec<Crowd>,
    /// Of 100 clients, how many were answered, by model.
    pub served: Vec<(&'static str, usize)>,
    /// Calls that bring a request in.
    pub calls_blocking: Calls,
    /// The same.
    pub calls_select: Calls,
    /// The same of models that tell of readiness or of completions, where this machine has them.
    pub calls_beyond: Vec<(&'static str, Calls)>,
    /// select under 100 busy clients.
    pub busy_select: Late,
    /// select over blocking, one client, a ratio per round.
    pub single: Rounds,
    /// threads over epoll, by number of clients.
    pub few: Vec<(usize, Rounds)>,
    /// A send of more than there is room for.
    pub full_send: FullSend,
}

/// Receives on a socket without data.
#[derive(Clone, Copy, Debug, Default)]
pub struct Switch {
    /// `EAGAIN` at once, after the switch.
    pub again: bool,
    /// How long that took, in nanoseconds.
    pub took: u64,
    /// How long one waited on a blocking socket with a receive time-out, in nanoseconds.
    pub blocked: u64,
}

/// A server's figures under a client who sends late. Times are nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Late {
    /// Requests answered.
    pub requests: u64,
    /// How late the client sent each.
    pub delay: u64,
    /// Receives, in vain or not.
    pub receives: u64,
    /// Of those, in vain (`EAGAIN`).
    pub again: u64,
    /// Median wait for data.
    pub wait: u64,
    /// Median copy.
    pub copy: u64,
    /// Whether the kernel's stamp divides each receive.
    pub stamped: bool,
    /// The flow's wall time.
    pub wall: u64,
    /// CPU time of the process.
    pub cpu: u64,
    /// Of the wall time: waiting.
    pub part_wait: u64,
    /// Of the wall time: receiving what is there.
    pub part_receive: u64,
}

/// 10 active clients among this many silent ones, by model.
#[derive(Clone, Debug)]
pub struct Crowd {
    /// The model.
    pub model: &'static str,
    /// (silent clients, median time to the answer in ns, server CPU per request in ns).
    pub steps: Vec<(usize, u64, u64)>,
}

/// Calls per request, counted by the server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calls {
    /// Requests.
    pub requests: u64,
    /// Readiness calls.
    pub readiness: u64,
    /// Receives.
    pub receives: u64,
}

/// Ratios of one model's figures to another's, one per round.
#[derive(Clone, Debug, Default)]
pub struct Rounds {
    /// Requests per second.
    pub rate: Vec<f64>,
    /// 99th percentile of the time to the answer.
    pub p99: Vec<f64>,
    /// Server CPU per request.
    pub cpu: Vec<f64>,
}

/// A send of more than there is room for, on a socket that poll(2) says is writable.
#[derive(Clone, Copy, Debug, Default)]
pub struct FullSend {
    /// Bytes given.
    pub given: usize,
    /// How long the blocking socket's send kept the process, until its time-out, in nanoseconds.
    pub blocking: u64,
    /// How long the non-blocking one's did, in nanoseconds.
    pub nonblocking: u64,
    /// How many bytes the non-blocking one took.
    pub taken: usize,
}

/// Messages of a late client, and how late each is.
const MESSAGES: u64 = 20;
const DELAY: Duration = Duration::from_millis(20);
/// Clients who are active among the silent ones, and how many of those there are. A select set holds 1024.
const ACTIVE: usize = 10;
const SILENT: [usize; 3] = [0, 250, 900];
/// Clients that count as few.
const FEW: [usize; 3] = [1, 8, 64];

/// Measures everything; `progress` hears of each step before it begins.
///
/// # Errors
/// A sentence: a server that does not start or stop, a load that cannot run, a call that failed.
pub fn measure(plan: &Plan, mut progress: impl FnMut(&str)) -> Result<Evidence, String> {
    let said = |failure: Failure| failure.to_string();
    progress("sockets: fresh, switched, full");
    let mut evidence = Evidence {
        fresh: sockets::fresh().map_err(said)?,
        switch: sockets::switch().map_err(said)?,
        full_send: sockets::full_send().map_err(said)?,
        ..Evidence::default()
    };
    if let Some([generator, _]) = plan.cores {
        let pinned = sys::sched_setaffinity(0, generator);
        pinned.during("sched_setaffinity", format_args!("core {generator}")).map_err(said)?;
    }
    progress("one client who sends late");
    evidence.late_blocking = late(plan, "blocking")?;
    evidence.late_nonblocking = late(plan, "nonblocking")?;
    evidence.late_select = late(plan, "select")?;
    evidence.late_epoll = late(plan, "epoll")?;
    progress("calls per request, counted by the server");
    evidence.calls_blocking = Calls::of(&drive(plan, "blocking", 1, 0, true)?.report);
    evidence.calls_select = Calls::of(&drive(plan, "select", 1, 0, true)?.report);
    for model in ["select", "epoll", "sigio", "async", "io-uring"] {
        if find(model).is_some_and(|model| model.available(Transport::Tcp).is_ok()) {
            let calls = Calls::of(&drive(plan, model, 1, 0, true)?.report);
            evidence.calls_beyond.push((model, calls));
        }
    }
    evidence.busy_select = Late::of(&drive(plan, "select", 100, 0, true)?.report, Duration::ZERO);
    progress("100 clients at once");
    for model in ["blocking", "select", "epoll"] {
        let driven = drive(plan, model, 100, 0, false)?;
        evidence.served.push((model, 100 - driven.unserved));
    }
    for model in ["nonblocking", "select", "poll", "epoll"] {
        progress(&format!(
            "{model}: {ACTIVE} active clients among up to {} silent ones",
            SILENT[2]
        ));
        let mut steps = Vec::new();
        for silent in SILENT {
            let driven = drive(plan, model, ACTIVE, silent, false)?;
            steps.push((silent, driven.p50 as u64, driven.cpu as u64));
        }
        evidence.crowd.push(Crowd { model, steps });
    }
    progress("one client: select beside blocking");
    evidence.single = rounds(plan, ["select", "blocking"], 1)?;
    for clients in FEW {
        progress(&format!("{clients} clients: threads beside epoll"));
        evidence.few.push((clients, rounds(plan, ["threads", "epoll"], clients)?));
    }
    Ok(evidence)
}

/// What a load of a server came to. Times are nanoseconds.
struct Driven {
    rate: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
    unserved: usize,
    report: Value,
}

fn drive(
    plan: &Plan,
    model: &str,
    connections: usize,
    idle: usize,
    record: bool,
) -> Result<Driven, String> {
    let server = Server::start(model, record, plan.cores.map(|[_, serving]| serving))?;
    let duration = plan.duration;
    // Long enough for the threads of those who stand in the backlog to be made.
    let timing = compare::Plan { duration, ..compare::Plan::new(Vec::new()) };
    let warm_up = find(model).map(|model| timing.warm_up(model, Point { connections, idle }));
    let load = Load { connections, idle, duration, warm_up, ..Load::new(server.endpoint()) };
    let mut family = Family::of(server.process());
    let outcome = load::run(&load, &mut family).map_err(|failure| failure.to_string())?;
    let cpu = family.cpu().during("clock_gettime", "server").map_err(|f| f.to_string())?;
    let report = server.stop()?.unwrap_or(Value::Null);
    if !outcome.sound() {
        return Err(format!(
            "{model} under {connections} clients: {} wrong replies, {} dead, {} unanswered, {} answered",
            outcome.wrong, outcome.dead, outcome.unanswered, outcome.requests
        ));
    }
    Ok(Driven {
        rate: outcome.rate(),
        p50: outcome.latency.quantile(0.5) as f64,
        p99: outcome.latency.quantile(0.99) as f64,
        cpu: cpu.as_nanos() as f64 / outcome.requests as f64,
        unserved: outcome.unserved,
        report,
    })
}

/// The first model's figures over the second's, round by round; who goes first changes each time.
fn rounds(plan: &Plan, pair: [&str; 2], clients: usize) -> Result<Rounds, String> {
    let mut rounds = Rounds::default();
    for round in 0..plan.rounds {
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        let mut driven = [const { None }; 2];
        for at in order {
            driven[at] = Some(drive(plan, pair[at], clients, 0, false)?);
        }
        if let [Some(one), Some(other)] = driven {
            rounds.rate.push(one.rate / other.rate);
            rounds.p99.push(one.p99 / other.p99);
            rounds.cpu.push(one.cpu / other.cpu);
        }
    }
    Ok(rounds)
}

/// One client who waits before each message, as a person does.
fn late(plan: &Plan, model: &str) -> Result<Late, String> {
    let server = Server::start(model, true, plan.cores.map(|[_, serving]| serving))?;
    let conversation = || -> Result<(), Failure> {
        let endpoint = server.endpoint();
        let client = connect(&[endpoint])?;
        for _ in 0..MESSAGES {
            pause(DELAY).during("ppoll", "client")?;
            sys::send(&client, b"hello").during("send", endpoint)?;
            let mut reply = [0; 8];
            let mut had = 0;
            while had < 5 {
                let n = sys::recv(&client, &mut reply[had..]).during("recv", endpoint)?;
                if n == 0 {
                    return Err(Failure::new(
                        "recv",
                        endpoint,
                        io::ErrorKind::UnexpectedEof.into(),
                    ));
                }
                had += n;
            }
        }
        Ok(())
    };
    conversation().map_err(|failure| failure.to_string())?;
    let report = server.stop()?.ok_or("the server has left no report")?;
    Ok(Late::of(&report, DELAY))
}

impl Late {
    fn of(report: &Value, delay: Duration) -> Self {
        let of = |path: &str| report.count(path).unwrap_or(0);
        let both =
            |member: &str| of(&format!("{member}.recvfrom")) + of(&format!("{member}.recvmsg"));
        Self {
            requests: of("counts.requests"),
            delay: delay.as_nanos() as u64,
            receives: both("calls"),
            again: both("again"),
            wait: of("phases.wait.p50_ns"),
            copy: of("phases.copy.p50_ns"),
            stamped: report.get("method") == Some(&"stamp".into()) && of("counts.unstamped") == 0,
            wall: of("wall_ns"),
            cpu: of("usage.user_ns") + of("usage.system_ns"),
            part_wait: of("partition_ns.wait"),
            part_receive: of("partition_ns.receive") + of("partition_ns.undivided"),
        }
    }
}

impl Calls {
    fn of(report: &Value) -> Self {
        let of = |path: &str| report.count(path).unwrap_or(0);
        Self {
            requests: of("counts.requests"),
            readiness: Call::READINESS
                .iter()
                .map(|call| of(&format!("calls.{}", call.name())))
                .sum(),
            receives: of("calls.recvfrom") + of("calls.recvmsg"),
        }
    }
}

/// Lets time pass, as the person at the client does: the condition that is measured, not a way to be in step.
fn pause(time: Duration) -> io::Result<()> {
    match sys::ppoll(&mut [], Some(time)) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}
