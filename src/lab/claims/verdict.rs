//! The verdicts: pure functions from figures to a judgement.
//!
//! Compared figures come as a ratio per paired round. Of six rounds the smallest and the largest ratio enclose the median with
//! 97 % confidence (1 - 2^(1 - n)), whatever their distribution: a difference counts when all rounds agree on its sign.

mod calls;

pub use calls::{then_read, two_calls};

use super::evidence::{Crowd, FullSend, Late, Rounds, Switch};
use super::{Figure, Judgement, Unit, Verdict};

fn judged(verdict: Verdict, because: impl Into<String>, figures: Vec<Figure>) -> Judgement {
    Judgement { verdict, because: because.into(), figures }
}

/// Nothing was measured.
#[must_use]
pub fn documented(because: &str) -> Judgement {
    judged(Verdict::Documented, because, vec![])
}

fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * ratio(part as f64, whole as f64)
}

/// Sockets block unless told otherwise.
#[must_use]
pub fn default(fresh: &[(&'static str, bool)]) -> Judgement {
    let figure = |&(kind, on): &(&str, bool)| {
        Figure::new(format!("O_NONBLOCK set: {kind}"), f64::from(u8::from(on)), Unit::YesNo)
    };
    let figures = fresh.iter().map(figure).collect();
    let not: Vec<_> = fresh.iter().filter(|(_, on)| *on).map(|&(kind, _)| kind).collect();
    if fresh.is_empty() {
        judged(Verdict::Depends, "no socket could be made", figures)
    } else if not.is_empty() {
        judged(
            Verdict::Holds,
            "every one is made blocking; what accept(2) returns does not inherit the listener's O_NONBLOCK either",
            figures,
        )
    } else {
        judged(Verdict::DoesNotHold, format!("not blocking when made: {}", not.join(", ")), figures)
    }
}

/// One call through both phases.
#[must_use]
pub fn both_phases(late: &Late) -> Judgement {
    let figures = vec![
        Figure::new("the client sends so late", late.delay as f64, Unit::Time),
        Figure::new("wait inside the call, median", late.wait as f64, Unit::Time),
        Figure::new(
            "copy inside the same call, wake-up included, median",
            late.copy as f64,
            Unit::Time,
        ),
        Figure::new(
            "receives per request",
            ratio(late.receives as f64, late.requests as f64),
            Unit::Count,
        ),
        Figure::new(
            "CPU time of the server over wall time",
            percent(late.cpu, late.wall),
            Unit::Percent,
        ),
    ];
    // Client and server begin to count at different moments; a tenth is far more than that.
    let waited = late.wait >= late.delay / 10 * 9;
    // The end of file takes one more.
    let one_call = late.receives <= late.requests + 1;
    if !late.stamped {
        judged(
            Verdict::Depends,
            "no kernel stamp divides the receive on this machine: that both phases lie in it cannot be told apart",
            figures,
        )
    } else if waited && one_call && late.copy > 0 {
        judged(
            Verdict::Holds,
            "one call spans the wait and the copy; the process sleeps in the first only, in the second the kernel runs on its account",
            figures,
        )
    } else {
        judged(Verdict::DoesNotHold, "one call does not span both", figures)
    }
}

/// `O_NONBLOCK` works.
#[must_use]
pub fn switch(seen: &Switch) -> Judgement {
    let figures = vec![
        Figure::new(
            "blocking, with a receive time-out of 50 ms: in the call for",
            seen.blocked as f64,
            Unit::Time,
        ),
        Figure::new("after the switch: EAGAIN", f64::from(u8::from(seen.again)), Unit::YesNo),
        Figure::new("after", seen.took as f64, Unit::Time),
    ];
    if seen.again && seen.took < seen.blocked {
        judged(Verdict::Holds, "the receive returns at once and says EAGAIN", figures)
    } else {
        judged(Verdict::DoesNotHold, "the receive did not return at once with EAGAIN", figures)
    }
}

/// Asking again and again.
#[must_use]
pub fn asks(late: &Late) -> Judgement {
    let in_vain = ratio(late.again as f64, late.requests as f64);
    let figures = vec![
        Figure::new("the client sends so late", late.delay as f64, Unit::Time),
        Figure::new("receives in vain for each that brought data", in_vain, Unit::Count),
    ];
    if in_vain >= 1.0 {
        judged(Verdict::Holds, "it asks until the answer is yes", figures)
    } else {
        judged(Verdict::DoesNotHold, "it hardly ever asked in vain", figures)
    }
}

/// CPU for nothing.
#[must_use]
pub fn burns_cpu(polling: &Late, waiting: &Late) -> Judgement {
    let share = |late: &Late| percent(late.cpu, late.wall);
    let (busy, quiet) = (share(polling), share(waiting));
    let useless = percent(polling.again, polling.receives);
    let figures = vec![
        Figure::new("nonblocking: CPU time over wall time", busy, Unit::Percent),
        Figure::new("epoll: CPU time over wall time", quiet, Unit::Percent),
        Figure::new("nonblocking: receives in vain", useless, Unit::Percent),
    ];
    if busy >= 50.0 && useless >= 50.0 && quiet < busy / 2.0 {
        judged(
            Verdict::Holds,
            "a core is busy asking, and nearly all of its questions are in vain",
            figures,
        )
    } else if busy > 2.0 * quiet && useless >= 50.0 {
        judged(
            Verdict::Depends,
            format!("in vain, yes, but on this machine it got only {busy:.0} % of a core for it"),
            figures,
        )
    } else {
        judged(Verdict::DoesNotHold, "it took no more CPU than waiting does", figures)
    }
}

/// From the fewest silent clients to the most: the ratio of what `of` reads.
fn growth(crowd: &[Crowd], model: &str, of: impl Fn(&(usize, u64, u64)) -> u64) -> Option<f64> {
    let steps = &crowd.iter().find(|crowd| crowd.model == model)?.steps;
    Some(ratio(of(steps.last()?) as f64, of(steps.first()?) as f64))
}

fn crowd_figures(crowd: &[Crowd], models: &[&str], latency: bool) -> Vec<Figure> {
    let chosen = crowd.iter().filter(|crowd| models.contains(&crowd.model));
    let figures = chosen.flat_map(|crowd| {
        crowd.steps.iter().map(|&(silent, p50, cpu)| {
            let (what, ns) =
                if latency { ("median answer", p50) } else { ("CPU per request", cpu) };
            Figure::new(format!("{}, {silent} silent: {what}", crowd.model), ns as f64, Unit::Time)
        })
    });
    figures.collect()
}

/// Grown less than this: the same.
const SAME: f64 = 1.3;
/// Grown at least so much: clearly more.
const MORE: f64 = 2.0;

/// Late answers with many connections.
#[must_use]
pub fn late_answers(crowd: &[Crowd]) -> Judgement {
    let figures = crowd_figures(crowd, &["nonblocking", "epoll"], true);
    let grown = |model| growth(crowd, model, |step| step.1);
    let (Some(polling), Some(epoll)) = (grown("nonblocking"), grown("epoll")) else {
        return judged(Verdict::Depends, "not measured", figures);
    };
    if polling >= MORE && polling > epoll * SAME {
        let because = format!(
            "a round asks every client, ready or not: {polling:.1} times as late, epoll {epoll:.1} times"
        );
        judged(Verdict::Holds, because, figures)
    } else if polling > SAME && polling > epoll {
        let because =
            format!("later, but only {polling:.1} times (epoll {epoll:.1} times) at this many");
        judged(Verdict::Depends, because, figures)
    } else {
        judged(Verdict::DoesNotHold, "no later than with few, or no later than epoll", figures)
    }
}

/// One process, many connections.
#[must_use]
pub fn many_at_once(served: &[(&'static str, usize)]) -> Judgement {
    let of = |name| served.iter().find(|(model, _)| *model == name).map_or(0, |&(_, n)| n);
    let figure = |&(model, n): &(&str, usize)| {
        Figure::new(format!("{model}: clients answered, of 100"), n as f64, Unit::Count)
    };
    let figures = served.iter().map(figure).collect();
    match (of("select"), of("epoll"), of("blocking")) {
        (100, 100, blocking) if blocking < 100 => judged(
            Verdict::Holds,
            format!(
                "all of them, where one blocking process answers {blocking} and the others wait in the backlog"
            ),
            figures,
        ),
        (100, 100, _) => {
            judged(Verdict::DoesNotHold, "blocking answered all of them as well", figures)
        }
        (100, _, _) | (_, 100, _) => {
            judged(Verdict::Depends, "one of the two answered them all", figures)
        }
        _ => judged(Verdict::DoesNotHold, "not all of them were answered", figures),
    }
}

/// Does each readiness call walk over all sockets?
#[must_use]
pub fn polls_all(crowd: &[Crowd]) -> Judgement {
    let figures = crowd_figures(crowd, &["select", "poll", "epoll"], false);
    let grown = |model| growth(crowd, model, |step| step.2);
    let (Some(select), Some(epoll)) = (grown("select"), grown("epoll")) else {
        return judged(Verdict::Depends, "not measured", figures);
    };
    if select >= MORE && epoll < SAME {
        let because = format!(
            "true of select (its cost grew {select:.1} times with the silent clients), not of epoll ({epoll:.1} times): \
             that is told by the kernel of what changed. Between two events neither runs: both sleep"
        );
        judged(Verdict::Depends, because, figures)
    } else if select >= SAME && epoll >= SAME {
        judged(Verdict::Holds, "the cost of both grew with the silent clients", figures)
    } else if select >= SAME {
        let because =
            format!("true of select ({select:.1} times), hardly of epoll ({epoll:.1} times)");
        judged(Verdict::Depends, because, figures)
    } else {
        judged(Verdict::DoesNotHold, "silent clients cost nothing measurable here", figures)
    }
}

/// Smallest, median and largest.
fn spread(ratios: &[f64]) -> Option<[f64; 3]> {
    if ratios.is_empty() {
        return None;
    }
    let mut sorted = ratios.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (below, above) = ((sorted.len() - 1) / 2, sorted.len() / 2);
    let median = f64::midpoint(sorted[below], sorted[above]);
    Some([sorted[0], median, sorted[sorted.len() - 1]])
}

fn ratio_figures(name: &str, rounds: &Rounds) -> Vec<Figure> {
    let rows =
        [("requests/s", &rounds.rate), ("p99", &rounds.p99), ("CPU per request", &rounds.cpu)];
    let figures = rows.into_iter().filter_map(|(what, ratios)| {
        let [low, median, high] = spread(ratios)?;
        Some(Figure::new(
            format!("{name}: {what} ({low:.2} to {high:.2} in {} rounds)", ratios.len()),
            median,
            Unit::Times,
        ))
    });
    figures.collect()
}

/// No better for a single connection.
#[must_use]
pub fn single(rounds: &Rounds) -> Judgement {
    let figures = ratio_figures("select over blocking", rounds);
    let (Some([slowest, _, fastest]), Some([cheapest, _, dearest])) =
        (spread(&rounds.rate), spread(&rounds.cpu))
    else {
        return judged(Verdict::Depends, "not measured", figures);
    };
    if slowest > 1.0 && dearest < 1.0 {
        judged(Verdict::DoesNotHold, "select was faster and cheaper in every round", figures)
    } else if cheapest > 1.0 && fastest < 1.0 {
        judged(Verdict::Holds, "slower and dearer in every round", figures)
    } else if cheapest > 1.0 {
        judged(
            Verdict::Holds,
            "dearer in every round; the rate differs by less than the rounds do",
            figures,
        )
    } else if fastest < 1.0 {
        judged(
            Verdict::Holds,
            "slower in every round; the cost differs by less than the rounds do",
            figures,
        )
    } else {
        judged(
            Verdict::Depends,
            "the rounds do not agree: the difference is smaller than the noise of this machine",
            figures,
        )
    }
}

/// Not necessarily better than threads with few connections.
#[must_use]
pub fn few(by_clients: &[(usize, Rounds)]) -> Judgement {
    let mut figures = Vec::new();
    let (mut at_least_as_good, mut worse, mut later) = (Vec::new(), Vec::new(), Vec::new());
    for (clients, rounds) in by_clients {
        figures.extend(ratio_figures(
            &format!(
                "threads over epoll, {clients} client{}",
                if *clients == 1 { "" } else { "s" }
            ),
            rounds,
        ));
        let Some([_, _, fastest]) = spread(&rounds.rate) else { continue };
        // In no round as fast as epoll: worse. Anything else is not.
        if fastest < 1.0 { &mut worse } else { &mut at_least_as_good }.push(clients.to_string());
        if spread(&rounds.p99).is_some_and(|[_, _, largest]| largest < 1.0) {
            later.push(clients.to_string());
        }
    }
    let later = if later.is_empty() {
        "epoll's p99 was not the larger one in all rounds of any".to_owned()
    } else {
        format!("epoll's p99 was the larger one with {}", later.join(", "))
    };
    match (at_least_as_good.as_slice(), worse.as_slice()) {
        ([], []) => judged(Verdict::Depends, "not measured", figures),
        (_, []) => judged(
            Verdict::Holds,
            format!(
                "with none of these numbers of clients was epoll faster in every round; {later}"
            ),
            figures,
        ),
        ([], _) => judged(
            Verdict::DoesNotHold,
            format!(
                "epoll was faster in every round, with each of these numbers of clients; {later}"
            ),
            figures,
        ),
        (good, bad) => judged(
            Verdict::Depends,
            format!(
                "on the number of clients: it holds with {}, with {} epoll was faster in every round; {later}",
                good.join(", "),
                bad.join(", ")
            ),
            figures,
        ),
    }
}

/// Why sockets under multiplexing do not block.
#[must_use]
pub fn nonblocking_sockets(send: &FullSend) -> Judgement {
    let figures = vec![
        Figure::new("bytes given to a socket that is writable", send.given as f64, Unit::Bytes),
        Figure::new(
            "blocking, with a send time-out of 50 ms: in the call for",
            send.blocking as f64,
            Unit::Time,
        ),
        Figure::new("non-blocking: in the call for", send.nonblocking as f64, Unit::Time),
        Figure::new("non-blocking: bytes taken", send.taken as f64, Unit::Bytes),
    ];
    judged(
        Verdict::Documented,
        "and for a reason: ready means that a call would not block, not that it can do all that it is asked for; one that blocks \
         holds up everybody else",
        figures,
    )
}

/// Blocked by the readiness call, not by the sockets.
#[must_use]
pub fn blocked_by_select(late: &Late, busy: &Late) -> Judgement {
    let waiting = |late: &Late| percent(late.part_wait, late.wall);
    let receiving = |late: &Late| percent(late.part_receive, late.wall);
    let figures = vec![
        Figure::new("one late client: in select", waiting(late), Unit::Percent),
        Figure::new("one late client: in recvfrom", receiving(late), Unit::Percent),
        Figure::new(
            "one late client: CPU time over wall time",
            percent(late.cpu, late.wall),
            Unit::Percent,
        ),
        Figure::new("100 busy clients: in select", waiting(busy), Unit::Percent),
        Figure::new("100 busy clients: in recvfrom", receiving(busy), Unit::Percent),
    ];
    let by_select = waiting(late) >= 90.0 && receiving(late) < 5.0;
    if !by_select {
        judged(
            Verdict::DoesNotHold,
            "with a late client it was not select that it spent its time in",
            figures,
        )
    } else if waiting(busy) >= 50.0 {
        judged(Verdict::Holds, "by select, with a late client and with busy ones", figures)
    } else {
        judged(
            Verdict::Depends,
            format!(
                "by select and not by the sockets, yes; all the time only while nobody has sent: with 100 busy clients {:.0} % of it",
                waiting(busy)
            ),
            figures,
        )
    }
}
