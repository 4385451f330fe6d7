//! The page of a comparison: one self-contained HTML file, which needs no script to be read.
//!
//! A pure function of the [`Comparison`]: the same figures give the same page, byte for byte. `charts.rs` has the figures (`lines.rs`, `bars.rs`),
//! `table.rs` all numbers, `ends.rs` why lines end; `palette.rs` says how each model looks, everywhere.

mod bars;
mod charts;
mod ends;
mod lines;
mod palette;
mod scale;
mod table;

use crate::json::Value;
use crate::lab::compare::{Comparison, Figure, Point};
use crate::lab::svg::Escaped;
use crate::phase::{Nanos, Utc};
use std::fmt::Write as _;

const STYLE: &str = include_str!("style.css");

/// A section of claims that are put to the test, which the page shows after its charts.
#[derive(Clone, Debug)]
pub struct Section {
    /// Anchor in the page.
    pub id: &'static str,
    /// Head.
    pub title: String,
    /// What stands before the claims.
    pub intro: String,
    /// The claims.
    pub claims: Vec<Claim>,
}

/// One claim and what came of it.
#[derive(Clone, Debug)]
pub struct Claim {
    /// In its author's words.
    pub claim: String,
    /// The same in English; empty where it is English.
    pub translation: String,
    /// What is measured, and how.
    pub test: String,
    /// The figures that test it; empty where there is nothing to measure.
    pub figures: String,
    /// `holds`, `does not hold here`, `depends`, `documented`.
    pub verdict: String,
    /// On what the verdict depends, or its source; may be empty.
    pub condition: String,
}

/// The page.
#[must_use]
pub fn render(comparison: &Comparison, sections: &[Section]) -> String {
    let about = &comparison.about;
    let models = comparison.models();
    let began = Utc(about.began);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <title>waitcopy compare, {began}</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n{STYLE}{}</style>\n</head>\n<body>\n<main>\n\
         <header>\n<h1>I/O models side by side</h1>\n\
         <p class=\"soft\">Measured {began} by waitcopy {} on {}.</p>\n",
        palette::rules(&models),
        Escaped(&about.version),
        Escaped(&comparison.circumstances()),
    );
    page += "<p>Each model is a real server in a process of its own, driven by real clients over loopback TCP, who have one message in \
             flight each and check every byte of its reply.</p>\n";
    navigation(&mut page, sections);
    page += "</header>\n";
    glance(&mut page, comparison);
    charts::busy(&mut page, comparison);
    charts::idle(&mut page, comparison);
    charts::time(&mut page, comparison);
    for section in sections {
        claims(&mut page, section);
    }
    table::all(&mut page, comparison);
    ended(&mut page, comparison);
    how(&mut page, comparison);
    page += "<footer id=\"end\">Made by <code>waitcopy compare --html</code>. Everything is in this one file.</footer>\n</main>\n</body>\n</html>\n";
    page
}

fn navigation(page: &mut String, sections: &[Section]) {
    let fixed = [
        ("busy", "Busy connections"),
        ("idle", "Idle connections"),
        ("time", "Where the time goes"),
    ];
    let rest =
        [("figures", "All figures"), ("ends", "Lines that end"), ("how", "How it was measured")];
    let middle = sections.iter().map(|section| (section.id, section.title.as_str()));
    *page += "<nav aria-label=\"Sections\">\n";
    for (id, title) in fixed.into_iter().chain(middle).chain(rest) {
        let _ = writeln!(page, "<a href=\"#{}\">{}</a>", Escaped(id), Escaped(title));
    }
    *page += "</nav>\n";
}

/// The best of each point, and what idle connections cost: the first thing to know, with its figures.
fn glance(page: &mut String, comparison: &Comparison) {
    let best = |point: Point, figure: Figure, most: bool| {
        let values = comparison.at(point).filter_map(|cell| Some((cell, cell.value(figure)?)));
        let best =
            values.max_by(|(_, a), (_, b)| if most { a.total_cmp(b) } else { b.total_cmp(a) });
        best.map_or_else(
            || "<td>-</td>".to_owned(),
            |(cell, value)| {
                format!("<td>{} <small>{}</small></td>", Escaped(&cell.model), figure.show(value))
            },
        )
    };
    *page += "<section id=\"glance\">\n<h2>At a glance</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Best of each point\">\n\
              <table>\n<thead><tr><th>best under</th><th>most requests/s</th><th>lowest p99</th><th>least CPU per request</th></tr></thead>\n<tbody>\n";
    for point in comparison.points() {
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\">{point}</th>{}{}{}</tr>",
            best(point, Figure::Rate, true),
            best(point, Figure::P99, false),
            best(point, Figure::Cpu, false)
        );
    }
    *page += "</tbody>\n</table>\n</div>\n<ul>\n";
    for sentence in sentences(comparison) {
        let _ = writeln!(page, "<li>{}</li>", Escaped(&sentence));
    }
    *page += "</ul>\n</section>\n";
}

