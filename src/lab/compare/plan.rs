//! What to measure, and in which order.

use crate::concurrency::WORKERS;
use crate::model::{Model, Who};
use crate::phase::Waits;
use crate::sys;
use std::fmt;
use std::time::Duration;

/// Busy connections beside the idle ones.
pub const ACTIVE: usize = 10;

/// How many clients a server is measured under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// Connections that say nothing.
    pub idle: usize,
    /// Busy connections, one message in flight on each.
    pub connections: usize,
}

impl Point {
    /// Busy connections alone.
    #[must_use]
    pub fn busy(connections: usize) -> Self {
        Self { connections, idle: 0 }
    }

    /// [`ACTIVE`] busy ones among idle ones.
    #[must_use]
    pub fn among(idle: usize) -> Self {
        Self { connections: ACTIVE, idle }
    }

    /// All connections.
    #[must_use]
    pub fn held(self) -> usize {
        self.connections.saturating_add(self.idle)
    }
}

/// `1 client`, `100 clients`, `10 clients among 1,000 idle ones`.
impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clients = if self.connections == 1 { "client" } else { "clients" };
        write!(f, "{} {clients}", Grouped(self.connections as u64))?;
        if self.idle > 0 {
            write!(f, " among {} idle ones", Grouped(self.idle as u64))?;
        }
        Ok(())
    }
}

/// A whole number with its thousands apart: `10,000`.
#[derive(Clone, Copy, Debug)]
pub struct Grouped(pub u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() + digits.len() / 3);
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i) % 3 == 0 {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

/// What to compare.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The models.
    pub models: Vec<&'static Model>,
    /// Where each is measured, in turn.
    pub points: Vec<Point>,
    /// How often each model is measured at each point.
    pub repeats: usize,
    /// Time of each measurement of the rate; the recorded pass takes a third of it.
    pub duration: Duration,
    /// Bytes of each message.
    pub size: usize,
    /// Where there are two: the generator's core and the server's. Left to the scheduler, one client and
    /// its server share a core in one run and not in the next, and rates differ several times over.
    pub cores: Option<[usize; 2]>,
    /// Whether a third pass has the kernel watch. It needs root.
    pub kernel: bool,
}

/// Two cores that this process may run on, if it may run on two.
#[must_use]
pub fn two_cores() -> Option<[usize; 2]> {
    match sys::sched_getaffinity().ok()?.as_slice() {
        &[one, other, ..] => Some([one, other]),
        _ => None,
    }
}

/// What a visit costs beside its measuring: two servers that start, are joined, and stop.
const AROUND: Duration = Duration::from_millis(150);
/// What the pass with the kernel watching costs: its time, a server, and a tracefs instance made, read and removed.
const KERNEL: Duration = Duration::from_millis(600);
/// What a connection costs: made, accepted, closed.
const PER_CONNECTION: Duration = Duration::from_micros(100);
/// The same where it starts a thread or a process.
const PER_FLOW: Duration = Duration::from_micros(750);
/// What it costs a child to close its copy of one descriptor of its parent, who has one for each child before it.
const PER_COPY: Duration = Duration::from_nanos(600);

/// What a client costs a server that holds so many, before it is served.
pub(super) fn coming(model: &Model, point: Point) -> Duration {
    match model.who {
        Who::Fork => PER_FLOW.saturating_add(PER_COPY.saturating_mul(saturated(point.held()))),
        Who::Threads => PER_FLOW,
        _ => PER_CONNECTION,
    }
}

impl Plan {
    /// The full form: each model once under 1, 10, 100 and 1,000 clients, and under 10 among 1,000 and 10,000 idle ones.
    #[must_use]
    pub fn new(models: Vec<&'static Model>) -> Self {
        let busy = [1, 10, 100, 1000].map(Point::busy);
        let idle = [1000, 10_000].map(Point::among);
        let points = busy.into_iter().chain(idle).collect();
        let duration = Duration::from_millis(1500);
        Self { models, points, repeats: 1, duration, size: 64, cores: two_cores(), kernel: false }
    }

    /// Time of a recorded pass.
    #[must_use]
    pub fn recorded(&self) -> Duration {
        self.duration / 3
    }

    /// Time before each measurement: a tenth of it, and as long as the server may take for those who stand in its backlog when all are
    /// connected. Threads and processes that are still being made would be measured as the cost of requests.
    #[must_use]
    pub fn warm_up(&self, model: &Model, point: Point) -> Duration {
        let held = saturated(point.held());
        let behind = coming(model, point).saturating_mul(held.min(saturated(BACKLOG)));
        (self.duration / 10).saturating_add(behind)
    }

