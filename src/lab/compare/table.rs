//! The table for people, as wide as their terminal.

use super::cell::{Cell, Comparison};
use super::figure::{Figure, bytes};
use super::json::PARTS;
use crate::phase::Nanos;
use std::fmt::{self, Write as _};

/// What the terminal can show.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Columns; what does not fit is left out, the least needed first.
    pub width: usize,
    /// Whether bars may be drawn with block elements. Otherwise the table is ASCII.
    pub unicode: bool,
}

/// A comparison as a table.
#[derive(Debug)]
pub struct Table<'c> {
    /// What was found.
    pub comparison: &'c Comparison,
    /// How to show it.
    pub look: Look,
}

/// What a column shows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Column {
    Of(Figure),
    /// The rate as a bar, the best one of the point being full.
    Bar,
    /// Half of the distance between the rounds' smallest and largest rate.
    Spread,
    Wait,
    Receive,
    Send,
    Rest,
    UserShare,
}

/// Every column: its head, its width with the space before it, and its rank: the highest is left out first.
const COLUMNS: [(Column, &str, usize, u8); 19] = [
    (Column::Of(Figure::Rate), "req/s", 9, 0),
    (Column::Spread, "+-", 5, 2),
    (Column::Bar, "", 6, 7),
    (Column::Of(Figure::P50), "p50", 8, 0),
    (Column::Of(Figure::P99), "p99", 8, 0),
    (Column::Of(Figure::P999), "p99.9", 8, 6),
    (Column::Of(Figure::Cpu), "CPU/req", 8, 0),
    (Column::UserShare, "user", 5, 9),
    (Column::Of(Figure::Calls), "calls", 7, 1),
    (Column::Of(Figure::Again), "EAGAIN", 7, 5),
    (Column::Of(Figure::Switches), "switch", 7, 4),
    (Column::Of(Figure::Asleep), "asleep", 8, 1),
    (Column::Of(Figure::Runnable), "runnable", 9, 1),
    (Column::Of(Figure::Copied), "copied", 8, 1),
    (Column::Wait, "wait", 5, 3),
    (Column::Receive, "recv", 5, 3),
    (Column::Send, "send", 5, 3),
    (Column::Rest, "rest", 5, 3),
    (Column::Of(Figure::PerConnection), "per conn.", 10, 8),
];

/// Width of the names.
const NAME: usize = 11;

/// Above this share of a core the generator is what is measured.
const BOUND: f64 = 85.0;

impl Table<'_> {
    /// Those that fit: whole ranks only, the time of the flows comes or goes together.
    fn columns(&self) -> Vec<(Column, &'static str, usize)> {
        let repeated = self.comparison.about.repeats > 1;
        let watched = self.comparison.about.kernel_ns.is_some();
        let wanted = COLUMNS.into_iter().filter(|(column, ..)| match column {
            Column::Spread => repeated,
            Column::Of(figure) if figure.told() => watched,
            _ => true,
        });
        let wanted: Vec<_> = wanted.collect();
        let width = |most: u8| -> usize {
            let those = wanted.iter().filter(|(.., rank)| *rank <= most);
            NAME + those.map(|(_, _, width, _)| width).sum::<usize>()
        };
        let most = (0..=9).rev().find(|&rank| width(rank) <= self.look.width).unwrap_or(0);
        let those = wanted.into_iter().filter(|(.., rank)| *rank <= most);
        those.map(|(column, head, width, _)| (column, head, width)).collect()
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, cell: &Cell, best: f64) -> fmt::Result {
        if let Some(end) = &cell.end {
            return writeln!(f, "{}", self.beside(&cell.model, &format!("ends: {}", end.reason)));
        }
        let mut line = format!("{:<NAME$}", cell.model);
        for (column, _, width) in self.columns() {
            let _ = match column {
                Column::Bar => {
                    let share = cell.value(Figure::Rate).unwrap_or(0.0) / best.max(1.0);
                    write!(line, " {:<1$}", bar(share, width - 1, self.look.unicode), width - 1)
                }
                column => write!(line, "{:>width$}", show(column, cell)),
            };
        }
        writeln!(f, "{}", line.trim_end())?;
        if cell.errors() > 0 {
            let said = format!("! {} replies wrong or missing, or connections lost", cell.errors());
            writeln!(f, "{}", self.beside("", &said))?;
        }
        Ok(())
    }

    /// A sentence beside a name.
    fn beside(&self, name: &str, text: &str) -> String {
        self.wrapped(&format!("{name:<NAME$} "), text, NAME + 1)
    }

    /// A sentence, broken at words where the line is full; what follows is indented.
    fn wrapped(&self, before: &str, text: &str, indent: usize) -> String {
        let mut lines = before.to_owned();
        let mut used = lines.chars().count();
        for (i, word) in text.split(' ').enumerate() {
            let more = word.chars().count() + usize::from(i > 0);
            if i > 0 && used + more > self.look.width {
                let _ = write!(lines, "\n{:indent$}", "");
                used = indent;
            } else if i > 0 {
                lines.push(' ');
            }
            lines.push_str(word);
            used += more;
        }
        lines
    }

    fn notes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = &self.comparison.about;
        let rounds = match about.repeats {
            1 => String::new(),
            n => format!("; medians of {n} rounds, +- half of their range"),
        };
        let mut lines = vec![
            format!(
                "{} bytes a message, one in flight per client, {} a measurement{rounds}; each byte checked",
                about.size,
                Nanos(about.duration_ns)
            ),
            self.comparison.circumstances(),
            format!(
                "Rates, latencies, CPU: recorder off. Calls, EAGAIN, switches (per request) and the flows' time: a second pass of {}, recorder on.",
                Nanos(about.recorded_ns)
            ),
        ];
        lines.extend(about.kernel_ns.map(|ns| {
            format!(
                "Asleep, runnable, copied (per request, in all flows): the kernel's own word, a third pass of {}, recorder off.",
                Nanos(ns)
            )
        }));
        for line in lines {
            writeln!(f, "{}", self.wrapped("", &line, 0))?;
        }
        let bound = self.comparison.bound();
        if bound > 0 {
            let said = format!(
                "GENERATOR-BOUND in {bound} of {} cells: the clients took over {BOUND:.0} % of a core, so rates there are theirs; compare CPU/req.",
                self.comparison.cells.iter().filter(|cell| cell.end.is_none()).count()
            );
            writeln!(f, "{}", self.wrapped("", &said, 0))?;
        }
        Ok(())
    }
}

