//! `remote shell`: a terminal there on the terminal here.

use super::exec::{told, variables};
use super::terminal::{self, Raw};
use super::{Done, First, Trouble, first};
use crate::cli::Exit;
use crate::cli::flags::Parsed;
use crate::remote::{Descriptor, Input, Session};
use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, Write};
use std::task::{Poll, Waker};

/// How the shell is to be started.
pub(super) struct Plan {
    environment: Vec<(String, String)>,
    escapes: bool,
}

impl Plan {
    pub(super) fn of(parsed: &Parsed) -> Result<Self, Exit> {
        if let Some(operand) = parsed.operands.get(1) {
            let operand = operand.to_string_lossy();
            return Err(Exit::usage(format!(
                "'{}' is one argument too many: a command is run by 'remote exec'",
                operand.escape_debug()
            )));
        }
        if terminal::like_ours().is_none() {
            return Err(Exit::usage(
                "remote shell: standard input is no terminal; a command is run by 'remote exec'",
            ));
        }
        Ok(Self { environment: variables(parsed)?, escapes: !parsed.has("no-escape") })
    }

    pub(super) async fn run(&self, ssh: &Session) -> Result<Done, Trouble> {
        let reactor = ssh.reactor();
        // First the ear for changes of size, then the size.
        let raw = Raw::prepare(reactor)?;
        let Some(like) = terminal::like_ours() else {
            return Err(Exit::usage("remote shell: standard input is no terminal any more").into());
        };
        let (columns, rows) = like.window.size();
        let mut shell = ssh.shell().pty(like.term, columns, rows);
        shell = shell.modes(like.modes).window(&like.window).on_start(|| raw.begin());
        for (name, value) in &self.environment {
            shell = shell.env(name, value.as_bytes());
        }
        let ending = Ending::default();
        let mut input = Typed {
            keys: Descriptor::new(reactor, io::stdin()).map_err(Exit::from)?,
            escapes: Escapes { begins: true, tilde: false, on: self.escapes },
            typed: Vec::new(),
            ending: &ending,
        };
        let mut out = Descriptor::new(reactor, io::stdout()).map_err(Exit::from)?;
        let mut err = Descriptor::new(reactor, io::stderr()).map_err(Exit::from)?;
        let running = first(shell.run(&mut input, &mut out, &mut err), raw.follow(&like.window));
        let ended = first(running, ending.comes()).await;
        // Before anything is said.
        drop(raw);
        match ended {
            First::Left(First::Left(ended)) => Ok(told(&ended?, &[], &[])),
            First::Left(First::Right(failure)) => Err(failure.into()),
            First::Right(()) => {
                // The line that was being typed stays as it is.
                let _ = io::stderr().write_all(b"\n");
                let message = format!("left {} by ~.", ssh.about().host);
                Ok(Done { status: 255, message, ..Done::well(crate::json::Value::Null) })
            }
        }
    }
}

/// Somebody has typed `~.`.
#[derive(Default)]
struct Ending {
    asked: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Ending {
    fn ask(&self) {
        self.asked.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    async fn comes(&self) {
        poll_fn(|cx| {
            if self.asked.get() {
                return Poll::Ready(());
            }
            self.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

/// What is typed, without what is meant for us.
struct Typed<'a> {
    keys: Descriptor<io::Stdin>,
    escapes: Escapes,
    /// Not given on yet.
    typed: Vec<u8>,
    ending: &'a Ending,
}

impl Input for Typed<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.typed.is_empty() {
            let n = self.keys.read(buffer).await?;
            terminal::take_back();
            if n == 0 {
                return Ok(0);
            }
            for &byte in &buffer[..n] {
                match self.escapes.key(byte, &mut self.typed) {
                    None => {}
                    Some(Asked::End) => self.ending.ask(),
                    Some(Asked::Suspend) => terminal::suspend(),
                    // If standard error is gone, nobody reads it.
                    Some(Asked::Help) => drop(io::stderr().write_all(HELP)),
                }
            }
        }
        let n = self.typed.len().min(buffer.len());
        self.typed.drain(..n).zip(buffer).for_each(|(byte, place)| *place = byte);
        Ok(n)
    }
}

const HELP: &[u8] = b"~?\r\n\
    At the beginning of a line:\r\n  \
    ~.   leave, whatever the other side does\r\n  \
    ~^Z  stop here; 'fg' goes on\r\n  \
    ~~   a tilde\r\n  \
    ~?   this\r\n";

/// What somebody wants of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    End,
    Suspend,
    Help,
}

/// Finds what is meant for us: as in ssh(1), a tilde at the beginning of a line and the key after it.
struct Escapes {
    begins: bool,
    tilde: bool,
    on: bool,
}

impl Escapes {
    /// One key: what goes on is appended.
    fn key(&mut self, byte: u8, on: &mut Vec<u8>) -> Option<Asked> {
        if std::mem::take(&mut self.tilde) {
            self.begins = true;
            match byte {
                b'.' => return Some(Asked::End),
                0x1a => return Some(Asked::Suspend),
                b'?' => return Some(Asked::Help),
                b'~' => {}
                _ => on.push(b'~'),
            }
        } else if self.on && self.begins && byte == b'~' {
            self.tilde = true;
            return None;
        }
        self.begins = matches!(byte, b'\r' | b'\n');
        on.push(byte);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Asked, Escapes};

    fn typed(keys: &[u8], on: bool) -> (Vec<u8>, Vec<Asked>) {
        let mut escapes = Escapes { begins: true, tilde: false, on };
        let mut sent = Vec::new();
        let asked = keys.iter().filter_map(|&key| escapes.key(key, &mut sent)).collect();
        (sent, asked)
    }

    #[test]
    fn a_tilde_counts_at_the_beginning_of_a_line() {
        for (keys, sent, asked) in [
            (&b"~."[..], &b""[..], &[Asked::End][..]),
            (b"ls ~.\r", b"ls ~.\r", &[]),
            (b"ls\r~.", b"ls\r", &[Asked::End]),
            (b"\n~?~.", b"\n", &[Asked::Help, Asked::End]),
            (b"~~.", b"~.", &[]),
            (b"~~~.", b"~~.", &[]),
            (b"~/x\r", b"~/x\r", &[]),
            (b"~\r~.", b"~\r", &[Asked::End]),
            (b"~\x1aa", b"a", &[Asked::Suspend]),
            (b"\xc3\xbc~.\r", b"\xc3\xbc~.\r", &[]),
        ] {
            assert_eq!(typed(keys, true), (sent.to_vec(), asked.to_vec()), "{keys:?}");
        }
        assert_eq!(typed(b"~.\r~?", false), (b"~.\r~?".to_vec(), vec![]));
    }
}
