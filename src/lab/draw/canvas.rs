//! A page of characters, for terminals.

use super::style;

/// How a terminal wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Characters of 7 bits only.
    pub ascii: bool,
    /// With colours (ECMA-48).
    pub colour: bool,
}

/// What a character belongs to, for its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ink {
    #[default]
    Plain,
    Faint,
    Strong,
    Wait,
    Copy,
    Client(usize),
}

/// Characters at places; it grows as it is written to.
#[derive(Debug, Default)]
pub struct Canvas {
    lines: Vec<Vec<(char, Ink)>>,
}

impl Canvas {
    /// Writes from a place to the right, over what is there.
    pub(super) fn put(&mut self, row: usize, column: usize, text: &str, ink: Ink) {
        if row >= self.lines.len() {
            self.lines.resize(row + 1, Vec::new());
        }
        let line = &mut self.lines[row];
        for (n, c) in text.chars().enumerate() {
            let at = column + n;
            if at >= line.len() {
                line.resize(at + 1, (' ', Ink::Plain));
            }
            line[at] = (c, ink);
        }
    }

    /// The same, with its end before a column.
    pub(super) fn put_before(&mut self, row: usize, column: usize, text: &str, ink: Ink) {
        self.put(row, column.saturating_sub(text.chars().count()), text, ink);
    }

    /// The same, in the middle of a stretch.
    pub(super) fn put_within(
        &mut self,
        row: usize,
        column: usize,
        width: usize,
        text: &str,
        ink: Ink,
    ) {
        let free = width.saturating_sub(text.chars().count());
        self.put(row, column + free / 2, text, ink);
    }

    /// The same character again and again.
    pub(super) fn fill(&mut self, row: usize, column: usize, width: usize, c: char, ink: Ink) {
        self.put(row, column, &c.to_string().repeat(width), ink);
    }

    /// How many rows it has.
    pub(super) fn rows(&self) -> usize {
        self.lines.len()
    }

    /// The page, as a terminal wants it.
    #[must_use]
    pub fn to_text(&self, look: Look) -> String {
        let mut text = String::new();
        for line in &self.lines {
            let end = line.iter().rposition(|(c, _)| *c != ' ').map_or(0, |last| last + 1);
            let mut current = Ink::Plain;
            for &(c, ink) in &line[..end] {
                if look.colour && ink != current {
                    text.push_str(&style::sgr(ink));
                    current = ink;
                }
                text.push(if look.ascii { plain(c) } else { c });
            }
            if current != Ink::Plain {
                text.push_str(&style::sgr(Ink::Plain));
            }
            text.push('\n');
        }
        text
    }
}

/// A character of 7 bits that stands for it.
fn plain(c: char) -> char {
    match c {
        '│' => '|',
        '┃' => '#',
        '─' => '-',
        '═' => '=',
        '▶' => '>',
        '◀' => '<',
        '├' | '┤' => '+',
        '≈' => '~',
        '░' | '⋮' => ':',
        '·' => '.',
        c if c.is_ascii() => c,
        _ => '?',
    }
}
