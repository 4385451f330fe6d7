//! What came of a load: counted while it runs, one writer per thread, and added up at the end.

use super::{Load, Mode};
use crate::failure::{During, Failure};
use crate::json::Value;
use crate::phase::Histogram;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A counter with one writer: no locked instruction is needed.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, n: u64) {
        self.0.store(self.get() + n, Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What one thread counts; others look at it while it runs.
#[derive(Debug)]
pub(super) struct Score {
    pub(super) latency: Histogram,
    /// From the true send, where requests are planned.
    pub(super) uncorrected: Option<Histogram>,
    pub(super) sent: Counter,
    pub(super) received: Counter,
    pub(super) wrong: Counter,
    pub(super) dead: Counter,
    pub(super) bystanders_dead: Counter,
    pub(super) lost: Counter,
    pub(super) late: Counter,
    pub(super) unreachable: Counter,
}

impl Score {
    pub(super) fn new(load: &Load) -> Result<Self, Failure> {
        let histogram = || Histogram::new().during("mmap", "histogram");
        let open = matches!(load.mode, Mode::Open(_));
        Ok(Self {
            latency: histogram()?,
            uncorrected: open.then(histogram).transpose()?,
            sent: Counter::default(),
            received: Counter::default(),
            wrong: Counter::default(),
            dead: Counter::default(),
            bystanders_dead: Counter::default(),
            lost: Counter::default(),
            late: Counter::default(),
            unreachable: Counter::default(),
        })
    }

    /// What went wrong so far.
    pub(super) fn troubles(&self) -> u64 {
        self.wrong.get() + self.dead.get() + self.bystanders_dead.get() + self.lost.get()
    }
}

/// How the measured part of one thread went, beside its score.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part {
    pub(super) wall: Duration,
    pub(super) cpu: Duration,
    pub(super) unserved: usize,
    pub(super) unanswered: usize,
    pub(super) unsent: u64,
    pub(super) stopped: bool,
}

/// What came of it. All counts but those of what went wrong are of the measured time.
#[derive(Debug)]
pub struct Outcome {
    /// Messages answered, all bytes right.
    pub requests: u64,
    /// Time to the last byte of the reply, in nanoseconds: from the planned time of sending in [`Mode::Open`], from the
    /// connect in [`Mode::Churn`], else from the send.
    pub latency: Histogram,
    /// [`Mode::Open`]: the same from the true send, which a server that stalls delays.
    pub uncorrected: Option<Histogram>,
    /// Time measured.
    pub wall: Duration,
    /// CPU time of the generator's threads in that time.
    pub cpu: Duration,
    /// Share of a core that the busiest of them used, 0 to 1.
    pub busiest: f64,
    /// Bytes sent and received in that time.
    pub bytes: [u64; 2],
    /// Connections that got no answer at all; those that could not even be made are among them.
    pub unserved: usize,
    /// Messages of served connections that were not answered in time after the end ([`Load::timeout`]).
    pub unanswered: usize,
    /// Replies with a wrong byte, or with one too many.
    pub wrong: u64,
    /// Connections that ended before their time.
    pub dead: usize,
    /// The same of idle and slow ones.
    pub bystanders_dead: usize,
    /// Datagrams without an answer within [`Load::timeout`].
    pub lost: u64,
    /// Answers to those that came after all, or twice.
    pub late: u64,
    /// Calls that told of an ICMP "unreachable" (`ECONNREFUSED`); the datagram that it was about is lost.
    pub unreachable: u64,
    /// Requests that were due by plan, or are missing to the count, and were never sent: all flows waited for answers.
    pub unsent: u64,
    /// Whether it was ended before its time.
    pub stopped: bool,
}

impl Outcome {
    /// Adds up the threads.
    pub(super) fn of(parts: &[Part], scores: &[impl AsRef<Score>]) -> Result<Self, Failure> {
        let scores: Vec<&Score> = scores.iter().map(AsRef::as_ref).collect();
        let count =
            |of: fn(&Score) -> &Counter| scores.iter().map(|score| of(score).get()).sum::<u64>();
        let latency = merged(scores.iter().map(|score| &score.latency))?;
        let uncorrected: Vec<_> =
            scores.iter().filter_map(|score| score.uncorrected.as_ref()).collect();
        let uncorrected =
            (!uncorrected.is_empty()).then(|| merged(uncorrected.into_iter())).transpose()?;
        let share = |part: &Part| part.cpu.as_secs_f64() / part.wall.as_secs_f64().max(1e-9);
        Ok(Self {
            requests: latency.count(),
            latency,
            uncorrected,
            wall: parts.iter().map(|part| part.wall).max().unwrap_or_default(),
            cpu: parts.iter().map(|part| part.cpu).sum(),
            busiest: parts.iter().map(share).fold(0.0, f64::max),
            bytes: [count(|s| &s.sent), count(|s| &s.received)],
            unserved: parts.iter().map(|part| part.unserved).sum(),
            unanswered: parts.iter().map(|part| part.unanswered).sum(),
            wrong: count(|s| &s.wrong),
            dead: count(|s| &s.dead) as usize,
            bystanders_dead: count(|s| &s.bystanders_dead) as usize,
            lost: count(|s| &s.lost),
            late: count(|s| &s.late),
            unreachable: count(|s| &s.unreachable),
            unsent: parts.iter().map(|part| part.unsent).sum(),
            stopped: parts.iter().any(|part| part.stopped),
        })
    }

    /// Answered messages per second; 0 where nothing was measured.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.wall.as_secs_f64().max(1e-9)
    }

    /// Whether each byte was right and nobody was lost. Connections that were never served are no error here: `blocking` serves one
    /// at a time by its nature.
    #[must_use]
    pub fn sound(&self) -> bool {
        self.wrong == 0
            && self.dead == 0
            && self.unanswered == 0
            && self.lost == 0
            && self.requests > 0
    }

    /// Whether it is sound, everybody was served, and those who only stood by were left alone.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.sound() && self.unserved == 0 && self.bystanders_dead == 0
    }

    /// What went wrong, each with its name; late answers, unreachable ports and requests never sent are told beside.
    #[must_use]
    pub fn errors(&self) -> [(&'static str, u64); 6] {
        [
            ("wrong", self.wrong),
            ("dead", self.dead as u64),
            ("unanswered", self.unanswered as u64),
            ("lost", self.lost),
            ("unserved", self.unserved as u64),
            ("bystanders_dead", self.bystanders_dead as u64),
        ]
    }

    /// Above this share of a core ([`Outcome::busiest`]) the generator may be what is measured.
    pub const BOUND: f64 = 0.85;

    /// The figures for programs; `docs/load.md` explains each. Times are nanoseconds.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let nanos = |time: Duration| Value::from(time.as_nanos() as u64);
        let errors = self.errors().map(|(name, n)| (name, n.into()));
        Value::object([
            ("requests", self.requests.into()),
            ("requests_per_second", self.rate().into()),
            ("wall_ns", nanos(self.wall)),
            ("stopped", self.stopped.into()),
            ("bytes_sent", self.bytes[0].into()),
            ("bytes_received", self.bytes[1].into()),
            ("errors", Value::object(errors)),
            ("late", self.late.into()),
            ("unreachable", self.unreachable.into()),
            ("unsent", self.unsent.into()),
            ("generator_cpu_ns", nanos(self.cpu)),
            ("generator_busiest_thread", self.busiest.into()),
            ("generator_bound", (self.busiest > Self::BOUND).into()),
            ("latency", self.latency.to_json()),
            ("uncorrected", self.uncorrected.as_ref().map_or(Value::Null, Histogram::to_json)),
        ])
    }
}

