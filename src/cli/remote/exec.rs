//! `remote exec`: a command there, its three streams joined to ours.

use super::show::json;
use super::terminal::{self, Raw};
use super::{Done, First, Trouble, first};
use crate::cli::Exit;
use crate::cli::flags::Parsed;
use crate::json::Value;
use crate::remote::{self, Descriptor, Ended, Input, Session, Window};
use crate::sys;
use std::io;
use std::os::unix::ffi::OsStrExt;

/// What is to be run, and how.
pub(super) struct Plan {
    command: Vec<u8>,
    environment: Vec<(String, String)>,
    pty: bool,
    input: bool,
    json: bool,
}

/// Our standard input, or none.
enum Stdin {
    Ours(Descriptor<io::Stdin>),
    None,
}

impl Input for Stdin {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Ours(stdin) => {
                let read = stdin.read(buffer).await;
                terminal::take_back();
                read
            }
            Self::None => Ok(0),
        }
    }
}

impl Plan {
    pub(super) fn of(parsed: &Parsed) -> Result<Self, Exit> {
        let words = parsed.operands.get(1..).unwrap_or_default();
        if words.is_empty() {
            return Err(Exit::usage("remote exec: which command? exec HOST -- CMD..."));
        }
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        Ok(Self {
            command: words.join(&b' '),
            environment: variables(parsed)?,
            pty: parsed.has("pty"),
            input: !parsed.has("no-input"),
            json: parsed.has("json"),
        })
    }

    pub(super) async fn run(&self, ssh: &Session) -> Result<Done, Trouble> {
        let reactor = ssh.reactor();
        // A terminal there is ours here, if we have one and its keys are to go there.
        let ours = self.pty && self.input && !self.json && terminal::like_ours().is_some();
        // First the ear for changes of size, then the size.
        let raw = if ours { Some(Raw::prepare(reactor)?) } else { None };
        let like = raw.as_ref().and_then(|raw| Some((raw, terminal::like_ours()?)));
        let mut exec = ssh.exec(self.command.as_slice());
        for (name, value) in &self.environment {
            exec = exec.env(name, value.as_bytes());
        }
        let mut window = None;
        if let Some((raw, like)) = like {
            let (columns, rows) = like.window.size();
            window = Some((raw, like.window.clone()));
            exec = exec.pty(like.term, columns, rows).modes(like.modes).window(&like.window);
            exec = exec.on_start(|| raw.begin());
        } else if self.pty {
            let (columns, rows) = sys::window_size(io::stdin()).unwrap_or((80, 24));
            let term = std::env::var("TERM").unwrap_or_else(|_| "dumb".into());
            exec = exec.pty(term, columns, rows);
        }
        let mut input = if self.input {
            Stdin::Ours(Descriptor::new(reactor, io::stdin()).map_err(Exit::from)?)
        } else {
            Stdin::None
        };
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let ended = if self.json {
            exec.run(&mut input, &mut stdout, &mut stderr).await?
        } else {
            let mut out = Descriptor::new(reactor, io::stdout()).map_err(Exit::from)?;
            let mut err = Descriptor::new(reactor, io::stderr()).map_err(Exit::from)?;
            let running = exec.run(&mut input, &mut out, &mut err);
            followed(running, window.as_ref()).await?
        };
        // Before anything is said.
        drop(raw);
        Ok(told(&ended, &stdout, &stderr))
    }
}

/// What runs, with the terminal's size followed meanwhile.
async fn followed(
    running: impl Future<Output = Result<Ended, remote::Error>>,
    raw: Option<&(&Raw, Window)>,
) -> Result<Ended, Trouble> {
    let Some((raw, window)) = raw else { return Ok(running.await?) };
    match first(running, raw.follow(window)).await {
        First::Left(done) => Ok(done?),
        First::Right(failure) => Err(failure.into()),
    }
}

/// The variables to set there.
pub(super) fn variables(parsed: &Parsed) -> Result<Vec<(String, String)>, Exit> {
    let variable = |text: &str| {
        let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty())?;
        Some((name.to_owned(), value.to_owned()))
    };
    let all = parsed.values("env").map(|text| {
        variable(text).ok_or_else(|| Exit::usage(format!("--env {text}: NAME=VALUE is expected")))
    });
    all.collect()
}

pub(super) fn told(Ended { exit, refused }: &Ended, stdout: &[u8], stderr: &[u8]) -> Done {
    for name in refused {
        super::warn(&format!(
            "the server did not take the variable {name} (AcceptEnv of sshd_config(5))"
        ));
    }
    let (status, message, shown) = match exit {
        remote::Exit::Status(status) => {
            (*status as u8, String::new(), Value::object([("status", u64::from(*status).into())]))
        }
        remote::Exit::Signal(name) => (
            sys::signal_number(name).map_or(255, |number| 128 + number as u8),
            format!("the command was ended by SIG{}", super::Shown(name)),
            Value::object([("signal", name.as_str().into())]),
        ),
        remote::Exit::Unknown => {
            (255, "the server closed the channel and told no exit status".to_owned(), Value::Null)
        }
    };
    let refused: Vec<Value> = refused.iter().map(|name| name.as_str().into()).collect();
    let result = Value::object([
        ("exit", shown),
        ("stdout", json(stdout)),
        ("stderr", json(stderr)),
        ("env_refused", Value::List(refused)),
    ]);
    Done { result, status, message }
}
