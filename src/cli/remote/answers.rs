//! What a person has answered, for the further sessions of the same copy: nobody is asked twice.

use crate::remote::Ask;
use crate::remote::secret::Secret;
use crate::sys::ssh::Prompt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was asked; by whom, since the hosts on the way ask for the same things.
type Question = (String, String);

/// Answers, while there will be further sessions.
#[derive(Clone, Default)]
pub(super) struct Answers(Option<Arc<Mutex<Kept>>>);

#[derive(Default)]
struct Kept {
    /// The password that came by a descriptor.
    given: Option<Secret>,
    /// The last answer to each question.
    answers: Vec<(Question, Secret)>,
}

impl Answers {
    /// Answers are kept: they will be needed again.
    pub(super) fn kept() -> Self {
        Self(Some(Arc::default()))
    }

    fn lock(&self) -> Option<MutexGuard<'_, Kept>> {
        // Whoever panicked has left whole answers.
        self.0.as_ref().map(|kept| kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps the password that came by a descriptor.
    pub(super) fn give(&self, password: &Secret) {
        if let Some(mut kept) = self.lock() {
            kept.given = Some(password.duplicate());
        }
    }

    /// The password that came by a descriptor.
    pub(super) fn given(&self) -> Option<Secret> {
        self.lock()?.given.as_ref().map(Secret::duplicate)
    }

    /// Has a person asked on behalf of that host, and keeps the answers.
    pub(super) fn heard<P: Ask + 'static>(&self, person: P, host: String) -> impl Ask + use<P> {
        Heard { person, host, answers: self.clone() }
    }

    /// Answers that host by what was kept, each question once: what was wrong then would be so again.
    pub(super) fn repeated(&self, host: String) -> impl Ask + use<> {
        Repeated { host, answers: self.clone(), said: Vec::new() }
    }

    fn keep(&self, question: Question, answer: &Secret) {
        if let Some(mut kept) = self.lock() {
            kept.answers.retain(|(known, _)| *known != question);
            kept.answers.push((question, answer.duplicate()));
        }
    }
}

/// For the passphrase of a key file.
fn passphrase(host: &str, file: &Path) -> Question {
    (host.to_owned(), format!("passphrase of {}", file.display()))
}

/// For the password, by the method of this name.
fn password(host: &str) -> Question {
    (host.to_owned(), "password".to_owned())
}

/// What the server asks itself, when it is one thing and hidden. `None`: several at once, or one whose answer may be seen, are no password. A
/// code that is good for one login could be among them.
fn hidden(host: &str, prompts: &[Prompt]) -> Option<Question> {
    match prompts {
        [Prompt { echo: false, text }] => Some((host.to_owned(), format!("asked: {text}"))),
        _ => None,
    }
}

struct Heard<P> {
    person: P,
    host: String,
    answers: Answers,
}

impl<P> Heard<P> {
    fn keep(&self, question: Question, answer: Option<Secret>) -> Option<Secret> {
        answer.inspect(|answer| self.answers.keep(question, answer))
    }
}

impl<P: Ask> Ask for Heard<P> {
    fn passphrase(&mut self, file: &Path) -> Option<Secret> {
        let answer = self.person.passphrase(file);
        self.keep(passphrase(&self.host, file), answer)
    }

    fn password(&mut self, user: &str, host: &str, attempt: usize) -> Option<Secret> {
        let answer = self.person.password(user, host, attempt);
        self.keep(password(&self.host), answer)
    }

    fn answers(
        &mut self,
        name: &str,
        instruction: &str,
        prompts: &[Prompt],
    ) -> Option<Vec<Secret>> {
        let answers = self.person.answers(name, instruction, prompts)?;
        if let (Some(question), [answer]) = (hidden(&self.host, prompts), &answers[..]) {
            self.answers.keep(question, answer);
        }
        Some(answers)
    }
}

struct Repeated {
    host: String,
    answers: Answers,
    said: Vec<Question>,
}

impl Repeated {
    fn answer(&mut self, question: Question) -> Option<Secret> {
        if self.said.contains(&question) {
            return None;
        }
        let kept = self.answers.lock()?;
        let answer = kept.answers.iter().find(|(known, _)| *known == question);
        let answer = answer.map(|(_, answer)| answer.duplicate());
        drop(kept);
        self.said.push(question);
        answer
    }
}

impl Ask for Repeated {
    fn passphrase(&mut self, file: &Path) -> Option<Secret> {
        self.answer(passphrase(&self.host, file))
    }

    fn password(&mut self, _: &str, _: &str, _: usize) -> Option<Secret> {
        self.answer(password(&self.host))
    }

    fn answers(&mut self, _: &str, _: &str, prompts: &[Prompt]) -> Option<Vec<Secret>> {
        // It has something to say, which the first session has shown.
        if prompts.is_empty() {
            return Some(Vec::new());
        }
        Some(vec![self.answer(hidden(&self.host, prompts)?)?])
    }
}
