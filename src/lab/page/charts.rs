//! The sections with charts.

use super::bars;
use super::ends;
use super::lines::Series;
use crate::lab::compare::{Comparison, Figure, PARTS, Point};
use crate::lab::svg::{Escaped, Svg};
use crate::model::find;
use crate::phase::Waits;
use std::fmt::Write as _;

/// Models that are drawn in one chart: more lines than these cannot be followed.
const LINES: usize = 6;

/// Models that belong together, and what they have in common.
struct Family<'c> {
    title: String,
    short: String,
    models: Vec<&'c str>,
}

/// Those that block in a receive, and those that wait or ask for all clients at once; large families in equal parts,
/// whose titles name them.
fn families(models: Vec<&str>) -> Vec<Family<'_>> {
    let in_call = |model: &&str| find(model).is_some_and(|model| model.waits == Waits::InCall);
    let (blocking, others): (Vec<_>, Vec<_>) = models.into_iter().partition(in_call);
    let mut families = Vec::new();
    for (title, short, models) in [
        ("Blocking calls: a flow of control for each client", "blocking calls", blocking),
        ("One flow for many clients", "one flow for many", others),
    ] {
        let charts = models.len().div_ceil(LINES).max(1);
        for part in models.chunks(models.len().div_ceil(charts).max(1)) {
            let (mut title, mut short) = (title.to_owned(), short.to_owned());
            if let ([first, .., last], true) = (part, charts > 1) {
                let _ = write!(title, ": {}", part.join(", "));
                let _ = write!(short, ", {first} to {last}");
            }
            families.push(Family { title, short, models: part.to_vec() });
        }
    }
    families
}

/// Rate, latency and CPU against busy connections.
pub(super) fn busy(page: &mut String, comparison: &Comparison) {
    *page += "<section id=\"busy\">\n<h2>Busy connections</h2>\n\
              <p>Every client sends its next message as soon as it has its reply. Coloured lines are the models of the row; the others lie under them in grey, \
              to hold rows beside each other. A bar at a line's last point: the line <a href=\"#ends\">ends</a> there.</p>\n";
    let charts = [
        (Figure::Rate, "Requests per second", "more is better"),
        (Figure::P99, "Latency, 99th percentile", "less is better"),
        (Figure::Cpu, "Server CPU per request", "less is better"),
    ];
    for (i, family) in families(comparison.models()).iter().enumerate() {
        let _ = writeln!(page, "<h3>{}</h3>\n<div class=\"grid row\">", Escaped(&family.title));
        for (figure, title, sense) in charts {
            let series = Series { comparison, figure, idle: false };
            chart(page, &series, family, &format!("{}-busy-{i}", figure.key()), title, sense);
        }
        *page += "</div>\n";
    }
    *page += "</section>\n";
}

/// What silent connections cost: time and memory.
pub(super) fn idle(page: &mut String, comparison: &Comparison) {
    *page += "<section id=\"idle\">\n<h2>Idle connections</h2>\n";
    // Where most models have a figure, and of those where most clients are held.
    let told = |point: Point| {
        comparison.at(point).filter(|cell| cell.value(Figure::PerConnection).is_some()).count()
    };
    let most = comparison.points().into_iter().max_by_key(|&point| (told(point), point.held()));
    if comparison.points().iter().all(|point| point.idle == 0) {
        *page += "<p>Not measured (<code>--idle none</code>).</p>\n";
    } else {
        *page += "<p>A few busy clients among many who say nothing. A model that looks at every connection each turn pays for the silent ones with every request; \
                  one whose set lives in the kernel does not.</p>\n";
    }
    *page += "<div class=\"grid row\">\n";
    for (i, family) in families(comparison.models()).iter().enumerate() {
        let series = Series { comparison, figure: Figure::Cpu, idle: true };
        let id = format!("{}-idle-{i}", Figure::Cpu.key());
        let title = format!("Server CPU per request: {}", family.short);
        chart(page, &series, family, &id, &title, "less is better");
    }
    if let Some((point, svg)) =
        most.and_then(|point| Some((point, bars::memory(comparison, point)?)))
    {
        let dots = told(point);
        let caption = format!(
            "Growth of the server's memory (PSS without files, its children's with it) under {point}. Socket buffers and page tables of the kernel are not in it."
        );
        figure(page, "memory", dots, "Memory per connection", &svg, &caption);
    }
    *page += "</div>\n</section>\n";
}

