//! The cells of the field: what is asked of all servers alike, and what a visit brings.

use crate::common::{Server, interval, middle, sorted};
use crate::who::{Entrant, Kind};
use std::time::Duration;
use waitcopy::client::load::{self, Load, Mode};
use waitcopy::lab::Family;
use waitcopy::net::Endpoint;

/// One kind of load.
#[derive(Debug)]
pub struct Cell {
    pub name: &'static str,
    pub what: &'static str,
    connections: usize,
    size: usize,
    mode: Mode,
    /// Silent connections beside those.
    pub idle: usize,
    /// The receive buffer of every server.
    pub buffer: usize,
}

/// Request and reply: a buffer that a message does not fill, so that nobody has to look whether there is more.
const ROOMY: usize = 4096;

const fn closed(
    name: &'static str,
    what: &'static str,
    connections: usize,
    size: usize,
    idle: usize,
) -> Cell {
    Cell { name, what, connections, size, mode: Mode::Closed, idle, buffer: ROOMY }
}

pub const CELLS: [Cell; 9] = [
    closed("1x64", "1 connection x 64 bytes", 1, 64, 0),
    closed("100x64", "100 connections x 64 bytes", 100, 64, 0),
    closed("1000x64", "1,000 connections x 64 bytes", 1000, 64, 0),
    closed("1x1024", "1 connection x 1 KiB", 1, 1024, 0),
    closed("100x1024", "100 connections x 1 KiB", 100, 1024, 0),
    closed("1000x1024", "1,000 connections x 1 KiB", 1000, 1024, 0),
    Cell {
        name: "stream",
        what: "10 connections, 16 KiB messages, 8 in flight on each",
        connections: 10,
        size: 16_384,
        mode: Mode::Pipeline(8),
        idle: 0,
        buffer: 16_384,
    },
    closed("idle", "10 active connections among 10,000 silent ones, 64 bytes", 10, 64, 10_000),
    Cell {
        name: "churn",
        what: "connect, one message of 64 bytes, close; 10 at a time",
        connections: 10,
        size: 64,
        mode: Mode::Churn,
        idle: 0,
        buffer: ROOMY,
    },
];

/// What one visit brings.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Requests, or connections, per second.
    pub rate: f64,
    pub p99_us: f64,
    /// CPU time of the server, its kernel's share with it.
    pub cpu_us: f64,
    /// Share of its core that the generator used.
    pub generator: f64,
}

/// One server in one cell.
pub struct Line<'a> {
    pub entrant: &'a Entrant,
    /// A sample per round.
    pub samples: Vec<Sample>,
}

impl Line<'_> {
    pub fn median(&self, of: fn(&Sample) -> f64) -> f64 {
        middle(&sorted(self.samples.iter().map(of).collect()))
    }

    /// Ratios within the rounds: median and its interval.
    pub fn against(&self, other: &Self, of: fn(&Sample) -> f64) -> [f64; 3] {
        let pairs = self.samples.iter().zip(&other.samples);
        interval(pairs.map(|(ours, theirs)| of(ours) / of(theirs)).collect())
    }
}

pub fn rate(sample: &Sample) -> f64 {
    sample.rate
}

/// The more the better, as a rate.
pub fn per_cpu(sample: &Sample) -> f64 {
    1.0 / sample.cpu_us
}

impl Cell {
    /// Whether somebody takes part: who waits in one client's receive can only serve that one.
    fn suits(&self, entrant: &Entrant) -> bool {
        entrant.name != "blocking" || (self.connections == 1 && self.idle == 0)
    }

    /// All servers in turn, round after round, each round beginning with another. Who does not answer rightly is left out, aloud.
    pub fn measure<'a>(
        &self,
        entrants: &'a [Entrant],
        rounds: usize,
        time: Duration,
        idle: usize,
        core: usize,
    ) -> (Vec<Line<'a>>, Vec<String>) {
        let mut faults = Vec::new();
        let mut running: Vec<(Line<'a>, Server)> = Vec::new();
        for entrant in entrants.iter().filter(|entrant| self.suits(entrant)) {
            match entrant.start(self.buffer, core) {
                Ok(server) => running.push((Line { entrant, samples: Vec::new() }, server)),
                Err(why) => faults.push(format!("{}: {why}", entrant.name)),
            }
        }
        for round in 0..rounds {
            // One step each round, and every other round backwards: nobody always follows the same one.
            let n = running.len();
            let mut order: Vec<usize> = (0..n).map(|place| (place + round) % n).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            let mut failed = Vec::new();
            for place in order {
                let (line, server) = &mut running[place];
                match self.visit(server, time, idle) {
                    Ok(sample) => line.samples.push(sample),
                    Err(why) => {
                        faults.push(format!("{}: {why}", line.entrant.name));
                        failed.push(line.entrant.name);
                    }
                }
            }
            running.retain(|(line, _)| !failed.contains(&line.entrant.name));
        }
        (running.into_iter().map(|(line, _)| line).collect(), faults)
    }

    fn visit(&self, server: &Server, time: Duration, idle: usize) -> Result<Sample, String> {
        let load = Load {
            connections: self.connections,
            size: self.size,
            mode: self.mode,
            idle,
            duration: time,
            // Time to accept those who stand in the backlog when they are connected.
            warm_up: (idle > 0).then_some(2 * time),
            timeout: Duration::from_secs(5),
            ..Load::new(Endpoint::Tcp(server.address))
        };
        load::make_room(&load).map_err(|few| few.to_string())?;
        let mut family = Family::of(server.process());
        let outcome = load::run(&load, &mut family).map_err(|failure| failure.to_string())?;
        if !outcome.sound() || outcome.unserved > 0 || outcome.requests == 0 {
            return Err(format!("not sound: {:?}", outcome.errors()));
        }
        let cpu = family.cpu().map_err(|error| error.to_string())?;
        Ok(Sample {
            rate: outcome.rate(),
            p99_us: outcome.latency.quantile(0.99) as f64 / 1e3,
            cpu_us: cpu.as_secs_f64() * 1e6 / outcome.requests as f64,
            generator: outcome.busiest,
        })
    }
}

/// The line with the highest median among some.
pub fn best<'a, 'b>(
    lines: &'b [Line<'a>],
    of: fn(&Sample) -> f64,
    among: impl Fn(&Entrant) -> bool,
) -> Option<&'b Line<'a>> {
    let some = lines.iter().filter(|line| among(line.entrant));
    some.max_by(|a, b| a.median(of).total_cmp(&b.median(of)))
}

/// Whether somebody is one of us.
pub fn ours(entrant: &Entrant) -> bool {
    entrant.kind == Kind::Ours
}
