//! A model under the real strace with a scripted client: its calls, what each of them is for, and whether they are what the
//! catalogue says.

mod annotate;
mod count;
mod json;
mod kernel;
mod kernel_page;
mod run;
mod script;
mod show;
mod tables;
mod verdict;

pub use annotate::{Line, Mark, Whose, annotate, transport};
pub use count::{Counts, Summary};
pub use kernel::{Means, Request, Watched, watch};
pub use kernel_page::{KernelPage, KernelTable};
pub use run::{Plan, Traced, run};
pub use script::Script;
pub use show::{Page, Paint, Sentence};
pub use verdict::{Deviation, Verdict, clients, grammar_on, judge};

use super::trace::Trace;
use crate::model::{Model, Who};
use crate::net::Transport;
use crate::phase::Waits;
use crate::sys::Kind;

/// A trace with all that is known of it.
#[derive(Debug)]
pub struct Inspection<'t> {
    /// The model that it was held against.
    pub model: &'static Model,
    /// What the clients came over.
    pub transport: Transport,
    /// Its calls.
    pub lines: Vec<Line<'t>>,
    /// How many of each.
    pub counts: Counts,
    /// What the server itself has counted, where it ran here.
    pub server: Option<Summary>,
    /// What came out.
    pub verdict: Verdict,
}

impl<'t> Inspection<'t> {
    /// Holds a trace against a model.
    #[must_use]
    pub fn of(
        trace: &'t Trace,
        model: &'static Model,
        transport: Transport,
        server: Option<Summary>,
    ) -> Self {
        let lines = annotate(trace, model, transport);
        let datagrams = transport.kind() == Kind::Datagram;
        let counts =
            Counts::of(&lines, datagrams && !matches!(model.who, Who::One | Who::Reuseport));
        let verdict = judge(trace, &lines, model, transport);
        Self { model, transport, lines, counts, server, verdict }
    }

    /// Whether the trace, the catalogue and the server's own counters agree.
    #[must_use]
    pub fn agrees(&self) -> bool {
        let holds = matches!(self.verdict, Verdict::Holds(_));
        holds && self.server.is_none_or(|server| server == self.seen(server))
    }

    /// Whether the trace cannot tell what its calls have brought: a ring's operations are no system calls.
    #[must_use]
    pub fn unseen(&self) -> bool {
        self.model.waits == Waits::Completion
    }

    /// What the trace has counted, with the server's word for what is in no trace.
    fn seen(&self, server: Summary) -> Summary {
        let counts = self.counts.summary();
        if self.unseen() { Summary { connections: counts.connections, ..server } } else { counts }
    }

    /// Calls per request at steady state; `None` with fewer than two answers. Where the trace does not show requests, by the server's own
    /// count of them; each client's end takes a call as well.
    #[must_use]
    pub fn per_request(&self) -> Option<f64> {
        if !self.unseen() {
            return self.counts.per_request();
        }
        let requests = self.server.filter(|server| server.requests > 0)?.requests;
        if self.counts.completing == 0 {
            return None;
        }
        let calls = self.counts.completing.saturating_sub(self.counts.connections);
        Some(calls as f64 / requests as f64)
    }
}
