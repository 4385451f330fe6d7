//! Logging in: which methods, in which order, until the server is content (RFC 4252).
//!
//! The server says which methods it would take; of those that the user can serve each is tried in OpenSSH's order:
//! keys, questions and answers, password. A server may want several: a method that succeeded in part changes the list,
//! and the round begins again.

mod keys;

use super::credentials::{Ask, Credentials, PASSWORDS};
use super::error::{Error, Reason, Step};
use super::secret::Secret;
use super::transport::Transport;
use crate::reactor::{Deadline, Handle};
use crate::sys::ssh::{self, Prompt, SshError};
use std::cell::Cell;
use std::collections::HashSet;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Rounds of a server that wants several methods, at most.
const ROUNDS: usize = 5;

/// Failures that sshd bears: at the next one, its MaxAuthTries (6), it hangs up.
const FAILURES: usize = 5;

/// One login.
pub(super) struct Login<'a> {
    transport: &'a Rc<Transport>,
    credentials: &'a Credentials,
    user: &'a str,
    host: &'a str,
    patience: &'a Patience,
    /// What the server said it would take, last.
    offered: Vec<String>,
    /// What was tried and what came of it, for the message.
    tried: Vec<String>,
    /// Keys that need not be tried again.
    used: HashSet<Vec<u8>>,
    /// Failures that the server has counted.
    failures: usize,
    passwords: usize,
}

/// What came of one attempt.
enum Outcome {
    /// The user is in: by this.
    In(String),
    /// The server wants more: its list has changed.
    Partly,
    /// Not this way.
    No,
}

/// Logs in; the text is the method and credential that the server took.
pub(super) async fn log_in(
    transport: &Rc<Transport>,
    credentials: &Credentials,
    user: &str,
    host: &str,
    within: Duration,
) -> Result<String, Error> {
    let patience = Patience::new(within);
    let login = Login {
        transport,
        credentials,
        user,
        host,
        patience: &patience,
        offered: Vec::new(),
        tried: Vec::new(),
        used: HashSet::new(),
        failures: 0,
        passwords: 0,
    };
    let timed_out = || Error::timed_out(Step::Auth, format_args!("{user}@{host}"), within);
    patience.during(transport.reactor(), login.run()).await.unwrap_or_else(|| Err(timed_out()))
}

