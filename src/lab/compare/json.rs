//! A comparison as JSON and back. `docs/compare.md` documents the members.
//!
//! `figures`, `shares`, `errors` and `sound` are worked out from the samples; they are written for readers and not read back.

use super::cell::{About, Cell, Comparison, End, Kind};
use super::figure::{Figure, Spread};
use super::kernel::Told;
use super::plan::Point;
use super::sample::{Clients, Latency, Recorded, Sample};
use crate::json::Value;
use crate::lab::procfs::Memory;

/// The number of this form of the file; a reader refuses others.
pub const SCHEMA: u64 = 1;

/// Parts of a flow's time, in the order of charts. What could not be divided is rare.
pub const PARTS: [&str; 6] = ["wait", "receive", "send", "service", "other", "undivided"];

impl Comparison {
    /// Written.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let About { version, command, began, environment, cores, .. } = &self.about;
        let About { size, duration_ns, recorded_ns, kernel_ns, repeats, .. } = self.about;
        Value::object([
            ("waitcopy", version.as_str().into()),
            ("schema", SCHEMA.into()),
            ("command", command.as_str().into()),
            ("began", (*began).into()),
            ("environment", environment.clone()),
            ("generator_core", cores.map(|[clients, _]| clients).into()),
            ("server_core", cores.map(|[_, servers]| servers).into()),
            ("size", size.into()),
            ("duration_ns", duration_ns.into()),
            ("recorded_ns", recorded_ns.into()),
            ("kernel_ns", kernel_ns.into()),
            ("repeats", repeats.into()),
            ("cells", Value::List(self.cells.iter().map(Cell::to_json).collect())),
        ])
    }

    /// Read back.
    ///
    /// # Errors
    /// A sentence that names the member that is missing or of another kind.
    pub fn from_json(value: &Value) -> Result<Self, String> {
        let of = Reader { value, path: String::new() };
        match value.count("schema") {
            Some(SCHEMA) => {}
            Some(other) => {
                return Err(format!("schema {other} is not known here, only {SCHEMA}"));
            }
            None => return Err("no comparison: it has no member 'schema'".to_owned()),
        }
        let core = |name| value.count(name);
        let about = About {
            version: of.text("waitcopy")?,
            command: of.text("command")?,
            began: of.count("began")?,
            environment: value.get("environment").cloned().unwrap_or(Value::Null),
            cores: core("generator_core").zip(core("server_core")).map(|(g, s)| [g, s]),
            size: of.count("size")?,
            duration_ns: of.count("duration_ns")?,
            recorded_ns: of.count("recorded_ns")?,
            kernel_ns: value.count("kernel_ns"),
            repeats: of.count("repeats")?,
        };
        Ok(Self { about, cells: of.list("cells", read_cell)? })
    }
}

impl Cell {
    /// Written.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let end = self.end.as_ref().map(|end| {
            Value::object([
                ("kind", end.kind.name().into()),
                ("reason", end.reason.as_str().into()),
            ])
        });
        let figures =
            Figure::ALL.map(|figure| (figure.key(), self.figure(figure).map(spread).into()));
        let shares = PARTS.map(|part| (part, self.share(part).into()));
        Value::object([
            ("model", self.model.as_str().into()),
            ("connections", (self.point.connections as u64).into()),
            ("idle", (self.point.idle as u64).into()),
            ("sound", self.sound().into()),
            ("errors", self.errors().into()),
            ("end", end.into()),
            ("figures", Value::object(figures)),
            ("shares", Value::object(shares)),
            ("samples", Value::List(self.samples.iter().map(write_sample).collect())),
        ])
    }
}

fn spread(Spread { median, low, high }: Spread) -> Value {
    Value::object([("median", median.into()), ("low", low.into()), ("high", high.into())])
}

