//! Lanes for a terminal, 79 columns wide.

use super::{Lanes, Span, State};
use crate::lab::draw::axis::{Axis, Scale, Zone};
use crate::lab::draw::canvas::{Canvas, Ink};
use crate::lab::draw::style::letter;
use crate::lab::prose::wrapped;
use crate::phase::Nanos;

const LEFT: usize = 13;
const SCALE: Scale = Scale { width: 66.0, busy: 1.0, quiet: 0.0, whole: true };

impl Lanes {
    /// For a terminal.
    #[must_use]
    pub fn to_canvas(&self) -> Canvas {
        let axis = Axis::new(&self.steps(), SCALE);
        let mut page = Canvas::default();
        page.put(0, 0, self.model, Ink::Strong);
        for line in self.about.iter().flat_map(|line| wrapped(line, 79)) {
            page.put(page.rows(), 0, &line, Ink::Plain);
        }
        page.put(page.rows(), 0, "", Ink::Plain);
        for (n, visit) in self.visits.iter().enumerate() {
            let row = page.rows();
            page.put(row, 0, &format!("client {}", letter(n)), Ink::Client(n));
            stretch(&mut page, row, &axis, (visit.connected, visit.left), '·', Ink::Faint);
            for request in &visit.requests {
                stretch(&mut page, row, &axis, *request, '═', Ink::Client(n));
            }
        }
        page.put(page.rows(), 0, "", Ink::Plain);
        for lane in &self.lanes {
            let row = page.rows();
            page.put(row, 0, &lane.name, Ink::Plain);
            // What is short and matters goes over what is long.
            for over in
                [State::Starts, State::Wait, State::Asks, State::Runs, State::Send, State::Copy]
            {
                for span in lane.spans.iter().filter(|span| span.state == over) {
                    let (c, ink) = sign(span);
                    between(&mut page, row, &axis, (span.from, span.to), c, ink);
                }
            }
        }
        let row = page.rows();
        axis.zones.iter().for_each(|zone| mark(&mut page, row, zone));
        page.put(page.rows(), 0, "", Ink::Plain);
        let signs = "A copies from client A   a waits for client A   ░ waits for whoever comes\n\
                     > sends   ─ runs   ≈ (axis) magnified: short times have a width of their own\n\
                     ═ (clients) a message on its way to its reply";
        let polls =
            self.lanes.iter().flat_map(|lane| &lane.spans).any(|span| span.state == State::Asks);
        let asks = if polls { "   ~ asks in vain" } else { "" };
        for line in format!("{signs}{asks}").lines() {
            page.put(page.rows(), 0, line, Ink::Faint);
        }
        for line in self.caption.iter().flat_map(|line| wrapped(line, 79)) {
            page.put(page.rows(), 0, &line, Ink::Plain);
        }
        page
    }
}

fn sign(span: &Span) -> (char, Ink) {
    let ink = span.client.map_or(Ink::Faint, Ink::Client);
    let c = match (span.state, span.client) {
        (State::Wait, Some(client)) => letter(client).to_ascii_lowercase(),
        (State::Wait, None) => '░',
        (State::Copy, client) => client.map_or('?', letter),
        (State::Send, _) => '>',
        (State::Runs, _) => '─',
        (State::Asks, _) => '~',
        (State::Starts, _) => '·',
    };
    (c, ink)
}

/// From one place to the other; nothing where they are the same.
fn between(page: &mut Canvas, row: usize, axis: &Axis, times: (u64, u64), c: char, ink: Ink) {
    let [from, to] = [times.0, times.1].map(|time| axis.place(time).round() as usize);
    page.fill(row, LEFT + from, to - from, c, ink);
}

/// The same, but one character at least.
fn stretch(page: &mut Canvas, row: usize, axis: &Axis, times: (u64, u64), c: char, ink: Ink) {
    let last = axis.width() as usize;
    let [from, to] = [times.0, times.1].map(|time| axis.place(time) as usize);
    let from = from.min(last.saturating_sub(1));
    page.fill(row, LEFT + from, (to - from).max(1), c, ink);
}

/// A stretch of the axis: its time where it is linear, a sign where it is magnified.
fn mark(page: &mut Canvas, row: usize, zone: &Zone) {
    let (left, right) = (LEFT + zone.left as usize, LEFT + zone.right as usize);
    if zone.magnified {
        return page.fill(row, left, right - left, '≈', Ink::Faint);
    }
    let time = Nanos(zone.to - zone.from).to_string();
    page.fill(row, left, right - left, ' ', Ink::Faint);
    page.put(row, left, "│", Ink::Faint);
    if time.len() + 2 <= right - left {
        page.put_within(row, left, right - left, &time, Ink::Plain);
    }
}