impl Login<'_> {
    async fn run(mut self) -> Result<String, Error> {
        if self.list().await? {
            return Ok("none".into());
        }
        'rounds: for _ in 0..ROUNDS {
            let methods = self.credentials.methods.iter();
            let methods: Vec<String> =
                methods.filter(|method| self.offered.contains(method)).cloned().collect();
            for method in methods {
                let outcome = match method.as_str() {
                    "publickey" => self.by_keys().await?,
                    "keyboard-interactive" => self.by_answers().await?,
                    "password" => self.by_password().await?,
                    _ => Outcome::No,
                };
                match outcome {
                    Outcome::In(by) => return Ok(by),
                    Outcome::Partly => continue 'rounds,
                    Outcome::No => {}
                }
            }
            break;
        }
        Err(self.denied())
    }

    /// Asks what the server would take. True: it has let the user in.
    async fn list(&mut self) -> Result<bool, Error> {
        let user = self.user;
        let list = |session: &ssh2::Session| ssh::userauth_list(session, user);
        let list = self.transport.exclusively(list).await?;
        let list = list.map_err(|error| self.gone("none", &error))?;
        let Some(list) = list else { return Ok(true) };
        let list = String::from_utf8_lossy(&list);
        // From the server: only what can be a method's name (RFC 4251 section 6).
        let method = |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
        self.offered = list.split(',').filter(method).map(str::to_owned).collect();
        Ok(false)
    }

    /// An attempt has come to an end that may also mean "and now the next method": libssh2 does not tell the two apart,
    /// the list does.
    async fn refused(&mut self) -> Result<Outcome, Error> {
        let before = self.offered.clone();
        if self.list().await? {
            return Ok(Outcome::In("none".into()));
        }
        // The server counts the question too: only the first one is free.
        self.failures += 1;
        if self.offered == before {
            return Ok(Outcome::No);
        }
        self.failures -= 1;
        Ok(Outcome::Partly)
    }

    /// The server does not take it.
    fn failed(&mut self, what: &str) {
        self.failures += 1;
        self.tried.push(format!("{what}: not accepted"));
    }

    async fn by_password(&mut self) -> Result<Outcome, Error> {
        let given = self.credentials.password.is_some();
        while self.passwords < PASSWORDS {
            let attempt = self.passwords;
            self.passwords = if given { PASSWORDS } else { attempt + 1 };
            let asked;
            let password = match &self.credentials.password {
                Some(password) => &**password,
                None => {
                    let asked_for = self.ask(|ask| ask.password(self.user, self.host, attempt));
                    let Some(answer) = asked_for else { break };
                    asked = answer;
                    &asked
                }
            };
            let call = |session: &ssh2::Session| {
                ssh::userauth_password(session, self.user, password.expose())
            };
            let done = self.transport.exclusively(call).await?;
            let Err(error) = done else { return Ok(Outcome::In("password".into())) };
            if !error.denied() {
                return Err(self.gone("password", &error));
            }
            self.failed("password");
            match self.refused().await? {
                Outcome::No => {}
                other => return Ok(other),
            }
        }
        Ok(Outcome::No)
    }

    async fn by_answers(&mut self) -> Result<Outcome, Error> {
        const METHOD: &str = "keyboard-interactive";
        let given = self.credentials.password.is_some();
        if !given && self.credentials.ask.is_none() {
            return Ok(Outcome::No);
        }
        for _ in 0..if self.credentials.ask.is_some() { PASSWORDS } else { 1 } {
            let answered = Cell::new(false);
            let password_given = Cell::new(false);
            let mut answer = |name: &str, instruction: &str, prompts: &[Prompt]| {
                let answers = self.answer(name, instruction, prompts, &password_given);
                answered.set(answered.get() || (!prompts.is_empty() && answers.is_some()));
                // Copies of ours that libssh2 copies again; its wrapper overwrites them.
                answers.unwrap_or_default().iter().map(|a| a.expose().to_vec()).collect()
            };
            let call = |session: &ssh2::Session| {
                ssh::userauth_keyboard_interactive(session, self.user, &mut answer)
            };
            let done = self.transport.exclusively(call).await?;
            let Err(error) = done else { return Ok(Outcome::In(METHOD.into())) };
            if !error.denied() {
                return Err(self.gone(METHOD, &error));
            }
            self.failed(METHOD);
            match self.refused().await? {
                Outcome::No if answered.get() => {}
                other => return Ok(other),
            }
        }
        Ok(Outcome::No)
    }

    /// A password that is at hand answers the one hidden question; everything else a person does.
    fn answer(
        &self,
        name: &str,
        instruction: &str,
        prompts: &[Prompt],
        password_given: &Cell<bool>,
    ) -> Option<Vec<Secret>> {
        if let (Some(password), [Prompt { echo: false, .. }]) =
            (&self.credentials.password, prompts)
        {
            if !password_given.replace(true) {
                return Some(vec![password.duplicate()]);
            }
        }
        self.ask(|ask| ask.answers(name, instruction, prompts))
    }

    /// Asks a person, who may take his time.
    fn ask<T>(&self, question: impl FnOnce(&mut dyn Ask) -> Option<T>) -> Option<T> {
        let ask = self.credentials.ask.as_ref()?;
        self.patience.paused(|| question(&mut *ask.borrow_mut()))
    }

    /// A failure that ends the login.
    fn gone(&mut self, method: &str, error: &SshError) -> Error {
        const TRIES: &str = "too many tries make a server hang up (MaxAuthTries of sshd_config(5)); name the key to use";
        let error = self.transport.failed(Step::Auth, method, error);
        if error.reason() != Reason::Disconnected || self.failures == 0 {
            return error;
        }
        if self.failures < FAILURES {
            return error.hint(TRIES);
        }
        // That was one too many, and its answer.
        if method != "none" {
            self.failed(method);
        }
        self.tried.push("the server hung up".into());
        self.denied().hint(TRIES)
    }

    fn denied(&self) -> Error {
        let offered =
            if self.offered.is_empty() { "no method".into() } else { self.offered.join(", ") };
        let tried =
            if self.tried.is_empty() { "nothing to try".into() } else { self.tried.join("; ") };
        let message = format!(
            "{}@{}: permission denied; the server takes {offered}; {tried}",
            self.user, self.host
        );
        let error = Error::new(Step::Auth, Reason::Denied, message);
        match self.offered.iter().any(|method| method == "publickey") {
            _ if !self.tried.is_empty() => error,
            true => error.hint("name a key, start an agent, or give a password"),
            false => error.hint("give a password"),
        }
    }
}

/// A deadline that does not run while a person is asked.
struct Patience(Cell<Deadline>, Cell<Duration>);

impl Patience {
    fn new(within: Duration) -> Self {
        Self(Cell::new(Deadline::after(within)), Cell::new(Duration::ZERO))
    }

    fn paused<T>(&self, ask: impl FnOnce() -> T) -> T {
        let left = self.0.get().left();
        let began = Instant::now();
        let answer = ask();
        self.1.set(self.1.get() + began.elapsed());
        self.0.set(Deadline::after_or_never(left));
        answer
    }

    /// Runs a future until the deadline as it is then. `None`: it came first.
    async fn during<T>(&self, reactor: &Handle, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        loop {
            let mut late = pin!(reactor.sleep(self.0.get()));
            let first = poll_fn(|cx| match future.as_mut().poll(cx) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending => late.as_mut().poll(cx).map(|()| None),
            });
            if let Some(done) = first.await {
                return Some(done);
            }
            // It may have been put off while we waited for the old one.
            if self.0.get().passed() {
                return None;
            }
        }
    }
}