fn write_sample(sample: &Sample) -> Value {
    let memory = sample.memory.map(|[before, held]| {
        let of = |Memory { rss_kib, pss_kib }: Memory| {
            Value::object([("rss_kib", rss_kib.into()), ("pss_kib", pss_kib.into())])
        };
        Value::object([("before", of(before)), ("held", of(held))])
    });
    let recorded = &sample.recorded;
    let counts = |list: &[(String, u64)]| {
        Value::object(list.iter().map(|(name, n)| (name.as_str(), (*n).into())))
    };
    let phases = recorded.phases.iter().map(|(name, [count, p50, p99])| {
        let of = [("count", (*count).into()), ("p50_ns", (*p50).into()), ("p99_ns", (*p99).into())];
        (name.as_str(), Value::object(of))
    });
    Value::object([
        ("round", sample.round.into()),
        ("plain", write_clients(&sample.plain)),
        ("latency", write_latency(&sample.latency)),
        ("server_cpu_ns", sample.server_cpu_ns.into()),
        ("user_share", sample.user_share.into()),
        ("newcomers", sample.newcomers.into()),
        ("generator_cpu_ns", sample.generator_cpu_ns.into()),
        ("memory", memory.into()),
        (
            "recorded",
            Value::object([
                ("clients", write_clients(&recorded.clients)),
                ("switches", recorded.switches.into()),
                ("requests", recorded.requests.into()),
                ("calls", counts(&recorded.calls)),
                ("again", counts(&recorded.again)),
                ("steady_calls", recorded.steady_calls.into()),
                ("partition_ns", counts(&recorded.partition_ns)),
                ("phases", Value::object(phases)),
                ("method", recorded.method.as_str().into()),
                ("observer_ns_per_request", recorded.observer_ns.into()),
                ("counts", counts(&recorded.counts)),
            ]),
        ),
        ("kernel", sample.kernel.map(write_told).into()),
    ])
}

fn write_told(told: Told) -> Value {
    Value::object([
        ("wall_ns", told.wall_ns.into()),
        ("requests", told.requests.into()),
        ("asleep_ns", told.asleep_ns.into()),
        ("runnable_ns", told.runnable_ns.into()),
        ("copied_ns", told.copied_ns.into()),
        ("copied_bytes", told.copied_bytes.into()),
    ])
}

fn read_told(of: &Reader<'_>) -> Result<Told, String> {
    Ok(Told {
        wall_ns: of.count("wall_ns")?,
        requests: of.count("requests")?,
        asleep_ns: of.count("asleep_ns")?,
        runnable_ns: of.count("runnable_ns")?,
        copied_ns: of.count("copied_ns")?,
        copied_bytes: of.count("copied_bytes")?,
    })
}

fn write_clients(clients: &Clients) -> Value {
    Value::object([
        ("requests", clients.requests.into()),
        ("wall_ns", clients.wall_ns.into()),
        ("unserved", clients.unserved.into()),
        ("unanswered", clients.unanswered.into()),
        ("wrong", clients.wrong.into()),
        ("dead", clients.dead.into()),
    ])
}

fn write_latency(latency: &Latency) -> Value {
    let buckets = latency.buckets.iter().map(|&(value, n)| Value::from(vec![value, n])).collect();
    Value::object([
        ("count", latency.count.into()),
        ("p50_ns", latency.p50.into()),
        ("p90_ns", latency.p90.into()),
        ("p99_ns", latency.p99.into()),
        ("p999_ns", latency.p999.into()),
        ("max_ns", latency.max.into()),
        ("buckets", Value::List(buckets)),
    ])
}

fn read_cell(of: &Reader<'_>) -> Result<Cell, String> {
    let end = match of.value.get("end") {
        None | Some(Value::Null) => None,
        Some(_) => {
            let end = of.inner("end")?;
            let name = end.text("kind")?;
            let kind = Kind::ALL.into_iter().find(|(_, known)| *known == name);
            let (kind, _) = kind.ok_or_else(|| end.wrong("kind", "a known kind"))?;
            Some(End { kind, reason: end.text("reason")? })
        }
    };
    let size = |name| of.count(name).map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    Ok(Cell {
        model: of.text("model")?,
        point: Point { connections: size("connections")?, idle: size("idle")? },
        samples: of.list("samples", read_sample)?,
        end,
    })
}

fn read_sample(of: &Reader<'_>) -> Result<Sample, String> {
    let memory = match of.value.get("memory") {
        None | Some(Value::Null) => None,
        Some(_) => {
            let memory = |path| -> Result<Memory, String> {
                let memory = of.inner(path)?;
                Ok(Memory { rss_kib: memory.count("rss_kib")?, pss_kib: memory.count("pss_kib")? })
            };
            Some([memory("memory.before")?, memory("memory.held")?])
        }
    };
    Ok(Sample {
        round: of.count("round")?,
        plain: read_clients(&of.inner("plain")?)?,
        latency: read_latency(&of.inner("latency")?)?,
        server_cpu_ns: of.count("server_cpu_ns")?,
        user_share: match of.value.get("user_share") {
            Some(&Value::Number(share)) => Some(share),
            Some(&Value::Count(share)) => Some(share as f64),
            _ => None,
        },
        newcomers: of.count("newcomers")?,
        generator_cpu_ns: of.count("generator_cpu_ns")?,
        memory,
        recorded: read_recorded(&of.inner("recorded")?)?,
        kernel: match of.value.get("kernel") {
            None | Some(Value::Null) => None,
            Some(_) => Some(read_told(&of.inner("kernel")?)?),
        },
    })
}

