//! The lines of `--phases`: one per I/O, for a person who watches.

use super::tally::write_at_once;
use super::{Count, Tally};
use std::fmt::{self, Write as _};
use std::io;

/// Writes lines to standard output without ever waiting for its reader: what the reader does not
/// take in time is lost, counted, and said in front of the next line that gets through.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    line: String,
    lost: u64,
}

impl Lines {
    /// One line, without its end.
    pub(super) fn print(&mut self, tally: &Tally, text: fmt::Arguments<'_>) {
        self.line.clear();
        if self.lost > 0 {
            let _ = writeln!(self.line, "({} lines lost: this reader is too slow)", self.lost);
        }
        // Writing to a String cannot fail.
        let _ = writeln!(self.line, "{text}");
        if write_at_once(&io::stdout(), self.line.as_bytes()).is_ok() {
            self.lost = 0;
        } else {
            self.lost += 1;
            tally.add(Count::LinesLost, 1);
        }
    }
}
