//! Of claims about which calls are made.

use super::super::evidence::Calls;
use super::{Figure, Judgement, Unit, Verdict, judged, ratio};

/// Two calls where one was enough.
#[must_use]
pub fn two_calls(blocking: &Calls, select: &Calls) -> Judgement {
    let per =
        |calls: &Calls| ratio((calls.readiness + calls.receives) as f64, calls.requests as f64);
    let (one, two) = (per(blocking), per(select));
    let figures = vec![
        Figure::new("blocking: calls that bring a request in", one, Unit::Count),
        Figure::new("select: calls that bring a request in", two, Unit::Count),
        Figure::new(
            "requests counted over",
            blocking.requests.min(select.requests) as f64,
            Unit::Count,
        ),
    ];
    // Set-up and the end of file are in it, over thousands of requests.
    let is = |seen: f64, meant: f64| (seen - meant).abs() < 0.05;
    if is(one, 1.0) && is(two, 2.0) {
        judged(Verdict::Holds, "and the answer takes one more with both, sendto", figures)
    } else {
        judged(Verdict::DoesNotHold, "other numbers were counted", figures)
    }
}

/// The copy is a call of its own, which the process makes when it is told.
#[must_use]
pub fn then_read(calls: &[(&'static str, Calls)]) -> Judgement {
    let receives = |calls: &Calls| ratio(calls.receives as f64, calls.requests as f64);
    let figure = |(model, calls): &(&str, Calls)| {
        Figure::new(format!("{model}: receives per request"), receives(calls), Unit::Count)
    };
    let figures = calls.iter().map(figure).collect();
    let (read, none): (Vec<_>, Vec<_>) =
        calls.iter().filter(|(_, c)| c.requests > 0).partition(|(_, calls)| receives(calls) > 0.95);
    let names = |list: &[&(&str, Calls)]| {
        list.iter().map(|(model, _)| *model).collect::<Vec<_>>().join(", ")
    };
    match (read.is_empty(), none.is_empty()) {
        (false, true) => judged(Verdict::Holds, format!("true of {}", names(&read)), figures),
        (false, false) => judged(
            Verdict::Depends,
            format!(
                "true of {}, which tell that data is there; not of {}, which tells that it has been copied: no receive is a call",
                names(&read),
                names(&none)
            ),
            figures,
        ),
        (true, false) => judged(Verdict::DoesNotHold, "nobody made a receive", figures),
        (true, true) => judged(Verdict::Depends, "nothing was measured", figures),
    }
}
