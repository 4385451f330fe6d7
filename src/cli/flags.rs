//! What is made from the table of commands: the parser and the help.

use crate::net::DEFAULT_ADDRESS;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::time::Duration;

/// A command of the program, or a verb of one.
#[derive(Debug)]
pub(super) struct Command {
    /// Its words: `serve`, `remote exec`.
    pub(super) name: &'static str,
    /// What follows the name: `MODEL [OPTIONS]`.
    pub(super) usage: &'static str,
    pub(super) about: &'static str,
    /// Positional arguments at most.
    pub(super) operands: usize,
    /// Flags, in groups that commands share.
    pub(super) flags: &'static [&'static [Flag]],
    /// Lines under the flags.
    pub(super) notes: &'static str,
    /// Its verbs, one of which must follow.
    pub(super) verbs: &'static [Command],
}

impl Command {
    fn flags(&self) -> impl Iterator<Item = &'static Flag> {
        self.flags.iter().copied().flatten()
    }

    /// The verb of that name: `exec` of `remote exec`.
    pub(super) fn verb(&self, name: &str) -> Option<&'static Command> {
        self.verbs.iter().find(|verb| verb.verb_name() == name)
    }

    /// Its last word.
    pub(super) fn verb_name(&self) -> &'static str {
        self.name.rsplit(' ').next().unwrap_or(self.name)
    }
}

/// A flag, with the name of its value if it takes one.
#[derive(Debug)]
pub(super) struct Flag {
    name: &'static str,
    /// The same as one letter.
    short: Option<char>,
    value: Option<&'static str>,
    help: &'static str,
}

pub(super) const fn switch(name: &'static str, help: &'static str) -> Flag {
    Flag { name, short: None, value: None, help }
}

pub(super) const fn option(name: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag { name, short: None, value: Some(value), help }
}

impl Flag {
    /// The flag with a letter as well: `-c` for `--connections`.
    pub(super) const fn or(self, letter: char) -> Self {
        Self { short: Some(letter), ..self }
    }
}

/// For commands that have a result.
pub(super) const JSON: Flag = switch("json", "the result as JSON");

const DURATION: &str = "A DURATION has a unit: 250us, 10ms, 2s, 1.5s, 3m.";

/// What was typed, checked against the table.
#[derive(Clone, Debug, Default)]
pub(super) struct Parsed {
    flags: Vec<(&'static str, Option<String>)>,
    /// As they were typed: names of files need not be UTF-8.
    pub(super) operands: Vec<OsString>,
}

impl Parsed {
    /// Whether a flag was given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.flags.iter().any(|(flag, _)| *flag == name)
    }

    /// The operands, where they must be text.
    pub(super) fn texts(&self) -> Result<Vec<&str>, String> {
        self.operands
            .iter()
            .map(|operand| operand.to_str().ok_or_else(|| not_text(operand)))
            .collect()
    }

    /// All values given to a flag.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let given = self.flags.iter().filter(move |(flag, _)| *flag == name);
        given.filter_map(|(_, value)| value.as_deref())
    }

    /// The last value given to a flag.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values(name).last()
    }

    /// The value as a number.
    pub(super) fn number(&self, name: &str, least: usize) -> Result<Option<usize>, String> {
        let Some(text) = self.value(name) else { return Ok(None) };
        match text.parse() {
            Ok(n) if n >= least => Ok(Some(n)),
            _ => Err(format!("--{name} {text}: a whole number, {least} or more, is expected")),
        }
    }

    /// The value as a time of more than zero.
    pub(super) fn duration(&self, name: &str) -> Result<Option<Duration>, String> {
        match self.duration_or_none(name)? {
            Some(time) if time.is_zero() => {
                let text = self.value(name).unwrap_or_default();
                Err(format!("--{name} {text}: a time of more than zero is expected"))
            }
            time => Ok(time),
        }
    }

    /// The value as a time, which may be zero: then there is none of what it is about.
    pub(super) fn duration_or_none(&self, name: &str) -> Result<Option<Duration>, String> {
        let Some(text) = self.value(name) else { return Ok(None) };
        let units = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0)];
        let found = units.into_iter().find_map(|(unit, seconds)| {
            let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
            Some(number * seconds)
        });
        if found.is_some_and(|seconds| seconds < 0.0) {
            return Err(format!("--{name} {text}: a time is not negative"));
        }
        // Infinite ones and NaN are turned away here.
        match found.map(Duration::try_from_secs_f64) {
            Some(Ok(time)) => Ok(Some(time)),
            _ => Err(format!(
                "--{name} {text}: {}",
                DURATION.replace("A DURATION has", "a time has")
            )),
        }
    }
}

/// Reads the arguments of a command.
pub(super) fn parse(
    command: &'static Command,
    arguments: impl Iterator<Item = OsString>,
) -> Result<Parsed, String> {
    use lexopt::Arg;
    let mut parsed = Parsed::default();
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next().map_err(|e| e.to_string())? {
        match argument {
            Arg::Short('h') => parsed.flags.push(("help", None)),
            Arg::Long("help") => parsed.flags.push(("help", None)),
            Arg::Short(letter) => {
                let flag = command.flags().find(|flag| flag.short == Some(letter));
                let flag = flag.ok_or_else(|| unknown(command, &format!("-{letter}")))?;
                parsed.flags.push((flag.name, value(flag, &mut parser)?));
            }
            Arg::Long(name) => {
                let flag = command.flags().find(|flag| flag.name == name);
                let flag = flag.ok_or_else(|| unknown(command, &format!("--{name}")))?;
                parsed.flags.push((flag.name, value(flag, &mut parser)?));
            }
            Arg::Value(operand) if parsed.operands.len() < command.operands => {
                parsed.operands.push(operand);
            }
            Arg::Value(operand) => {
                let operand = operand.to_string_lossy();
                return Err(format!("'{operand}' is one argument too many; {}", see(command)));
            }
        }
    }
    Ok(parsed)
}

