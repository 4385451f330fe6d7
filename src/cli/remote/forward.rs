//! `remote forward`: ports here and there, a SOCKS proxy, or one connection on standard input and output.

use super::{Done, Trouble, warn};
use crate::cli::flags::Parsed;
use crate::cli::{Exit, print};
use crate::json::Value;
use crate::phase::Size;
use crate::remote::forward::{Carried, Counts, Forwards, Listen, Outlet, Place, listen_and_place};
use crate::remote::{Descriptor, Session, Sink};
use crate::sys::{self, Shutdown};
use std::fs::OpenOptions;
use std::io::{self, Write};

/// What is to be forwarded.
pub(super) struct Plan {
    local: Vec<(Listen, Place)>,
    remote: Vec<(Listen, Place)>,
    dynamic: Vec<Listen>,
    stdio: Option<Place>,
    json: bool,
}

impl Plan {
    pub(super) fn of(parsed: &Parsed) -> Result<Self, Exit> {
        let wrong = |flag: &str, text: &str, what: &str| {
            Exit::usage(format!("--{flag} {}: {what}", text.escape_debug()))
        };
        let pairs = |flag| {
            let pair = |text| listen_and_place(text).map_err(|what| wrong(flag, text, what));
            parsed.values(flag).map(pair).collect::<Result<Vec<_>, _>>()
        };
        let listen = |text: &str| text.parse().map_err(|what| wrong("dynamic", text, what));
        let place = |text: &str| text.parse().map_err(|what| wrong("stdio", text, what));
        let plan = Self {
            local: pairs("local")?,
            remote: pairs("remote")?,
            dynamic: parsed.values("dynamic").map(listen).collect::<Result<_, _>>()?,
            stdio: parsed.value("stdio").map(place).transpose()?,
            json: parsed.has("json"),
        };
        let ports = plan.local.len() + plan.remote.len() + plan.dynamic.len();
        if let Some(operand) = parsed.operands.get(1) {
            let operand = operand.to_string_lossy();
            return Err(Exit::usage(format!(
                "'{}' is one argument too many",
                operand.escape_debug()
            )));
        }
        match (ports, &plan.stdio) {
            (0, None) => {
                Err(Exit::usage("remote forward: what? --local, --remote, --dynamic or --stdio"))
            }
            (1.., Some(_)) => Err(Exit::usage("--stdio goes alone")),
            (_, Some(_)) if plan.json => {
                Err(Exit::usage("--stdio and --json: standard output is one of both"))
            }
            _ => Ok(plan),
        }
    }

    pub(super) async fn run(&self, ssh: &Session) -> Result<Done, Trouble> {
        let forwards = ssh.forwards().await?;
        if let Some(to) = &self.stdio {
            let reactor = ssh.reactor();
            let mut input = Descriptor::new(reactor, io::stdin()).map_err(Exit::from)?;
            let mut output = Stdout(Descriptor::new(reactor, io::stdout()).map_err(Exit::from)?);
            let Carried { there, back } = forwards.stream(to, &mut input, &mut output).await?;
            return Ok(Done::well(Value::object([("there", there.into()), ("back", back.into())])));
        }
        forwards.on_refusal(|error| warn(&error.to_string()));
        let summary = Summary { forwards: &forwards, silent: self.json };
        for (listen, to) in &self.local {
            let address = forwards.local(listen, to.clone())?;
            self.say(format_args!("listening on tcp {address} -> {to}\n"))?;
        }
        for listen in &self.dynamic {
            let address = forwards.socks(listen)?;
            self.say(format_args!("listening on tcp {address} -> SOCKS 5\n"))?;
        }
        for (listen, to) in &self.remote {
            let port = forwards.remote(listen, to.clone()).await?;
            let there = Place { host: listen.bind.clone().unwrap_or("localhost".into()), port };
            self.say(format_args!("listening there on tcp {there} -> {to}\n"))?;
        }
        let error = forwards.run().await;
        drop(summary);
        Err(error.into())
    }

    /// A readiness line; with --json standard output is the result's.
    fn say(&self, line: std::fmt::Arguments<'_>) -> Result<(), Exit> {
        if self.json {
            // If standard error is gone, nobody waits for it there.
            let _ = io::stderr().write_fmt(line);
            return Ok(());
        }
        print(line)
    }
}

/// Says at the end, whatever the end is, what has been carried.
struct Summary<'a> {
    forwards: &'a Forwards,
    silent: bool,
}

impl Drop for Summary<'_> {
    fn drop(&mut self) {
        if self.silent {
            return;
        }
        let Counts { connections, open, refused, carried } = self.forwards.counts();
        let still = if open > 0 { format!(", {open} still open") } else { String::new() };
        warn(&format!(
            "forwarded {connections} connections{still}: {} there, {} back; {refused} refused",
            Size(carried.there),
            Size(carried.back),
        ));
    }
}

/// Standard output, which others may share: its end is ours to tell and not theirs.
struct Stdout(Descriptor<io::Stdout>);

impl Sink for Stdout {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write(bytes).await
    }
}

impl Outlet for Stdout {
    fn end(&mut self) {
        // A socket has another way, and a pipe has not: its end is its close.
        if sys::shutdown(io::stdout(), Shutdown::Write).is_ok() {
            return;
        }
        if let Ok(nowhere) = OpenOptions::new().write(true).open("/dev/null") {
            // EBUSY cannot be: nobody else opens anything meanwhile.
            let _ = sys::dup3(nowhere, io::stdout());
        }
    }
}
