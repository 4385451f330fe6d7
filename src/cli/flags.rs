//! The one table of commands and flags, and what is made from it: the parser and the help.

use crate::net::DEFAULT_ADDRESS;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::time::Duration;

/// A command of the program.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) name: &'static str,
    /// What follows the name: `MODEL [OPTIONS]`.
    usage: &'static str,
    about: &'static str,
    /// Positional arguments at most.
    operands: usize,
    flags: &'static [Flag],
    /// Lines under the flags.
    notes: &'static str,
}

/// A flag, with the name of its value if it takes one.
#[derive(Debug)]
struct Flag {
    name: &'static str,
    value: Option<&'static str>,
    help: &'static str,
}

const fn switch(name: &'static str, help: &'static str) -> Flag {
    Flag { name, value: None, help }
}

const fn option(name: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag { name, value: Some(value), help }
}

const UDP: Flag = switch("udp", "datagrams instead of connections");
const UNIX: Flag = option("unix", "PATH", "a Unix socket instead of TCP; @NAME is an abstract one");
const UNIXGRAM: Flag = option("unixgram", "PATH", "the same for datagrams");
const JSON: Flag = switch("json", "the result as JSON");
const DURATION: &str = "A DURATION has a unit: 250us, 10ms, 2s, 1.5s, 3m.";

/// Every command.
pub(super) static COMMANDS: [Command; 5] = [
    Command {
        name: "serve",
        usage: "MODEL [OPTIONS]",
        about: "serve the notes' protocol by one I/O model ('waitcopy models' lists them)",
        operands: 1,
        flags: &[
            option("listen", "ADDR", "where to listen; port 0 picks a free one [127.0.0.1:8080]"),
            UDP,
            UNIX,
            UNIXGRAM,
            option("service", "NAME", "what to answer: upper, echo, discard [upper]"),
            option("buffer", "N", "bytes of one receive at most [1024]"),
            option("backlog", "N", "connections that may wait to be accepted [1024]"),
            option(
                "max-connections",
                "N",
                "connections at most (reuseport: of each worker); more are refused and counted",
            ),
            option(
                "idle-timeout",
                "DURATION",
                "close a connection on which no byte moves for so long",
            ),
            option(
                "request-timeout",
                "DURATION",
                "a flow per connection: close it so long after its flow took it",
            ),
            option(
                "workers",
                "N",
                "thread-pool, prefork: flows [64]; reuseport: flows [one per core]",
            ),
            option("queue", "N", "thread-pool: clients that may wait for a worker [as workers]"),
            option(
                "when-full",
                "HOW",
                "thread-pool, queue full: wait (in the backlog) or refuse [wait]",
            ),
            option("queue-timeout", "DURATION", "thread-pool: turn away who waits for so long"),
            option("pause", "DURATION", "nonblocking only: sleep between two rounds"),
            option("drain", "DURATION", "at a stop, time for what is in flight [10s]"),
            switch("phases", "print a line per I/O: its wait, its copy"),
            option("report", "FILE", "record the phases, write the figures to FILE as JSON"),
        ],
        notes: "The first line on standard output is 'listening on tcp ADDR' (or udp ADDR, unix PATH, unixgram PATH),\n\
                once clients can connect. Not every model serves every transport: 'waitcopy models'.\n\
                SIGTERM or ^C: stop accepting, answer what was received, close, print the summary;\n\
                a second one ends at once.",
    },
    Command {
        name: "client",
        usage: "[ADDR] [OPTIONS]",
        about: "the notes' client: send lines, print the replies",
        operands: 1,
        flags: &[
            UDP,
            UNIX,
            UNIXGRAM,
            option("timeout", "DURATION", "datagrams: give up on a reply after this time [2s]"),
        ],
        notes: "ADDR may be a host name; [127.0.0.1:8080]. Blank lines are skipped; end of file ends it.\n\
                A lost datagram is said, and makes the exit status 1 at the end.",
    },
    Command {
        name: "compare",
        usage: "[MODEL...] [OPTIONS]",
        about: "run models as real servers under real clients, and print one table",
        operands: usize::MAX,
        flags: &[
            option("connections", "N,N", "how many clients, each count in turn [1,32]"),
            option("duration", "DURATION", "of each measurement of the rate [1.5s]"),
            option("size", "BYTES", "of each message [64]"),
            JSON,
        ],
        notes: "Rates are measured with the recorder off, calls and phases in a shorter second pass with it on.",
    },
    Command {
        name: "models",
        usage: "[OPTIONS]",
        about: "the catalogue: what blocks, who copies, which calls",
        operands: 0,
        flags: &[JSON, switch("names", "only the names, one a line")],
        notes: "",
    },
    Command {
        name: "doctor",
        usage: "[OPTIONS]",
        about: "what this machine can do, and what to do about what it cannot",
        operands: 0,
        flags: &[JSON],
        notes: "",
    },
];

