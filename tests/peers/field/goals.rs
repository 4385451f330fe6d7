//! What the project wants to reach beside its peers, and whether it did.

use crate::cell::{self, Line, Sample, best, ours, per_cpu};
use crate::who::Kind;

/// Of the best peer's figure: what is less is behind.
const LEVEL: f64 = 0.97;
/// What completion is to bring at 100 connections over the best peer on epoll.
const URING: f64 = 1.10;
const URING_CALLS: f64 = 0.2;

/// What an interval says of a level. The whole of it must lie at or above: a wide one settles nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Behind,
    NotSettled,
    Reached,
}

impl Word {
    fn of([_, low, high]: [f64; 3], level: f64) -> Self {
        if low >= level {
            Self::Reached
        } else if high < level {
            Self::Behind
        } else {
            Self::NotSettled
        }
    }

    /// Of what was counted.
    fn counted(reached: bool) -> Self {
        if reached { Self::Reached } else { Self::Behind }
    }

    fn shown(self) -> &'static str {
        match self {
            Self::Behind => "**behind**",
            Self::NotSettled => "not settled",
            Self::Reached => "reached",
        }
    }
}

/// A figure of a visit.
type Measure = fn(&Sample) -> f64;

/// A sentence for each goal that was looked at.
#[derive(Default)]
pub struct Goals(Vec<String>);

/// `1.02 (0.99-1.05)`
pub fn ranged([middle, low, high]: [f64; 3]) -> String {
    format!("{middle:.3} ({low:.3}-{high:.3})")
}

impl Goals {
    pub fn lines(&self) -> &[String] {
        &self.0
    }

    fn say(&mut self, word: Word, what: String) {
        self.0.push(format!("- {}: {what}", word.shown()));
    }

    /// Our best, and epoll, beside the best peer and mio: by the better of its two ratios.
    pub fn cell(&mut self, name: &str, lines: &[Line<'_>]) {
        let of = |of: Measure, goal: &str, ours: Option<&Line<'_>>, peer: Option<&Line<'_>>| {
            let (ours, peer) = (ours?, peer?);
            let ratio = ours.against(peer, of);
            let told =
                format!("{goal} {} / {} {}", ours.entrant.name, peer.entrant.name, ranged(ratio));
            Some((Word::of(ratio, LEVEL), told))
        };
        let called = |wanted: &str| lines.iter().find(|line| line.entrant.name == wanted);
        let pair = |measure, goal| {
            let theirs = best(lines, measure, |entrant| !ours(entrant));
            of(measure, goal, best(lines, measure, ours), theirs)
        };
        let all = [pair(cell::rate, "rate"), pair(per_cpu, "per CPU second")];
        self.either(&format!("{name}, our best beside the best peer"), all);
        let (epoll, mio) = (called("epoll"), called("mio"));
        let all = [of(cell::rate, "rate", epoll, mio), of(per_cpu, "per CPU second", epoll, mio)];
        self.either(&format!("{name}, epoll beside mio"), all);
        if name.starts_with("100x") {
            let measures: [(Measure, _); 2] = [(cell::rate, "rate"), (per_cpu, "per CPU second")];
            let all = measures.map(|(measure, goal)| {
                let peer = best(lines, measure, |entrant| entrant.kind == Kind::Epoll)?;
                let ratio = called("io-uring")?.against(peer, measure);
                let told = format!("{goal} io-uring / {} {}", peer.entrant.name, ranged(ratio));
                Some((Word::of(ratio, URING), told))
            });
            self.either(&format!("{name}, {URING} times the best peer on epoll"), all);
        }
    }

    fn either(&mut self, name: &str, ratios: [Option<(Word, String)>; 2]) {
        let told: Vec<_> = ratios.into_iter().flatten().collect();
        if let Some(word) = told.iter().map(|(word, _)| *word).max() {
            let words: Vec<_> = told.into_iter().map(|(_, words)| words).collect();
            self.say(word, format!("{name}: {}", words.join("; ")));
        }
    }

    pub fn memory(&mut self, found: &[(&str, f64)]) {
        let called = |wanted: &str| found.iter().find(|(name, _)| *name == wanted);
        let Some((_, epoll)) = called("epoll") else { return };
        let beside = ["tokio", "monoio", "libuv", "Go", "asyncio"].into_iter().filter_map(called);
        let above: Vec<_> =
            beside.filter(|(_, bytes)| epoll >= bytes).map(|(name, _)| *name).collect();
        let mio = called("mio").map_or("?".to_owned(), |(_, bytes)| format!("{bytes:.0}"));
        let what = format!("memory of an idle connection, epoll {epoll:.0} bytes; mio {mio}");
        let not = if above.is_empty() {
            String::new()
        } else {
            format!("; not below {}", above.join(", "))
        };
        self.say(Word::counted(above.is_empty()), what + &not);
    }

    pub fn calls(&mut self, found: &[(&str, f64)]) {
        if let Some((_, calls)) = found.iter().find(|(name, _)| *name == "io-uring") {
            let what = format!(
                "io-uring makes {calls:.3} system calls per request, {URING_CALLS} at most"
            );
            self.say(Word::counted(*calls <= URING_CALLS), what);
        }
    }

    pub fn instructions(&mut self, connections: usize, found: &[(&str, f64)]) {
        let called = |wanted: &str| found.iter().find(|(name, _)| *name == wanted);
        if let (Some((_, epoll)), Some((_, mio))) = (called("epoll"), called("mio")) {
            let what = format!("instructions at {connections}, epoll {epoll:.1}, mio {mio:.1}");
            // What a run differs from the next by is hundredths.
            let tenths = |count: &f64| (count * 10.0).round();
            self.say(Word::counted(tenths(epoll) <= tenths(mio)), what);
        }
    }
}
