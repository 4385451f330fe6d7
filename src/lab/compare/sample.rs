//! The plain figures of one visit: no handles, no histograms in shared memory, nothing that cannot be written and read back.

use super::kernel::Told;
use crate::client::load::Outcome;
use crate::json::Value;
use crate::lab::procfs::Memory;
use crate::model::{Per, find};
use crate::phase::Histogram;

/// One model at one point, once: a pass with the recorder off, and a shorter one with it on.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Which round it was, from 0.
    pub round: u64,
    /// The clients of the plain pass.
    pub plain: Clients,
    /// Their latencies, in nanoseconds.
    pub latency: Latency,
    /// CPU time of the server and its children in the measured time of the plain pass, in nanoseconds.
    pub server_cpu_ns: u64,
    /// How much of that was in user mode, 0 to 1, where clock ticks are fine enough to say.
    pub user_share: Option<f64>,
    /// Threads and processes that were made in the measured time, or that nobody spoke to and that ran all the same: what they
    /// cost is in the server's CPU time and belongs to no request.
    pub newcomers: u64,
    /// CPU time of the generator in the same time, in nanoseconds.
    pub generator_cpu_ns: u64,
    /// Memory of the server and its children before the first client, and with all clients held.
    pub memory: Option<[Memory; 2]>,
    /// The second pass.
    pub recorded: Recorded,
    /// The third pass, where the kernel was to watch.
    pub kernel: Option<Told>,
}

/// What the clients of one pass saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clients {
    /// Messages answered in the measured time, all bytes right.
    pub requests: u64,
    /// The measured time, in nanoseconds.
    pub wall_ns: u64,
    /// Connections that got no answer at all.
    pub unserved: u64,
    /// Messages of served connections that were not answered within a second after the end.
    pub unanswered: u64,
    /// Replies with a wrong byte.
    pub wrong: u64,
    /// Connections that ended before their time.
    pub dead: u64,
}

impl Clients {
    /// What the load generator saw.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Self {
        Self {
            requests: outcome.requests,
            wall_ns: outcome.wall.as_nanos() as u64,
            unserved: outcome.unserved as u64,
            unanswered: outcome.unanswered as u64,
            wrong: outcome.wrong,
            dead: outcome.dead as u64,
        }
    }

    /// What went wrong, whatever the reason.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.wrong + self.dead + self.unanswered
    }
}

/// Quantiles of a histogram, and its buckets, so that runs can be merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// How many values.
    pub count: u64,
    /// Half of them do not exceed this; and so on.
    pub p50: u64,
    /// 90 %.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p999: u64,
    /// The largest.
    pub max: u64,
    /// Lowest value and count of each bucket that holds something; empty where they were left out.
    pub buckets: Vec<(u64, u64)>,
}

impl Latency {
    /// A histogram's.
    #[must_use]
    pub fn of(histogram: &Histogram) -> Self {
        let [p50, p90, p99, p999] = [0.5, 0.9, 0.99, 0.999].map(|q| histogram.quantile(q));
        let (count, max) = (histogram.count(), histogram.max());
        Self { count, p50, p90, p99, p999, max, buckets: histogram.filled().collect() }
    }
}

/// The pass with the recorder on. All but `clients` and `switches` is about the whole life of the server, from its start
/// over the clients' coming and going to its stop.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// What its clients saw.
    pub clients: Clients,
    /// Context switches of all threads of the server and its children in the measured time; `None` where there were too many
    /// to read.
    pub switches: Option<u64>,
    /// Receives that brought data.
    pub requests: u64,
    /// System calls by family.
    pub calls: Vec<(String, u64)>,
    /// How many of them said `EAGAIN`.
    pub again: Vec<(String, u64)>,
    /// Calls that a model makes per request, per turn or in vain, without those of coming and going.
    pub steady_calls: u64,
    /// Where the wall time of all flows went, in nanoseconds; the parts sum up to it.
    pub partition_ns: Vec<(String, u64)>,
    /// The two phases and their parts: count, median, p99, in nanoseconds.
    pub phases: Vec<(String, [u64; 3])>,
    /// How wait and copy were told apart: `stamp`, `call`.
    pub method: String,
    /// What observing costs each request, in nanoseconds, calibrated.
    pub observer_ns: u64,
    /// The server's counters that are not 0.
    pub counts: Vec<(String, u64)>,
}

