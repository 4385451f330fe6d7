//! All models as SVG.

use super::{All, Column, NAME};
use crate::lab::draw::figure::rows;
use crate::lab::draw::picture::{broken, hatch, line, paper, rect, words, written};
use crate::lab::draw::style;
use crate::lab::prose::wrapped;
use crate::lab::svg::Svg;

const LEFT: f64 = 100.0;
const COLUMN: f64 = 92.0;
const BAR: f64 = 78.0;
const ROW: f64 = 24.0;

impl All {
    /// A file of its own.
    #[must_use]
    pub fn to_svg(&self) -> String {
        let width = LEFT + COLUMN * self.columns.len().max(4) as f64 + 16.0;
        let caption = wrapped(&self.caption(), (width / 6.8) as usize);
        let top = 118.0;
        let middle = top + ROW * self.waiting_rows as f64;
        let copies = middle + 26.0;
        let bottom = copies + ROW * self.copying_rows as f64;
        let height = bottom + 44.0 + 18.0 * caption.len() as f64;
        let names: Vec<_> = self.columns.iter().map(|column| column.model).collect();
        let mut svg = Svg::new(width, height, &format!("{}: {}", names.join(", "), self.caption()));
        paper(&mut svg, width, height);
        words(&mut svg, (24.0, 38.0), "Wait and copy, model by model", "title");
        written(&mut svg, 62.0, std::slice::from_ref(&self.about), "");
        rect(&mut svg, (0.0, top - 6.0), (width, middle - top + 12.0), "band");
        rect(&mut svg, (0.0, copies - 6.0), (width, bottom - copies + 12.0), "band");
        for (y, lines) in [(top, ["wait", "for data"]), (copies, ["copy to", "the process"])] {
            for (n, text) in lines.into_iter().enumerate() {
                words(&mut svg, (16.0, y + 22.0 + 17.0 * n as f64), text, "head");
            }
        }
        for (n, column) in self.columns.iter().enumerate() {
            let left = LEFT + COLUMN * n as f64 + (COLUMN - BAR) / 2.0;
            words(&mut svg, (left + BAR / 2.0, top - 18.0), column.model, "head middle");
            self.draw_column(&mut svg, (left, top, copies), column);
        }
        broken(&mut svg, 8.0, middle + 13.0, width - 16.0);
        written(&mut svg, bottom + 36.0, &caption, "faint");
        svg.standalone(&style::sheet())
    }

    fn draw_column(&self, svg: &mut Svg, (left, top, copies): (f64, f64, f64), column: &Column) {
        let waiting = ROW * self.waiting_rows as f64;
        let middle = left + BAR / 2.0;
        if !column.waiting.is_empty() {
            // One call goes on through the break.
            let gap = if column.one_call { copies - top } else { waiting };
            let class = if column.asked > 0 { "wait dash" } else { "wait" };
            rect(svg, (left, top), (BAR, gap), class);
            if column.asked == 0 {
                hatch(svg, (left, top), (BAR, gap), "hatch");
            } else {
                asks(svg, left, top, waiting);
            }
            for (n, name) in column.waiting_lines().enumerate() {
                let class = if name.len() > NAME { "middle mono small" } else { "middle mono" };
                words(svg, (middle, top + 18.0 + 15.0 * n as f64), name, class);
            }
            stack(svg, (middle, top + waiting / 2.0), &column.waits(), "");
            if !column.one_call && column.asked == 0 {
                words(svg, (middle, top + waiting - 9.0), "ready", "middle small");
            }
        }
        let height = ROW * rows(column.copy).min(self.copying_rows) as f64;
        rect(svg, (left, copies), (BAR, height), "copy");
        stack(svg, (middle, copies + height / 2.0), &column.copies(), " incopy");
    }
}

/// A call and its `EAGAIN`, again and again.
fn asks(svg: &mut Svg, left: f64, top: f64, height: f64) {
    for n in 1..(height / 12.0) as u32 {
        let y = top + 12.0 * f64::from(n);
        line(svg, (left, y), (left + 6.0, y), "hatch");
        line(svg, (left + BAR - 6.0, y), (left + BAR, y), "hatch");
    }
}

/// Lines around a middle; the last one is a time.
fn stack(svg: &mut Svg, (x, y): (f64, f64), lines: &[String], class: &str) {
    let first = y - 8.5 * (lines.len() as f64 - 1.0) + 4.5;
    // The phase's time is bold; in parentheses stands what is only a part of it.
    let time = lines.iter().rposition(|line| !line.starts_with('('));
    for (n, line) in lines.iter().enumerate() {
        let weight = if Some(n) == time { "head middle" } else { "middle" };
        words(svg, (x, first + 17.0 * n as f64), line, &format!("{weight}{class}"));
    }
}
