//! `waitcopy load`: the load generator.

mod shown;

use super::serve::endpoints;
use super::{Exit, Parsed, print};
use crate::client::load::{self, Load, Mode, Outcome, Progress, Threshold, Watch};
use crate::json::Value;
use crate::lab::machine;
use crate::net::Endpoint;
use crate::phase::Nanos;
use crate::stop::Stop;
use crate::sys::{self, Kind, Signal};
use shown::Shown;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What ends the measurement early, for the handler.
static STOP: OnceLock<Stop> = OnceLock::new();
/// Whether a signal has asked for it already.
static ASKED: AtomicBool = AtomicBool::new(false);

/// SIGINT, SIGTERM: the first one ends the measurement, the second one the program.
fn on_stop(signal: Signal) {
    if ASKED.swap(true, Ordering::SeqCst) {
        sys::exit_at_once(128 + signal);
    }
    if let Some(stop) = STOP.get() {
        stop.request();
    }
}

pub(super) fn run(parsed: &Parsed) -> Result<(), Exit> {
    let load = asked(parsed)?;
    let limits: Vec<Threshold> = parsed
        .values("fail-if")
        .map(Threshold::parse)
        .collect::<Result<_, _>>()
        .map_err(|why| Exit::usage(format!("--fail-if {why}")))?;
    load::make_room(&load).map_err(Exit::config)?;
    let failed =
        |call: &str, error: io::Error| Exit::failed(format!("{call}: {}", sys::describe(&error)));
    let stop = Stop::new(load.timeout).map_err(|e| failed("eventfd", e))?;
    let stop = STOP.get_or_init(|| stop);
    for signal in [sys::SIGINT, sys::SIGTERM] {
        sys::on_signal(signal, on_stop).map_err(|e| failed("sigaction", e))?;
    }
    let mut line = Line { terminal: io::stderr().is_terminal() };
    let outcome = load::run_until(&load, &mut line, stop);
    line.away();
    let outcome = outcome?;
    let checked: Vec<_> = limits.iter().map(|limit| (limit, limit.check(&outcome))).collect();
    let shown = if parsed.has("json") {
        print(format_args!("{:#}\n", json(&load, &outcome, &checked)))
    } else {
        print(Shown { load: &load, outcome: &outcome })
    };
    // A reader who has left takes nothing from the verdict.
    match shown {
        Err(exit) if exit.code != 0 => return Err(exit),
        _ => verdict(&outcome, &checked)?,
    }
    Ok(())
}

type Checked<'t> = [(&'t Threshold, (load::Seen, bool))];

/// Whether all went well, and what did not.
fn verdict(outcome: &Outcome, checked: &Checked<'_>) -> Result<(), Exit> {
    let mut why: Vec<String> = Vec::new();
    if outcome.requests == 0 {
        why.push("nothing was measured".to_owned());
    }
    // Who says how many datagrams may be lost takes the place of "none".
    let spoken_of = checked.iter().any(|(limit, _)| limit.is_about("lost"));
    let errors = outcome.errors().into_iter();
    let errors: Vec<_> = errors.filter(|(name, _)| *name != "lost" || !spoken_of).collect();
    why.extend(troubles(&errors));
    for (limit, (seen, fails)) in checked {
        if *fails {
            why.push(format!("{} holds: {seen}", limit.text()));
        }
    }
    if why.is_empty() { Ok(()) } else { Err(Exit::failed(why.join("; "))) }
}