impl Cell {
    /// Whether the generator was busier than it may be for the server to be what is measured.
    #[must_use]
    pub fn generator_bound(&self) -> bool {
        self.value(Figure::Generator).is_some_and(|percent| percent > BOUND)
    }
}

impl Comparison {
    /// How many cells were bound by the generator.
    #[must_use]
    pub fn bound(&self) -> usize {
        self.cells.iter().filter(|cell| cell.generator_bound()).count()
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut head = format!("{:<NAME$}", "model");
        for (column, name, width) in self.columns() {
            let name = match column {
                Column::Spread if self.look.unicode => "\u{b1}",
                _ => name,
            };
            let _ = write!(head, "{name:>width$}");
        }
        writeln!(f, "{}", head.trim_end())?;
        for point in self.comparison.points() {
            writeln!(f, "\n{point}")?;
            let rates = self.comparison.at(point).filter_map(|cell| cell.value(Figure::Rate));
            let best = rates.fold(0.0, f64::max);
            self.comparison.at(point).try_for_each(|cell| self.row(f, cell, best))?;
        }
        writeln!(f)?;
        self.notes(f)
    }
}

fn show(column: Column, cell: &Cell) -> String {
    let share = |parts: &[&str]| {
        let shares: Option<f64> = parts.iter().map(|part| cell.share(part)).sum();
        shares.map_or_else(unknown, |share| format!("{share:.0}%"))
    };
    match column {
        Column::Of(figure) => cell.value(figure).map_or_else(unknown, |value| match figure {
            Figure::PerConnection => bytes(value),
            figure => figure.show(value),
        }),
        Column::Spread => cell.figure(Figure::Rate).map_or_else(unknown, |rate| {
            format!("{:.0}%", 50.0 * (rate.high - rate.low) / rate.median.max(1.0))
        }),
        Column::UserShare => {
            let share = cell.value(Figure::User).zip(cell.value(Figure::Cpu));
            share.map_or_else(unknown, |(user, all)| format!("{:.0}%", 100.0 * user / all.max(1.0)))
        }
        Column::Wait => share(&PARTS[..1]),
        Column::Receive => share(&PARTS[1..2]),
        Column::Send => share(&PARTS[2..3]),
        Column::Rest => share(&PARTS[3..]),
        Column::Bar => String::new(),
    }
}

/// Not measured, or not to be told.
fn unknown() -> String {
    "-".to_owned()
}

/// A bar of `width` columns at most, in eighths of a column.
fn bar(share: f64, width: usize, unicode: bool) -> String {
    let share = share.clamp(0.0, 1.0);
    if !unicode {
        return "#".repeat((share * width as f64).round() as usize);
    }
    let eighths = (share * 8.0 * width as f64).round() as usize;
    let mut bar = "\u{2588}".repeat(eighths / 8);
    // U+258F is an eighth, U+2589 seven of them.
    let rest = u32::try_from(eighths % 8).unwrap_or(0);
    bar.extend((rest > 0).then(|| char::from_u32(0x2590 - rest)).flatten());
    bar
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn bars_are_eighths_or_ascii() {
        let bars = [0.0, 0.025, 0.5, 1.0, 7.0].map(|share| bar(share, 5, true));
        assert_eq!(
            bars,
            [
                "",
                "\u{258f}",
                "\u{2588}\u{2588}\u{258c}",
                &"\u{2588}".repeat(5),
                &"\u{2588}".repeat(5)
            ]
        );
        assert_eq!(bar(0.5, 4, false), "##");
    }
}
