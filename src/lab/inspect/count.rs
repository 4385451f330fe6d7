//! How many calls of each family a trace has, and how many a request.

use super::annotate::{Line, Mark, Whose};
use crate::phase::Call;
use std::collections::HashSet;

/// Calls between the first client and the stop.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Each family that was called: calls in all, and how many of them said `EAGAIN`.
    pub calls: Vec<(Call, u64, u64)>,
    /// Connections that were accepted.
    pub connections: u64,
    /// Receives that brought data.
    pub requests: u64,
    /// Bytes that came.
    pub bytes_in: u64,
    /// Bytes that went.
    pub bytes_out: u64,
    /// Calls that waited, copied or sent from a flow's first answer to its last one, without those in vain, and the answers after
    /// the first one.
    pub steady: (u64, u64),
    /// Calls that waited for completions, from the first client to the last close.
    pub completing: u64,
}

/// What a server counts of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Connections that were accepted.
    pub connections: u64,
    /// Receives that brought data.
    pub requests: u64,
    /// Bytes that came.
    pub bytes_in: u64,
    /// Bytes that went.
    pub bytes_out: u64,
}

impl Summary {
    /// Reads a server's closing summary: `connections 1, requests 3, bytes in 15, out 15`.
    #[must_use]
    pub fn read(said: &str) -> Option<Self> {
        let line = said.lines().find_map(|line| line.trim().strip_prefix("connections "))?;
        let mut numbers = line.split(", ").map(|part| part.rsplit(' ').next()?.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(Self {
            connections: next()?,
            requests: next()?,
            bytes_in: next()?,
            bytes_out: next()?,
        })
    }
}

impl Counts {
    /// Where one flow receives and another answers, no flow has a request of its own.
    pub(super) fn of(lines: &[Line<'_>], handed_on: bool) -> Self {
        let mut counts = Self::default();
        let mut accepted = HashSet::new();
        for line in lines {
            let bytes = line.call.result.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
            if line.call.taken_in().is_some() {
                accepted.extend(if let Whose::Client(n) = line.whose { Some(n) } else { None });
            }
            // The drain of the end answers too.
            if line.call.received() && matches!(line.whose, Whose::Client(_)) {
                counts.requests += 1;
                counts.bytes_in += bytes;
            } else if line.call.is(Call::Sendto) {
                counts.bytes_out += bytes;
            }
            if !matches!(line.mark, Mark::Runtime | Mark::Setup | Mark::Stop) {
                counts.add(line);
            }
        }
        counts.connections = accepted.len() as u64;
        counts.completing = completing(lines);
        if !handed_on {
            counts.steady = steady(lines);
        }
        counts
    }

    fn add(&mut self, line: &Line<'_>) {
        let Some(family) = Call::of_trace(&line.call.call) else { return };
        let vain = u64::from(line.call.in_vain());
        match self.calls.iter_mut().find(|(call, ..)| *call == family) {
            Some((_, calls, again)) => (*calls, *again) = (*calls + 1, *again + vain),
            None => self.calls.push((family, 1, vain)),
        }
    }

    /// The part that a server counts as well.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let Self { connections, requests, bytes_in, bytes_out, .. } = *self;
        Summary { connections, requests, bytes_in, bytes_out }
    }

    /// Calls per request at steady state; `None` with fewer than two answers.
    #[must_use]
    pub fn per_request(&self) -> Option<f64> {
        let (calls, answers) = self.steady;
        (answers > 0).then(|| calls as f64 / answers as f64)
    }
}

/// A ring's calls while there are clients; what ends them is none of a request.
fn completing(lines: &[Line<'_>]) -> u64 {
    let first = lines.iter().position(|line| line.call.taken_in().is_some());
    let last = lines.iter().rposition(|line| line.mark == Mark::Close);
    let (Some(first), Some(last)) = (first, last) else { return 0 };
    let served = &lines[first..last.max(first)];
    served.iter().filter(|line| line.call.is(Call::IoUringEnter)).count() as u64
}

/// Of each flow from its first answer to its last one, together. What begins and ends a connection is not of a request.
fn steady(lines: &[Line<'_>]) -> (u64, u64) {
    let flows: HashSet<u32> = lines.iter().map(|line| line.call.pid).collect();
    let border = |line: &Line<'_>| line.call.is(Call::Accept4) || line.call.word().ends_with(":0");
    let io = |line: &&&Line<'_>| {
        matches!(line.mark, Mark::Wait | Mark::Copy | Mark::WaitCopy | Mark::Send | Mark::Strange)
            && !line.call.in_vain()
            && !border(line)
    };
    let (mut calls, mut answers) = (0, 0);
    for flow in flows {
        let own: Vec<_> = lines.iter().filter(|line| line.call.pid == flow).collect();
        let sends = |line: &&Line<'_>| line.mark == Mark::Send;
        let (Some(first), Some(last)) = (own.iter().position(sends), own.iter().rposition(sends))
        else {
            continue;
        };
        let window = &own[first + 1..=last];
        calls += window.iter().filter(io).count() as u64;
        answers += window.iter().filter(|line| sends(line)).count() as u64;
    }
    (calls, answers)
}
