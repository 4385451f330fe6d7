//! How a person is asked: on the terminal, or by the program that `SSH_ASKPASS` names (ssh(1)).

use super::interrupt;
use super::show::Shown;
use crate::remote::Ask;
use crate::remote::secret::Secret;
use crate::sys::ssh::Prompt;
use crate::sys::{self, Termios};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};

/// Bytes of an answer at most, as OpenSSH reads them.
const LONGEST: usize = 1024;

/// A person within reach.
#[derive(Debug)]
pub(super) enum Person {
    /// At this terminal: standard input and output may be pipes.
    Terminal(File),
    /// Before a window that this program opens.
    Askpass(OsString),
}

impl Person {
    /// `SSH_ASKPASS_REQUIRE` is `force` and `prefer` (the program), `never` (the terminal), or not set: the terminal where
    /// there is one.
    pub(super) fn find() -> Option<Self> {
        let askpass = || std::env::var_os("SSH_ASKPASS").filter(|program| !program.is_empty());
        let require = std::env::var("SSH_ASKPASS_REQUIRE").unwrap_or_default();
        if matches!(require.as_str(), "force" | "prefer") {
            if let Some(program) = askpass() {
                return Some(Self::Askpass(program));
            }
        }
        let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty");
        match terminal {
            Ok(terminal) => Some(Self::Terminal(terminal)),
            Err(_) if require == "never" => None,
            Err(_) => askpass().map(Self::Askpass),
        }
    }

    /// Asks one thing; `None`: no answer.
    fn asked(&mut self, question: &str, echo: bool) -> Option<Secret> {
        match self {
            Self::Terminal(terminal) => typed(terminal, question, echo),
            Self::Askpass(program) => {
                // The question is an argument, as for OpenSSH; the answer never is.
                let mut command = Command::new(program);
                let mut child = command.arg(question).stdout(Stdio::piped()).spawn().ok()?;
                let answer = child.stdout.as_ref().and_then(first_line);
                if interrupt::came().is_some() {
                    // ESRCH: it has ended by itself.
                    let _ = child.kill();
                }
                let ended = child.wait().ok()?;
                answer.filter(|_| ended.success())
            }
        }
    }
}

/// Puts a terminal back into its modes when the question is over, also where a signal that would end us has broken it off. A stop (^Z)
/// leaves it as it is.
struct Restore<'a>(&'a File, Termios);

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        // EIO: the terminal is gone, and its modes with it.
        let _ = sys::tcsetattr(self.0, &self.1);
    }
}

/// A line typed at a terminal. A signal that asks us to end is no answer.
fn typed(terminal: &mut File, question: &str, echo: bool) -> Option<Secret> {
    let before = sys::tcgetattr(&*terminal).ok()?;
    let hidden = if echo { None } else { Some(sys::tcsetattr(&*terminal, &before.hidden()).ok()?) };
    let shown = terminal.write_all(question.as_bytes());
    let terminal = &*terminal;
    // Whatever comes, the terminal shows again what is typed.
    let _restore = hidden.map(|()| Restore(terminal, before));
    shown.ok()?;
    first_line(terminal)
}

/// The first line in a descriptor, without its newline, and no byte beyond it is taken; `None`: an end or a failure before
/// anything came, a line that is too long, or a signal that asks us to end.
pub(super) fn first_line(fd: impl AsFd) -> Option<Secret> {
    let mut line = Secret::with_capacity(LONGEST);
    let mut byte = [0];
    loop {
        match interrupt::readable(&fd).and_then(|()| sys::read(&fd, &mut byte)) {
            Ok(0) if line.is_empty() => return None,
            Ok(0) => return Some(line),
            Ok(_) if byte[0] == b'\n' => return Some(line),
            Ok(_) => line.push(byte[0]).ok()?,
            // Somebody else was faster, or a signal that means nothing: readable() looks again.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error)
                if error.kind() == io::ErrorKind::Interrupted && interrupt::came().is_none() => {}
            Err(_) => return None,
        }
    }
}

impl Ask for Person {
    fn passphrase(&mut self, file: &Path) -> Option<Secret> {
        let file = file.to_string_lossy();
        self.asked(&format!("Enter passphrase for key '{}': ", Shown(&file)), false)
    }

    fn password(&mut self, user: &str, host: &str, attempt: usize) -> Option<Secret> {
        let again = if attempt > 0 { "Permission denied, please try again. " } else { "" };
        self.asked(&format!("{again}{user}@{host}'s password: "), false)
    }

    fn answers(
        &mut self,
        name: &str,
        instruction: &str,
        prompts: &[Prompt],
    ) -> Option<Vec<Secret>> {
        if let Self::Terminal(terminal) = self {
            for text in [name, instruction].into_iter().filter(|text| !text.is_empty()) {
                // What cannot be shown is not missed: the question follows.
                let _ = writeln!(terminal, "{}", Shown(text));
            }
        }
        prompts
            .iter()
            .map(|prompt| self.asked(&Shown(&prompt.text).to_string(), prompt.echo))
            .collect()
    }
}
