//! `waitcopy compare`: the main job.

use super::serve::find_model;
use super::{Exit, Parsed, print};
use crate::json::Value;
use crate::lab::compare::{self, Plan, Table};
use crate::lab::machine;
use crate::model::CATALOGUE;
use crate::phase::Nanos;
use std::time::Duration;

pub(super) fn run(parsed: &Parsed) -> Result<(), Exit> {
    let plan = plan(parsed)?;
    // Before the generator is pinned: then it would see one core.
    let environment = machine::environment();
    let progress = super::Progress::new();
    let cells = compare::run(&plan, |step| progress.say(step));
    progress.clear();
    let cells = cells.map_err(Exit::failed)?;
    if parsed.has("json") {
        let result = Value::object([
            ("waitcopy", env!("CARGO_PKG_VERSION").into()),
            ("environment", environment),
            ("generator_core", plan.cores.map(|[core, _]| core as u64).into()),
            ("server_core", plan.cores.map(|[_, core]| core as u64).into()),
            ("size", (plan.size as u64).into()),
            ("duration_ns", (plan.duration.as_nanos() as u64).into()),
            ("cells", Value::List(cells.iter().map(compare::Cell::to_json).collect())),
        ]);
        print(format_args!("{result:#}\n"))?;
    } else {
        let pinned = match plan.cores {
            Some([generator, server]) => {
                format!("clients on core {generator}, server on core {server}")
            }
            None => "clients and server share one core".to_owned(),
        };
        print(format_args!(
            "{}\n{} bytes a message, one in flight per client, {} a measurement; each byte checked\n\
             {}; {pinned}; rates: recorder off; calls, EAGAIN, time: recorder on\n",
            Table(&cells),
            plan.size,
            Nanos(plan.duration.as_nanos() as u64),
            machine::described(&environment),
        ))?;
    }
    let broken: Vec<_> = cells.iter().filter(|cell| !cell.sound()).map(|cell| cell.model).collect();
    if broken.is_empty() {
        Ok(())
    } else {
        Err(Exit::failed(format!("wrong or missing replies from: {}", broken.join(", "))))
    }
}

fn plan(parsed: &Parsed) -> Result<Plan, Exit> {
    let names = parsed.texts().map_err(Exit::usage)?;
    let models = if names.is_empty() {
        CATALOGUE.iter().collect()
    } else {
        names.into_iter().map(find_model).collect::<Result<_, _>>()?
    };
    let counts = parsed.value("connections").unwrap_or("1,32");
    let connections: Option<Vec<usize>> =
        counts.split(',').map(|n| n.parse().ok().filter(|&n| n > 0)).collect();
    let connections = connections.ok_or_else(|| {
        Exit::usage(format!("--connections {counts}: whole numbers with commas expected, 1,32"))
    })?;
    let duration = parsed.duration("duration").map_err(Exit::usage)?;
    let size = parsed.number("size", 1).map_err(Exit::usage)?.unwrap_or(64);
    let duration = duration.unwrap_or(Duration::from_millis(1500));
    Ok(Plan { models, connections, duration, size, cores: compare::two_cores() })
}
