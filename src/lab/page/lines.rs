//! A chart: lines of models over a number of connections, both axes logarithmic.
//!
//! What a chart is about stands in colour, with markers and names; the other models lie under it as thin grey lines, so that
//! charts of one row can be held beside each other.

use super::palette;
use super::scale::{self, Scale};
use crate::lab::compare::{Cell, Comparison, Figure, Grouped, Kind, Point};
use crate::lab::svg::{At, Svg};
use crate::phase::Nanos;
use std::fmt::Display;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 54.0;
const RIGHT: f64 = 312.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 258.0;
/// Between the plot and the names beside it.
const GAP: f64 = 18.0;

/// What a row of charts shows, and over which points.
#[derive(Clone, Copy, Debug)]
pub(super) struct Series<'c> {
    /// Where the figures are.
    pub(super) comparison: &'c Comparison,
    /// What is drawn.
    pub(super) figure: Figure,
    /// Over idle connections, and not over busy ones.
    pub(super) idle: bool,
}

impl Series<'_> {
    /// The points of the series, in order. Idle ones begin with the same busy clients alone, where that was measured.
    #[must_use]
    pub(super) fn points(&self) -> Vec<Point> {
        let all = self.comparison.points();
        let idle: Vec<Point> = all.iter().copied().filter(|point| point.idle > 0).collect();
        if !self.idle {
            return all.into_iter().filter(|point| point.idle == 0).collect();
        }
        let busy = idle.first().map(|point| Point::busy(point.connections));
        let alone = busy.filter(|busy| all.contains(busy));
        alone.into_iter().chain(idle).collect()
    }

    fn x_of(&self, point: Point) -> usize {
        if self.idle { point.idle } else { point.connections }
    }

    fn dots(&self, model: &str) -> Vec<(Point, &Cell, f64)> {
        let cell = |point| {
            let cell = self.comparison.cell(model, point)?;
            Some((point, cell, cell.value(self.figure)?))
        };
        self.points().into_iter().filter_map(cell).collect()
    }

    /// How many points these models have.
    #[must_use]
    pub(super) fn count(&self, models: &[&str]) -> usize {
        models.iter().map(|model| self.dots(model).len()).sum()
    }

    /// The first end of a model's line.
    fn end(&self, model: &str) -> Option<Kind> {
        let cells = self.points().into_iter().filter_map(|p| self.comparison.cell(model, p));
        cells.filter_map(|cell| Some(cell.end.as_ref()?.kind)).next()
    }

    /// The chart of these models; all others are grey. `None` where nothing was measured.
    #[must_use]
    pub(super) fn chart(&self, models: &[&str], title: &str) -> Option<Svg> {
        let all = self.comparison.models();
        let values = all.iter().flat_map(|model| self.dots(model)).flat_map(|(_, cell, value)| {
            let spread = cell.figure(self.figure);
            spread.map_or([value; 2], |spread| [spread.low, spread.high])
        });
        let y_range = scale::range(values)?;
        let points = self.points();
        let xs: Vec<f64> = points.iter().map(|&point| self.x_of(point) as f64).collect();
        // Nought is drawn a decade before the smallest.
        let smallest = xs.iter().copied().filter(|x| *x > 0.0).reduce(f64::min)?;
        let low = if xs.contains(&0.0) { smallest / 10.0 } else { smallest };
        let high = xs.iter().copied().reduce(f64::max)?;
        let axes = Axes {
            x: Scale::new([low, high], [LEFT + 10.0, RIGHT - 6.0]),
            y: Scale::new(y_range, [BOTTOM, TOP]),
        };
        let mut svg = Svg::new(WIDTH, HEIGHT, title);
        self.draw_axes(&mut svg, &axes, y_range);
        for other in all.iter().filter(|model| !models.contains(model)) {
            self.draw_line(&mut svg, &axes, other, "line faint");
        }
        for model in models {
            self.draw_line(&mut svg, &axes, model, &format!("line {}", palette::class(model)));
        }
        for model in models {
            self.draw_dots(&mut svg, &axes, model);
        }
        self.draw_names(&mut svg, &axes, models);
        Some(svg)
    }

    fn draw_axes(&self, svg: &mut Svg, axes: &Axes, y_range: [f64; 2]) {
        for tick in scale::ticks(y_range) {
            let y = axes.y.at(tick);
            straight(svg, "grid", [LEFT, RIGHT], [y, y]);
            words(svg, [LEFT - 7.0, y + 4.0], "end", &short(self.figure, tick));
        }
        straight(svg, "axis", [LEFT, RIGHT], [BOTTOM, BOTTOM]);
        for point in self.points() {
            let n = self.x_of(point);
            let x = axes.x.at(n as f64);
            straight(svg, "axis", [x, x], [BOTTOM, BOTTOM + 5.0]);
            words(svg, [x, BOTTOM + 18.0], "middle", &Grouped(n as u64).to_string());
        }
        let below = if self.idle { "idle connections" } else { "connections, all busy" };
        words(svg, [f64::midpoint(LEFT, RIGHT), HEIGHT - 6.0], "middle", below);
    }

    fn draw_line(&self, svg: &mut Svg, axes: &Axes, model: &str, class: &str) {
        let dots = self.dots(model);
        let steps = dots.iter().enumerate().map(|(i, (point, _, value))| {
            let (x, y) = (axes.x.at(self.x_of(*point) as f64), axes.y.at(*value));
            format!("{}{} {}", if i == 0 { "M" } else { "L" }, At(x), At(y))
        });
        let path: String = steps.collect();
        if dots.len() > 1 {
            svg.add("path", &[("class", &class), ("d", &path)]);
        }
    }

    fn draw_dots(&self, svg: &mut Svg, axes: &Axes, model: &str) {
        let look = palette::of(model);
        let class =
            format!("dot {}{}", palette::class(model), if look.hollow { " hollow" } else { "" });
        for (point, cell, value) in self.dots(model) {
            let (x, y) = (axes.x.at(self.x_of(point) as f64), axes.y.at(value));
            svg.group(&[
                ("class", &class),
                ("data-model", &model),
                ("data-figure", &self.figure.key()),
                ("data-connections", &point.connections),
                ("data-idle", &point.idle),
                ("data-value", &value),
            ]);
            let spread = cell.figure(self.figure).filter(|spread| spread.high > spread.low);
            let mut said = format!("{model}, {point}: {}", self.figure.show(value));
            if let Some(spread) = spread {
                let (low, high) = (axes.y.at(spread.low), axes.y.at(spread.high));
                straight(svg, "whisker", [x, x], [low, high]);
                said += &format!(
                    " ({} to {})",
                    self.figure.show(spread.low),
                    self.figure.show(spread.high)
                );
            }
            svg.text("title", &[], &said);
            svg.add(
                "path",
                &[
                    ("transform", &format!("translate({} {})", At(x), At(y))),
                    ("d", &look.marker.path()),
                ],
            );
            svg.close();
        }
    }

    /// The names beside the lines' ends, moved apart where they would lie upon each other. A line that ends early bears its
    /// reason under its name, and a bar at its last point.
    fn draw_names(&self, svg: &mut Svg, axes: &Axes, models: &[&str]) {
        let last = |model: &str| {
            let (point, _, value) = self.dots(model).pop()?;
            Some((axes.x.at(self.x_of(point) as f64), axes.y.at(value), self.end(model)))
        };
        let ends: Vec<_> = models.iter().filter_map(|m| Some((*m, last(m)?))).collect();
        let height = |end: Option<Kind>| if end.is_some() { 27.0 } else { 15.0 };
        let wanted: Vec<_> = ends.iter().map(|(_, (_, y, end))| (*y, height(*end))).collect();
        let centres = scale::apart(&wanted, [TOP - 8.0, BOTTOM + 20.0]);
        for ((model, (x, y, end)), centre) in ends.iter().zip(centres) {
            let class = palette::class(model);
            let name_y = if end.is_some() { centre - 6.0 } else { centre };
            let leader = format!(
                "M{} {}L{} {}L{} {}",
                At(x + 8.0),
                At(*y),
                At(RIGHT),
                At(*y),
                At(RIGHT + GAP - 8.0),
                At(name_y)
            );
            svg.add("path", &[("class", &format!("leader {class}")), ("d", &leader)]);
            if end.is_some() {
                let bar = format!("M{} {}v14", At(x + 8.0), At(y - 7.0));
                svg.add("path", &[("class", &format!("stop {class}")), ("d", &bar)]);
            }
            let look = palette::of(model);
            let dot = format!("dot {class}{}", if look.hollow { " hollow" } else { "" });
            svg.group(&[("class", &dot)]);
            svg.add(
                "path",
                &[
                    ("transform", &format!("translate({} {})", At(RIGHT + GAP), At(name_y))),
                    ("d", &look.marker.path()),
                ],
            );
            svg.close();
            let x = RIGHT + GAP + 9.0;
            svg.text("text", &[("class", &"name"), ("x", &At(x)), ("y", &At(name_y + 4.0))], model);
            if let Some(kind) = end {
                svg.text(
                    "text",
                    &[("class", &"why"), ("x", &At(x)), ("y", &At(name_y + 17.0))],
                    super::ends::short(*kind),
                );
            }
        }
    }
}