/// The partition of time at each point.
pub(super) fn time(page: &mut String, comparison: &Comparison) {
    *page += "<section id=\"time\">\n<h2>Where the time goes</h2>\n\
              <p>The wall time of all flows of a server, from its start to its end, in the pass with the recorder on. A flow with nothing to do waits: workers without a \
              client, threads of idle clients. For models that block in the receive, the kernel's stamp divides that call into wait and copy.</p>\n<ul class=\"key\">\n";
    let shown = |part: &str| {
        comparison.cells.iter().any(|cell| cell.share(part).is_some_and(|share| share > 0.0))
    };
    for part in PARTS.into_iter().filter(|part| shown(part)) {
        let _ = writeln!(page, "<li><i class=\"k-{part}\"></i>{part}</li>");
    }
    *page += "</ul>\n<div class=\"grid row\">\n";
    for point in comparison.points() {
        let drawn = comparison.at(point).filter(|cell| cell.end.is_none()).count();
        let id = format!("time-{}-{}", point.connections, point.idle);
        figure(page, &id, drawn, &point.to_string(), &bars::time(comparison, point), "");
    }
    *page += "</div>\n</section>\n";
}

fn chart(
    page: &mut String,
    series: &Series<'_>,
    family: &Family<'_>,
    id: &str,
    title: &str,
    sense: &str,
) {
    let label = format!(
        "{title}, {}: {}",
        if series.idle { "idle connections" } else { "busy connections" },
        family.models.join(", ")
    );
    let Some(svg) = series.chart(&family.models, &label) else { return };
    let points = series.points();
    let missing = family.models.iter().filter_map(|model| {
        let cell =
            points.iter().find_map(|&p: &Point| series.comparison.cell(model, p)?.end.clone());
        (series.count(&[model]) == 0).then(|| {
            format!("{model} ({})", cell.map_or("not measured", |end| ends::short(end.kind)))
        })
    });
    let missing: Vec<_> = missing.collect();
    let mut caption = sense.to_owned();
    if !missing.is_empty() {
        let _ = write!(caption, ". No line: {}", missing.join(", "));
    }
    figure(page, id, series.count(&family.models), title, &svg, &caption);
}

fn figure(page: &mut String, id: &str, points: usize, title: &str, svg: &Svg, caption: &str) {
    let _ = write!(
        page,
        "<figure id=\"chart-{id}\" data-points=\"{points}\">\n<b>{}</b>\n{}",
        Escaped(title),
        svg.inline()
    );
    if !caption.is_empty() {
        let _ = writeln!(page, "<figcaption>{}</figcaption>", Escaped(caption));
    }
    *page += "</figure>\n";
}

#[cfg(test)]
mod tests {
    use super::super::palette;
    use super::{LINES, families};
    use crate::model::CATALOGUE;

    #[test]
    fn all_models_are_drawn_in_charts_without_a_colour_twice() {
        let families = families(CATALOGUE.iter().map(|model| model.name).collect());
        assert_eq!(families.iter().map(|f| f.models.len()).sum::<usize>(), CATALOGUE.len());
        for family in families {
            let mut colours: Vec<_> = family.models.iter().map(|m| palette::of(m).colour).collect();
            colours.sort_unstable();
            colours.dedup();
            assert_eq!(colours.len(), family.models.len(), "{:?}", family.models);
            assert!(colours.len() <= LINES);
        }
    }

    #[test]
    fn a_chart_of_too_many_lines_becomes_two() {
        let many =
            ["nonblocking", "select", "poll", "epoll", "epoll-et", "sigio", "reuseport", "kqueue"];
        let parts: Vec<_> =
            families(many.to_vec()).iter().map(|family| family.models.len()).collect();
        assert_eq!(parts, [4, 4]);
    }
}
