//! A model with the kernel watching instead of strace, and what the recorder says of the same calls.

use super::run::Plan;
use crate::json::Value;
use crate::lab::child::Server;
use crate::lab::kernel::{self, Kernel, KernelIo, Trouble};
use crate::model::Model;
use crate::net::{Endpoint, Transport};
use crate::phase::{Calibration, Call, Over, Waits};
use crate::sys::Kind;
use std::time::Duration;

/// One request, as the kernel saw it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The readiness call that ended its wait; none where the receive itself waits, and for a second receive of one turn.
    pub readiness: Option<KernelIo>,
    /// The receive that brought it.
    pub receive: KernelIo,
    /// What the recorder printed of it.
    pub recorder: Option<String>,
}

impl Request {
    /// The wait as the kernel knows it: until it woke who waited. `None` for a model that never sleeps.
    #[must_use]
    pub fn wait(&self, waits: Waits) -> Option<u64> {
        let waiting = self.readiness.as_ref().unwrap_or(&self.receive);
        (waits != Waits::Polling).then(|| waiting.wait())
    }

    /// Woken, and without a CPU yet, in both calls.
    #[must_use]
    pub fn runnable(&self) -> u64 {
        self.readiness.as_ref().map_or(0, |call| call.runnable) + self.receive.runnable
    }
}

/// What a run has left.
#[derive(Debug)]
pub struct Watched {
    /// The model.
    pub model: &'static Model,
    /// What its client came over.
    pub transport: Transport,
    /// Each request, in order.
    pub requests: Vec<Request>,
    /// The server's own report, recorder on.
    pub report: Value,
    /// The copy alone, calibrated beside it.
    pub calibration: Option<Calibration>,
}

/// Means over all requests, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Means {
    /// The recorder's wait; `None` where it could not divide.
    pub wait: Option<u64>,
    /// The kernel's.
    pub kernel_wait: Option<u64>,
    /// The kernel's wake-up: runnable without a CPU.
    pub runnable: u64,
    /// The recorder's copy; undivided, the whole call.
    pub copy: Option<u64>,
    /// The calibrated copy.
    pub calibrated: Option<u64>,
    /// The kernel's copy; `None` where no event tells of it (UDP's plain packets).
    pub kernel_copy: Option<u64>,
    /// Whether the kernel saw the end of every copy.
    pub measured: bool,
}

/// Runs the plan with the recorder on and the kernel watching.
///
/// # Errors
/// [`Trouble`].
pub fn watch(plan: &Plan) -> Result<Watched, Trouble> {
    let mut command = plan.command(&[])?;
    command.arg("--phases");
    let server = Server::launch(command, plan.model.name, true)?;
    let kernel = Kernel::start(server.process())?;
    talk(plan, server.endpoint())?;
    let text = kernel.text()?;
    let left = server.leave()?;
    let ios = kernel::read(&text)?;
    let lines: Vec<_> = left.lines.iter().filter_map(|line| input(line)).collect();
    let waits_by = plan.model.readiness();
    let mut requests = requests(ios, waits_by);
    if plan.endpoint.transport().kind() == Kind::Datagram && waits_by.is_some() {
        // The first datagram ends a wait that began before the recording.
        let begun = requests.iter().position(|request| request.readiness.is_some());
        requests.drain(..begun.unwrap_or(requests.len()));
    }
    // One client and one answer at a time, so the last line is of the last request. A datagram's first wait may have begun
    // before the recording; if lines were lost there are fewer of them, and none is told.
    if let Some(earlier) = lines.len().checked_sub(requests.len()) {
        let lines = lines.into_iter().skip(earlier);
        requests.iter_mut().zip(lines).for_each(|(request, line)| request.recorder = Some(line));
    }
    let transport = plan.endpoint.transport();
    let over = match transport {
        Transport::Tcp => Over::Tcp,
        Transport::Udp => Over::Udp,
        Transport::Unix | Transport::Unixgram => Over::Unix,
    };
    let calibration = Calibration::measure(over).ok();
    let report = left.report.unwrap_or(Value::Null);
    Ok(Watched { model: plan.model, transport, requests, report, calibration })
}

/// How long a model that polls is recorded: as many calls as a core can make, each with both of its ends, fill the kernel's buffers.
const POLLED: Duration = Duration::from_millis(250);

fn talk(plan: &Plan, server: Endpoint) -> Result<(), String> {
    let mut script = plan.script;
    if plan.model.waits == Waits::Polling && !script.late.is_zero() {
        let room = POLLED.as_nanos() / script.late.as_nanos();
        script.messages = script.messages.min(usize::try_from(room).unwrap_or(usize::MAX).max(1));
    }
    script.talk(server)
}

