//! `waitcopy models`: the catalogue.

use super::{Exit, Parsed, print};
use crate::json::Value;
use crate::model::CATALOGUE;
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
    print(text)
}
