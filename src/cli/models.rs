//! `waitcopy models`: the catalogue.

use super::{Exit, Parsed, print};
use crate::json::Value;
use crate::model::CATALOGUE;
use crate::net::Transport;
use std::fmt::Write as _;

pub(super) fn run(parsed: &Parsed) -> Result<(), Exit> {
    if parsed.has("json") {
        let models = CATALOGUE.iter().map(|model| model.to_json());
        return print(format_args!("{:#}\n", Value::List(models.collect())));
    }
    let mut text = String::new();
    for model in &CATALOGUE {
        // Writing to a String cannot fail.
        if parsed.has("names") {
            let _ = writeln!(text, "{}", model.name);
            continue;
        }
        let _ = writeln!(text, "{:<12} {}", model.name, model.meaning);
        let rows = [
            ("blocks", model.blocks),
            ("copies", model.copies),
            ("limits", model.limits),
            ("choose", model.choose),
            ("calls", model.grammar),
        ];
        for (what, said) in rows {
            let _ = writeln!(text, "{:12} {what}: {said}", "");
        }
    }
    if !parsed.has("names") {
        matrix(&mut text);
    }
    print(text)
}

/// Which model serves which transport, and why not.
fn matrix(text: &mut String) {
    let _ = write!(text, "\n{:<12}", "");
    for (_, name) in Transport::ALL {
        let _ = write!(text, " {name:>9}");
    }
    let _ = writeln!(text);
    let mut reasons: Vec<&str> = Vec::new();
    for model in &CATALOGUE {
        let _ = write!(text, "{:<12}", model.name);
        for (transport, _) in Transport::ALL {
            let cell = match model.serves(transport) {
                Ok(()) => "yes".to_owned(),
                Err(why) => {
                    let known = reasons.iter().position(|reason| *reason == why);
                    let place = known.unwrap_or_else(|| {
                        reasons.push(why);
                        reasons.len() - 1
                    });
                    format!("no ({})", place + 1)
                }
            };
            let _ = write!(text, " {cell:>9}");
        }
        let _ = writeln!(text);
    }
    for (place, why) in reasons.iter().enumerate() {
        let _ = writeln!(text, "({}) {why}", place + 1);
    }
}
