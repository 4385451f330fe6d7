//! An inspection for programs; `docs/inspect.md` documents the members.

use super::annotate::{Line, Mark, Whose};
use super::verdict::Verdict;
use super::{Inspection, Summary, clients};
use crate::json::Value;

impl Inspection<'_> {
    /// All of it; the loader's and the runtime's calls only with `all`.
    #[must_use]
    pub fn to_json(&self, all: bool) -> Value {
        let shown = self.lines.iter().filter(|line| all || line.mark != Mark::Runtime);
        let of = |which: fn(u64, u64) -> u64| {
            let calls = self.counts.calls.iter();
            Value::object(
                calls.map(move |&(call, calls, again)| (call.name(), which(calls, again).into())),
            )
        };
        Value::object([
            ("waitcopy", env!("CARGO_PKG_VERSION").into()),
            ("model", self.model.name.into()),
            ("transport", self.transport.name().into()),
            ("clients", (clients(&self.lines) as u64).into()),
            ("calls", of(|calls, _| calls)),
            ("again", of(|_, again| again)),
            ("counts", self.counted()),
            ("server", self.server.map(Summary::to_json).into()),
            ("calls_per_request", self.per_request().into()),
            ("catalogue_calls_per_request", (self.model.calls_per_request() as u64).into()),
            ("verdict", self.verdict.to_json()),
            ("agrees", self.agrees().into()),
            ("trace", Value::List(shown.map(Line::to_json).collect())),
        ])
    }
}

impl Inspection<'_> {
    /// What the trace shows; null is what no trace of a ring does.
    fn counted(&self) -> Value {
        let summary = self.counts.summary();
        if !self.unseen() {
            return summary.to_json();
        }
        let unseen = ["requests", "bytes_in", "bytes_out"].map(|name| (name, Value::Null));
        Value::object([("connections", summary.connections.into())].into_iter().chain(unseen))
    }
}

impl Summary {
    fn to_json(self) -> Value {
        Value::object([
            ("connections", self.connections.into()),
            ("requests", self.requests.into()),
            ("bytes_in", self.bytes_in.into()),
            ("bytes_out", self.bytes_out.into()),
        ])
    }
}

impl Verdict {
    fn to_json(&self) -> Value {
        match self {
            Self::Holds(grammar) => {
                Value::object([("holds", true.into()), ("grammar", grammar.as_str().into())])
            }
            Self::Empty => Value::object([("holds", false.into())]),
            Self::Deviates(deviation) => {
                let expected = deviation.expected.iter().map(|word| word.as_str().into());
                Value::object([
                    ("holds", false.into()),
                    ("line", deviation.line.map(|line| line as u64).into()),
                    ("client", deviation.client.map(|client| client as u64).into()),
                    ("call", deviation.call.as_str().into()),
                    ("expected", Value::List(expected.collect())),
                ])
            }
        }
    }
}

impl Line<'_> {
    fn to_json(&self) -> Value {
        let client = if let Whose::Client(n) = self.whose { Some(n as u64) } else { None };
        let call = self.call;
        Value::object([
            ("line", (call.line as u64).into()),
            ("flow", u64::from(call.pid).into()),
            ("mark", self.mark.name().into()),
            ("client", client.into()),
            ("call", call.call.as_str().into()),
            ("args", call.args.as_str().into()),
            // An error has its name instead.
            ("result", call.result.and_then(|n| u64::try_from(n).ok()).into()),
            ("errno", call.errno.as_deref().into()),
        ])
    }
}
