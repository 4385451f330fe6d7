//! `--parallel`: further sessions for the same copy.

use super::answers::Answers;
use super::login;
use crate::cli::Exit;
use crate::cli::flags::Parsed;
use crate::remote::{Client, Error};
use std::sync::Arc;

/// Sessions of one command at most: servers let some ten log in at a time (`MaxStartups`).
const SESSIONS: usize = 8;

/// How many sessions besides the first, and what they log in by.
pub(super) struct Parallel {
    pub(super) further: usize,
    host: String,
    parsed: Arc<Parsed>,
    answers: Answers,
}

impl Parallel {
    /// `None`: one session is all.
    pub(super) fn of(parsed: &Parsed) -> Result<Option<Self>, Exit> {
        let Some(sessions) = parsed.number("parallel", 1).map_err(Exit::usage)? else {
            return Ok(None);
        };
        if sessions > SESSIONS {
            return Err(Exit::usage(format!("--parallel {sessions}: {SESSIONS} at most")));
        }
        let refused =
            |flag: &str, why: &str| Err(Exit::usage(format!("--parallel and --{flag}: {why}")));
        if parsed.has("resume") && !parsed.has("recursive") {
            return refused("resume", "a partial of several sessions has holes");
        }
        if parsed.has("in-place") {
            return refused("in-place", "several sessions write a hidden file");
        }
        let host = parsed.operands.first().and_then(|host| host.to_str()).unwrap_or_default();
        let (host, parsed) = (host.to_owned(), Arc::new(parsed.clone()));
        // Nobody else, nothing to be said again.
        let answers = if sessions > 1 { Answers::kept() } else { Answers::default() };
        Ok(Some(Self { further: sessions - 1, host, parsed, answers }))
    }

    /// How each of them logs in.
    pub(super) fn client(&self) -> impl Fn() -> Result<Client, Error> + Send + Sync + use<> {
        let (host, parsed) = (self.host.clone(), Arc::clone(&self.parsed));
        let answers = self.answers.clone();
        move || login::further_client(&parsed, &host, &answers)
    }

    /// Where answers go that they need as well.
    pub(super) fn answers(&self) -> Answers {
        self.answers.clone()
    }
}
