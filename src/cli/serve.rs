//! `waitcopy serve MODEL`: one server in this process, until a signal.

use super::{Exit, Parsed, print};
use crate::model::{self, CATALOGUE, Model, Who};
use crate::net::{Bind, DEFAULT_ADDRESS, Endpoint, Front, Full, Settings, Transport, Workers};
use crate::phase::{Counting, Recorder, Report, Subject, Tally, Waits};
use crate::service::{SERVICES, Service};
use crate::stop::Stop;
use crate::sys::{self, Signal};
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Descriptors that a server needs beside its clients: the three standard ones, listener, stop,
/// epoll, the recorder's file and socket pair, the report.
const OWN_DESCRIPTORS: u64 = 10;

/// An event takes 160 bytes of memory, and a kilobyte while the report is made of it.
const MOST_EVENTS: usize = 100_000;

/// The server's stop, for the handlers.
static STOP: OnceLock<Stop> = OnceLock::new();
/// Whether a signal has asked for it already.
static ASKED: AtomicBool = AtomicBool::new(false);

/// SIGTERM, SIGINT: the first one drains, the second one ends.
fn on_stop(signal: Signal) {
    if ASKED.swap(true, Ordering::SeqCst) {
        sys::exit_at_once(128 + signal);
    }
    if let Some(stop) = STOP.get() {
        stop.request();
        // The drain watches its deadline itself; the alarm is for a send that blocks until then. An error
        // (a drain of ages) leaves that to the second signal.
        let _ = sys::setitimer(stop.drain());
    }
}

/// SIGALRM: the drain's time is over.
fn on_deadline(_: Signal) {
    if let Some(stop) = STOP.get() {
        stop.cut();
    }
}

/// SIGUSR1 only interrupts: what it interrupts must go on.
fn on_interrupt(_: Signal) {}

/// What was asked for, checked.
struct Asked {
    model: &'static Model,
    endpoint: Endpoint,
    service: (&'static str, &'static dyn Service),
    backlog: u32,
    settings: Settings,
    drain: Duration,
}

pub(super) fn run(parsed: &Parsed) -> Result<(), Exit> {
    let asked = asked(parsed)?;
    super::must_run(asked.model, asked.endpoint.transport())?;
    let stop = start_stop(asked.drain)?;
    let tally = Tally::new(true).map_err(|e| failed("mmap", &e))?;
    let Asked { model, endpoint, service: (service_name, service), backlog, settings, .. } = asked;
    let report = parsed.value("report");
    let recorded = parsed.has("phases") || report.is_some();
    let events = events(parsed)?;
    // Opened before the first client: a path that cannot be written is told at once.
    let mut file = report.map(create).transpose()?;

    let transport = endpoint.transport();
    let stamps = recorded && model.waits == Waits::InCall && transport.stamps();
    let reuse_port = model.who == Who::Reuseport;
    let front = Front::bind(endpoint, &Bind { backlog, stamps, reuse_port, ..Bind::default() })?;
    let endpoint = front.endpoint().to_string();
    let subject =
        Subject { model: model.name, endpoint, service: service_name, buffer: settings.buffer };
    let listening = format!("listening on {}\n", subject.endpoint);
    // A model may need one descriptor more (epoll). Whoever reads the readiness line may rely on it.
    let room = || sys::eventfd().map(drop).map_err(|e| failed("one more descriptor", &e));

    if !recorded {
        let mut observer = Counting(tally.clone());
        room()?;
        print(listening)?;
        let ended = (model.run.counting)(front, &settings, service, &mut observer, stop);
        let figures = Report::counted(&subject, &tally).map_err(|e| failed("getrusage", &e))?;
        summary(&figures);
        return ended.map_err(Exit::from);
    }
    let lines = parsed.has("phases");
    let mut recorder = Recorder::new(model.name, model.waits, stamps, tally.clone(), lines)
        .map_err(|e| failed("recorder", &e))?;
    if let Some(events) = events {
        recorder = recorder.keeping(events).map_err(|e| failed("events", &e))?;
    }
    room()?;
    print(listening)?;
    let ended = (model.run.recording)(front, &settings, service, &mut recorder, stop);
    recorder.settle();
    let figures =
        Report::recorded(&subject, &tally, &recorder).map_err(|e| failed("recorder", &e))?;
    summary(&figures);
    if let Some(file) = &mut file {
        let path = report.unwrap_or_default();
        writeln!(file, "{:#}", figures.to_json())
            .map_err(|e| failed(&format!("write {path}"), &e))?;
    }
    ended.map_err(Exit::from)
}