fn straight(svg: &mut Svg, class: &str, [x1, x2]: [f64; 2], [y1, y2]: [f64; 2]) {
    let ends: [(&str, &dyn Display); 5] =
        [("class", &class), ("x1", &At(x1)), ("x2", &At(x2)), ("y1", &At(y1)), ("y2", &At(y2))];
    svg.add("line", &ends);
}

fn words(svg: &mut Svg, [x, y]: [f64; 2], anchor: &str, text: &str) {
    let place: [(&str, &dyn Display); 4] =
        [("class", &"tick"), ("x", &At(x)), ("y", &At(y)), ("text-anchor", &anchor)];
    svg.text("text", &place, text);
}

struct Axes {
    x: Scale,
    y: Scale,
}

/// A tick's value: `20k`, `50 us`.
#[must_use]
pub(super) fn short(figure: Figure, value: f64) -> String {
    match figure {
        Figure::Rate if value >= 1e6 => format!("{}M", value / 1e6),
        Figure::Rate if value >= 1e3 => format!("{}k", value / 1e3),
        Figure::P50 | Figure::P99 | Figure::P999 | Figure::Cpu | Figure::User | Figure::System => {
            Nanos(value as u64).to_string().replace(".0 ", " ").replace(".000 ", " ")
        }
        figure => figure.show(value).replace(".0 ", " "),
    }
}

#[cfg(test)]
mod tests {
    use super::short;
    use crate::lab::compare::Figure;

    #[test]
    fn ticks_are_short() {
        assert_eq!(short(Figure::Rate, 20_000.0), "20k");
        assert_eq!(short(Figure::P99, 50_000.0), "50 us");
        assert_eq!(short(Figure::P99, 2e9), "2 s");
        assert_eq!(short(Figure::PerConnection, 1024.0), "1 KiB");
    }
}
