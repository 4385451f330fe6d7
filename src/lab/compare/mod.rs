//! The main job: models side by side, each a real server in its own process, each driven by real clients.
//!
//! [`Plan`] says what is measured and in which order, [`measure()`] does one visit, [`run`] all of them. What comes out is a
//! [`Comparison`] of plain figures: [`Table`], the JSON and the page (`lab::page`) read that and nothing else.

mod cell;
mod figure;
mod json;
mod kernel;
mod measure;
mod plan;
mod sample;
mod table;

pub use cell::{About, Cell, Comparison, End, Kind};
pub use figure::{ENOUGH, Figure, Spread, bytes};
pub use json::{PARTS, SCHEMA};
pub use kernel::{LISTENS, Told};
pub use measure::measure;
pub use plan::{ACTIVE, Grouped, Plan, Point, Visit, holds, two_cores};
pub use sample::{Clients, Latency, Recorded, Sample};
pub use table::{Look, Table};

use std::time::{Duration, Instant};

/// What is measured next, and how far it is.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Its number, from 1.
    pub number: usize,
    /// Of how many.
    pub of: usize,
    /// What.
    pub visit: Visit,
    /// About how long all that is left takes, this one included.
    pub left: Duration,
}

/// How long all visits take, about.
#[must_use]
pub fn takes(plan: &Plan) -> Duration {
    plan.visits().map(|visit| plan.visit_takes(visit.model, visit.point)).sum()
}

/// Makes all visits, one after the other, and pins the calling thread if the plan has cores; `progress` hears of each
/// before it begins. What fails ends the line of its model at that point, and the others go on.
pub fn run(plan: &Plan, mut progress: impl FnMut(&Step)) -> Vec<Cell> {
    let of_point = |&point: &Point| plan.models.iter().map(move |m| Cell::new(m.name, point));
    let mut cells: Vec<Cell> = plan.points.iter().flat_map(of_point).collect();
    let visits: Vec<Visit> = plan.visits().collect();
    let (start, mut planned, mut left) = (Instant::now(), Duration::ZERO, takes(plan));
    for (i, visit) in visits.iter().enumerate() {
        // By what the planned times have turned out to be so far.
        let stretch = if i == 0 {
            1.0
        } else {
            start.elapsed().as_secs_f64() / planned.as_secs_f64().max(1e-3)
        };
        let step = Step {
            number: i + 1,
            of: visits.len(),
            visit: *visit,
            left: left.mul_f64(stretch.clamp(0.1, 10.0)),
        };
        progress(&step);
        let takes = plan.visit_takes(visit.model, visit.point);
        planned += takes;
        left = left.saturating_sub(takes);
        let ended = ended_before(&cells, visit);
        let at = cells.iter().position(|c| c.model == visit.model.name && c.point == visit.point);
        let Some(cell) = at.map(|at| &mut cells[at]) else { continue };
        if cell.end.is_none() {
            visit_one(plan, visit, cell, ended);
        }
    }
    cells
}

/// The end of this model's line at a smaller point of the same series, if it has one that lasts.
fn ended_before(cells: &[Cell], visit: &Visit) -> Option<End> {
    let Point { connections, idle } = visit.point;
    let smaller = |p: Point| match idle {
        0 => p.idle == 0 && p.connections < connections,
        _ => p.idle > 0 && p.idle < idle && p.connections == connections,
    };
    let of_model = cells.iter().filter(|c| c.model == visit.model.name && smaller(c.point));
    let ends = of_model.filter_map(|cell| Some((cell.point, cell.end.as_ref()?)));
    let (point, end) = ends.filter(|(_, end)| end.kind.lasts()).min_by_key(|(point, _)| *point)?;
    Some(End { kind: end.kind, reason: format!("not tried, its line has ended at {point}") })
}

fn visit_one(plan: &Plan, visit: &Visit, cell: &mut Cell, ended: Option<End>) {
    let Visit { round, point, model } = *visit;
    let measured = match measure::unreachable(model, point) {
        Ok(None) if ended.is_some() => Ok(Err(ended)),
        Ok(None) => measure::sample(plan, model, point, round).map(Ok),
        Ok(end) => Ok(Err(end)),
        Err(why) => Err(why),
    };
    match measured {
        Ok(Ok(sample)) => {
            cell.end = measure::end_of(model, point, &sample);
            cell.samples.push(sample);
        }
        Ok(Err(end)) => cell.end = end,
        Err(reason) => cell.end = Some(End { kind: Kind::Failed, reason }),
    }
}
