//! Floor 5: the command line. One file per command; `table.rs` is what the parser and the help of `flags.rs` are made from.

mod claims;
mod client;
mod compare;
mod doctor;
mod draw;
mod flags;
mod inspect;
mod load;
mod models;
mod output;
#[cfg(feature = "remote")]
mod remote;
mod serve;
mod table;
mod verbs;

use crate::failure::Failure;
use crate::lab::kernel::Trouble;
use crate::model::{CATALOGUE, Model};
use crate::net::{AddressError, Transport};
use flags::{Command, Parsed};
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use table::COMMANDS;

/// An end that is not success: what to say, and the exit status.
#[derive(Debug)]
struct Exit {
    code: u8,
    message: String,
}

impl Exit {
    /// It ran, and a check, host or threshold failed.
    fn failed(message: impl Display) -> Self {
        Self { code: 1, message: message.to_string() }
    }

    /// Wrong usage.
    fn usage(message: impl Display) -> Self {
        Self { code: 2, message: message.to_string() }
    }

    /// Not available here.
    fn unavailable(message: impl Display) -> Self {
        Self { code: 69, message: message.to_string() }
    }

    /// Bad configuration.
    fn config(message: impl Display) -> Self {
        Self { code: 78, message: message.to_string() }
    }
}

impl From<Failure> for Exit {
    fn from(failure: Failure) -> Self {
        Self::failed(failure)
    }
}

/// Why a run of a model with the kernel watching has no result.
fn of_kernel(trouble: Trouble, model: &Model) -> Exit {
    match trouble {
        Trouble::Refused(refused) => Exit::unavailable(format!("--kernel: {refused}")),
        Trouble::Failed(said) => Exit::failed(format!("{}: {said}", model.name)),
    }
}

impl From<AddressError> for Exit {
    fn from(error: AddressError) -> Self {
        match error {
            AddressError::Malformed(text) => Self::usage(text),
            AddressError::Unknown(text) => Self::failed(text),
        }
    }
}

/// Standard output is gone: nobody listens, so there is nothing left to do or to say.
impl From<io::Error> for Exit {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self { code: 0, message: String::new() }
        } else {
            Self::failed(format!("standard output: {}", crate::sys::describe(&error)))
        }
    }
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let Err(exit) = run() else { return ExitCode::SUCCESS };
    if !exit.message.is_empty() {
        // If standard error is gone as well, the status has to do.
        let _ = writeln!(io::stderr(), "waitcopy: {}", exit.message);
    }
    ExitCode::from(exit.code)
}

fn run() -> Result<(), Exit> {
    let mut arguments = std::env::args_os().skip(1).peekable();
    let name = arguments.next().map(|name| name.to_string_lossy().into_owned());
    match name.as_deref() {
        Some("--version" | "-V") => print(format_args!("waitcopy {}\n", env!("CARGO_PKG_VERSION"))),
        Some("--help" | "-h" | "help") => print(flags::overview(COMMANDS)),
        Some(name) => {
            let command = COMMANDS.iter().find(|command| command.name == name);
            let command = command.ok_or_else(|| unknown(name))?;
            if command.verbs.is_empty() {
                obey(command, arguments)
            } else {
                verb(command, arguments)
            }
        }
        None => {
            Err(Exit::usage(format!("which command?\n\n{}", flags::overview(COMMANDS).trim_end())))
        }
    }
}

/// A command that has verbs.
fn verb(
    command: &'static Command,
    mut arguments: impl Iterator<Item = OsString>,
) -> Result<(), Exit> {
    let name = arguments.next().map(|name| name.to_string_lossy().into_owned());
    let verbs = || command.verbs.iter().map(Command::verb_name).collect::<Vec<_>>().join(", ");
    match name.as_deref() {
        Some("--help" | "-h") => print(flags::help(command)),
        Some(name) => match command.verb(name) {
            Some(verb) => obey(verb, arguments),
            None => Err(Exit::usage(format!(
                "{} has no verb '{name}'; there are {}",
                command.name,
                verbs()
            ))),
        },
        None => Err(Exit::usage(format!("{}: which verb? there are {}", command.name, verbs()))),
    }
}

fn obey(command: &'static Command, arguments: impl Iterator<Item = OsString>) -> Result<(), Exit> {
    let parsed = flags::parse(command, arguments).map_err(Exit::usage)?;
    if parsed.has("help") { print(flags::help(command)) } else { dispatch(command, &parsed) }
}

fn dispatch(command: &Command, parsed: &Parsed) -> Result<(), Exit> {
    match command.name {
        "serve" => serve::run(parsed),
        "client" => client::run(parsed),
        "load" => load::run(parsed),
        "compare" => compare::run(parsed),
        "claims" => claims::run(parsed),
        "draw" => draw::run(parsed),
        "inspect" => inspect::run(parsed),
        "models" => models::run(parsed),
        "doctor" => doctor::run(parsed),
        #[cfg(feature = "remote")]
        verb if verb.starts_with("remote ") => remote::run(command, parsed),
        #[cfg(not(feature = "remote"))]
        verb if verb.starts_with("remote ") => Err(Exit {
            code: 69,
            message: "remote: not built in: build with the feature remote, which is on by default and needs a C \
                      compiler and OpenSSL's headers (Debian: libssl-dev pkg-config); --features vendored-openssl \
                      builds OpenSSL along"
                .to_owned(),
        }),
        other => unreachable!("the table has a command '{other}' that nobody runs"),
    }
}

/// The models of the catalogue that this machine can run so; of the others it is said why not.
fn available(transport: Transport) -> Vec<&'static Model> {
    let runs = |model: &&Model| {
        let why = model.available(transport).err();
        if let Some(why) = &why {
            // What cannot be said is not missed.
            let _ = writeln!(io::stderr(), "waitcopy: {} left out: {why}", model.name);
        }
        why.is_none()
    };
    CATALOGUE.iter().filter(runs).collect()
}

/// Refuses a model that this machine cannot run so.
fn must_run(model: &Model, transport: Transport) -> Result<(), Exit> {
    model.available(transport).map_err(|why| Exit::unavailable(format!("{}: {why}", model.name)))
}

fn unknown(name: &str) -> Exit {
    let commands: Vec<_> = COMMANDS.iter().map(|command| command.name).collect();
    Exit::usage(format!("no command '{name}'; there are {}", commands.join(", ")))
}

/// Where a long command stands: on a terminal one line that is written over, elsewhere a line a step.
struct Progress {
    terminal: bool,
}

impl Progress {
    fn new() -> Self {
        Self { terminal: io::stderr().is_terminal() }
    }

    /// Progress that cannot be shown is not missed.
    fn say(&self, step: &str) {
        let (begin, end) = if self.terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        let _ = write!(io::stderr(), "{begin}{step}{end}");
    }

    /// Takes the line away.
    fn clear(&self) {
        if self.terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// Whether the locale's characters are Unicode; what decides is as in setlocale(3).
fn utf8() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
    locale.to_string_lossy().to_lowercase().replace('-', "").contains("utf8")
}

/// Prints a result.
fn print(text: impl Display) -> Result<(), Exit> {
    let mut out = io::stdout().lock();
    write!(out, "{text}")?;
    out.flush()?;
    Ok(())
}