/// What follows a flag, if it takes a value.
fn value(flag: &Flag, parser: &mut lexopt::Parser) -> Result<Option<String>, String> {
    let Some(what) = flag.value else { return Ok(None) };
    let value = parser.value();
    let value = value.map_err(|_| format!("--{0} wants a value: --{0} {what}", flag.name))?;
    text(value).map(Some)
}

fn text(argument: OsString) -> Result<String, String> {
    argument.into_string().map_err(|raw| not_text(&raw))
}

fn not_text(argument: &OsStr) -> String {
    format!("{} is not UTF-8", argument.to_string_lossy().escape_debug())
}

fn unknown(command: &Command, flag: &str) -> String {
    let meant =
        if command.usage.contains(" -- ") { "; a command's own flags stand behind --" } else { "" };
    format!("{} has no flag '{flag}'{meant}; {}", command.name, see(command))
}

fn see(command: &Command) -> String {
    format!("see 'waitcopy {} --help'", command.name)
}

/// `waitcopy --help`.
pub(super) fn overview(commands: &[Command]) -> String {
    let mut text = String::from(
        "waitcopy: every Unix I/O model as a real server, with the two phases of each I/O in sight\n\n",
    );
    for command in commands {
        let usage = format!("waitcopy {} {}", command.name, command.usage);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {usage:<40} {}", command.about);
    }
    let _ = writeln!(
        text,
        "  {:<40} the version\n\nEach command explains itself with --help. ADDR is {DEFAULT_ADDRESS} unless given.\n\
         Exit status: 0 done, 1 a check or host failed, 2 wrong usage, 69 not available here, 78 bad configuration.",
        "waitcopy --version"
    );
    text
}

/// `waitcopy COMMAND --help`.
pub(super) fn help(command: &Command) -> String {
    let mut text = format!("waitcopy {} {}\n{}\n", command.name, command.usage, command.about);
    if !command.verbs.is_empty() {
        text.push('\n');
    }
    for verb in command.verbs {
        let usage = format!("{} {}", verb.verb_name(), verb.usage);
        let _ = writeln!(text, "  {usage:<38} {}", verb.about);
    }
    // Where one flag has a letter, the others stand in line with its name.
    let letters = command.flags().any(|flag| flag.short.is_some());
    for group in command.flags {
        text.push('\n');
        for flag in *group {
            let letter = match flag.short {
                Some(letter) => format!("-{letter}, "),
                None if letters => "    ".to_owned(),
                None => String::new(),
            };
            let name = match flag.value {
                Some(value) => format!("{letter}--{} {value}", flag.name),
                None => format!("{letter}--{}", flag.name),
            };
            let _ = writeln!(text, "  {name:<28} {}", flag.help);
        }
    }
    if command.flags().any(|flag| flag.value == Some("DURATION")) {
        let _ = writeln!(text, "\n{DURATION}");
    }
    if !command.notes.is_empty() {
        let _ = writeln!(text, "\n{}", command.notes);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Parsed, parse};
    use crate::cli::table::COMMANDS;
    use std::time::Duration;

    fn serve(arguments: &[&str]) -> Result<Parsed, String> {
        parse(&COMMANDS[0], arguments.iter().map(Into::into))
    }

    #[test]
    fn values_are_read_in_every_usual_form() {
        let parsed = serve(&["epoll", "--listen=[::1]:0", "--drain", "1.5s", "--phases"]).unwrap();
        assert_eq!(parsed.texts(), Ok(vec!["epoll"]));
        assert_eq!(parsed.value("listen"), Some("[::1]:0"));
        assert_eq!(parsed.duration("drain"), Ok(Some(Duration::from_millis(1500))));
        assert!(parsed.has("phases") && !parsed.has("report"));
    }

    #[test]
    fn a_letter_stands_for_its_flag() {
        let load = COMMANDS.iter().find(|command| command.name == "load").unwrap();
        let parsed = parse(load, ["-c10", "-s", "100", "-n=7"].iter().map(Into::into)).unwrap();
        assert_eq!(parsed.number("connections", 1), Ok(Some(10)));
        assert_eq!(parsed.value("size"), Some("100"));
        assert_eq!(parsed.value("count"), Some("7"));
        let wrong = parse(load, ["-d"].iter().map(Into::into)).unwrap_err();
        assert_eq!(wrong, "--duration wants a value: --duration DURATION");
        assert!(parse(load, ["-x"].iter().map(Into::into)).is_err());
    }

    #[test]
    fn what_the_table_does_not_know_is_refused() {
        for wrong in [&["--nope"][..], &["-x"], &["a", "b"], &["--listen"], &["--phases=1"]] {
            assert!(serve(wrong).is_err(), "{wrong:?}");
        }
        for time in ["10", "0s", "-1s", "nans", "infs", "s", "1e30m"] {
            assert!(serve(&["--drain", time]).unwrap().duration("drain").is_err(), "{time}");
        }
        for time in ["0s", "0us", "0.0001us", "-0m"] {
            let parsed = serve(&["--drain", time]).unwrap();
            let said = format!("--drain {time}: a time of more than zero is expected");
            assert_eq!(parsed.duration("drain"), Err(said));
            assert_eq!(parsed.duration_or_none("drain"), Ok(Some(Duration::ZERO)));
        }
        assert!(serve(&["--buffer", "0"]).unwrap().number("buffer", 1).is_err());
    }
}
