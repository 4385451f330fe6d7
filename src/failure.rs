//! What went wrong, in the words of the system call: the call, the object, the errno, and a hint.

use crate::sys;
use std::fmt;
use std::io;

/// A failed system call: `bind tcp 127.0.0.1:8080: address already in use (EADDRINUSE)`.
#[derive(Debug)]
pub struct Failure {
    call: &'static str,
    object: String,
    source: io::Error,
    hint: Option<&'static str>,
}

impl Failure {
    /// `call` on `object` failed with `source`.
    pub fn new(call: &'static str, object: impl fmt::Display, source: io::Error) -> Self {
        Self { call, object: object.to_string(), source, hint: None }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(mut self, hint: Option<&'static str>) -> Self {
        self.hint = hint;
        self
    }

    /// The kind of errno.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// The errno.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.call)?;
        if !self.object.is_empty() {
            write!(f, " {}", self.object)?;
        }
        write!(f, ": {}", sys::describe(&self.source))?;
        self.hint.map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Names the call and the object of an [`io::Result`].
pub trait During<T> {
    /// The error as a [`Failure`] of `call` on `object`.
    ///
    /// # Errors
    /// The same, named.
    fn during(self, call: &'static str, object: impl fmt::Display) -> Result<T, Failure>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, call: &'static str, object: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|source| Failure::new(call, object, source))
    }
}