/// Each receive that brought data, with the readiness call of its flow that came before it, if no other receive and no accept did.
/// Of readiness calls only the model's own count: printing a line polls standard output.
fn requests(ios: Vec<KernelIo>, waits_by: Option<Call>) -> Vec<Request> {
    let mut ready: Vec<KernelIo> = Vec::new();
    let mut requests = Vec::new();
    for io in ios {
        match io.call {
            call if Some(call) == waits_by && io.result > 0 => {
                ready.retain(|other| other.flow != io.flow);
                ready.push(io);
            }
            _ if io.received() > 0 => {
                let last = ready.iter().position(|other| other.flow == io.flow);
                let readiness = last.map(|place| ready.swap_remove(place));
                requests.push(Request { readiness, receive: io, recorder: None });
            }
            // That readiness was the listener's.
            Call::Accept4 => ready.retain(|other| other.flow != io.flow),
            _ => {}
        }
    }
    requests
}

/// What a line of `--phases` says of an input, without the model and the peer.
fn input(line: &str) -> Option<String> {
    let at = line.find("  wait").filter(|_| !line.starts_with("accept "))?;
    Some(line[at..].trim().to_owned())
}

impl Watched {
    /// Means over all requests; `None` without a request.
    #[must_use]
    pub fn means(&self) -> Option<Means> {
        let requests = &self.requests;
        let n = u64::try_from(requests.len()).ok().filter(|&n| n > 0)?;
        let mean = |of: &dyn Fn(&Request) -> u64| requests.iter().map(of).sum::<u64>() / n;
        // A mean over other requests than the kernel's would compare what cannot be compared.
        let recorded = |metric: &str| {
            let figure = |what: &str| self.report.count(&format!("phases.{metric}.{what}"));
            figure("count").filter(|&count| count == n)?;
            Some(figure("total_ns")? / n)
        };
        let waits: Option<u64> = requests.iter().map(|r| r.wait(self.model.waits)).sum();
        let bytes = |r: &Request| usize::try_from(r.receive.received()).unwrap_or(usize::MAX);
        let told = requests.iter().all(|r| r.receive.bytes > 0);
        Some(Means {
            wait: recorded("wait"),
            kernel_wait: waits.map(|sum| sum / n),
            runnable: mean(&Request::runnable),
            copy: recorded("copy"),
            calibrated: self.calibration.map(|table| mean(&|r| table.copy(bytes(r)))),
            kernel_copy: told.then(|| mean(&|r| r.receive.copied)),
            measured: requests.iter().all(|r| r.receive.measured),
        })
    }

    /// How the recorder measured: `stamp` or `call`.
    #[must_use]
    pub fn method(&self) -> &str {
        match self.report.get("method") {
            Some(Value::Text(method)) => method,
            _ => "?",
        }
    }

    /// All of it; times are nanoseconds.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let requests = self.requests.iter().map(|request| {
            Value::object([
                ("readiness", request.readiness.as_ref().map(io_json).into()),
                ("receive", io_json(&request.receive)),
                ("recorder", request.recorder.as_deref().into()),
            ])
        });
        Value::object([
            ("waitcopy", env!("CARGO_PKG_VERSION").into()),
            ("model", self.model.name.into()),
            ("transport", self.transport.name().into()),
            ("method", self.method().into()),
            ("means_ns", self.means().map(Means::to_json).into()),
            ("requests", Value::List(requests.collect())),
        ])
    }
}

impl Means {
    fn to_json(self) -> Value {
        Value::object([
            ("recorder_wait", self.wait.into()),
            ("kernel_wait", self.kernel_wait.into()),
            ("kernel_wake_up", self.runnable.into()),
            ("recorder_copy", self.copy.into()),
            ("calibrated_copy", self.calibrated.into()),
            ("kernel_copy", self.kernel_copy.into()),
            ("kernel_saw_the_end", self.measured.into()),
        ])
    }
}

fn io_json(io: &KernelIo) -> Value {
    Value::object([
        ("flow", u64::from(io.flow).into()),
        ("call", io.call.name().into()),
        ("enter", io.enter.into()),
        ("exit", io.exit.into()),
        ("woken", io.woken.into()),
        ("asleep_ns", io.asleep.into()),
        ("runnable_ns", io.runnable.into()),
        ("before_ns", io.before.into()),
        ("copied_ns", io.copied.into()),
        ("after_ns", io.after.into()),
        ("result", u64::try_from(io.result).ok().into()),
        ("bytes", io.bytes.into()),
        ("measured", io.measured.into()),
    ])
}