/// What was typed, checked against the table.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    flags: Vec<(&'static str, Option<String>)>,
    pub(super) operands: Vec<String>,
}

impl Parsed {
    /// Whether a flag was given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.flags.iter().any(|(flag, _)| *flag == name)
    }

    /// The last value given to a flag.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(flag, _)| *flag == name)?.1.as_deref()
    }

    /// The value as a number.
    pub(super) fn number(&self, name: &str, least: usize) -> Result<Option<usize>, String> {
        let Some(text) = self.value(name) else { return Ok(None) };
        match text.parse() {
            Ok(n) if n >= least => Ok(Some(n)),
            _ => Err(format!("--{name} {text}: a whole number, {least} or more, is expected")),
        }
    }

    /// The value as a time.
    pub(super) fn duration(&self, name: &str) -> Result<Option<Duration>, String> {
        let Some(text) = self.value(name) else { return Ok(None) };
        let units = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0)];
        let found = units.into_iter().find_map(|(unit, seconds)| {
            let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
            // The lower bound also turns away NaN.
            (number > 0.0).then_some(Duration::try_from_secs_f64(number * seconds).ok()?)
        });
        match found {
            Some(time) if !time.is_zero() => Ok(Some(time)),
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
            Arg::Short(short) => return Err(unknown(command, &format!("-{short}"))),
            Arg::Long(name) => {
                let flag = command.flags.iter().find(|flag| flag.name == name);
                let flag = flag.ok_or_else(|| unknown(command, &format!("--{name}")))?;
                let value = match flag.value {
                    Some(what) => Some(text(parser.value().map_err(|_| {
                        format!("--{} wants a value: --{} {what}", flag.name, flag.name)
                    })?)?),
                    None => None,
                };
                parsed.flags.push((flag.name, value));
            }
            Arg::Value(operand) if parsed.operands.len() < command.operands => {
                parsed.operands.push(text(operand)?);
            }
            Arg::Value(operand) => {
                let operand = operand.to_string_lossy();
                return Err(format!("'{operand}' is one argument too many; {}", see(command)));
            }
        }
    }
    Ok(parsed)
}

fn text(argument: OsString) -> Result<String, String> {
    argument.into_string().map_err(|raw| format!("{} is not UTF-8", raw.to_string_lossy()))
}

fn unknown(command: &Command, flag: &str) -> String {
    format!("{} has no flag '{flag}'; {}", command.name, see(command))
}

fn see(command: &Command) -> String {
    format!("see 'waitcopy {} --help'", command.name)
}

/// `waitcopy --help`.
pub(super) fn overview() -> String {
    let mut text = String::from(
        "waitcopy: every Unix I/O model as a real server, with the two phases of each I/O in sight\n\n",
    );
    for command in &COMMANDS {
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
    if !command.flags.is_empty() {
        text.push('\n');
    }
    for flag in command.flags {
        let name = match flag.value {
            Some(value) => format!("--{} {value}", flag.name),
            None => format!("--{}", flag.name),
        };
        let _ = writeln!(text, "  {name:<26} {}", flag.help);
    }
    if command.flags.iter().any(|flag| flag.value == Some("DURATION")) {
        let _ = writeln!(text, "\n{DURATION}");
    }
    if !command.notes.is_empty() {
        let _ = writeln!(text, "\n{}", command.notes);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{COMMANDS, Parsed, parse};
    use std::time::Duration;

    fn serve(arguments: &[&str]) -> Result<Parsed, String> {
        parse(&COMMANDS[0], arguments.iter().map(Into::into))
    }

    #[test]
    fn values_are_read_in_every_usual_form() {
        let parsed = serve(&["epoll", "--listen=[::1]:0", "--drain", "1.5s", "--phases"]).unwrap();
        assert_eq!(parsed.operands, ["epoll"]);
        assert_eq!(parsed.value("listen"), Some("[::1]:0"));
        assert_eq!(parsed.duration("drain"), Ok(Some(Duration::from_millis(1500))));
        assert!(parsed.has("phases") && !parsed.has("report"));
    }

    #[test]
    fn what_the_table_does_not_know_is_refused() {
        for wrong in [&["--nope"][..], &["-x"], &["a", "b"], &["--listen"], &["--phases=1"]] {
            assert!(serve(wrong).is_err(), "{wrong:?}");
        }
        for time in ["10", "0s", "-1s", "nans", "infs", "s", "1e30m"] {
            assert!(serve(&["--drain", time]).unwrap().duration("drain").is_err(), "{time}");
        }
        assert!(serve(&["--buffer", "0"]).unwrap().number("buffer", 1).is_err());
    }
}
