//! The closing summary: one table, one JSON object, from the same figures.

use super::{Calibration, Call, Count, Event, Metric, Nanos, Over, Part, Recorder, Tally};
use crate::json::Value;
use crate::sys::{self, Usage, Who};
use std::fmt;
use std::io;

/// What the figures are about.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The model's name.
    pub model: &'static str,
    /// Where it listened: `tcp 127.0.0.1:8080`.
    pub endpoint: String,
    /// What it answered with.
    pub service: &'static str,
    /// Bytes per receive at most.
    pub buffer: usize,
}

/// The figures of one run of a server.
#[derive(Debug)]
pub struct Report<'r> {
    subject: &'r Subject,
    tally: &'r Tally,
    recorded: Option<Recorded<'r>>,
    usage: Usage,
}

/// What only a recorder knows.
#[derive(Debug)]
struct Recorded<'r> {
    recorder: &'r Recorder,
    wall: u64,
    own_cost: u64,
    /// The copy alone; `None` where no socket pair could be had for it.
    calibrated: Option<Calibration>,
}

/// What the server has used, with its children as far as they have ended.
fn usage() -> io::Result<Usage> {
    let (own, children) = (sys::getrusage(Who::Process)?, sys::getrusage(Who::Children)?);
    Ok(Usage {
        user: own.user + children.user,
        system: own.system + children.system,
        voluntary: own.voluntary + children.voluntary,
        involuntary: own.involuntary + children.involuntary,
        max_rss_kib: own.max_rss_kib.max(children.max_rss_kib),
    })
}

impl<'r> Report<'r> {
    /// The figures of a server that only counted.
    ///
    /// # Errors
    /// None on Linux (getrusage of the own process).
    pub fn counted(subject: &'r Subject, tally: &'r Tally) -> io::Result<Self> {
        Ok(Self { subject, tally, recorded: None, usage: usage()? })
    }

    /// The figures of a server that was recorded. Take it when the server has ended: the flow's
    /// wall time is what [`Recorder::settle`] or its end has told.
    ///
    /// # Errors
    /// As [`Recorder::own_cost`].
    pub fn recorded(
        subject: &'r Subject,
        tally: &'r Tally,
        recorder: &'r Recorder,
    ) -> io::Result<Self> {
        let (wall, usage) = (tally.wall(), usage()?);
        let over = match subject.endpoint.split(' ').next() {
            Some("tcp") => Over::Tcp,
            Some("udp") => Over::Udp,
            _ => Over::Unix,
        };
        let calibrated = Calibration::measure(over).ok();
        let own_cost = recorder.own_cost()?;
        let recorded = Some(Recorded { recorder, wall, own_cost, calibrated });
        Ok(Self { subject, tally, recorded, usage })
    }

    /// The same figures for programs; `docs/phases.md` documents the members. Times are nanoseconds.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Subject { model, endpoint, service, buffer } = self.subject;
        let mut members = vec![
            ("waitcopy", env!("CARGO_PKG_VERSION").into()),
            ("model", (*model).into()),
            ("endpoint", endpoint.as_str().into()),
            ("service", (*service).into()),
            ("buffer", (*buffer as u64).into()),
            ("recorded", self.recorded.is_some().into()),
            ("counts", Value::object(Count::ALL.map(|(c, name)| (name, self.tally.get(c).into())))),
            ("usage", self.usage_json()),
        ];
        if let Some(recorded) = &self.recorded {
            members.extend(recorded.to_json(self.tally));
        }
        if let Some((events, lost)) = self.recorded.as_ref().and_then(|r| r.recorder.events()) {
            let events = events.iter().map(Event::to_json).collect();
            members.push(("events", Value::List(events)));
            members.push(("events_lost", lost.into()));
        }
        Value::object(members)
    }

    fn usage_json(&self) -> Value {
        let Usage { user, system, voluntary, involuntary, max_rss_kib } = self.usage;
        Value::object([
            ("user_ns", (user.as_nanos() as u64).into()),
            ("system_ns", (system.as_nanos() as u64).into()),
            ("voluntary_switches", voluntary.into()),
            ("involuntary_switches", involuntary.into()),
            ("max_rss_kib", max_rss_kib.into()),
        ])
    }
}

impl Recorded<'_> {
    /// The flow's parts with *other*, which makes them sum to its wall time.
    fn parts(&self, tally: &Tally) -> Vec<(&'static str, u64)> {
        let mut parts: Vec<_> = Part::ALL.map(|(part, name)| (name, tally.spent(part))).into();
        let told: u64 = parts.iter().map(|(_, ns)| ns).sum();
        parts.push(("other", self.wall.saturating_sub(told)));
        parts
    }

    fn to_json(&self, tally: &Tally) -> [(&'static str, Value); 8] {
        let made = Call::ALL.into_iter().filter(|&call| tally.calls(call) > 0);
        let calls = made.clone().map(|call| (call.name(), tally.calls(call).into()));
        let again = made.map(|call| (call.name(), tally.again(call).into()));
        let parts = self.parts(tally).into_iter().map(|(name, ns)| (name, ns.into()));
        let phases = Metric::ALL.map(|(m, name)| (name, self.recorder.metric(m).to_json()));
        [
            ("method", self.recorder.method().into()),
            ("calls", Value::object(calls)),
            ("again", Value::object(again)),
            ("phases", Value::object(phases)),
            ("wall_ns", self.wall.into()),
            ("partition_ns", Value::object(parts)),
            ("observer_ns_per_request", self.own_cost.into()),
            ("calibrated_copy_ns", self.calibrated.map(sizes).into()),
        ]
    }
}

