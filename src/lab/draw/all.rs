//! All models side by side: the form of Stevens' Figure 6.6 (UNIX Network Programming, "Comparison of the I/O Models").

mod picture;
mod text;

use super::figure::rows;
use super::io::Io;
use super::kernel::Kernel;
use super::run::{Run, told};
use crate::phase::{How, Nanos};

/// One model.
#[derive(Clone, Debug)]
pub struct Column {
    /// The model's name.
    pub model: &'static str,
    /// The call that waits, or asks; empty where nothing does.
    pub waiting: &'static str,
    /// How often it said `EAGAIN`; 0 where it does not ask.
    pub asked: u64,
    /// The call that copies; the same one, where one call does both.
    pub copying: &'static str,
    /// Whether one call does both.
    pub one_call: bool,
    /// Whether nothing divides that call.
    pub undivided: bool,
    /// Nanoseconds.
    pub wait: u64,
    /// Nanoseconds.
    pub queued: u64,
    /// Nanoseconds.
    pub copy: u64,
    /// The copy alone, where the kernel has told it, in nanoseconds.
    pub copied: Option<u64>,
}

/// Letters of a call's name that a column has room for.
const NAME: usize = 10;

/// The picture.
#[derive(Clone, Debug)]
pub struct All {
    /// Under the title.
    pub about: String,
    /// The models, in the order of the runs.
    pub columns: Vec<Column>,
    /// Rows of the upper band, in which data is waited for.
    pub waiting_rows: usize,
    /// Rows of the lower band, in which it is copied.
    pub copying_rows: usize,
}

impl All {
    /// The figure of these runs.
    ///
    /// # Errors
    /// A sentence: there is no run, or in one of them nobody sent anything.
    pub fn of(runs: &[Run]) -> Result<Self, String> {
        let columns = runs.iter().map(Column::of).collect::<Result<Vec<_>, _>>()?;
        let tallest = |ns: fn(&Column) -> u64| columns.iter().map(|column| rows(ns(column))).max();
        let waiting_rows = tallest(|column| column.wait).ok_or("there is no run to draw")?;
        let copying_rows = tallest(|column| column.copy).unwrap_or(0);
        let late = runs.first().and_then(|run| run.delay).map_or(String::new(), |delay| {
            format!(" with a client that sends {} late", told(delay))
        });
        let about =
            format!("One input{late}, by each model, as it was measured; time runs downwards.");
        Ok(Self {
            about,
            columns,
            waiting_rows: waiting_rows.max(7),
            copying_rows: copying_rows.max(4),
        })
    }

    /// Under the figure.
    fn caption(&self) -> String {
        let ratios = self.columns.iter().filter(|column| column.copy > 0 && !column.undivided);
        let ratios: Vec<u64> = ratios.map(|column| column.wait / column.copy).collect();
        let (Some(least), Some(most)) = (ratios.iter().min(), ratios.iter().max()) else {
            return "No axis: nothing divides these calls.".to_owned();
        };
        let times = if least == most { least.to_string() } else { format!("{least} to {most}") };
        let alone = if self.columns.iter().any(|column| column.copied.is_some()) {
            " In parentheses the copy alone, by the kernel's own word."
        } else {
            ""
        };
        format!(
            "The axis is broken between the bands: the waits are {times} times as long as the copies. A blocking copy holds \
             the wake-up as well: it is measured from the kernel's receive stamp to the return of the call.{alone}"
        )
    }
}

impl Column {
    fn of(run: &Run) -> Result<Self, String> {
        let io = Io::of(run).map_err(|why| format!("{}: {why}", run.model.name))?;
        let how = io.phases.how;
        let one_call = matches!(how, How::Stamp | How::NoStamp | How::Call | How::Completed);
        let readiness = io.readiness.and_then(|event| event.call).map_or("", |call| call.name());
        let copying = io.call();
        let waiting = if one_call || how == How::Polled { copying } else { readiness };
        let phases = io.phases;
        Ok(Self {
            model: run.model.name,
            waiting,
            asked: phases.again.calls,
            copying,
            one_call,
            undivided: how == How::NoStamp,
            wait: phases.wait,
            queued: phases.queued,
            copy: phases.copy,
            copied: io.kernel.map(|kernel| kernel.copied),
        })
    }

    /// The call that waits; a name that is wider than a column in two lines.
    fn waiting_lines(&self) -> impl Iterator<Item = &'static str> {
        let split = if self.waiting.len() > NAME { self.waiting.rfind('_') } else { None };
        let (first, second) = self.waiting.split_at(split.map_or(0, |place| place + 1));
        [first, second].into_iter().filter(|line| !line.is_empty())
    }

    /// What stands in the upper band.
    fn waits(&self) -> Vec<String> {
        let wait = Nanos(self.wait).to_string();
        match (self.asked, self.undivided) {
            (_, true) => vec!["not divided".to_owned()],
            (0, _) => vec!["blocked".to_owned(), wait],
            (n, _) => vec!["EAGAIN".to_owned(), format!("x {n}"), wait],
        }
    }

    /// What stands in the lower one.
    fn copies(&self) -> Vec<String> {
        let copying = if self.one_call { "blocked" } else { self.copying };
        let mut lines = vec![copying.to_owned(), Nanos(self.copy).to_string()];
        lines.extend(self.copied.map(|copied| format!("({})", Kernel::told(copied))));
        lines
    }
}
