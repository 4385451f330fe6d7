//! `waitcopy doctor`: what this machine can do.

use super::{Exit, Parsed, print};
use crate::json::Value;
use crate::lab::machine::{self, Ability};
use std::fmt::Write as _;

pub(super) fn run(parsed: &Parsed) -> Result<(), Exit> {
    let abilities = machine::abilities();
    if parsed.has("json") {
        let rows = abilities.iter().map(|Ability { name, good, found, remedy }| {
            let row = [
                ("good", (*good).into()),
                ("found", found.as_str().into()),
                ("remedy", (*remedy).into()),
            ];
            (*name, Value::object(row))
        });
        let result = [("environment", machine::environment()), ("abilities", Value::object(rows))];
        return print(format_args!("{:#}\n", Value::object(result)));
    }
    let mut text = String::new();
    for Ability { name, good, found, remedy } in &abilities {
        let mark = if *good { "yes" } else { "NO" };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{mark:<4} {name:<15} {found}");
        if !remedy.is_empty() {
            let _ = writeln!(text, "{:20} -> {remedy}", "");
        }
    }
    print(text)
}