/// `{"64": 12, "1024": 51, ...}`: bytes and nanoseconds.
fn sizes(calibrated: Calibration) -> Value {
    Value::object(calibrated.table().map(|(size, ns)| (size.to_string(), ns.into())))
}

/// The table at exit.
impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Subject { model, endpoint, service, buffer } = self.subject;
        writeln!(f, "\n{model} on {endpoint}, service {service}, {buffer} bytes a receive")?;
        let count = |c| self.tally.get(c);
        writeln!(
            f,
            "  connections {}, requests {}, bytes in {}, out {}",
            count(Count::Connections),
            count(Count::Requests),
            count(Count::BytesIn),
            count(Count::BytesOut),
        )?;
        self.rare(f)?;
        if let Some(recorded) = &self.recorded {
            recorded.calls(f, self.tally)?;
            recorded.phases(f)?;
            recorded.partition(f, self.tally)?;
            recorded.copy_alone(f, self.tally)?;
        }
        let Usage { user, system, voluntary, involuntary, max_rss_kib } = self.usage;
        writeln!(
            f,
            "  CPU user {}, system {}; context switches {voluntary} voluntary, {involuntary} \
             involuntary; resident set at most {max_rss_kib} KiB",
            Nanos(user.as_nanos() as u64),
            Nanos(system.as_nanos() as u64),
        )
    }
}

impl Report<'_> {
    /// Counters that are 0 on a quiet day, where they are not.
    fn rare(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ordinary = [Count::Connections, Count::Requests, Count::BytesIn, Count::BytesOut];
        let rare = Count::ALL.into_iter().filter(|(count, _)| !ordinary.contains(count));
        let rare: Vec<_> = rare
            .map(|(count, name)| (name.replace('_', " "), self.tally.get(count)))
            .filter(|&(_, n)| n > 0)
            .map(|(name, n)| format!("{name} {n}"))
            .collect();
        if rare.is_empty() { Ok(()) } else { writeln!(f, "  {}", rare.join(", ")) }
    }
}

impl Recorded<'_> {
    fn calls(&self, f: &mut fmt::Formatter<'_>, tally: &Tally) -> fmt::Result {
        let requests = tally.get(Count::Requests).max(1) as f64;
        writeln!(f, "  {:<12} {:>12} {:>12} {:>12}", "call", "calls", "per request", "EAGAIN")?;
        for call in Call::ALL.into_iter().filter(|&call| tally.calls(call) > 0) {
            let (calls, again) = (tally.calls(call), tally.again(call));
            let per_request = calls as f64 / requests;
            writeln!(f, "  {:<12} {calls:>12} {per_request:>12.3} {again:>12}", call.name())?;
        }
        Ok(())
    }

    fn phases(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = self.recorder.method();
        writeln!(
            f,
            "  {:<12} {:>12} {:>12} {:>12} {:>12}   (method: {method})",
            "phase", "count", "p50", "p99", "total"
        )?;
        for (metric, name) in Metric::ALL {
            let histogram = self.recorder.metric(metric);
            let [p50, p99] = [0.5, 0.99].map(|q| Nanos(histogram.quantile(q)));
            let (count, total) = (histogram.count(), Nanos(histogram.sum()));
            if count > 0 {
                writeln!(f, "  {name:<12} {count:>12} {p50:>12} {p99:>12} {total:>12}")?;
            }
        }
        Ok(())
    }

    /// The part of *copy* that is one: what stands beside it there is wake-up and return, or the call's own way.
    fn copy_alone(&self, f: &mut fmt::Formatter<'_>, tally: &Tally) -> fmt::Result {
        let requests = tally.get(Count::Requests);
        let (Some(calibrated), 1..) = (self.calibrated, requests) else { return Ok(()) };
        let bytes = tally.get(Count::BytesIn) / requests;
        let copy = Nanos(calibrated.copy(usize::try_from(bytes).unwrap_or(usize::MAX)));
        let flag = calibrated.over().flag();
        writeln!(
            f,
            "  copying the {bytes} B of a request alone takes {copy} (calibrated by {flag})"
        )
    }

    fn partition(&self, f: &mut fmt::Formatter<'_>, tally: &Tally) -> fmt::Result {
        write!(f, "  of {} wall time:", Nanos(self.wall))?;
        for (name, ns) in self.parts(tally) {
            if ns > 0 || name != "undivided" {
                write!(f, "  {name} {:.1} %", 100.0 * ns as f64 / self.wall.max(1) as f64)?;
            }
        }
        writeln!(f, "\n  observing costs {} a request (calibrated)", Nanos(self.own_cost))
    }
}
