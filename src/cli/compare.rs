//! `waitcopy compare`: the main job.

use super::output::Output;
use super::serve::find_model;
use super::{Exit, Parsed, print};
use crate::failure::During;
use crate::json::Value;
use crate::lab::claims::{self, Finding};
use crate::lab::compare::{self, About, Comparison, Look, Plan, Point, Step, Table};
use crate::lab::page::Section;
use crate::lab::{kernel, machine, page};
use crate::model::{CATALOGUE, Model};
use crate::sys::{self, Clock, Limit};
use std::io::{self, Write};
use std::time::Duration;

pub(super) fn run(parsed: &Parsed) -> Result<(), Exit> {
    // Before anything is measured: a path that cannot be written is told at once.
    let page = Output::asked(parsed, "html")?;
    if parsed.has("claims") && page.is_none() {
        return Err(Exit::usage("--claims is a section of the page: --html FILE"));
    }
    let comparison = match parsed.value("from") {
        Some(file) => read(parsed, file)?,
        None => measure(parsed)?,
    };
    if parsed.has("json") {
        print(format_args!("{:#}\n", comparison.to_json()))?;
    } else {
        print(Table { comparison: &comparison, look: look() })?;
    }
    if let Some(page) = page {
        let sections = if parsed.has("claims") { vec![claims(parsed)?] } else { vec![] };
        page.write(page::render(&comparison, &sections).as_bytes())?;
        // Where it lies, if it can be told.
        let _ = writeln!(io::stderr(), "page: {}", page.shown());
    }
    match comparison.broken().as_slice() {
        [] => Ok(()),
        broken => {
            Err(Exit::failed(format!("wrong or missing replies from: {}", broken.join(", "))))
        }
    }
}

fn measure(parsed: &Parsed) -> Result<Comparison, Exit> {
    let plan = plan(parsed)?;
    if plan.kernel {
        // Before anything is measured.
        kernel::available().map_err(|refused| Exit::unavailable(format!("--kernel: {refused}")))?;
    }
    raise_descriptors()?;
    let about = About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: command(),
        began: sys::clock_gettime(Clock::Realtime).as_secs(),
        // Before the generator is pinned: then it would see one core.
        environment: machine::environment(),
        cores: plan.cores.map(|cores| cores.map(|core| core as u64)),
        size: plan.size as u64,
        duration_ns: plan.duration.as_nanos() as u64,
        recorded_ns: plan.recorded().as_nanos() as u64,
        kernel_ns: plan.kernel.then(|| compare::LISTENS.as_nanos() as u64),
        repeats: plan.repeats as u64,
    };
    // Progress that cannot be shown is not missed.
    let _ = writeln!(io::stderr(), "{}", forecast(&plan));
    let progress = super::Progress::new();
    let cells = compare::run(&plan, |step| progress.say(&told(step)));
    progress.clear();
    Ok(Comparison { about, cells })
}

/// The notes' claims as a section of the page; shortly measured where all is.
fn claims(parsed: &Parsed) -> Result<Section, Exit> {
    let (ms, rounds) = if parsed.has("quick") { (60, 3) } else { (300, 6) };
    let duration = Duration::from_millis(ms);
    let plan = claims::Plan { duration, rounds, cores: compare::two_cores() };
    let progress = super::Progress::new();
    let evidence =
        claims::evidence::measure(&plan, |step| progress.say(&format!("claims: {step}")));
    progress.clear();
    let evidence = evidence.map_err(Exit::failed)?;
    let claims = claims::judge(&evidence).into_iter().map(|Finding { claim, judgement }| {
        let figures = judgement.figures.iter().map(|figure| format!("{}: {figure}", figure.what));
        let source = claim.source.map(|source| format!(" Source: {source}.")).unwrap_or_default();
        page::Claim {
            claim: claim.words.to_owned(),
            translation: claim.translation.to_owned(),
            test: claim.test.to_owned(),
            figures: figures.collect::<Vec<_>>().join("; "),
            verdict: judgement.verdict.name().to_owned(),
            condition: format!("{}.{source}", judgement.because),
        }
    });
    Ok(Section {
        id: "claims",
        title: "The notes' claims".to_owned(),
        intro: format!(
            "What the lecture notes say, in their words, and what this machine says to it: {ms} ms a measurement, {rounds} paired rounds."
        ),
        claims: claims.collect(),
    })
}

/// `11 models at 6 points, 66 measurements: about 2 min 40 s`.
fn forecast(plan: &Plan) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let all = plan.visits().count();
    format!(
        "{} at {}, {}: about {}",
        count(plan.models.len(), "model"),
        count(plan.points.len(), "point"),
        count(all, "measurement"),
        rough(compare::takes(plan))
    )
}

/// `3 of 44: select under 1 client, round 2 (40 s left)`.
fn told(step: &Step) -> String {
    let Step { number, of, visit, left } = step;
    let round =
        if visit.round == 0 { String::new() } else { format!(", round {}", visit.round + 1) };
    let (model, point) = (visit.model.name, visit.point);
    format!("{number} of {of}: {model} under {point}{round} ({} left)", rough(*left))
}

