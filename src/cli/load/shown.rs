//! A load's figures for people.

use super::{allowed, thousands, troubles};
use crate::client::load::{Load, Mode, Outcome};
use crate::json::Value;
use crate::lab::machine;
use crate::lab::prose::{TERMINAL, wrapped, wrapped_at};
use crate::phase::{Histogram, Nanos, Size};
use crate::sys::Kind;
use std::fmt::{self, Write as _};
use std::iter;

/// Where the text begins behind a name.
const INDENT: usize = 12;
const BOUND: &str =
    "GENERATOR-BOUND: more --threads, or another machine, would show more of the server";

/// What was measured, for people.
pub(super) struct Shown<'r> {
    pub(super) load: &'r Load,
    pub(super) outcome: &'r Outcome,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { load, outcome } = self;
        writeln!(f, "{}", wrapped_at(", ", &sentence(load), TERMINAL).join("\n    "))?;
        writeln!(f)?;
        if outcome.requests > 0 {
            self.latencies(f)?;
        } else {
            writeln!(f, "no answer to measure")?;
        }
        writeln!(f)?;
        let wall = outcome.wall.as_secs_f64();
        let per_second = thousands(outcome.rate().round() as u64);
        let what = if load.mode == Mode::Churn { "connections" } else { "requests" };
        write!(f, "{what:<12}{} in {wall:.2} s, {per_second}/s", thousands(outcome.requests))?;
        if let Mode::Open(rate) = load.mode {
            write!(f, " of {} planned", thousands(rate.round() as u64))?;
        }
        writeln!(f, "{}", if outcome.stopped { ", ended early" } else { "" })?;
        let [sent, received] = outcome.bytes.map(|bytes| {
            let rate = bytes as f64 / wall.max(1e-9);
            format!("{} ({}/s)", Size(bytes), Size(rate as u64))
        });
        let bytes = format!("{sent} sent, {received} received, each one compared");
        rows(f, "bytes", wrapped_at(", ", &bytes, TERMINAL - INDENT))?;
        let threads = if load.threads == 1 { "its thread" } else { "its busiest thread" };
        row(f, "generator", &format!("{threads} {:.0} % of a core", 100.0 * outcome.busiest))?;
        if outcome.busiest > Outcome::BOUND {
            row(f, "", BOUND)?;
        }
        row(f, "errors", &troubles(&outcome.errors()).unwrap_or_else(|| "none".to_owned()))?;
        self.beside(f)?;
        row(f, "machine", &machine_line())
    }
}

impl Shown<'_> {
    /// Latencies, and how many requests were slower than each.
    fn latencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { latency, uncorrected, .. } = self.outcome;
        let open = uncorrected.is_some();
        let name = if open { "corrected" } else { "latency" };
        write!(f, "{:<10}{name:>12}{:>12}", "", "slower")?;
        writeln!(f, "{}", if open { " uncorrected      slower" } else { "" })?;
        for (name, quantile) in
            [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)]
        {
            write!(f, "{name:<10}")?;
            for histogram in [Some(latency), uncorrected.as_ref()].into_iter().flatten() {
                let (value, slower) = at(histogram, quantile);
                write!(f, "{:>12}{:>12}", Nanos(value).to_string(), thousands(slower))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }

    /// What is no error and still worth a line.
    fn beside(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { late, unreachable, unsent, .. } = *self.outcome;
        for (name, n, what) in [
            ("unsent", unsent, "due, and never sent: every connection waited for an answer"),
            ("late", late, "answers after their time-out, or twice"),
            ("unreachable", unreachable, "ICMP errors: nobody listens there"),
        ] {
            if n > 0 {
                row(f, name, &format!("{} ({what})", thousands(n)))?;
            }
        }
        Ok(())
    }
}

/// A name, and what there is to say, in as many lines as it takes.
fn row(f: &mut fmt::Formatter<'_>, name: &str, text: &str) -> fmt::Result {
    rows(f, name, wrapped(text, TERMINAL - INDENT))
}

/// A name beside the first of several lines.
fn rows(f: &mut fmt::Formatter<'_>, name: &str, lines: Vec<String>) -> fmt::Result {
    let names = iter::once(name).chain(iter::repeat(""));
    lines.iter().zip(names).try_for_each(|(line, name)| writeln!(f, "{name:<INDENT$}{line}"))
}

/// A quantile and how many values are above it.
fn at(histogram: &Histogram, quantile: f64) -> (u64, u64) {
    let count = histogram.count();
    let not_slower = ((quantile * count as f64).ceil() as u64).min(count);
    (histogram.quantile(quantile), count - not_slower)
}

/// `closed loop: 100 connections, 64 bytes a message, tcp 127.0.0.1:8080`
fn sentence(load: &Load) -> String {
    let many = |n: usize, what: &str| match n {
        1 => format!("1 {what}"),
        n => format!("{} {what}s", thousands(n as u64)),
    };
    let mode = match load.mode {
        Mode::Closed => "closed loop".to_owned(),
        Mode::Pipeline(depth) => format!("pipeline of {depth}"),
        Mode::Open(rate) => format!("open loop, {} a second", thousands(rate.round() as u64)),
        Mode::Churn => "connect, one message, close".to_owned(),
    };
    let flows = match load.server.transport().kind() {
        Kind::Stream => many(load.connections, "connection"),
        Kind::Datagram => many(load.connections, "socket"),
    };
    let mut text = format!("{mode}: {flows}");
    // Writing to a String cannot fail.
    for (n, what) in [(load.idle, "idle"), (load.slow, "slow")] {
        if n > 0 {
            let _ = write!(text, " and {} {what}", thousands(n as u64));
        }
    }
    let bytes = many(load.size, "byte");
    let _ = write!(text, ", {bytes} a message, {}, {}", many(load.threads, "thread"), load.server);
    text
}

fn machine_line() -> String {
    let environment = machine::environment();
    let of = |name| match environment.get(name) {
        Some(Value::Text(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "?".to_owned(),
    };
    let allowed: Vec<_> = allowed().iter().map(usize::to_string).collect();
    format!("Linux {}, {}, may run on core {}", of("kernel"), of("cpu"), allowed.join(","))
}
