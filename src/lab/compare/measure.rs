//! One visit: two passes over one model at one point, and what is made of them.

use super::cell::{Cell, End, Kind};
use super::kernel;
use super::plan::{Grouped, Plan, Point, coming, holds, takes};
use super::sample::{Clients, Latency, Recorded, Sample, named};
use crate::client::load::{self, Load, Outcome, Watch};
use crate::failure::During;
use crate::lab::procfs::{self, Memory, Ticks};
use crate::lab::{Family, Server};
use crate::model::{Model, Who};
use crate::net::Transport;
use crate::sys;
use std::time::{Duration, Instant};

/// Descriptors of this program beside its clients: the standard ones, a server's pipes, epoll, the page.
const OWN_DESCRIPTORS: u64 = 32;

/// Measures one model at one point once, and pins the calling thread if the plan has cores.
///
/// # Errors
/// A sentence: a server that does not start or stop, a load that cannot run.
pub fn measure(plan: &Plan, model: &'static Model, point: Point) -> Result<Cell, String> {
    let mut cell = Cell::new(model.name, point);
    cell.end = unreachable(model, point)?;
    if cell.end.is_none() {
        let sample = sample(plan, model, point, 0)?;
        cell.end = end_of(model, point, &sample);
        cell.samples.push(sample);
    }
    Ok(cell)
}

/// Why a point is not even tried, if so.
///
/// # Errors
/// getrlimit(2), which does not fail.
pub(super) fn unreachable(model: &Model, point: Point) -> Result<Option<End>, String> {
    if let Err(why) = model.available(Transport::Tcp) {
        let reason = format!("not available here: {why}");
        return Ok(Some(End { kind: Kind::Unavailable, reason }));
    }
    let held = point.held();
    let limit = sys::getrlimit().during("getrlimit", "").map_err(|e| e.to_string())?.soft;
    if held as u64 + OWN_DESCRIPTORS > limit {
        let reason = format!(
            "{} clients need more than the {} descriptors of this process (ulimit -n)",
            Grouped(held as u64),
            Grouped(limit)
        );
        return Ok(Some(End { kind: Kind::Descriptors, reason }));
    }
    let Some(served) = holds(model).filter(|&served| held > served) else { return Ok(None) };
    // Busy clients beyond the limit are tried and seen to starve; idle ones would be seen by nobody.
    let connects = takes(model).is_none_or(|takes| held <= takes);
    if point.idle == 0 && connects {
        return Ok(None);
    }
    let outside = Grouped((held - served) as u64);
    let rest =
        if connects { "would wait unserved" } else { "would wait, more than the backlog takes" };
    let reason =
        format!("{} at a time: {outside} of {} {rest}", serves(served), Grouped(held as u64));
    Ok(Some(End { kind: kind_of(served), reason }))
}

/// Newcomers may cost a twentieth of the measured time: less cannot be told from the noise.
const NOISE: u128 = 20;

fn serves(served: usize) -> String {
    format!("serves {}", Point::busy(served))
}

fn kind_of(served: usize) -> Kind {
    if served == 1 { Kind::OneAtATime } else { Kind::PoolFull }
}

/// Why the line ends here, as far as the figures tell.
pub(super) fn end_of(model: &Model, point: Point, sample: &Sample) -> Option<End> {
    let count = |name| named(&sample.recorded.counts, name);
    let of = |kind, reason| Some(End { kind, reason });
    let held = Grouped(point.held() as u64);
    let turned_away = count("beyond_set");
    if turned_away > 0 {
        let reason = format!(
            "its sets end at descriptor {}: {} of {held} clients turned away",
            sys::FD_SETSIZE - 1,
            Grouped(turned_away)
        );
        return of(Kind::SetFull, reason);
    }
    let refused = count("not_started");
    if refused > 0 {
        let flow = if model.who == Who::Threads { "thread" } else { "process" };
        let reason = format!("no {flow} could be made for {} of {held} clients", Grouped(refused));
        return of(Kind::NoFlow, reason);
    }
    if count("accept_rested") > 0 {
        return of(
            Kind::Descriptors,
            format!("the server ran out of descriptors under {held} clients"),
        );
    }
    let unserved = sample.plain.unserved;
    let newcomers = u32::try_from(sample.newcomers).unwrap_or(u32::MAX);
    let their_time = coming(model, point).saturating_mul(newcomers).as_nanos();
    if unserved == 0 && their_time * NOISE > u128::from(sample.plain.wall_ns) {
        let reason = format!(
            "it was still making threads or processes: {} in the measured time",
            Grouped(sample.newcomers)
        );
        return of(Kind::Unsettled, reason);
    }
    let never =
        format!("{} of {} never served", Grouped(unserved), Grouped(point.connections as u64));
    match holds(model) {
        _ if unserved == 0 => None,
        Some(served) => of(kind_of(served), format!("{} at a time: {never}", serves(served))),
        None => of(Kind::Unserved, format!("too slow for this time: {never}")),
    }
}

