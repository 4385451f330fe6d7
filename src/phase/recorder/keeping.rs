//! What the recorder keeps of each call, where it is asked to (`--events`).

use super::Recorder;
use crate::phase::event::{Asked, Event, How, Phases, What};
use crate::phase::events::Events;
use crate::phase::waited::{Again, Method, Waited};
use crate::phase::{Call, Id, Waits};
use crate::sys;
use std::io;
use std::net::SocketAddr;

/// One flow's way to the events.
#[derive(Clone, Debug)]
pub(super) struct Keeping {
    events: Events,
    process: u32,
    flow: u32,
}

impl Keeping {
    /// For the calling flow.
    fn of(events: Events) -> Self {
        Self { events, process: std::process::id(), flow: sys::gettid() }
    }

    /// Into the same events, for the calling flow.
    pub(super) fn flow(&self) -> Self {
        Self::of(self.events.clone())
    }
}

impl Recorder {
    /// Keeps the first `events` calls of all flows as well, each with its times.
    ///
    /// # Errors
    /// `ENOMEM` from mmap(2).
    pub fn keeping(mut self, events: usize) -> io::Result<Self> {
        self.keeping = Some(Keeping::of(Events::new(events)?));
        Ok(self)
    }

    /// What was kept, by its beginning, and how much was lost; `None` where nothing is kept.
    #[must_use]
    pub fn events(&self) -> Option<(Vec<Event>, u64)> {
        self.keeping.as_ref().map(|keeping| keeping.events.read())
    }

    /// Keeps an event, of which the caller knows what, by which call, and when.
    fn keep(&self, what: What, call: Option<Call>, times: (u64, u64), rest: Rest) {
        let Some(Keeping { events, process, flow }) = &self.keeping else { return };
        let Rest { client, id, amount, phases } = rest;
        let (process, flow, (start, end)) = (*process, *flow, times);
        events.keep(&Event { what, call, process, flow, client, id, start, end, amount, phases });
    }

    /// A call that is on nobody's connection.
    pub(super) fn keep_plain(
        &self,
        what: What,
        call: Option<Call>,
        times: (u64, u64),
        amount: u64,
    ) {
        self.keep(what, call, times, Rest { amount, ..Rest::default() });
    }

    /// A call on a client's connection.
    pub(super) fn keep_on(
        &self,
        id: Id,
        what: What,
        call: Option<Call>,
        times: (u64, u64),
        (amount, phases): (u64, Option<Phases>),
    ) {
        if self.keeping.is_none() {
            return;
        }
        let flow =
            if id == Id::LISTENER { Some(&self.front) } else { self.flows.get(id.slot as usize) };
        let client = flow.and_then(|flow| flow.peer.ip());
        self.keep(what, call, times, Rest { client, id: Some(id), amount, phases });
    }

    /// The calls in vain that an input has ended: other models than those that poll ask once more at the end of a turn,
    /// and no input ends that.
    pub(super) fn row(&self, again: Again) -> Again {
        if self.waits == Waits::Readiness { Again::default() } else { again }
    }

    /// A receive, with what it ended where it brought data: its wait, its copy, its calls in vain.
    pub(super) fn keep_input(
        &self,
        id: Id,
        call: Call,
        times: (u64, u64),
        bytes: usize,
        ended: Option<(Waited, u64, Again)>,
    ) {
        if self.keeping.is_some() {
            let phases = ended.map(|(waited, copy, again)| waited.phases(copy, again));
            self.keep_on(id, What::Receive, Some(call), times, (bytes as u64, phases));
        }
    }

    /// The accept of a client who is known by now.
    pub(super) fn keep_accept(&self, client: Option<SocketAddr>) {
        let Some((times, phases)) = self.accepting else { return };
        let rest = Rest { client, phases: Some(phases), ..Rest::default() };
        self.keep(What::Accept, Some(Call::Accept4), times, rest);
    }
}

/// What not every event has.
#[derive(Default)]
struct Rest {
    client: Option<SocketAddr>,
    id: Option<Id>,
    amount: u64,
    phases: Option<Phases>,
}

impl Waited {
    /// Its form in an event. `again` is the row of calls in vain that it ends.
    pub(super) fn phases(&self, copy: u64, again: Again) -> Phases {
        let (how, age, nth) = match self.method {
            Method::Stamp { age } => (How::Stamp, age, (0, 0)),
            Method::NoStamp => (How::NoStamp, 0, (0, 0)),
            Method::Ready { seen, of, .. } => (How::Ready, 0, (seen as u64, of as u64)),
            Method::Completed { seen, of } => (How::Completed, 0, (seen as u64, of as u64)),
            Method::SameTurn => (How::SameTurn, 0, (0, 0)),
            Method::Carried => (How::Carried, 0, (0, 0)),
            Method::Polled { .. } => (How::Polled, 0, (0, 0)),
            Method::Call => (How::Call, 0, (0, 0)),
        };
        let Again { since, inside, calls, last } = again;
        let again = Asked { calls, inside, first: since, last };
        let Self { wait, queued, wake, .. } = *self;
        Phases { how, wait, queued, copy, wake, age, nth, again }
    }
}
