//! `waitcopy claims`: the notes' claims, put to the test here.

use super::{Exit, Parsed, print};
use crate::json::Value;
use crate::lab::claims::{self, Finding, Plan, evidence};
use crate::lab::{compare, machine};
use crate::phase::Nanos;
use std::fmt::Write as _;
use std::time::Duration;

pub(super) fn run(parsed: &Parsed) -> Result<(), Exit> {
    let duration = parsed.duration("duration").map_err(Exit::usage)?;
    let plan = Plan {
        duration: duration.unwrap_or(Duration::from_millis(300)),
        rounds: parsed.number("rounds", 1).map_err(Exit::usage)?.unwrap_or(6),
        cores: compare::two_cores(),
    };
    // Before the generator is pinned: then it would see one core.
    let environment = machine::environment();
    let progress = super::Progress::new();
    let measured = evidence::measure(&plan, |step| progress.say(step));
    progress.clear();
    let findings = claims::judge(&measured.map_err(Exit::failed)?);
    if parsed.has("json") {
        let result = Value::object([
            ("waitcopy", env!("CARGO_PKG_VERSION").into()),
            ("environment", environment),
            ("duration_ns", (plan.duration.as_nanos() as u64).into()),
            ("rounds", (plan.rounds as u64).into()),
            ("claims", Value::List(findings.iter().map(Finding::to_json).collect())),
        ]);
        return print(format_args!("{result:#}\n"));
    }
    let conditions = conditions(&plan, &environment);
    if parsed.has("markdown") {
        return print(markdown(&findings, &conditions));
    }
    print(text(&findings, &conditions))
}

/// What stands beside the figures.
fn conditions(plan: &Plan, environment: &Value) -> String {
    let pinned = match plan.cores {
        Some([generator, server]) => {
            format!("clients on core {generator}, server on core {server}")
        }
        None => "clients and server share one core".to_owned(),
    };
    format!(
        "{}; {pinned}; {} a measurement, {} paired rounds, 64 bytes a message; rates and CPU with the recorder off",
        machine::described(environment),
        Nanos(plan.duration.as_nanos() as u64),
        plan.rounds
    )
}

fn text(findings: &[Finding], conditions: &str) -> String {
    let mut text = String::new();
    for (n, finding) in findings.iter().enumerate() {
        let Finding { claim, judgement } = finding;
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            text,
            "{}. {}: {}\n   {}\n   {}\n   tested by: {}",
            n + 1,
            claim.name,
            judgement.verdict.name().to_uppercase(),
            claim.words,
            claim.translation,
            claim.test
        );
        for figure in &judgement.figures {
            let _ = writeln!(text, "     {:<75} {:>12}", figure.what, figure.to_string());
        }
        let _ = writeln!(text, "   {}: {}", judgement.verdict.name(), judgement.because);
        if let Some(source) = claim.source {
            let _ = writeln!(text, "   source: {source}");
        }
        text.push('\n');
    }
    let _ = writeln!(text, "{conditions}");
    text
}

fn markdown(findings: &[Finding], conditions: &str) -> String {
    let mut text = String::from("| | the notes say | verdict |\n|---|---|---|\n");
    for (n, Finding { claim, judgement }) in findings.iter().enumerate() {
        let (n, verdict) = (n + 1, judgement.verdict.name());
        let _ =
            writeln!(text, "| [{n}](#{}) | {} | **{verdict}** |", claim.name, claim.translation);
    }
    let _ = writeln!(text, "\n{conditions}.");
    for Finding { claim, judgement } in findings {
        let _ = writeln!(
            text,
            "\n## {}\n\n> {}\n\n{}.\n\n**{}**: {}.\n\nTested by: {}.",
            claim.name,
            claim.words,
            claim.translation,
            judgement.verdict.name(),
            judgement.because,
            claim.test
        );
        if let Some(source) = claim.source {
            let _ = writeln!(text, "\nSource: {source}.");
        }
        if !judgement.figures.is_empty() {
            text.push_str("\n| figure | measured |\n|---|---:|\n");
        }
        for figure in &judgement.figures {
            let _ = writeln!(text, "| {} | {figure} |", figure.what);
        }
    }
    text
}
