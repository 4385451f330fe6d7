//! Lanes as SVG.

use super::{Lanes, Span, State};
use crate::lab::draw::axis::{Axis, Scale, Zone};
use crate::lab::draw::picture::{hatch, line, paper, rect, words, written};
use crate::lab::draw::style::{self, letter};
use crate::lab::prose::wrapped;
use crate::lab::svg::Svg;
use crate::phase::Nanos;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 116.0;
const SCALE: Scale = Scale { width: WIDTH - LEFT - 24.0, busy: 13.0, quiet: 5.0, whole: false };
/// From one client to the next, from one lane to the next.
const VISIT: f64 = 26.0;
const LANE: f64 = 44.0;
const BAR: f64 = 28.0;
/// Characters that surely fit into the width.
const LINE: usize = 128;

impl Lanes {
    /// A file of its own.
    #[must_use]
    pub fn to_svg(&self) -> String {
        let axis = Axis::new(&self.steps(), SCALE);
        let about: Vec<_> = self.about.iter().flat_map(|line| wrapped(line, LINE)).collect();
        let top = 76.0 + 18.0 * about.len() as f64;
        let lanes = top
            + VISIT * self.visits.len() as f64
            + if self.visits.is_empty() { 0.0 } else { 14.0 };
        let bottom = lanes + LANE * self.lanes.len() as f64;
        let signs = self.signs();
        let legend = bottom + 64.0 + signs.last().map_or(0.0, |sign| sign.y);
        let height = legend + 40.0 + 18.0 * self.caption.len() as f64;
        let label =
            format!("{}: {}. {}", self.model, self.about.join("; "), self.caption.join(" "));
        let mut svg = Svg::new(WIDTH, height, &label);
        paper(&mut svg, WIDTH, height);
        words(&mut svg, (24.0, 38.0), self.model, "title");
        written(&mut svg, 62.0, &about, "");
        for zone in axis.zones.iter().filter(|zone| zone.magnified) {
            let (at, size) =
                ((LEFT + zone.left, top - 6.0), (zone.right - zone.left, bottom - top + 8.0));
            rect(&mut svg, at, size, "band");
        }
        for (n, visit) in self.visits.iter().enumerate() {
            let y = top + VISIT * n as f64 + 11.0;
            words(
                &mut svg,
                (24.0, y + 4.5),
                &format!("client {}", letter(n)),
                &format!("head t{n}"),
            );
            let place = |time| LEFT + axis.place(time);
            line(&mut svg, (place(visit.connected), y), (place(visit.left), y), "thin dash");
            for &(sent, answered) in &visit.requests {
                let (from, width) = (place(sent), (place(answered) - place(sent)).max(4.0));
                let class = n % super::MOST;
                rect(&mut svg, (from, y - 7.0), (width, 14.0), &format!("c{class}"));
                let time = Nanos(answered - sent).to_string();
                if 6.4 * time.len() as f64 + 8.0 < width {
                    let middle = (from + width / 2.0, y + 4.0);
                    words(&mut svg, middle, &time, &format!("small middle l{class}"));
                }
            }
        }
        for (n, lane) in self.lanes.iter().enumerate() {
            let y = lanes + LANE * n as f64 + 6.0;
            words(&mut svg, (24.0, y + BAR / 2.0 + 4.5), &lane.name, "head");
            lane.spans.iter().for_each(|span| draw(&mut svg, &axis, y, span));
        }
        ruler(&mut svg, bottom + 4.0, &axis);
        signs.iter().for_each(|sign| sign.draw(&mut svg, bottom + 64.0));
        written(&mut svg, legend + 34.0, &self.caption, "");
        svg.standalone(&style::sheet())
    }

    /// The signs that occur, each with its place.
    fn signs(&self) -> Vec<Sign> {
        let spans = || self.lanes.iter().flat_map(|lane| &lane.spans);
        let has = |state, client| {
            spans().any(|span| span.state == state && span.client.is_some() == client)
        };
        let all = [
            (State::Copy, true, "copies from A"),
            (State::Send, true, "sends to A"),
            (State::Wait, true, "blocked, waits for A"),
            (State::Wait, false, "blocked, waits for whoever comes"),
            (State::Asks, false, "asks in vain"),
            (State::Runs, false, "runs"),
            (State::Starts, false, "was made, does not run yet"),
        ];
        let shown = all.into_iter().filter(|&(state, client, _)| has(state, client));
        let shown = shown.map(|(state, client, text)| {
            let client = client.then_some(0);
            (Some(Span { from: 0, to: 0, state, client, call: None }), text)
        });
        let (mut x, mut y) = (24.0, 0.0);
        let place = |(span, text): (Option<Span>, &'static str)| {
            let width = 7.0 * text.len() as f64;
            if x + 22.0 + width > WIDTH - 16.0 {
                (x, y) = (24.0, y + 24.0);
            }
            let sign = Sign { x, y, span, text };
            x += 44.0 + width;
            sign
        };
        shown.chain([(None, "magnified")]).map(place).collect()
    }
}

