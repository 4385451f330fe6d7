//! The figure of one I/O for a terminal, 79 columns wide.

use super::canvas::{Canvas, Ink};
use super::figure::{Block, Figure, Item, Phase, Side};
use crate::lab::prose::wrapped;

/// The life of the process, and of the kernel's side; where a block ends.
const APPLICATION: usize = 19;
const KERNEL: usize = 44;
const EDGE: usize = 63;

impl Figure {
    /// For a terminal.
    #[must_use]
    pub fn to_canvas(&self) -> Canvas {
        let mut page = Canvas::default();
        page.put(0, 0, self.model, Ink::Strong);
        for line in &self.about {
            for line in wrapped(line, 79) {
                page.put(page.rows(), 0, &line, Ink::Plain);
            }
        }
        let top = page.rows() + 1;
        page.put_within(top, APPLICATION - 10, 21, "application", Ink::Strong);
        page.put_within(top, KERNEL - 10, 21, "kernel", Ink::Strong);
        let top = top + 1;
        for row in 0..self.rows {
            page.put(top + row, APPLICATION, "│", Ink::Faint);
            page.put(top + row, KERNEL, "│", Ink::Faint);
        }
        // Arrows last: they end on the lines of all others.
        self.items.iter().for_each(|item| beside(&mut page, top, item));
        self.items.iter().for_each(|item| across(&mut page, top, item));
        let bottom = page.rows();
        for (n, line) in self.caption.iter().flat_map(|line| wrapped(line, 79)).enumerate() {
            page.put(bottom + 1 + n, 0, &line, Ink::Plain);
        }
        page
    }
}

/// What stands on one side.
fn beside(page: &mut Canvas, top: usize, item: &Item) {
    match item {
        Item::Does { from, to, blocked, lines } => {
            let bar = if *blocked { '┃' } else { '│' };
            for row in *from..=*to {
                page.put(top + row, APPLICATION, &bar.to_string(), Ink::Plain);
            }
            let first = from + (to + 1 - from).saturating_sub(lines.len()) / 2;
            for (n, line) in lines.iter().enumerate() {
                page.put_before(top + first + n, APPLICATION - 1, line, Ink::Plain);
            }
        }
        Item::Block(block) => draw(page, top, block),
        Item::Moment { row, text } => page.put(top + row, EDGE + 2, text, Ink::Plain),
        Item::Arrow { .. } | Item::LeftOut { .. } => {}
    }
}

fn draw(page: &mut Canvas, top: usize, block: &Block) {
    let ink = if block.phase == Phase::Copy { Ink::Copy } else { Ink::Wait };
    let (from, to, width) = (top + block.from, top + block.to, EDGE - KERNEL - 1);
    // Two blocks share the line between them.
    for row in [from, to] {
        page.put(row, KERNEL, &format!("├{}┤", "─".repeat(width)), ink);
    }
    for row in from + 1..to {
        page.put(row, KERNEL, "│", ink);
        page.fill(row, KERNEL + 1, width, if block.phase == Phase::Copy { '░' } else { ' ' }, ink);
        page.put(row, EDGE, "│", ink);
    }
    let first = from + 1 + (to - from - 1).saturating_sub(block.lines.len()) / 2;
    for (n, line) in block.lines.iter().enumerate() {
        let fits = line.chars().count() + 2 <= width;
        let line = if fits { format!(" {line} ") } else { line.clone() };
        page.put_within(first + n, KERNEL + 1, width, &line, Ink::Plain);
    }
    if block.broken && to > from + block.lines.len() + 1 {
        page.put(to - 1, KERNEL, "≈", ink);
        page.put(to - 1, EDGE, "≈", ink);
    }
}

/// What goes from one side to the other.
fn across(page: &mut Canvas, top: usize, item: &Item) {
    let width = KERNEL - APPLICATION - 1;
    match item {
        Item::Arrow { to, row, text } => {
            page.fill(top + row, APPLICATION + 1, width, '─', Ink::Plain);
            match to {
                Side::Kernel => page.put(top + row, KERNEL - 1, "▶", Ink::Plain),
                Side::Application => page.put(top + row, APPLICATION + 1, "◀", Ink::Plain),
            }
            page.put_within(top + row, APPLICATION + 1, width, &format!(" {text} "), Ink::Plain);
        }
        Item::LeftOut { row, text } => {
            page.put_within(top + row - 1, APPLICATION + 1, width, "⋮", Ink::Plain);
            page.put_within(top + row, APPLICATION + 1, width, text, Ink::Plain);
            page.put_within(top + row + 1, APPLICATION + 1, width, "⋮", Ink::Plain);
        }
        _ => {}
    }
}