    /// About how long one visit takes, all passes of it.
    #[must_use]
    pub fn visit_takes(&self, model: &Model, point: Point) -> Duration {
        if holds(model).is_some_and(|held| held < point.held()) && point.idle > 0 {
            return Duration::ZERO;
        }
        let held = saturated(point.held());
        let pass =
            coming(model, point).saturating_mul(held).saturating_add(self.warm_up(model, point));
        let measuring = self.duration.saturating_add(self.recorded());
        let two = measuring.saturating_add(AROUND).saturating_add(pass.saturating_mul(2));
        if self.kernel { two.saturating_add(KERNEL).saturating_add(pass) } else { two }
    }

    /// All visits: a round is all points, a point is all models. So that drift of the machine favours nobody, a round begins
    /// with another model than the one before (the list is turned by its length over the number of rounds), and every
    /// second round goes through it backwards.
    pub fn visits(&self) -> impl Iterator<Item = Visit> + '_ {
        (0..self.repeats).flat_map(move |round| {
            self.points.iter().flat_map(move |&point| {
                self.order(round).into_iter().map(move |model| Visit { round, point, model })
            })
        })
    }

    fn order(&self, round: usize) -> Vec<&'static Model> {
        let mut models = self.models.clone();
        let n = models.len();
        models.rotate_left((round * n / self.repeats.max(1)) % n.max(1));
        if round % 2 == 1 {
            models.reverse();
        }
        models
    }
}

fn saturated(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// One model at one point, once.
#[derive(Clone, Copy, Debug)]
pub struct Visit {
    /// Which round, from 0.
    pub round: usize,
    /// Where.
    pub point: Point,
    /// Whom.
    pub model: &'static Model,
}

/// How many clients a model serves at a time, where its nature bounds it: the others wait in its queue and in the backlog.
#[must_use]
pub fn holds(model: &Model) -> Option<usize> {
    match model.who {
        Who::Pool | Who::Prefork => Some(WORKERS),
        Who::One if model.waits == Waits::InCall => Some(1),
        _ => None,
    }
}

/// How many may connect to such a model before connect(2) waits: those that it serves, its queue, and the backlog of `serve`,
/// which the kernel cuts to net.core.somaxconn.
#[must_use]
pub(super) fn takes(model: &Model) -> Option<usize> {
    let somaxconn = std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok();
    let somaxconn = somaxconn.and_then(|n| n.trim().parse().ok()).unwrap_or(usize::MAX);
    holds(model).map(|held| held + somaxconn.min(BACKLOG))
}

/// What `serve` asks listen(2) for.
const BACKLOG: usize = 1024;

#[cfg(test)]
mod tests {
    use super::{Grouped, Plan, Point, holds};
    use crate::model::{CATALOGUE, find};

    #[test]
    fn every_model_is_visited_once_a_round_at_each_point_and_no_round_repeats_an_order() {
        let plan = Plan { repeats: 4, ..Plan::new(CATALOGUE.iter().collect()) };
        let visits: Vec<_> = plan.visits().collect();
        assert_eq!(visits.len(), 4 * plan.points.len() * CATALOGUE.len());
        let of = |round, point| {
            let here = visits.iter().filter(move |v| v.round == round && v.point == point);
            here.map(|v| v.model.name).collect::<Vec<_>>()
        };
        let orders: Vec<_> = (0..4).map(|round| of(round, Point::busy(100))).collect();
        for (i, order) in orders.iter().enumerate() {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), CATALOGUE.len());
            assert!(orders[..i].iter().all(|earlier| earlier[0] != order[0]), "{orders:?}");
        }
        // A model is not always after the same one.
        let before = |order: &[&str]| {
            order[(order.iter().position(|m| *m == "epoll").unwrap() + order.len() - 1)
                % order.len()]
            .to_owned()
        };
        assert_ne!(before(&orders[0]), before(&orders[1]));
    }

    #[test]
    fn flows_are_made_before_they_are_measured() {
        let plan = Plan::new(Vec::new());
        let ms = |name, point| plan.warm_up(find(name).unwrap(), point).as_millis();
        assert_eq!(ms("epoll", Point::busy(100)), 150 + 10);
        assert_eq!(ms("threads", Point::busy(1000)), 150 + 750);
        // Each of the 1,024 in the backlog closes 10,010 descriptors.
        assert!((6000..9000).contains(&ms("fork", Point::among(10_000))));
    }

    #[test]
    fn points_and_numbers_are_words() {
        assert_eq!(Point::busy(1).to_string(), "1 client");
        assert_eq!(Point::among(10_000).to_string(), "10 clients among 10,000 idle ones");
        let grouped = [0, 999, 1000, 1_234_567].map(|n| Grouped(n).to_string());
        assert_eq!(grouped, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn what_a_model_holds_is_bounded_by_its_flows() {
        let held = |name| holds(find(name).unwrap());
        assert_eq!(held("blocking"), Some(1));
        assert_eq!(held("prefork"), Some(64));
        assert_eq!(held("thread-pool"), Some(64));
        assert!(
            ["select", "epoll", "threads", "fork", "reuseport", "nonblocking"]
                .iter()
                .all(|name| held(name).is_none())
        );
    }
}
