//! What a comparison found: the one structure that the table, the JSON and the page read.

use super::figure::{Figure, Spread};
use super::plan::Point;
use super::sample::{Sample, named};
use crate::json::Value;

/// A whole comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// How and where.
    pub about: About,
    /// Point by point, in each the models in the order of the catalogue.
    pub cells: Vec<Cell>,
}

/// How and where it was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// The version that measured.
    pub version: String,
    /// The command, as it was typed.
    pub command: String,
    /// Seconds since 1970 at the start.
    pub began: u64,
    /// Kernel, CPU, cores: [`machine::environment`](crate::lab::machine::environment).
    pub environment: Value,
    /// The generator's core and the servers', where they were pinned.
    pub cores: Option<[u64; 2]>,
    /// Bytes of each message.
    pub size: u64,
    /// Time of a plain pass, in nanoseconds.
    pub duration_ns: u64,
    /// Time of a recorded pass, in nanoseconds.
    pub recorded_ns: u64,
    /// Time of the pass with the kernel watching, in nanoseconds, where there was one.
    pub kernel_ns: Option<u64>,
    /// Rounds.
    pub repeats: u64,
}

/// One model at one point.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The model's name.
    pub model: String,
    /// Under how many clients.
    pub point: Point,
    /// One for each round; none where it was not measured.
    pub samples: Vec<Sample>,
    /// Why the model's line ends here, if it does. What was measured is then not what was asked for.
    pub end: Option<End>,
}

/// Why a line ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The kind of reason.
    pub kind: Kind,
    /// The reason, with its figures.
    pub reason: String,
}

/// Kinds of reasons why a model has no figure at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `blocking`: the others wait in the backlog.
    OneAtATime,
    /// `thread-pool`, `prefork`: every worker is taken for a whole connection.
    PoolFull,
    /// `select`: no descriptor from 1024 on.
    SetFull,
    /// RLIMIT_NOFILE of the generator or of the server.
    Descriptors,
    /// `threads`, `fork`: no thread or process could be made.
    NoFlow,
    /// `threads`, `fork`: the server was still making them, and that would count as the cost of requests.
    Unsettled,
    /// Clients of a model without such a limit were not served in the time of the measurement.
    Unserved,
    /// `io-uring`: this machine has not what it needs.
    Unavailable,
    /// The server or the generator failed.
    Failed,
}

impl Kind {
    /// All of them, with their names in JSON, in the order of the page.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::OneAtATime, "one_at_a_time"),
        (Self::PoolFull, "pool_full"),
        (Self::SetFull, "set_full"),
        (Self::Descriptors, "descriptors"),
        (Self::NoFlow, "no_flow"),
        (Self::Unsettled, "unsettled"),
        (Self::Unserved, "unserved"),
        (Self::Unavailable, "unavailable"),
        (Self::Failed, "failed"),
    ];

    /// Its name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// Whether more clients than where it was met would meet it too.
    #[must_use]
    pub fn lasts(self) -> bool {
        !matches!(self, Self::Unsettled | Self::Unserved | Self::Failed)
    }
}

impl Cell {
    /// Nothing measured yet.
    #[must_use]
    pub fn new(model: &str, point: Point) -> Self {
        Self { model: model.to_owned(), point, samples: Vec::new(), end: None }
    }

    /// A figure over all rounds; `None` where it was not or could not be measured.
    #[must_use]
    pub fn figure(&self, figure: Figure) -> Option<Spread> {
        let held = self.point.held();
        Spread::of(self.samples.iter().filter_map(|sample| figure.of(sample, held)).collect())
    }

    /// The median of a figure, where the line has not ended.
    #[must_use]
    pub fn value(&self, figure: Figure) -> Option<f64> {
        if self.end.is_some() {
            return None;
        }
        self.figure(figure).map(|spread| spread.median)
    }

    /// A part of the flows' wall time in the recorded passes, in percent: `wait`, `receive`, `send`, `service`, `other`.
    /// What could not be divided is in `undivided`.
    #[must_use]
    pub fn share(&self, part: &str) -> Option<f64> {
        let recorded = self.samples.iter().map(|sample| &sample.recorded.partition_ns);
        let (mut part_ns, mut all) = (0, 0);
        for partition in recorded {
            part_ns += named(partition, part);
            all += partition.iter().map(|(_, ns)| ns).sum::<u64>();
        }
        (all > 0).then(|| 100.0 * part_ns as f64 / all as f64)
    }

    /// The median of a phase of the recorded passes, in nanoseconds: of the first round, since medians cannot be averaged.
    #[must_use]
    pub fn phase(&self, name: &str) -> Option<u64> {
        let phases = &self.samples.first()?.recorded.phases;
        phases.iter().find(|(other, _)| other == name).map(|(_, [_, p50, _])| *p50)
    }

    /// Wrong replies, dead connections and unanswered messages of both passes in all rounds, but for those that the
    /// reason of the end explains.
    #[must_use]
    pub fn errors(&self) -> u64 {
        let explained = matches!(&self.end, Some(end) if end.kind.lasts());
        let of = |sample: &Sample| {
            [&sample.plain, &sample.recorded.clients]
                .map(|clients| if explained { clients.wrong } else { clients.errors() })
        };
        self.samples.iter().flat_map(of).sum()
    }

    /// Whether each byte was right, nobody was lost, and nothing failed.
    #[must_use]
    pub fn sound(&self) -> bool {
        let failed = matches!(&self.end, Some(End { kind: Kind::Failed, .. }));
        self.errors() == 0 && !failed
    }
}

impl Comparison {
    /// The points, in their order.
    #[must_use]
    pub fn points(&self) -> Vec<Point> {
        let mut points: Vec<Point> = self.cells.iter().map(|cell| cell.point).collect();
        points.dedup();
        points
    }

    /// The models, in their order.
    #[must_use]
    pub fn models(&self) -> Vec<&str> {
        let mut models: Vec<&str> = Vec::new();
        for cell in &self.cells {
            if !models.contains(&cell.model.as_str()) {
                models.push(&cell.model);
            }
        }
        models
    }

    /// The cells of one point.
    pub fn at(&self, point: Point) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(move |cell| cell.point == point)
    }

    /// The cell of a model at a point.
    #[must_use]
    pub fn cell(&self, model: &str, point: Point) -> Option<&Cell> {
        self.at(point).find(|cell| cell.model == model)
    }

    /// The machine and the circumstances in one line: `Linux 6.18, AMD EPYC, 2 cores; clients on core 0, servers on core 1`.
    #[must_use]
    pub fn circumstances(&self) -> String {
        let of = |name| match self.about.environment.get(name) {
            Some(Value::Text(text)) => text.clone(),
            Some(Value::Null) | None => "?".to_owned(),
            Some(other) => other.to_string(),
        };
        let pinned = match self.about.cores {
            Some([clients, servers]) => {
                format!("clients on core {clients}, servers on core {servers}")
            }
            None => "clients and servers share one core".to_owned(),
        };
        format!("Linux {}, {}, {} cores; {pinned}", of("kernel"), of("cpu"), of("cores"))
    }

    /// Names of the models whose replies were wrong or missing, or that failed.
    #[must_use]
    pub fn broken(&self) -> Vec<&str> {
        let mut broken: Vec<&str> = Vec::new();
        for cell in self.cells.iter().filter(|cell| !cell.sound()) {
            if !broken.contains(&cell.model.as_str()) {
                broken.push(&cell.model);
            }
        }
        broken
    }
}
