//! `waitcopy serve MODEL`: one server in this process, until a signal.

use super::{Exit, Parsed, print};
use crate::model::{self, CATALOGUE, Model};
use crate::net::{DEFAULT_ADDRESS, Endpoint, Listener, Settings};
use crate::phase::{Counting, Recorder, Report, Subject, Tally};
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
    let stop = start_stop(asked.drain)?;
    let tally = Tally::new(true).map_err(|e| failed("mmap", &e))?;
    let Asked { model, endpoint, service: (service_name, service), backlog, settings, .. } = asked;
    let report = parsed.value("report");
    let recorded = parsed.has("phases") || report.is_some();
    // Opened before the first client: a path that cannot be written is told at once.
    let mut file = report.map(create).transpose()?;

    let stamps = recorded && model.waits == crate::phase::Waits::InCall;
    let listener = Listener::bind(endpoint, backlog, stamps)?;
    let endpoint = listener.endpoint().to_string();
    let subject =
        Subject { model: model.name, endpoint, service: service_name, buffer: settings.buffer };
    let listening = format!("listening on {}\n", subject.endpoint);
    // A model may need one descriptor more (epoll). Whoever reads the readiness line may rely on it.
    let room = || sys::eventfd().map(drop).map_err(|e| failed("one more descriptor", &e));

    if !recorded {
        let mut observer = Counting(tally.clone());
        room()?;
        print(listening)?;
        let ended = (model.run.counting)(listener, &settings, service, &mut observer, stop);
        let figures = Report::counted(&subject, &tally).map_err(|e| failed("getrusage", &e))?;
        summary(&figures);
        return ended.map_err(Exit::from);
    }
    let mut recorder = Recorder::new(model.name, model.waits, tally.clone(), parsed.has("phases"))
        .map_err(|e| failed("recorder", &e))?;
    room()?;
    print(listening)?;
    let ended = (model.run.recording)(listener, &settings, service, &mut recorder, stop);
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
    let name = parsed.operands.first().ok_or_else(|| Exit::usage(which_model("which model?")))?;
    let model = find_model(name)?;
    let address = parsed.value("listen").unwrap_or(DEFAULT_ADDRESS);
    let endpoint = Endpoint::resolve_tcp(address)?[0];
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
    let buffer = number("buffer", 1)?.unwrap_or(1024);
    if buffer > 1 << 24 {
        return Err(Exit::usage(format!("--buffer {buffer}: at most 16777216 (16 MiB)")));
    }
    let settings = Settings {
        buffer,
        max_connections: number("max-connections", 1)?.map(within_descriptors).transpose()?,
        idle_timeout: time("idle-timeout")?,
        pause,
    };
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
    let mut stop = Stop::new(drain).map_err(|e| failed("eventfd", &e))?;
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