/// Both passes, and the third one where it is asked for.
pub(super) fn sample(
    plan: &Plan,
    model: &'static Model,
    point: Point,
    round: usize,
) -> Result<Sample, String> {
    let server = start(plan, model, false)?;
    let mut watch = Plain::of(&server);
    let outcome = drive(&load(plan, model, point, &server), &mut watch)?;
    server.stop()?;
    let newcomers = watch.newcomers(model, point);
    let Plain { family, shares: [before, after], memory: [empty, held], .. } = watch;
    let cpu = family.cpu().during("clock_gettime", "server").map_err(|e| e.to_string())?;

    let server = start(plan, model, true)?;
    let mut switches = Switches {
        process: server.process(),
        patience: plan.recorded() / 5,
        begun: None,
        ended: None,
    };
    let shorter = Load { duration: plan.recorded(), ..load(plan, model, point, &server) };
    let seen = drive(&shorter, &mut switches)?;
    let report = server.stop()?.ok_or("the server has left no report")?;

    let told = plan.kernel.then(|| {
        kernel::listen(|| start(plan, model, false), |server| load(plan, model, point, server))
    });

    Ok(Sample {
        round: round as u64,
        plain: Clients::of(&outcome),
        latency: Latency::of(&outcome.latency),
        server_cpu_ns: cpu.as_nanos() as u64,
        user_share: procfs::user_share(&before, &after),
        newcomers: newcomers as u64,
        generator_cpu_ns: outcome.cpu.as_nanos() as u64,
        memory: empty.zip(held).map(|(empty, held)| [empty, held]),
        recorded: Recorded::of(model.name, Clients::of(&seen), switches.sum(), &report),
        kernel: told.transpose()?,
    })
}

fn start(plan: &Plan, model: &Model, record: bool) -> Result<Server, String> {
    let server = Server::start(model.name, record, plan.cores.map(|[_, serving]| serving))?;
    if let Some([generator, _]) = plan.cores {
        let pinned = sys::sched_setaffinity(0, generator);
        let named = pinned.during("sched_setaffinity", format_args!("core {generator}"));
        named.map_err(|failure| failure.to_string())?;
    }
    Ok(server)
}

/// Whom nobody answers for so long is lost. Longer than the load's own second: while a server forks ten thousand times, even
/// connect(2) waits.
const PATIENCE: Duration = Duration::from_secs(10);

fn load(plan: &Plan, model: &Model, point: Point, server: &Server) -> Load {
    Load {
        connections: point.connections,
        idle: point.idle,
        size: plan.size,
        duration: plan.duration,
        warm_up: Some(plan.warm_up(model, point)),
        timeout: PATIENCE,
        ..Load::new(server.endpoint())
    }
}

fn drive(load: &Load, watch: &mut dyn Watch) -> Result<Outcome, String> {
    load::run(load, watch).map_err(|failure| failure.to_string())
}

/// Reads in the plain pass. While it reads, the clients' messages lie unanswered, or unread; what is slow to read (memory) is
/// read when their time is over.
struct Plain {
    family: Family,
    process: u32,
    /// Those whose ticks are read: the same at both ends.
    split: Vec<u32>,
    shares: [Vec<Ticks>; 2],
    memory: [Option<Memory>; 2],
    threads: [usize; 2],
}

/// With more processes the split of user and system is not read: it would take milliseconds out of the measurement, and
/// ticks are too coarse for so many anyway.
const SPLIT: usize = 80;

impl Plain {
    fn of(server: &Server) -> Self {
        let process = server.process();
        Self {
            family: Family::of(process),
            process,
            split: Vec::new(),
            shares: [Vec::new(), Vec::new()],
            memory: [procfs::memory(&procfs::members(process)), None],
            threads: [0; 2],
        }
    }

    /// See [`Sample::newcomers`].
    fn newcomers(&self, model: &Model, point: Point) -> usize {
        let (came, ran) = self.family.came_and_ran();
        match model.who {
            Who::Threads => self.threads[1].saturating_sub(self.threads[0]),
            // The parent may run: it accepts. All others are spoken to where nobody is idle.
            Who::Fork if point.idle > 0 => came + ran.saturating_sub(point.connections + 1),
            Who::Fork => came,
            _ => 0,
        }
    }
}

impl Watch for Plain {
    fn begins(&mut self) {
        self.split = procfs::members(self.process);
        if self.split.len() > SPLIT {
            self.split.clear();
        }
        self.shares[0] = procfs::ticks(&self.split);
        self.threads[0] = procfs::threads(self.process);
        self.family.begins();
    }

    fn ends(&mut self) {
        self.family.ends();
        self.threads[1] = procfs::threads(self.process);
        self.shares[1] = procfs::ticks(&self.split);
        self.memory[1] = procfs::memory(&procfs::members(self.process));
    }
}

