//! One wait: how long, how it came about, and how a line says it.

use super::{Call, Nanos};
use std::fmt::Write as _;

/// A row of `EAGAIN`s.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Again {
    /// When the first of them was asked for.
    pub(super) since: u64,
    /// Time inside these calls.
    pub(super) inside: u64,
    pub(super) calls: u64,
    /// When the last of them was asked for.
    pub(super) last: u64,
}

impl Again {
    /// One more of them.
    pub(super) fn note(&mut self, start: u64, took: u64) {
        if self.calls == 0 {
            self.since = start;
        }
        self.calls += 1;
        self.inside += took;
        self.last = start;
    }
}

/// How an input's wait came about; decides how the line says it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Method {
    Stamp { age: u64 },
    NoStamp,
    Ready { call: Call, seen: usize, of: usize },
    SameTurn,
    Carried,
    Completed { seen: usize, of: usize },
    Polled { calls: u64, elsewhere: u64 },
    Call,
}

/// What came before a copy. Times in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waited {
    pub(super) wait: u64,
    pub(super) queued: u64,
    pub(super) wake: Option<u64>,
    pub(super) method: Method,
}

impl Waited {
    /// The second I/O of a turn has waited for nothing.
    pub(super) const SAME_TURN: Self =
        Self { wait: 0, queued: 0, wake: None, method: Method::SameTurn };

    /// The wait that a row of `EAGAIN`s was.
    pub(super) fn polled(again: Again, start: u64) -> Self {
        let wait = if again.calls == 0 { 0 } else { start.saturating_sub(again.since) };
        let elsewhere = wait.saturating_sub(again.inside);
        let method = Method::Polled { calls: again.calls, elsewhere };
        Self { wait, queued: 0, wake: None, method }
    }

    /// `  queued 14 us`, where that comes behind the copy.
    pub(super) fn behind(&self) -> String {
        match self.method {
            Method::Completed { .. } if self.queued > 0 => {
                format!("  queued {}", Nanos(self.queued))
            }
            _ => String::new(),
        }
    }

    /// `wait 1.203 s (epoll_wait, 1 of 3)  queued 14 us`
    pub(super) fn told(&self) -> String {
        let wait = Nanos(self.wait);
        let mut text = match self.method {
            Method::Stamp { age: 0 } => format!("wait {wait} (stamp)"),
            Method::Stamp { age } => format!("wait 0 ns (stamp: there {} earlier)", Nanos(age)),
            Method::NoStamp => String::new(),
            Method::Ready { call, seen, of } => {
                format!("wait {wait} ({}, {seen} of {of})", call.name())
            }
            Method::Completed { seen, of } => {
                format!("wait {wait} (io_uring_enter, {seen} of {of})")
            }
            Method::SameTurn => "wait 0 ns (same turn)".to_owned(),
            Method::Carried => "wait 0 ns (carried over)".to_owned(),
            Method::Polled { calls: 0, .. } => "wait 0 ns (no EAGAIN)".to_owned(),
            Method::Polled { calls, elsewhere } => {
                format!("wait {wait} (EAGAIN x {calls}, {} elsewhere)", Nanos(elsewhere))
            }
            Method::Call => format!("wait {wait} (call)"),
        };
        // What a ring brings is copied before it stands in line.
        if self.queued > 0 && !matches!(self.method, Method::Completed { .. }) {
            let _ = write!(text, "  queued {}", Nanos(self.queued));
        }
        if let Some(wake) = self.wake.filter(|&ns| ns > 0) {
            let _ = write!(text, "  wake-up {}", Nanos(wake));
        }
        text
    }
}