/// One histogram of all, exactly.
pub(super) fn merged<'h>(each: impl Iterator<Item = &'h Histogram>) -> Result<Histogram, Failure> {
    let all = Histogram::new().during("mmap", "histogram")?;
    each.for_each(|one| all.merge(one));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Part, Score};
    use crate::client::load::{Load, Mode};
    use crate::net::{Endpoint, Transport};
    use proptest::prelude::*;
    use std::sync::Arc;

    proptest! {
        #[test]
        fn the_threads_together_have_the_quantiles_of_hdrhistogram(
            values in prop::collection::vec((2..40_u32).prop_flat_map(|s| 1..1_u64 << s), 1..300),
            threads in 1..5_usize,
        ) {
            let server = Endpoint::resolve(Transport::Tcp, "127.0.0.1:1").unwrap()[0];
            let load = Load { mode: Mode::Open(1.0), ..Load::new(server) };
            let scores: Vec<_> = (0..threads).map(|_| Arc::new(Score::new(&load).unwrap())).collect();
            let mut oracle = hdrhistogram::Histogram::<u64>::new_with_bounds(1, 1 << 40, 3).unwrap();
            for (at, value) in values.iter().enumerate() {
                scores[at % threads].latency.record(*value);
                scores[at % threads].uncorrected.as_ref().unwrap().record(*value);
                oracle.record(*value).unwrap();
            }
            let outcome = Outcome::of(&vec![Part::default(); threads], &scores).unwrap();
            prop_assert_eq!(outcome.requests, values.len() as u64);
            // The oracle knows the maximum only to three digits.
            let max = values.iter().copied().max().unwrap();
            for histogram in [&outcome.latency, outcome.uncorrected.as_ref().unwrap()] {
                for q in [0.5, 0.9, 0.99, 0.999, 1.0] {
                    prop_assert_eq!(histogram.quantile(q), oracle.value_at_quantile(q).min(max));
                }
            }
        }
    }
}
