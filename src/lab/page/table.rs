//! All figures, a table for each point.

use crate::lab::compare::{Cell, Comparison, Figure, PARTS};
use crate::lab::svg::Escaped;
use crate::phase::Nanos;
use std::fmt::Write as _;

/// The phases whose median a table shows, as the recorder names them.
const PHASES: [&str; 4] = ["wait", "queued", "copy", "send"];

pub(super) fn all(page: &mut String, comparison: &Comparison) {
    *page += "<section id=\"figures\">\n<h2>All figures</h2>\n\
              <p>Times are per message. From calls/req to switches/req, the shares of the flows' time, and the medians of the phases: second pass, recorder on. \
              User and system are told where clock ticks are fine enough to say. Memory is the proportional set (PSS, without files) of the server and its children with all clients held; \
              per conn. is its growth since the start, told from 100 clients on.";
    if comparison.about.kernel_ns.is_some() {
        *page += " Asleep, runnable and copied are the kernel's own word (tracefs), in calls of all flows: third pass.";
    }
    *page += "</p>\n";
    for point in comparison.points() {
        let _ = write!(
            page,
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"All figures under {point}\">\n<table>\n<caption>{point}</caption>\n<thead><tr><th>model</th>"
        );
        let mut columns = 0;
        for head in heads(comparison) {
            columns += 1;
            let _ = write!(page, "<th scope=\"col\">{head}</th>");
        }
        *page += "</tr></thead>\n<tbody>\n";
        for cell in comparison.at(point) {
            let _ = write!(page, "<tr><th scope=\"row\">{}</th>", Escaped(&cell.model));
            match &cell.end {
                Some(end) => {
                    let _ = write!(
                        page,
                        "<td class=\"ends\" colspan=\"{columns}\">ends: {}</td>",
                        Escaped(&end.reason)
                    );
                }
                None => row(page, comparison, cell),
            }
            *page += "</tr>\n";
        }
        *page += "</tbody>\n</table>\n</div>\n";
    }
    *page += "</section>\n";
}

/// Those that were to be measured.
fn figures(comparison: &Comparison) -> impl Iterator<Item = Figure> {
    let watched = comparison.about.kernel_ns.is_some();
    Figure::ALL.into_iter().filter(move |figure| watched || !figure.told())
}

fn heads(comparison: &Comparison) -> impl Iterator<Item = String> {
    let figures = figures(comparison).map(|figure| figure.name().to_owned());
    let shares = PARTS.into_iter().map(str::to_owned);
    let phases = PHASES.into_iter().map(|phase| format!("{phase} p50"));
    figures.chain(["errors".to_owned()]).chain(shares).chain(phases)
}

fn row(page: &mut String, comparison: &Comparison, cell: &Cell) {
    for figure in figures(comparison) {
        match cell.figure(figure) {
            None => *page += "<td>-</td>",
            Some(spread) => {
                let _ = write!(page, "<td>{}", figure.show(spread.median));
                if cell.samples.len() > 1 {
                    let _ = write!(
                        page,
                        "<small>{} to {}</small>",
                        figure.show(spread.low),
                        figure.show(spread.high)
                    );
                }
                *page += "</td>";
            }
        }
    }
    let errors = cell.errors();
    let class = if errors > 0 { " class=\"bad\"" } else { "" };
    let _ = write!(page, "<td{class}>{errors}</td>");
    for part in PARTS {
        let share = cell.share(part).map_or_else(|| "-".to_owned(), |share| format!("{share:.1}%"));
        let _ = write!(page, "<td>{share}</td>");
    }
    for phase in PHASES {
        let median = cell.phase(phase).map_or_else(|| "-".to_owned(), |ns| Nanos(ns).to_string());
        let _ = write!(page, "<td>{median}</td>");
    }
}
