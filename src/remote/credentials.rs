//! What a user has to log in with, and how a person is asked for the rest.

use super::config::IdentityAgent;
use super::key_file::KeyFile;
use super::secret::Secret;
use crate::sys::ssh::Prompt;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Asks a person. Each method may answer `None`: then that way is not taken. The questions of keyboard-interactive are
/// the server's words: escape them before printing.
///
/// The calls are made on the reactor's thread and hold up whatever else runs on it; the deadline of authentication does
/// not run meanwhile.
pub trait Ask {
    /// The passphrase of a key file that the server would take.
    fn passphrase(&mut self, file: &Path) -> Option<Secret> {
        let _ = file;
        None
    }

    /// The password, at the given try (from 0); not asked after [`PASSWORDS`] of them.
    fn password(&mut self, user: &str, host: &str, attempt: usize) -> Option<Secret> {
        let _ = (user, host, attempt);
        None
    }

    /// Answers to the server's questions (RFC 4256), one for each prompt; with no prompts, it only has something to say.
    fn answers(
        &mut self,
        name: &str,
        instruction: &str,
        prompts: &[Prompt],
    ) -> Option<Vec<Secret>> {
        let _ = (name, instruction, prompts);
        None
    }
}

/// How often a person is asked for a password, as in OpenSSH (`NumberOfPasswordPrompts`).
pub const PASSWORDS: usize = 3;

/// A key of the user's.
#[derive(Clone)]
pub(super) enum Key {
    /// In a file; `named`: the user asked for just this one, so it is an error when it cannot be used.
    File { path: PathBuf, named: bool },
    /// In memory.
    Memory(Rc<KeyFile>),
}

/// Everything to log in with.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) password: Option<Rc<Secret>>,
    pub(super) keys: Vec<Key>,
    /// For each encrypted key, before a person is asked.
    pub(super) passphrase: Option<Rc<Secret>>,
    pub(super) agent: IdentityAgent,
    /// Of the agent's keys only those that are named as well.
    pub(super) identities_only: bool,
    pub(super) ask: Option<Rc<RefCell<dyn Ask>>>,
    /// Methods that may be used, in this order.
    pub(super) methods: Vec<String>,
}

impl Default for Credentials {
    fn default() -> Self {
        let methods = ["publickey", "keyboard-interactive", "password"].map(str::to_owned).to_vec();
        Self {
            password: None,
            keys: Vec::new(),
            passphrase: None,
            agent: IdentityAgent::Off,
            identities_only: false,
            ask: None,
            methods,
        }
    }
}
