//! The figure of one I/O as SVG.

use super::figure::{Block, Figure, Item, Phase, Side};
use super::style;
use crate::lab::prose::wrapped;
use crate::lab::svg::{At, Svg};

const WIDTH: f64 = 640.0;
const ROW: f64 = 21.0;
/// The life of the process, and of the kernel's side; where a block ends.
const APPLICATION: f64 = 156.0;
const KERNEL: f64 = 350.0;
const EDGE: f64 = 516.0;
/// Characters that surely fit into the width, in the 13 px of running text.
const LINE: usize = 86;

impl Figure {
    /// A file of its own.
    #[must_use]
    pub fn to_svg(&self) -> String {
        let about: Vec<_> = self.about.iter().flat_map(|line| wrapped(line, LINE)).collect();
        let caption: Vec<_> = self.caption.iter().flat_map(|line| wrapped(line, LINE)).collect();
        let top = 96.0 + 18.0 * about.len() as f64;
        let bottom = top + ROW * (self.rows as f64 - 1.0);
        let height = bottom + 34.0 + 18.0 * caption.len() as f64 + 8.0;
        let label = format!("{}: {}", self.model, caption.join(" "));
        let mut svg = Svg::new(WIDTH, height, &label);
        paper(&mut svg, WIDTH, height);
        svg.text("text", &[("x", &24), ("y", &38), ("class", &"title")], self.model);
        written(&mut svg, 62.0, &about, "");
        for (x, name) in [(APPLICATION, "application"), (KERNEL, "kernel")] {
            let y = At(top - 18.0);
            svg.text("text", &[("x", &At(x)), ("y", &y), ("class", &"head middle")], name);
            line(&mut svg, (x, top - 10.0), (x, bottom + 8.0), "thin");
        }
        self.items.iter().for_each(|item| beside(&mut svg, top, item));
        self.items.iter().for_each(|item| across(&mut svg, top, item));
        written(&mut svg, bottom + 38.0, &caption, "faint");
        svg.standalone(&style::sheet())
    }
}

/// The page under it all.
pub(super) fn paper(svg: &mut Svg, width: f64, height: f64) {
    svg.add("rect", &[("class", &"paper"), ("width", &At(width)), ("height", &At(height))]);
}

/// Lines of running text.
pub(super) fn written(svg: &mut Svg, y: f64, lines: &[String], class: &str) {
    for (n, text) in lines.iter().enumerate() {
        let y = At(y + 18.0 * n as f64);
        svg.text("text", &[("x", &24), ("y", &y), ("class", &class)], text);
    }
}

pub(super) fn line(svg: &mut Svg, from: (f64, f64), to: (f64, f64), class: &str) {
    let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(At);
    svg.add("line", &[("x1", &x1), ("y1", &y1), ("x2", &x2), ("y2", &y2), ("class", &class)]);
}

pub(super) fn rect(svg: &mut Svg, (x, y): (f64, f64), (width, height): (f64, f64), class: &str) {
    let [x, y, width, height] = [x, y, width, height].map(At);
    svg.add(
        "rect",
        &[("x", &x), ("y", &y), ("width", &width), ("height", &height), ("class", &class)],
    );
}

pub(super) fn words(svg: &mut Svg, (x, y): (f64, f64), text: &str, class: &str) {
    svg.text("text", &[("x", &At(x)), ("y", &At(y)), ("class", &class)], text);
}

/// Diagonal lines across a stretch: the sign of waiting that does not need its colour.
pub(super) fn hatch(svg: &mut Svg, (x, y): (f64, f64), (width, height): (f64, f64), class: &str) {
    let step = 12.0;
    let mut path = String::new();
    let mut at = step;
    while at < width + height {
        // From the left or lower edge up to the upper or right one.
        let (x1, y1) = if at <= height { (x, y + at) } else { (x + at - height, y + height) };
        let (x2, y2) = if at <= width { (x + at, y) } else { (x + width, y + at - width) };
        path.push_str(&format!("M{} {}L{} {}", At(x1), At(y1), At(x2), At(y2)));
        at += step;
    }
    svg.add("path", &[("d", &path), ("class", &class), ("opacity", &"0.35")]);
}