/// What went wrong in words, without what did not.
fn troubles(errors: &[(&'static str, u64)]) -> Option<String> {
    let words = errors.iter().filter(|(_, n)| *n > 0).map(|(name, n)| {
        let (one, many) = match *name {
            "wrong" => ("wrong answer", "wrong answers"),
            "dead" => ("connection ended by the server", "connections ended by the server"),
            "unanswered" => ("request unanswered", "requests unanswered"),
            "lost" => ("datagram lost", "datagrams lost"),
            "unserved" => ("connection never served", "connections never served"),
            _ => ("idle or slow connection ended", "idle or slow connections ended"),
        };
        format!("{} {}", thousands(*n), if *n == 1 { one } else { many })
    });
    let words: Vec<_> = words.collect();
    (!words.is_empty()).then(|| words.join(", "))
}

fn asked(parsed: &Parsed) -> Result<Load, Exit> {
    let number = |name, least| parsed.number(name, least).map_err(Exit::usage);
    let time = |name| parsed.duration(name).map_err(Exit::usage);
    let time_or_none = |name| parsed.duration_or_none(name).map_err(Exit::usage);
    let address = parsed.texts().map_err(Exit::usage)?.first().copied();
    if parsed.has("count") && parsed.has("duration") {
        return Err(Exit::usage("--count and --duration: one of them says when it is over"));
    }
    if parsed.has("slow-interval") && !parsed.has("slow") {
        return Err(Exit::usage("--slow-interval belongs to --slow"));
    }
    let server = reached(&endpoints(parsed, address)?);
    let usual = Load::new(server);
    let load = Load {
        connections: number("connections", 1)?.unwrap_or(usual.connections),
        size: number("size", 1)?.unwrap_or(usual.size),
        duration: time("duration")?.unwrap_or(Duration::from_secs(10)),
        count: number("count", 1)?.map(|count| count as u64),
        mode: mode(parsed)?,
        threads: number("threads", 1)?.unwrap_or(usual.threads),
        warm_up: time_or_none("warm-up")?,
        ramp: time_or_none("ramp")?.unwrap_or_default(),
        timeout: time("timeout")?.unwrap_or(usual.timeout),
        idle: number("idle", 0)?.unwrap_or(0),
        slow: number("slow", 0)?.unwrap_or(0),
        slow_interval: time("slow-interval")?.unwrap_or(usual.slow_interval),
        ..usual
    };
    load.check().map_err(Exit::usage)?;
    Ok(load)
}

fn mode(parsed: &Parsed) -> Result<Mode, Exit> {
    let modes = ["pipeline", "rate", "churn"];
    let given: Vec<_> = modes.into_iter().filter(|name| parsed.has(name)).collect();
    if let [one, other, ..] = given[..] {
        return Err(Exit::usage(format!("--{one} and --{other}: one mode a run")));
    }
    if let Some(depth) = parsed.number("pipeline", 1).map_err(Exit::usage)? {
        return Ok(Mode::Pipeline(depth));
    }
    if let Some(rate) = parsed.value("rate") {
        let number = rate.strip_suffix("/s").unwrap_or(rate).parse().ok();
        let number = number.ok_or_else(|| {
            Exit::usage(format!("--rate {rate}: messages a second are expected, such as 10000"))
        })?;
        return Ok(Mode::Open(number));
    }
    Ok(if parsed.has("churn") { Mode::Churn } else { Mode::Closed })
}

/// Of several addresses behind a name the first one that takes a connection; where none does the load says why.
fn reached(endpoints: &[Endpoint]) -> Endpoint {
    let first = endpoints[0];
    if endpoints.len() == 1 || first.transport().kind() == Kind::Datagram {
        return first;
    }
    let takes = |endpoint: &&Endpoint| crate::client::connect(&[**endpoint]).is_ok();
    endpoints.iter().find(takes).copied().unwrap_or(first)
}

/// One line on a terminal, written over each second.
struct Line {
    terminal: bool,
}

impl Line {
    fn away(&self) {
        if self.terminal {
            // Progress that cannot be shown is not missed.
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Watch for Line {
    fn tick(&mut self, progress: &Progress) {
        if !self.terminal {
            return;
        }
        let Progress { phase, elapsed, open, requests, rate, latency: [p50, p99], troubles } =
            *progress;
        let mut text =
            format!("{phase} {:.0} s, {} open", elapsed.as_secs_f64(), thousands(open as u64));
        // Writing to a String cannot fail.
        if requests > 0 {
            let rate = thousands(rate as u64);
            let _ = write!(text, ", {rate}/s, p50 {}, p99 {}", Nanos(p50), Nanos(p99));
        }
        if troubles > 0 {
            let _ = write!(text, ", {} errors", thousands(troubles));
        }
        let _ = write!(io::stderr(), "\r\x1b[K{text}");
    }
}

/// The cores that the generator may run on.
fn allowed() -> Vec<usize> {
    sys::sched_getaffinity().unwrap_or_default()
}

fn json(load: &Load, outcome: &Outcome, checked: &Checked<'_>) -> Value {
    let count = |n: usize| Value::from(n as u64);
    let nanos = |time: Duration| Value::from(time.as_nanos() as u64);
    let cores: Vec<u64> = allowed().into_iter().map(|core| core as u64).collect();
    let mut environment = machine::environment();
    if let Value::Object(members) = &mut environment {
        members.push(("allowed_cores".to_owned(), cores.into()));
    }
    let rate = if let Mode::Open(rate) = load.mode { Some(rate) } else { None };
    let by_time = load.count.is_none().then_some(load.duration);
    let limits = checked.iter().map(|(limit, (seen, fails))| {
        Value::object([
            ("limit", limit.text().into()),
            ("seen", seen.to_string().into()),
            ("fails", (*fails).into()),
        ])
    });
    Value::object([
        ("waitcopy", env!("CARGO_PKG_VERSION").into()),
        ("environment", environment),
        (
            "load",
            Value::object([
                ("server", load.server.to_string().into()),
                ("mode", load.mode.name().into()),
                ("depth", count(load.mode.depth())),
                ("rate", rate.into()),
                ("connections", count(load.connections)),
                ("idle", count(load.idle)),
                ("slow", count(load.slow)),
                ("payload_bytes", count(load.size)),
                ("threads", count(load.threads)),
                ("duration_ns", by_time.map(nanos).into()),
                ("count", load.count.into()),
                ("warm_up_ns", nanos(load.warm_up())),
                ("ramp_ns", nanos(load.ramp)),
                ("timeout_ns", nanos(load.timeout)),
            ]),
        ),
        ("result", outcome.to_json()),
        ("limits", Value::List(limits.collect())),
    ])
}

/// `1,234,567`.
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
