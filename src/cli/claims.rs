//! `waitcopy claims`: the notes' claims, put to the test here.

use super::{Exit, Parsed, print};
use crate::json::Value;
use crate::lab::claims::{self, Finding, Plan, evidence};
use crate::lab::prose::{TERMINAL, wrapped};
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
        let verdict = judgement.verdict.name();
        let _ = writeln!(text, "{}. {}: {}", n + 1, claim.name, verdict.to_uppercase());
        paragraph(&mut text, claim.words);
        paragraph(&mut text, claim.translation);
        paragraph(&mut text, &format!("tested by: {}", claim.test));
        for figure in &judgement.figures {
            let mut what = wrapped(&figure.what, WHAT);
            let last = what.pop().unwrap_or_default();
            for line in what {
                let _ = writeln!(text, "     {line}");
            }
            let _ = writeln!(text, "     {last:<WHAT$} {:>13}", figure.to_string());
        }
        paragraph(&mut text, &format!("{verdict}: {}", judgement.because));
        if let Some(source) = claim.source {
            paragraph(&mut text, &format!("source: {source}"));
        }
        text.push('\n');
    }
    for line in wrapped(conditions, TERMINAL) {
        let _ = writeln!(text, "{line}");
    }
    text
}

/// Columns of what a figure is, between five blanks and the figure.
const WHAT: usize = TERMINAL - 5 - 14;

/// A sentence below its claim's name.
fn paragraph(text: &mut String, sentence: &str) {
    for line in wrapped(sentence, TERMINAL - 3) {
        let _ = writeln!(text, "   {line}");
    }
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

#[cfg(test)]
mod tests {
    use super::text;
    use crate::lab::claims::{CLAIMS, Evidence, judge};
    use crate::lab::prose::{TERMINAL, columns};

    /// The claims in the notes' words and all else that is said of them, of no evidence.
    #[test]
    fn claims_fit_into_a_terminal() {
        let mut findings = judge(&Evidence::default());
        for finding in &mut findings {
            let figure = crate::lab::claims::Figure {
                what: "a figure that takes more words to say what it is than a terminal has room for in one line, figure and all".to_owned(),
                value: 1234.5,
                unit: crate::lab::claims::Unit::Times,
            };
            finding.judgement.figures.push(figure);
        }
        let text = text(&findings, &"what stands beside the figures; ".repeat(9));
        for line in text.lines() {
            assert!(columns(line) <= TERMINAL, "{}: {line}", columns(line));
        }
        // And nothing is lost on the way.
        let bare = |text: &str| text.split_whitespace().collect::<String>();
        for claim in &CLAIMS {
            for said in [claim.words, claim.translation, claim.test] {
                assert!(bare(&text).contains(&bare(said)), "{said}");
            }
        }
    }
}