fn sentences(comparison: &Comparison) -> Vec<String> {
    let mut said = Vec::new();
    let last = comparison.points().into_iter().rfind(|point| point.idle > 0);
    let cost = |model: &str, point| comparison.cell(model, point)?.value(Figure::Cpu);
    if let Some(point) = last {
        let epoll = cost("epoll", point).filter(|cost| *cost > 0.0);
        for model in ["select", "poll"] {
            if let Some((other, epoll)) = cost(model, point).zip(epoll) {
                said.push(format!(
                    "Under {point}, a request costs {model} {} of CPU and epoll {}: {:.1} times as much.",
                    Figure::Cpu.show(other),
                    Figure::Cpu.show(epoll),
                    other / epoll
                ));
            }
        }
    }
    let bound = comparison.bound();
    if bound > 0 {
        said.push(format!(
            "In {bound} of {} cells the clients were busy for more than 85 % of their core (GENERATOR-BOUND): there the rate is theirs, and CPU per request \
             is what tells the models apart.",
            comparison.cells.iter().filter(|cell| cell.end.is_none()).count()
        ));
    }
    if comparison.about.repeats == 1 {
        said.push("One round: a small difference may be noise. With --repeat N every figure has its range.".to_owned());
    }
    said
}

fn claims(page: &mut String, section: &Section) {
    let _ = writeln!(
        page,
        "<section id=\"{}\">\n<h2>{}</h2>\n<p>{}</p>",
        Escaped(section.id),
        Escaped(&section.title),
        Escaped(&section.intro)
    );
    for Claim { claim, translation, test, figures, verdict, condition } in &section.claims {
        let _ = writeln!(page, "<div class=\"claim\">\n<p><q>{}</q></p>", Escaped(claim));
        for (class, before, text) in
            [("soft", "", translation), ("test", "Tested by: ", test), ("figures", "", figures)]
        {
            if !text.is_empty() {
                let _ = writeln!(page, "<p class=\"{class}\">{before}{}</p>", Escaped(text));
            }
        }
        let _ = write!(page, "<p><span class=\"verdict\">{}</span>", Escaped(verdict));
        if !condition.is_empty() {
            let _ = write!(page, ": {}", Escaped(condition));
        }
        *page += "</p>\n</div>\n";
    }
    *page += "</section>\n";
}

fn ended(page: &mut String, comparison: &Comparison) {
    *page += "<section id=\"ends\">\n<h2>Lines that end</h2>\n";
    let mut any = false;
    for (kind, name) in crate::lab::compare::Kind::ALL {
        let cells = comparison.cells.iter().filter_map(|cell| Some((cell, cell.end.as_ref()?)));
        let cells: Vec<_> = cells.filter(|(_, end)| end.kind == kind).collect();
        if cells.is_empty() {
            continue;
        }
        any = true;
        let (title, meaning) = (ends::title(kind), ends::meaning(kind));
        let _ = writeln!(page, "<h3 id=\"ends-{name}\">{title}</h3>\n<p>{meaning}</p>\n<ul>");
        for (cell, end) in cells {
            let (model, reason) = (Escaped(&cell.model), Escaped(&end.reason));
            let _ = writeln!(page, "<li><b>{model}</b>, {}: {reason}</li>", cell.point);
        }
        *page += "</ul>\n";
    }
    if !any {
        *page += "<p>None: every model served every client at every point.</p>\n";
    }
    *page += "</section>\n";
}

fn how(page: &mut String, comparison: &Comparison) {
    let about = &comparison.about;
    let _ = write!(
        page,
        "<section id=\"how\">\n<h2>How it was measured</h2>\n<pre>{}</pre>\n<dl>\n",
        Escaped(&about.command)
    );
    let (plain, recorded) = (Nanos(about.duration_ns), Nanos(about.recorded_ns));
    let pinned = match about.cores {
        Some([clients, servers]) => format!(
            "clients on core {clients}, each server and all that it starts on core {servers}; so reuseport has one worker"
        ),
        None => "not done: there is one core, which clients and servers share".to_owned(),
    };
    let mut facts = vec![
        ("version".to_owned(), format!("waitcopy {}", about.version)),
        ("began".to_owned(), Utc(about.began).to_string()),
    ];
    if let Value::Object(members) = &about.environment {
        let text = |value: &Value| match value {
            Value::Text(text) => text.clone(),
            Value::Null => "unknown".to_owned(),
            other => other.to_string(),
        };
        facts.extend(members.iter().map(|(name, value)| (name.clone(), text(value))));
    }
    facts.extend([
        ("pinning".to_owned(), pinned),
        ("messages".to_owned(), format!("{} bytes, one in flight per client, closed loop", about.size)),
        (
            "first pass".to_owned(),
            format!("{plain} after a warm-up of a tenth of it, recorder off: rates, latencies, CPU, memory"),
        ),
        (
            "second pass".to_owned(),
            format!("{recorded}, recorder on, a new server: calls, EAGAINs, context switches, the phases and the flows' time"),
        ),
    ]);
    facts.extend(about.kernel_ns.map(|ns| {
        let time = Nanos(ns);
        let told = format!("{time}, recorder off, the kernel watching (tracefs), a new server: asleep, runnable, copied");
        ("third pass".to_owned(), told)
    }));
    facts.extend([
        (
            "order".to_owned(),
            "a round is all points, a point all models, so that models take turns; each round begins with another model, and every second \
             round goes backwards"
                .to_owned(),
        ),
        ("rounds".to_owned(), about.repeats.to_string()),
    ]);
    for (name, fact) in facts {
        let _ = writeln!(page, "<dt>{}</dt><dd>{}</dd>", Escaped(&name), Escaped(&fact));
    }
    *page += "</dl>\n</section>\n";
}
