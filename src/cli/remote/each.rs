//! Several names, one after the other: a failure with one holds up none of the others.

use super::{Done, Trouble, exit_of, warn};
use crate::json::Value;
use crate::remote::Error;

/// What several names have in common: each is tried, failures are told, and make the status 1.
pub(super) struct Each {
    verb: &'static str,
    results: Vec<Value>,
    of: usize,
    failures: usize,
}

impl Each {
    pub(super) fn new(verb: &'static str) -> Self {
        Self { verb, results: Vec::new(), of: 0, failures: 0 }
    }

    /// Takes what came of one name; only what ends the session ends the round.
    pub(super) fn note(&mut self, done: Result<Value, Error>) -> Result<(), Trouble> {
        self.of += 1;
        match done {
            Ok(value) => self.results.push(value),
            Err(error) if exit_of(&error).code == 1 => {
                warn(&error.to_string());
                self.failures += 1;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    pub(super) fn done(self) -> Done {
        let Self { verb, results, of, failures } = self;
        let message = if failures > 0 && of > 1 {
            format!("{verb}: {failures} of {of} failed")
        } else {
            String::new()
        };
        Done { result: Value::List(results), status: u8::from(failures > 0), message }
    }
}
