//! One I/O of a run, with what stands before and after it.

use super::kernel::{self, Kernel};
use super::run::{Run, told};
use crate::model::{Model, Who};
use crate::phase::{Event, How, Phases, What};

/// The input that waited longest.
#[derive(Clone, Copy, Debug)]
pub struct Io {
    /// Of which model.
    pub model: &'static Model,
    /// The receive.
    pub receive: Event,
    /// Its phases.
    pub phases: Phases,
    /// What tracepoints said of it.
    pub kernel: Option<Kernel>,
    /// The readiness call that ended its wait.
    pub readiness: Option<Event>,
    /// How long its flow took to begin, where it was made for this client.
    pub start: Option<u64>,
    /// The service.
    pub service: Option<u64>,
    /// The answer.
    pub send: Option<Event>,
}

impl Io {
    /// Finds it among the events of a run.
    ///
    /// # Errors
    /// A sentence: nobody sent anything.
    pub fn of(run: &Run) -> Result<Self, String> {
        let inputs = run.events.iter().enumerate().filter_map(|(n, event)| {
            let phases = event.phases.filter(|_| event.what == What::Receive)?;
            Some((n, *event, phases))
        });
        // The first of the longest, not the last.
        let longest = inputs.rev().max_by_key(|(_, _, phases)| phases.wait);
        let (n, receive, phases) = longest.ok_or("nothing was received in this run")?;
        let of_flow =
            |event: &&Event| (event.process, event.flow) == (receive.process, receive.flow);
        let (before, after) = (&run.events[..n], &run.events[n + 1..]);
        let readiness = kernel::ended(&receive, before);
        let start = before.iter().filter(of_flow).find(|event| event.what == What::Start);
        let start = start.filter(|_| matches!(run.model.who, Who::Threads | Who::Fork));
        let mut answer =
            after.iter().filter(of_flow).take_while(|event| event.what != What::Receive);
        let service = answer.clone().find(|event| event.what == What::Service);
        let send = answer.find(|event| event.what == What::Send);
        Ok(Self {
            model: run.model,
            receive,
            phases,
            kernel: run.kernel.get(n).copied().flatten(),
            readiness: readiness.filter(|_| phases.how == How::Ready).copied(),
            start: start.map(took),
            service: service.map(took),
            send: send.copied(),
        })
    }

    /// The receive's call, by its name.
    #[must_use]
    pub fn call(&self) -> &'static str {
        self.receive.call.map_or("receive", |call| call.name())
    }

    /// Who waits, and who made that flow.
    #[must_use]
    pub fn who(&self) -> &'static str {
        match self.model.who {
            Who::One => "the process",
            Who::Threads => "a thread of its own, made by the one that accepts",
            Who::Pool => "a worker of the pool; another thread accepts",
            Who::Fork => "a child of its own, made by the parent, which accepts",
            Who::Prefork => "one of several children; all accept from one listener",
            Who::Reuseport => "one of several children, each with a listener of its own",
        }
    }

    /// What that flow is called in the figure.
    #[must_use]
    pub fn flow(&self) -> &'static str {
        match self.model.who {
            Who::One => "process",
            Who::Threads => "thread",
            Who::Pool => "worker",
            Who::Fork | Who::Prefork | Who::Reuseport => "child",
        }
    }
}

/// The duration of an event.
pub(super) fn took(event: &Event) -> u64 {
    event.end - event.start
}

/// `a client that sends 50 ms late`, where that is known.
pub(super) fn script(run: &Run) -> String {
    match run.delay {
        Some(delay) => format!("a client that sends {} late", told(delay)),
        None => "the input that waited longest in a recorded run".to_owned(),
    }
}