/// Reads in the recorded pass, whose latencies nobody looks at: a thousand threads take their time to read.
struct Switches {
    process: u32,
    /// Reading may take so long: the clients wait meanwhile, and their requests are missing in what is measured.
    patience: Duration,
    begun: Option<u64>,
    ended: Option<u64>,
}

/// More processes take longer to read than the clients wait for their last replies.
const READABLE: usize = 2048;

impl Switches {
    fn read(&self) -> Option<u64> {
        let start = Instant::now();
        let members = procfs::members(self.process);
        let sum = (members.len() <= READABLE).then(|| procfs::switches(&members))?;
        (start.elapsed() <= self.patience).then_some(sum)
    }

    fn sum(&self) -> Option<u64> {
        Some(self.ended?.saturating_sub(self.begun?))
    }
}

impl Watch for Switches {
    fn begins(&mut self) {
        self.begun = self.read();
    }

    fn ends(&mut self) {
        self.ended = self.read();
    }
}

#[cfg(test)]
mod tests {
    use super::{end_of, unreachable};
    use crate::lab::compare::{Clients, Kind, Latency, Point, Recorded, Sample};
    use crate::model::find;

    fn sample(unserved: u64, counts: &[(&str, u64)]) -> Sample {
        let counts = counts.iter().map(|&(name, n)| (name.to_owned(), n)).collect();
        Sample {
            round: 0,
            plain: Clients { requests: 100, unserved, ..Clients::default() },
            latency: Latency::default(),
            server_cpu_ns: 0,
            user_share: None,
            newcomers: 0,
            generator_cpu_ns: 0,
            memory: None,
            recorded: Recorded { counts, ..Recorded::default() },
            kernel: None,
        }
    }

    #[test]
    fn each_reason_is_told_from_its_figures() {
        let of = |model: &str, clients, unserved, counts: &[(&str, u64)]| {
            let end = end_of(find(model).unwrap(), Point::busy(clients), &sample(unserved, counts));
            end.map(|end| (end.kind, end.reason))
        };
        assert_eq!(of("epoll", 100, 0, &[("requests", 7)]), None);
        let told = |kind, reason: &str| Some((kind, reason.to_owned()));
        assert_eq!(
            of("blocking", 10, 9, &[]),
            told(Kind::OneAtATime, "serves 1 client at a time: 9 of 10 never served")
        );
        assert_eq!(
            of("prefork", 100, 36, &[]),
            told(Kind::PoolFull, "serves 64 clients at a time: 36 of 100 never served")
        );
        assert_eq!(
            of("select", 1100, 0, &[("beyond_set", 84)]),
            told(Kind::SetFull, "its sets end at descriptor 1023: 84 of 1,100 clients turned away")
        );
        assert_eq!(of("fork", 1000, 3, &[("not_started", 3)]).unwrap().0, Kind::NoFlow);
        assert_eq!(of("epoll", 1000, 3, &[("accept_rested", 1)]).unwrap().0, Kind::Descriptors);
        assert_eq!(of("threads", 1000, 3, &[]).unwrap().0, Kind::Unserved);
    }

    #[test]
    fn a_server_that_still_makes_its_flows_is_not_measured() {
        let of = |model: &str, point, newcomers| {
            let mut sample = sample(0, &[]);
            (sample.plain.wall_ns, sample.newcomers) = (1_500_000_000, newcomers);
            end_of(find(model).unwrap(), point, &sample).map(|end| end.kind)
        };
        assert_eq!(of("fork", Point::busy(10), 10), None);
        assert_eq!(of("fork", Point::busy(1000), 200), Some(Kind::Unsettled));
        assert_eq!(of("threads", Point::busy(1000), 200), Some(Kind::Unsettled));
        assert_eq!(of("fork", Point::among(10_000), 5), None);
        assert_eq!(of("fork", Point::among(10_000), 20), Some(Kind::Unsettled));
    }

    #[test]
    fn what_could_not_be_seen_is_not_tried() {
        let of = |model, point| {
            unreachable(find(model).unwrap(), point).unwrap().map(|end| (end.kind, end.reason))
        };
        assert_eq!(of("blocking", Point::busy(10)), None);
        assert_eq!(of("prefork", Point::among(54)), None);
        let (kind, reason) = of("prefork", Point::among(55)).unwrap();
        assert_eq!(kind, Kind::PoolFull);
        assert!(reason.ends_with("at a time: 1 of 65 would wait unserved"), "{reason}");
        let (kind, reason) = of("blocking", Point::busy(3000)).unwrap();
        assert_eq!(kind, Kind::OneAtATime);
        assert!(
            reason.ends_with("2,999 of 3,000 would wait, more than the backlog takes"),
            "{reason}"
        );
        assert_eq!(of("epoll", Point::busy(1 << 40)).unwrap().0, Kind::Descriptors);
    }
}
