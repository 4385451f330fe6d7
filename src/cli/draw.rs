//! `waitcopy draw`: the notes' figures, from real runs.

use super::output::Output;
use super::serve::find_model;
use super::{Exit, Parsed, print};
use crate::json::Value;
use crate::lab::draw::{self, All, Canvas, Figure, Lanes, Look, Plan, Run};
use crate::model::CATALOGUE;
use crate::net::Transport;
use crate::sys;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Sooner than that, a server may begin its wait when the client has already sent.
const LEAST_DELAY: Duration = Duration::from_millis(1);
/// Nobody looks at a figure for longer.
const MOST_DELAY: Duration = Duration::from_secs(10);

/// What is drawn.
enum Picture {
    One(Box<Figure>),
    Lanes(Lanes),
    All(All),
}

impl Picture {
    fn to_svg(&self) -> String {
        match self {
            Self::One(figure) => figure.to_svg(),
            Self::Lanes(lanes) => lanes.to_svg(),
            Self::All(all) => all.to_svg(),
        }
    }

    fn to_canvas(&self) -> Canvas {
        match self {
            Self::One(figure) => figure.to_canvas(),
            Self::Lanes(lanes) => lanes.to_canvas(),
            Self::All(all) => all.to_canvas(),
        }
    }
}

pub(super) fn run(parsed: &Parsed) -> Result<(), Exit> {
    let asked = asked(parsed)?;
    // Before the run: a path that cannot be written is told at once.
    let svg = Output::asked(parsed, "svg")?;
    let (runs, several) = match asked {
        Asked::Recorded { runs, several } => (runs, several),
        Asked::Runs(plans) => (made(&plans)?, plans.len() > 1),
    };
    let picture = picture(&runs, several, parsed)?;
    if let Some(svg) = &svg {
        svg.write(picture.to_svg().as_bytes())?;
    }
    if parsed.has("json") {
        let json = match (&picture, runs.as_slice()) {
            (Picture::One(figure), [run]) => with_figure(run, figure),
            (Picture::Lanes(_), [run]) => run.to_json(),
            _ => Value::object([("runs", Value::List(runs.iter().map(figured).collect()))]),
        };
        return print(format_args!("{json:#}\n"));
    }
    if svg.is_some() {
        return Ok(());
    }
    print(picture.to_canvas().to_text(look(parsed)))
}

/// What is drawn of these runs.
fn picture(runs: &[Run], several: bool, parsed: &Parsed) -> Result<Picture, Exit> {
    let lanes = parsed.has("clients") || runs.first().is_some_and(|run| run.visits.len() > 1);
    let picture = match runs {
        [run] if !several && lanes => Lanes::of(run).map(Picture::Lanes),
        [run] if !several => Figure::of(run).map(Box::new).map(Picture::One),
        runs => All::of(runs).map(Picture::All),
    };
    picture.map_err(Exit::failed)
}

fn figured(run: &Run) -> Value {
    match Figure::of(run) {
        Ok(figure) => with_figure(run, &figure),
        Err(_) => run.to_json(),
    }
}

/// The run's figures with those that its figure shows in front.
fn with_figure(run: &Run, figure: &Figure) -> Value {
    let Value::Object(mut members) = run.to_json() else { return run.to_json() };
    members.insert(2, ("figure".to_owned(), figure.to_json()));
    Value::Object(members)
}

/// What was asked for, checked.
enum Asked {
    Runs(Vec<Plan>),
    Recorded { runs: Vec<Run>, several: bool },
}

fn asked(parsed: &Parsed) -> Result<Asked, Exit> {
    let names = parsed.texts().map_err(Exit::usage)?;
    let clients = parsed.number("clients", 1).map_err(Exit::usage)?;
    if clients.is_some_and(|clients| clients > draw::MOST) {
        return Err(Exit::usage(format!("--clients: at most {}, a colour each", draw::MOST)));
    }
    if let Some(path) = parsed.value("from") {
        if !names.is_empty() || parsed.has("delay") || parsed.has("kernel") {
            let said = "--from has its run: no MODEL, no --delay and no --kernel beside it";
            return Err(Exit::usage(said));
        }
        let asked = recorded(path)?;
        if clients.is_some() && matches!(asked, Asked::Recorded { several: true, .. }) {
            let said = "--from has several runs of one client each: no --clients beside it";
            return Err(Exit::usage(said));
        }
        return Ok(asked);
    }
    let delay = parsed.duration("delay").map_err(Exit::usage)?.unwrap_or(Duration::from_millis(50));
    if !(LEAST_DELAY..=MOST_DELAY).contains(&delay) {
        return Err(Exit::usage("--delay: from 1ms to 10s"));
    }
    let name = names.first().ok_or_else(|| {
        let names: Vec<_> = CATALOGUE.iter().map(|model| model.name).collect();
        Exit::usage(format!("which model?; there are all, {}", names.join(", ")))
    })?;
    let (clients_or_one, kernel) = (clients.unwrap_or(1), parsed.has("kernel"));
    let plan = |model| Plan { model, delay, clients: clients_or_one, kernel };
    if *name != "all" {
        let model = find_model(name)?;
        super::must_run(model, Transport::Tcp)?;
        return Ok(Asked::Runs(vec![plan(model)]));
    }
    if clients.is_some() {
        return Err(Exit::usage("draw all has one client for each model: no --clients beside it"));
    }
    Ok(Asked::Runs(super::available(Transport::Tcp).into_iter().map(plan).collect()))
}

/// The runs in a file: what `--json` has printed, or a server's report.
fn recorded(path: &str) -> Result<Asked, Exit> {
    let text = std::fs::read_to_string(path).map_err(|e| failed("read", path, &e))?;
    let broken = |why: String| Exit::failed(format!("{path}: {why}"));
    let value = Value::parse(&text).map_err(broken)?;
    let (list, several) = match value.get("runs") {
        Some(Value::List(runs)) => (runs.as_slice(), true),
        _ => (std::slice::from_ref(&value), false),
    };
    let runs = list.iter().map(Run::of_json).collect::<Result<_, _>>().map_err(broken)?;
    Ok(Asked::Recorded { runs, several })
}

/// Makes the runs, one after the other.
fn made(plans: &[Plan]) -> Result<Vec<Run>, Exit> {
    let terminal = io::stderr().is_terminal() && plans.len() > 1;
    let mut runs = Vec::new();
    for plan in plans {
        if terminal {
            // Progress that cannot be shown is not missed.
            let _ = write!(io::stderr(), "\r\x1b[K{}", plan.model.name);
        }
        let made = if plan.clients == 1 { draw::single(*plan) } else { draw::run(*plan) };
        runs.push(made.map_err(|trouble| super::of_kernel(trouble, plan.model)));
        if runs.last().is_some_and(Result::is_err) {
            break;
        }
    }
    if terminal {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    runs.into_iter().collect()
}

/// Colours for a terminal, Unicode where the locale has it.
fn look(parsed: &Parsed) -> Look {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Look {
        ascii: parsed.has("ascii") || !super::utf8(),
        colour: io::stdout().is_terminal() && !plain,
    }
}

fn failed(call: &str, path: &str, error: &io::Error) -> Exit {
    Exit::failed(format!("{call} {path}: {}", sys::describe(error)))
}