/// An entry of the legend.
struct Sign {
    x: f64,
    y: f64,
    /// None: the ground of magnified time.
    span: Option<Span>,
    text: &'static str,
}

impl Sign {
    fn draw(&self, svg: &mut Svg, top: f64) {
        let (at, size) = ((self.x, top + self.y - 12.0), (16.0, 16.0));
        match &self.span {
            Some(span) => shape(svg, at, size, span),
            None => rect(svg, at, size, "band"),
        }
        words(svg, (self.x + 22.0, top + self.y + 1.0), self.text, "");
    }
}

/// One state of one flow.
fn draw(svg: &mut Svg, axis: &Axis, y: f64, span: &Span) {
    let [from, to] = [span.from, span.to].map(|time| LEFT + axis.place(time));
    let width = to - from;
    shape(svg, (from, y), (width, BAR), span);
    let middle = (from + to) / 2.0;
    // A wait says in which call, if there is room for it.
    if let (State::Wait, Some(call)) = (span.state, span.call) {
        let time = Nanos(span.to - span.from).to_string();
        let of = span.client.map_or(String::new(), |client| format!("{}: ", letter(client)));
        let texts = [format!("{of}{call} {time}"), format!("{of}{time}"), of.replace(": ", "")];
        let fits = texts.into_iter().find(|text| 7.2 * text.len() as f64 + 8.0 < width);
        if let Some(text) = fits.filter(|text| !text.is_empty()) {
            label(svg, (middle, y + BAR / 2.0 + 4.5), &text);
        }
    }
}

/// Words on a hatched ground.
fn label(svg: &mut Svg, (x, y): (f64, f64), text: &str) {
    let width = 6.9 * text.len() as f64 + 8.0;
    rect(svg, (x - width / 2.0, y - 14.0), (width, 18.0), "paper");
    words(svg, (x, y), text, "middle");
}

fn shape(svg: &mut Svg, (x, y): (f64, f64), (width, height): (f64, f64), span: &Span) {
    let client = span.client.unwrap_or(0) % super::MOST;
    let middle = (x + width / 2.0, y + height / 2.0 + 4.5);
    match span.state {
        State::Copy => {
            rect(svg, (x, y), (width, height), &format!("c{client}"));
            let letter = span.client.map_or('?', letter).to_string();
            words(svg, middle, &letter, &format!("small head middle l{client}"));
        }
        // Output: an outline, so that it is no copy.
        State::Send => {
            rect(svg, (x, y), (width, height), &format!("c{client} half"));
            words(svg, middle, "\u{2192}", "small head middle");
        }
        State::Wait => {
            let class = if span.client.is_some() {
                format!("c{client} faintly")
            } else {
                "thin".to_owned()
            };
            rect(svg, (x, y), (width, height), &class);
            let class =
                if span.client.is_some() { format!("c{client}") } else { "thin".to_owned() };
            hatch(svg, (x, y), (width, height), &class);
        }
        State::Runs | State::Asks => {
            let y = y + height / 2.0 - 3.0;
            rect(
                svg,
                (x, y),
                (width, 6.0),
                if span.state == State::Asks { "asks" } else { "blocked" },
            );
        }
        State::Starts => {
            line(svg, (x, y + height / 2.0), (x + width, y + height / 2.0), "thin dash")
        }
    }
}

/// The axis: times where it is linear; where it is magnified, how much time that is.
fn ruler(svg: &mut Svg, y: f64, axis: &Axis) {
    line(svg, (LEFT, y), (LEFT + axis.width(), y), "line");
    // Where the last word of each line ends.
    let mut taken = [0.0_f64; 2];
    for zone in &axis.zones {
        line(svg, (LEFT + zone.left, y), (LEFT + zone.left, y + 5.0), "line");
        tell(svg, y, zone, &mut taken);
    }
    line(svg, (LEFT + axis.width(), y), (LEFT + axis.width(), y + 5.0), "line");
}

fn tell(svg: &mut Svg, y: f64, zone: &Zone, taken: &mut [f64; 2]) {
    let time = Nanos(zone.to - zone.from).to_string();
    let (middle, half) = (LEFT + (zone.left + zone.right) / 2.0, 3.2 * time.len() as f64);
    let row = usize::from(zone.magnified);
    if middle - half > taken[row] && (zone.magnified || 2.0 * half < zone.right - zone.left) {
        let class = if zone.magnified { "small middle faint" } else { "small middle" };
        words(svg, (middle, y + 17.0 + 15.0 * row as f64), &time, class);
        taken[row] = middle + half + 6.0;
    }
}