/// A time to the second; never none.
fn rough(time: Duration) -> String {
    let seconds = (time.as_secs_f64().round() as u64).max(1);
    match (seconds / 60, seconds % 60) {
        (0, s) => format!("{s} s"),
        (m, s) => format!("{m} min {s} s"),
    }
}

/// As many connections as this process may have at all; the servers inherit it.
fn raise_descriptors() -> Result<(), Exit> {
    let limit = sys::getrlimit().during("getrlimit", "RLIMIT_NOFILE")?;
    // 1,048,576 is what the kernel allows at most unless told otherwise; a hard limit may be infinite.
    let soft = limit.hard.min(1 << 20).max(limit.soft);
    Ok(sys::setrlimit(Limit { soft, ..limit }).during("setrlimit", "RLIMIT_NOFILE")?)
}

/// A comparison that `--json` has written.
fn read(parsed: &Parsed, file: &str) -> Result<Comparison, Exit> {
    const MEASURING: [&str; 8] =
        ["connections", "idle", "repeat", "duration", "size", "quick", "kernel", "claims"];
    if let Some(flag) = MEASURING.into_iter().find(|flag| parsed.has(flag)) {
        return Err(Exit::usage(format!("--{flag} measures, and --from reads what was measured")));
    }
    if !parsed.operands.is_empty() {
        return Err(Exit::usage("--from reads what was measured: it takes no models"));
    }
    let text = std::fs::read_to_string(file).during("read", file)?;
    let value = Value::parse(&text).and_then(|value| Comparison::from_json(&value));
    value.map_err(|why| Exit::failed(format!("{file}: {why}")))
}

fn plan(parsed: &Parsed) -> Result<Plan, Exit> {
    let mut plan = Plan::new(models(parsed)?);
    let quick = parsed.has("quick");
    let busy = counts(parsed, "connections", if quick { "1,10,100" } else { "1,10,100,1000" })?;
    let idle = match parsed.value("idle") {
        Some("none") => Vec::new(),
        _ => counts(parsed, "idle", if quick { "1000" } else { "1000,10000" })?,
    };
    let busy = busy.into_iter().map(Point::busy);
    plan.points = busy.chain(idle.into_iter().map(Point::among)).collect();
    if quick {
        plan.duration = Duration::from_millis(300);
    }
    plan.kernel = parsed.has("kernel");
    let duration = parsed.duration("duration").map_err(Exit::usage)?;
    plan.duration = duration.unwrap_or(plan.duration);
    plan.size = parsed.number("size", 1).map_err(Exit::usage)?.unwrap_or(plan.size);
    plan.repeats = parsed.number("repeat", 1).map_err(Exit::usage)?.unwrap_or(1);
    if plan.repeats > 1000 {
        return Err(Exit::usage(format!("--repeat {}: at most 1000", plan.repeats)));
    }
    Ok(plan)
}

/// The models that were named, each once, in the order of the catalogue.
fn models(parsed: &Parsed) -> Result<Vec<&'static Model>, Exit> {
    let names = parsed.texts().map_err(Exit::usage)?;
    let named: Vec<&Model> = names.into_iter().map(find_model).collect::<Result<_, _>>()?;
    let wanted = |model: &&Model| named.is_empty() || named.iter().any(|n| n.name == model.name);
    Ok(CATALOGUE.iter().filter(wanted).collect())
}

/// Whole numbers from 1 on, each once, smallest first.
fn counts(parsed: &Parsed, name: &str, default: &str) -> Result<Vec<usize>, Exit> {
    /// More are more than the ports of all addresses of loopback that are used.
    const MOST: usize = 1_000_000;
    let text = parsed.value(name).unwrap_or(default);
    let list: Option<Vec<usize>> =
        text.split(',').map(|n| n.parse().ok().filter(|n| (1..=MOST).contains(n))).collect();
    let none = if name == "idle" { ", or none" } else { "" };
    let mut list = list.ok_or_else(|| {
        Exit::usage(format!(
            "--{name} {text}: whole numbers from 1 to {MOST} with commas are expected, {default}{none}"
        ))
    })?;
    list.sort_unstable();
    list.dedup();
    Ok(list)
}

/// The command as it can be typed again.
fn command() -> String {
    let plain = |word: &str| {
        let safe = |c: char| c.is_ascii_alphanumeric() || "-_./,:=@%+".contains(c);
        !word.is_empty() && word.chars().all(safe)
    };
    let quoted = |word: String| {
        if plain(&word) { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
    };
    let words = std::env::args_os().skip(1).map(|word| quoted(word.to_string_lossy().into_owned()));
    std::iter::once("waitcopy".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// The terminal's width; 100 columns where there is none. Block elements where the locale says UTF-8.
fn look() -> Look {
    let width = sys::window_size(io::stdout()).map_or(0, |(columns, _)| usize::from(columns));
    let unicode = super::utf8();
    Look { width: if width == 0 { 100 } else { width }, unicode }
}