fn read_recorded(of: &Reader<'_>) -> Result<Recorded, String> {
    let phase = |(name, _): (&str, &Value)| {
        let phase = of.inner(&format!("phases.{name}"))?;
        let figures = [phase.count("count")?, phase.count("p50_ns")?, phase.count("p99_ns")?];
        Ok((name.to_owned(), figures))
    };
    Ok(Recorded {
        clients: read_clients(&of.inner("clients")?)?,
        switches: of.value.count("switches"),
        requests: of.count("requests")?,
        calls: of.counts("calls")?,
        again: of.counts("again")?,
        steady_calls: of.count("steady_calls")?,
        partition_ns: of.counts("partition_ns")?,
        phases: of.value.members("phases").map(phase).collect::<Result<_, String>>()?,
        method: of.text("method")?,
        observer_ns: of.count("observer_ns_per_request")?,
        counts: of.counts("counts")?,
    })
}

fn read_clients(of: &Reader<'_>) -> Result<Clients, String> {
    Ok(Clients {
        requests: of.count("requests")?,
        wall_ns: of.count("wall_ns")?,
        unserved: of.count("unserved")?,
        unanswered: of.count("unanswered")?,
        wrong: of.count("wrong")?,
        dead: of.count("dead")?,
    })
}

fn read_latency(of: &Reader<'_>) -> Result<Latency, String> {
    let bucket = |value: &Value| match value {
        Value::List(pair) => match pair.as_slice() {
            &[Value::Count(value), Value::Count(n)] => Some((value, n)),
            _ => None,
        },
        _ => None,
    };
    let buckets = match of.value.get("buckets") {
        Some(Value::List(buckets)) => buckets.iter().map(bucket).collect(),
        _ => None,
    };
    Ok(Latency {
        count: of.count("count")?,
        p50: of.count("p50_ns")?,
        p90: of.count("p90_ns")?,
        p99: of.count("p99_ns")?,
        p999: of.count("p999_ns")?,
        max: of.count("max_ns")?,
        buckets: buckets.ok_or_else(|| of.wrong("buckets", "a list of pairs"))?,
    })
}

/// A value and where it stands, for messages.
struct Reader<'v> {
    value: &'v Value,
    path: String,
}

impl<'v> Reader<'v> {
    fn wrong(&self, name: &str, wanted: &str) -> String {
        format!("no comparison: {}{name} is not {wanted}", self.path)
    }

    fn inner(&self, name: &str) -> Result<Reader<'v>, String> {
        match self.value.get(name) {
            Some(value @ Value::Object(_)) => {
                Ok(Reader { value, path: format!("{}{name}.", self.path) })
            }
            _ => Err(self.wrong(name, "an object")),
        }
    }

    fn count(&self, name: &str) -> Result<u64, String> {
        self.value.count(name).ok_or_else(|| self.wrong(name, "a whole number"))
    }

    fn text(&self, name: &str) -> Result<String, String> {
        match self.value.get(name) {
            Some(Value::Text(text)) => Ok(text.clone()),
            _ => Err(self.wrong(name, "a string")),
        }
    }

    fn counts(&self, name: &str) -> Result<Vec<(String, u64)>, String> {
        let inner = self.inner(name)?;
        let members = self.value.members(name);
        members.map(|(member, _)| Ok((member.to_owned(), inner.count(member)?))).collect()
    }

    fn list<T>(
        &self,
        name: &str,
        read: impl Fn(&Reader<'v>) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let Some(Value::List(items)) = self.value.get(name) else {
            return Err(self.wrong(name, "a list"));
        };
        let item = |(i, value)| read(&Reader { value, path: format!("{}{name}[{i}].", self.path) });
        items.iter().enumerate().map(item).collect()
    }
}
