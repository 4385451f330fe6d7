//! Where the flows' time went, and what a connection costs in memory: a row for each model.

use super::palette;
use super::scale::{self, Scale};
use crate::lab::compare::{Cell, Comparison, Figure, PARTS, Point};
use crate::lab::svg::{At, Svg};

const WIDTH: f64 = 420.0;
const LEFT: f64 = 92.0;
const RIGHT: f64 = 414.0;
const ROW: f64 = 22.0;

/// Height of a chart of so many rows.
fn height(rows: usize) -> f64 {
    ROW * rows as f64 + 6.0
}

/// The time of each model's flows at a point, as stacked bars of the whole width.
#[must_use]
pub(super) fn time(comparison: &Comparison, point: Point) -> Svg {
    let cells: Vec<&Cell> = comparison.at(point).collect();
    let title = format!("Where the flows' time went under {point}");
    let mut svg = Svg::new(WIDTH, height(cells.len()), &title);
    for (i, cell) in cells.into_iter().enumerate() {
        let top = ROW * i as f64 + 3.0;
        name(&mut svg, &cell.model, top);
        match &cell.end {
            Some(end) => {
                let why = format!("ends: {}", super::ends::short(end.kind));
                svg.text(
                    "text",
                    &[("class", &"why"), ("x", &At(LEFT)), ("y", &At(top + 13.0))],
                    &why,
                );
            }
            None => stack(&mut svg, cell, top),
        }
    }
    svg
}

fn name(svg: &mut Svg, model: &str, top: f64) {
    let place: [(&str, &dyn std::fmt::Display); 4] = [
        ("class", &"name"),
        ("x", &At(LEFT - 8.0)),
        ("y", &At(top + 13.0)),
        ("text-anchor", &"end"),
    ];
    svg.text("text", &place, model);
}

fn stack(svg: &mut Svg, cell: &Cell, top: f64) {
    let mut x = LEFT;
    for part in PARTS {
        let Some(share) = cell.share(part).filter(|share| *share > 0.0) else { continue };
        let width = (RIGHT - LEFT) * share / 100.0;
        svg.group(&[
            ("class", &format!("part p-{part}")),
            ("data-model", &cell.model),
            ("data-part", &part),
            ("data-share", &share),
        ]);
        svg.text("title", &[], &format!("{}, {}: {part} {share:.1} %", cell.model, cell.point));
        svg.add(
            "rect",
            &[("x", &At(x)), ("y", &At(top)), ("width", &At(width)), ("height", &At(ROW - 5.0))],
        );
        if width > 30.0 {
            let middle = At(x + width / 2.0);
            svg.text(
                "text",
                &[("x", &middle), ("y", &At(top + 12.5)), ("text-anchor", &"middle")],
                &format!("{share:.0}%"),
            );
        }
        svg.close();
        x += width;
    }
}

/// Memory per connection of each model at a point, on a logarithmic axis: points and not bars, since a logarithm has no
/// nought for a bar to begin at. `None` where nothing was measured.
#[must_use]
pub(super) fn memory(comparison: &Comparison, point: Point) -> Option<Svg> {
    let cells: Vec<&Cell> = comparison.at(point).collect();
    let value = |cell: &Cell| cell.value(Figure::PerConnection);
    let range = scale::range(cells.iter().filter_map(|cell| value(cell)))?;
    // Room for the figure beside the last one.
    let scale = Scale::new(range, [LEFT + 6.0, RIGHT - 70.0]);
    let title = format!("Memory per connection under {point}");
    let mut svg = Svg::new(WIDTH, height(cells.len()), &title);
    for (i, cell) in cells.into_iter().enumerate() {
        let top = ROW * i as f64 + 3.0;
        name(&mut svg, &cell.model, top);
        let why = match (&cell.end, value(cell)) {
            (Some(end), _) => format!("ends: {}", super::ends::short(end.kind)),
            (None, None) => "not measured".to_owned(),
            (None, Some(bytes)) => {
                row(&mut svg, cell, scale.at(bytes), top, bytes);
                continue;
            }
        };
        svg.text("text", &[("class", &"why"), ("x", &At(LEFT)), ("y", &At(top + 13.0))], &why);
    }
    Some(svg)
}

fn row(svg: &mut Svg, cell: &Cell, x: f64, top: f64, bytes: f64) {
    let (look, y) = (palette::of(&cell.model), top + 8.5);
    let class =
        format!("dot {}{}", palette::class(&cell.model), if look.hollow { " hollow" } else { "" });
    svg.add(
        "line",
        &[("class", &"grid"), ("x1", &At(LEFT)), ("x2", &At(x)), ("y1", &At(y)), ("y2", &At(y))],
    );
    svg.group(&[
        ("class", &class),
        ("data-model", &cell.model),
        ("data-figure", &Figure::PerConnection.key()),
        ("data-value", &bytes),
    ]);
    let shown = Figure::PerConnection.show(bytes);
    svg.text("title", &[], &format!("{}, {}: {shown} per connection", cell.model, cell.point));
    svg.add(
        "path",
        &[("transform", &format!("translate({} {})", At(x), At(y))), ("d", &look.marker.path())],
    );
    svg.close();
    svg.text("text", &[("class", &"tick"), ("x", &At(x + 10.0)), ("y", &At(y + 4.0))], &shown);
}