/// How many events the report shall have.
fn events(parsed: &Parsed) -> Result<Option<usize>, Exit> {
    let events = parsed.number("events", 1).map_err(Exit::usage)?;
    if events.is_some() && !parsed.has("report") {
        return Err(Exit::usage("--events go into a report: --report FILE is missing"));
    }
    if events.is_some_and(|events| events > MOST_EVENTS) {
        return Err(Exit::usage(format!("--events: at most {MOST_EVENTS}")));
    }
    Ok(events)
}

/// The closing table goes to standard error; if that is gone, nobody reads it.
fn summary(figures: &Report<'_>) {
    let _ = io::stderr().write_all(figures.to_string().as_bytes());
}

fn failed(what: &str, error: &io::Error) -> Exit {
    Exit::failed(format!("{what}: {}", sys::describe(error)))
}

fn create(path: &str) -> Result<std::fs::File, Exit> {
    std::fs::File::create(path).map_err(|e| failed(&format!("open {path}"), &e))
}

fn asked(parsed: &Parsed) -> Result<Asked, Exit> {
    let names = parsed.texts().map_err(Exit::usage)?;
    let name = names.first().ok_or_else(|| Exit::usage(which_model("which model?")))?;
    let model = find_model(name)?;
    let endpoint = endpoints(parsed, parsed.value("listen"))?[0];
    let transport = endpoint.transport();
    model.serves(transport).map_err(|why| {
        Exit::usage(format!("{} does not serve {}: {why}", model.name, transport.name()))
    })?;
    let service = parsed.value("service").unwrap_or("upper");
    let service = SERVICES.iter().find(|(name, ..)| *name == service).ok_or_else(|| {
        let names: Vec<_> = SERVICES.iter().map(|(name, ..)| *name).collect();
        Exit::usage(format!("no service '{service}'; there are {}", names.join(", ")))
    })?;
    let number = |name, least| parsed.number(name, least).map_err(Exit::usage);
    let time = |name| parsed.duration(name).map_err(Exit::usage);
    let pause = time("pause")?;
    if pause.is_some() && model.name != "nonblocking" {
        return Err(Exit::usage(format!(
            "--pause belongs to nonblocking; {} waits in a call",
            model.name
        )));
    }
    let ring = number("ring", 1)?;
    if ring.is_some() && model.waits != Waits::Completion {
        return Err(Exit::usage(format!("--ring belongs to io-uring; this is {}", model.name)));
    }
    let buffer = number("buffer", 1)?.unwrap_or(1024);
    if buffer > 1 << 24 {
        return Err(Exit::usage(format!("--buffer {buffer}: at most 16777216 (16 MiB)")));
    }
    if parsed.has("max-connections") && model.who == Who::Prefork {
        return Err(Exit::usage("--max-connections: prefork has as many as --workers says"));
    }
    let batch = batch(parsed, model, transport, buffer)?;
    let settings = Settings {
        buffer,
        batch,
        max_connections: number("max-connections", 1)?.map(within_descriptors).transpose()?,
        idle_timeout: time("idle-timeout")?,
        pause,
        request_timeout: time("request-timeout")?,
        ring,
        workers: workers(parsed, model)?,
    };
    if settings.request_timeout.is_some() && model.waits != Waits::InCall {
        return Err(Exit::usage(format!(
            "--request-timeout belongs to models that wait in their receives; {} has --idle-timeout",
            model.name
        )));
    }
    let backlog = number("backlog", 0)?.unwrap_or(1024);
    Ok(Asked {
        model,
        endpoint,
        service: (service.0, service.2),
        backlog: u32::try_from(backlog).unwrap_or(u32::MAX),
        settings,
        drain: time("drain")?.unwrap_or(Duration::from_secs(10)),
    })
}

/// `--batch`: what one call carries is no single input, so the phases of one are not told.
fn batch(
    parsed: &Parsed,
    model: &Model,
    transport: Transport,
    buffer: usize,
) -> Result<usize, Exit> {
    let Some(batch) = parsed.number("batch", 1).map_err(Exit::usage)? else { return Ok(1) };
    if !["blocking", "epoll"].contains(&model.name) || transport.kind() != sys::Kind::Datagram {
        return Err(Exit::usage(
            "--batch belongs to blocking and epoll, over --udp or --unixgram: connections have no datagrams to take together",
        ));
    }
    if parsed.has("phases") || parsed.has("report") {
        return Err(Exit::usage(
            "--batch: one call carries many datagrams, so --phases and --report cannot tell the phases of each",
        ));
    }
    if batch > 1024 || batch * buffer > 1 << 26 {
        return Err(Exit::usage(format!(
            "--batch {batch}: at most 1024, which is all that the kernel takes in a call, and 64 MiB of buffers"
        )));
    }
    Ok(batch)
}