/// A break across an axis, at the height of `y`.
pub(super) fn broken(svg: &mut Svg, x: f64, y: f64, width: f64) {
    let mut path = format!("M{} {}", At(x), At(y));
    let steps = (width / 12.0).round().max(2.0);
    for n in 0..steps as u32 {
        let [dx, dy] = [width / steps, if n % 2 == 0 { 5.0 } else { -5.0 }];
        path.push_str(&format!("l{} {}", At(dx), At(dy)));
    }
    svg.add("path", &[("d", &path), ("class", &"gap")]);
    svg.add("path", &[("d", &path), ("class", &"thin"), ("transform", &"translate(0 -3)")]);
    svg.add("path", &[("d", &path), ("class", &"thin"), ("transform", &"translate(0 3)")]);
}

/// What stands on one side.
fn beside(svg: &mut Svg, top: f64, item: &Item) {
    let y = |row: usize| top + ROW * row as f64;
    match item {
        Item::Does { from, to, blocked, lines } => {
            let (from, to) = (y(*from), y(*to).max(y(*from) + 6.0));
            let class = if *blocked { "blocked" } else { "runs" };
            rect(svg, (APPLICATION - 4.0, from), (8.0, to - from), class);
            let first = (from + to) / 2.0 - 8.5 * (lines.len() as f64 - 1.0) + 4.5;
            for (n, line) in lines.iter().enumerate() {
                words(svg, (APPLICATION - 14.0, first + 17.0 * n as f64), line, "end");
            }
        }
        Item::Block(block) => draw(svg, top, block),
        Item::Moment { row, text } => {
            line(svg, (EDGE, y(*row)), (EDGE + 8.0, y(*row)), "thin");
            words(svg, (EDGE + 14.0, y(*row) + 4.5), text, "");
        }
        Item::Arrow { .. } | Item::LeftOut { .. } => {}
    }
}

fn draw(svg: &mut Svg, top: f64, block: &Block) {
    let (y, height) = (top + ROW * block.from as f64, ROW * (block.to - block.from) as f64);
    let (at, size) = ((KERNEL, y), (EDGE - KERNEL, height));
    let copy = block.phase == Phase::Copy;
    rect(svg, at, size, if copy { "copy" } else { "wait" });
    if !copy {
        hatch(svg, at, size, "hatch");
    }
    let middle = y + height / 2.0 + if block.broken { -8.0 } else { 0.0 };
    let first = middle - 9.0 * (block.lines.len() as f64 - 1.0) + 4.5;
    for (n, line) in block.lines.iter().enumerate() {
        let class = match (copy, n) {
            (true, 0) => "head middle incopy",
            (true, _) => "middle incopy",
            (false, 0) => "head middle",
            (false, _) => "middle",
        };
        words(svg, ((KERNEL + EDGE) / 2.0, first + 18.0 * n as f64), line, class);
    }
    if block.broken {
        broken(svg, KERNEL - 6.0, y + height - 0.8 * ROW, EDGE - KERNEL + 12.0);
    }
}

/// What goes from one side to the other.
fn across(svg: &mut Svg, top: f64, item: &Item) {
    let y = |row: usize| top + ROW * row as f64;
    let middle = (APPLICATION + KERNEL) / 2.0;
    match item {
        Item::Arrow { to, row, text } => {
            let y = y(*row);
            let (from, tip, back) = match to {
                Side::Kernel => (APPLICATION + 4.0, KERNEL, -9.0),
                Side::Application => (KERNEL, APPLICATION + 4.0, 9.0),
            };
            line(svg, (from, y), (tip + back * 0.8, y), "line");
            let head =
                [tip, y, tip + back, y - 4.0, tip + back, y + 4.0].map(|n| At(n).to_string());
            svg.add("path", &[("d", &format!("M{}Z", head.join(" "))), ("class", &"tip")]);
            let class = if *to == Side::Kernel { "middle mono" } else { "middle" };
            words(svg, (middle, y - 5.5), text, class);
        }
        Item::LeftOut { row, text } => {
            words(svg, (middle, y(*row) + 4.5), text, "middle head");
            let dots = |from: f64, to: f64, svg: &mut Svg| {
                line(svg, (middle, from), (middle, to), "thin dash");
            };
            dots(y(*row) - 1.7 * ROW, y(*row) - 0.7 * ROW, svg);
            dots(y(*row) + 0.6 * ROW, y(*row) + 1.6 * ROW, svg);
        }
        _ => {}
    }
}