impl Recorded {
    /// From the server's report (`docs/phases.md`).
    #[must_use]
    pub fn of(model: &str, clients: Clients, switches: Option<u64>, report: &Value) -> Self {
        let counted = |path: &str| -> Vec<(String, u64)> {
            let members = report.members(path);
            members.filter_map(|(name, value)| Some((name.to_owned(), whole(value)?))).collect()
        };
        let phase =
            |value: &Value| ["count", "p50_ns", "p99_ns"].map(|m| value.count(m).unwrap_or(0));
        let phases = report.members("phases").map(|(name, value)| (name.to_owned(), phase(value)));
        let method = match report.get("method") {
            Some(Value::Text(method)) => method.clone(),
            _ => String::new(),
        };
        let (calls, again) = (counted("calls"), counted("again"));
        let counts: Vec<_> = counted("counts").into_iter().filter(|(_, n)| *n > 0).collect();
        Self {
            clients,
            switches,
            requests: named(&counts, "requests"),
            steady_calls: steady_calls(model, &calls, &again, named(&counts, "requests")),
            calls,
            again,
            partition_ns: counted("partition_ns"),
            phases: phases.filter(|(_, [count, ..])| *count > 0).collect(),
            method,
            observer_ns: report.count("observer_ns_per_request").unwrap_or(0),
            counts,
        }
    }
}

fn whole(value: &Value) -> Option<u64> {
    if let Value::Count(n) = value { Some(*n) } else { None }
}

/// The number of that name; 0 where it is not there.
pub(super) fn named(list: &[(String, u64)], name: &str) -> u64 {
    list.iter().find(|(other, _)| other == name).map_or(0, |(_, n)| *n)
}

/// The calls that the catalogue has per request, per turn and per round in vain, without those of coming and going: a
/// thousand idle clients that are accepted, registered and closed would hide what a request costs. So of the receives
/// only those count that brought data, which are the requests, and of the calls that poll only those in vain.
fn steady_calls(
    model: &str,
    calls: &[(String, u64)],
    again: &[(String, u64)],
    requests: u64,
) -> u64 {
    let Some(model) = find(model) else { return calls.iter().map(|(_, n)| n).sum() };
    let steady = |(name, all): &(String, u64)| {
        // Observed, a receive that waits is recvmsg, which brings the stamp.
        let family = if name == "recvmsg" { "recvfrom" } else { name };
        let has =
            |per| model.steps.iter().any(|step| step.call.name() == family && step.per == per);
        match family {
            "recvfrom" => named(again, name),
            _ if has(Per::Request) || has(Per::Turn) => *all,
            _ if has(Per::Poll) => named(again, name),
            _ => 0,
        }
    };
    // A ring's receives are no calls.
    let requests = if model.waits == crate::phase::Waits::Completion { 0 } else { requests };
    requests + calls.iter().map(steady).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::steady_calls;

    #[test]
    fn coming_and_going_is_not_what_a_request_costs() {
        let list = |list: &[(&str, u64)]| -> Vec<(String, u64)> {
            list.iter().map(|&(name, n)| (name.to_owned(), n)).collect()
        };
        let calls = |model, calls: &[(&str, u64)], again: &[(&str, u64)]| {
            steady_calls(model, &list(calls), &list(again), 100)
        };
        let coming = [("accept4", 1000), ("fcntl", 2000), ("close", 1000), ("sendto", 100)];
        let with = |more: &[(&'static str, u64)]| [&coming[..], more].concat();
        let epoll = with(&[("recvfrom", 1100), ("epoll_wait", 50), ("epoll_ctl", 1000)]);
        assert_eq!(calls("epoll", &epoll, &[("accept4", 500)]), 250);
        // The acceptor's waits are of coming; a stamped receive is a receive.
        assert_eq!(calls("threads", &with(&[("recvmsg", 1100), ("epoll_wait", 990)]), &[]), 200);
        let polling = [("accept4", 700), ("recvfrom", 9000)];
        assert_eq!(calls("nonblocking", &with(&[("recvfrom", 9100)]), &polling), 9900);
    }
}