/// The endpoints that the transport flags and an address name.
pub(super) fn endpoints(parsed: &Parsed, address: Option<&str>) -> Result<Vec<Endpoint>, Exit> {
    let mut named: Vec<_> = Transport::ALL
        .into_iter()
        .filter(|(transport, name)| *transport != Transport::Tcp && parsed.has(name))
        .collect();
    let (transport, name) = named.pop().unwrap_or((Transport::Tcp, "tcp"));
    if let Some((_, other)) = named.pop() {
        return Err(Exit::usage(format!("--{other} and --{name}: one transport at a time")));
    }
    let path = parsed.value(name);
    if let (Some(_), Some(address)) = (path, address) {
        return Err(Exit::usage(format!("--{name} has its path, and {address} is one too many")));
    }
    Ok(Endpoint::resolve(transport, path.or(address).unwrap_or(DEFAULT_ADDRESS))?)
}

/// `--workers` and what belongs to the queue before them.
fn workers(parsed: &Parsed, model: &Model) -> Result<Workers, Exit> {
    let number = |name, least| parsed.number(name, least).map_err(Exit::usage);
    let belongs = |flags: &[&str], whose: &str, does: bool| {
        let given = flags.iter().find(|flag| parsed.has(flag) && !does);
        given.map_or(Ok(()), |flag| {
            Err(Exit::usage(format!("--{flag} belongs to {whose}; this is {}", model.name)))
        })
    };
    belongs(&["workers"], "thread-pool, prefork and reuseport", model.who.counted())?;
    let queue = ["queue", "when-full", "queue-timeout"];
    belongs(&queue, "thread-pool", model.who == Who::Pool)?;
    let full = match parsed.value("when-full") {
        None | Some("wait") => Full::Wait,
        Some("refuse") => Full::Refuse,
        Some(other) => {
            return Err(Exit::usage(format!("--when-full {other}: wait or refuse is expected")));
        }
    };
    let count = number("workers", 1)?;
    if count.is_some_and(|count| count > 10_000) {
        return Err(Exit::usage("--workers: at most 10000"));
    }
    let patience = parsed.duration("queue-timeout").map_err(Exit::usage)?;
    Ok(Workers { count, queue: number("queue", 0)?, full, patience })
}

/// The entry of that name, or a sentence that helps.
pub(super) fn find_model(name: &str) -> Result<&'static Model, Exit> {
    model::find(name).ok_or_else(|| {
        let meant = model::suggest(name).map(|near| format!(" (did you mean {near}?)"));
        Exit::usage(which_model(&format!("no model '{name}'{}", meant.unwrap_or_default())))
    })
}

fn which_model(problem: &str) -> String {
    let names: Vec<_> = CATALOGUE.iter().map(|model| model.name).collect();
    format!("{problem}; there are {}", names.join(", "))
}

/// A limit that descriptors cannot reach is lowered, aloud.
fn within_descriptors(asked: usize) -> Result<usize, Exit> {
    let limit = sys::getrlimit().map_err(|e| failed("getrlimit", &e))?.soft;
    let room = usize::try_from(limit.saturating_sub(OWN_DESCRIPTORS)).unwrap_or(usize::MAX);
    if room == 0 {
        return Err(Exit::config(format!(
            "--max-connections {asked}: {limit} descriptors (RLIMIT_NOFILE) leave none for clients; \
             raise it with ulimit -n"
        )));
    }
    if asked > room {
        // If standard error is gone, the limit is lowered all the same.
        let _ = writeln!(
            io::stderr(),
            "waitcopy: --max-connections {asked} lowered to {room}: this process may have {limit} \
             descriptors (RLIMIT_NOFILE) and needs {OWN_DESCRIPTORS} itself; raise it with ulimit -n"
        );
    }
    Ok(asked.min(room))
}

/// Makes the stop and has the signals ask for it.
fn start_stop(drain: Duration) -> Result<&'static Stop, Exit> {
    let stop = Stop::new(drain).map_err(|e| failed("eventfd", &e))?;
    // Test seam: microseconds between each check of the flag and the blocking call.
    if let Some(us) = std::env::var("WAITCOPY_WIDEN_RACE_US").ok().and_then(|us| us.parse().ok()) {
        stop.widen_race(Duration::from_micros(us));
    }
    let stop = STOP.get_or_init(|| stop);
    let handlers: [(Signal, fn(Signal)); 4] = [
        (sys::SIGTERM, on_stop),
        (sys::SIGINT, on_stop),
        (sys::SIGALRM, on_deadline),
        (sys::SIGUSR1, on_interrupt),
    ];
    for (signal, handler) in handlers {
        sys::on_signal(signal, handler).map_err(|e| failed("sigaction", &e))?;
    }
    Ok(stop)
}
