//! All models for a terminal: six side by side in 79 columns.

use super::{All, Column};
use crate::lab::draw::canvas::{Canvas, Ink};
use crate::lab::prose::wrapped;

const LEFT: usize = 7;
const COLUMN: usize = 12;
const A_ROW: usize = 6;

impl All {
    /// For a terminal.
    #[must_use]
    pub fn to_canvas(&self) -> Canvas {
        let mut page = Canvas::default();
        for line in wrapped(&self.about, 79) {
            page.put(page.rows(), 0, &line, Ink::Plain);
        }
        for columns in self.columns.chunks(A_ROW) {
            let top = page.rows() + 1;
            self.bands(&mut page, top, columns.len());
            for (n, column) in columns.iter().enumerate() {
                self.write_column(&mut page, top, LEFT + n * COLUMN, column);
            }
        }
        page.put(page.rows(), 0, "", Ink::Plain);
        for line in wrapped(&self.caption(), 79) {
            page.put(page.rows(), 0, &line, Ink::Plain);
        }
        page
    }

    /// What all columns share: the names of the bands and the lines between them.
    fn bands(&self, page: &mut Canvas, top: usize, columns: usize) {
        let (waits, copies) = (top + 2, top + 2 + self.waiting_rows);
        for (row, c) in [(waits - 1, '─'), (copies, '≈'), (copies + self.copying_rows, '─')] {
            page.fill(row, 0, LEFT + columns * COLUMN, c, Ink::Faint);
        }
        for (row, word) in [(waits, "wait"), (waits + 1, "for"), (waits + 2, "data")] {
            page.put(row, 0, word, Ink::Strong);
        }
        for (row, word) in [(copies + 1, "copy"), (copies + 2, "to the"), (copies + 3, "process")] {
            page.put(row, 0, word, Ink::Strong);
        }
    }

    fn write_column(&self, page: &mut Canvas, top: usize, left: usize, column: &Column) {
        let (waits, copies) = (top + 2, top + 2 + self.waiting_rows);
        let end = copies + self.copying_rows;
        let width = COLUMN - 1;
        page.put_within(top, left, COLUMN, column.model, Ink::Strong);
        let middle = left + COLUMN / 2;
        let bar = if column.asked > 0 { "·" } else { "│" };
        for row in waits + 1..copies {
            page.put(row, middle, bar, Ink::Wait);
        }
        for (n, name) in column.waiting_lines().enumerate() {
            page.put_within(waits + n, left, width, name, Ink::Plain);
        }
        for row in copies + 1..end {
            page.put(row, middle, "┃", Ink::Copy);
        }
        for (n, line) in column.waits().iter().enumerate() {
            page.put_within(waits + 2 + n, left, width, &format!(" {line} "), Ink::Wait);
        }
        for (n, line) in column.copies().iter().enumerate() {
            page.put_within(copies + 1 + n, left, width, &format!(" {line} "), Ink::Copy);
        }
        if !column.one_call && column.asked == 0 && !column.waiting.is_empty() {
            page.put_within(copies - 1, left, width, " ready ", Ink::Plain);
        }
    }
}
