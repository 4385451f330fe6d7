//! What went wrong, at which step, and what to do about it.

use crate::failure::Failure;
use crate::sys::{self, ssh::SshError};
use std::fmt;
use std::io;
use std::time::Duration;

/// The steps of a remote session, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Settings, names, files of ours, before anything is sent.
    Settings,
    /// The host's name to addresses.
    Resolve,
    /// TCP.
    Connect,
    /// Banner, key exchange.
    Handshake,
    /// The check of the server's key.
    HostKey,
    /// Authentication.
    Auth,
    /// Opening a channel, and what is asked on it before it starts.
    Channel,
    /// A command that runs.
    Command,
    /// Files.
    Sftp,
    /// A connection through the server.
    Forward,
    /// The end.
    Close,
}

impl Step {
    /// Its name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Handshake => "handshake",
            Self::HostKey => "host key",
            Self::Auth => "authentication",
            Self::Channel => "channel",
            Self::Command => "command",
            Self::Sftp => "sftp",
            Self::Forward => "forward",
            Self::Close => "close",
        }
    }
}

/// The kind of a failure, for programs. The message is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Refused by us, before anything was sent.
    Usage,
    /// Its deadline passed after this long.
    TimedOut(Duration),
    /// A system call of ours failed, with this errno if it had one.
    Io(Option<i32>),
    /// The connection is gone.
    Disconnected,
    /// The host's key is in no known_hosts file.
    HostKeyUnknown,
    /// The host's key is another than the known one.
    HostKeyChanged,
    /// The host's key is marked `@revoked`.
    HostKeyRevoked,
    /// The server took none of the credentials.
    Denied,
    /// The server refused a channel, or a request on it.
    Refused,
    /// The server answered with this SFTP status (draft-ietf-secsh-filexfer-02, section 7).
    Status(u32),
    /// The peer broke the protocol.
    Protocol,
    /// An earlier operation was given up in the middle of a packet: the session cannot go on.
    Abandoned,
}

impl Reason {
    /// Its name, for programs that read JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::TimedOut(_) => "timed out",
            Self::Io(_) => "io",
            Self::Disconnected => "disconnected",
            Self::HostKeyUnknown => "host key unknown",
            Self::HostKeyChanged => "host key changed",
            Self::HostKeyRevoked => "host key revoked",
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::Status(_) => "status",
            Self::Protocol => "protocol",
            Self::Abandoned => "abandoned",
        }
    }
}

/// A failed step of a remote session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    step: Step,
    reason: Reason,
    message: String,
    hint: Option<String>,
}

impl Error {
    /// `step` failed so.
    pub fn new(step: Step, reason: Reason, message: impl Into<String>) -> Self {
        Self { step, reason, message: message.into(), hint: None }
    }

    /// The deadline of a step has passed.
    #[must_use]
    pub fn timed_out(step: Step, what: impl fmt::Display, after: Duration) -> Self {
        Self::new(step, Reason::TimedOut(after), format!("{what}: no end after {after:?}"))
    }

    /// A system call of ours failed.
    #[must_use]
    pub fn failure(step: Step, failure: &Failure) -> Self {
        Self::new(step, Reason::Io(failure.errno()), failure.to_string())
    }

    /// A call of libssh2 failed while it did `what`.
    #[must_use]
    pub fn ssh(step: Step, what: impl fmt::Display, error: &SshError) -> Self {
        let reason = if error.disconnected() {
            Reason::Disconnected
        } else if error.refused() {
            Reason::Refused
        } else {
            Reason::Protocol
        };
        Self::new(step, reason, format!("{what}: {error}"))
    }

    /// The connection to `whom` came to its end. `errno` is what the kernel said, where it was not an orderly one.
    pub(super) fn disconnected(step: Step, whom: &str, errno: Option<i32>) -> Self {
        let said = errno.map(|errno| sys::describe(&io::Error::from_raw_os_error(errno)));
        let message = match (errno, said) {
            (Some(libc::ECONNRESET | libc::EPIPE), Some(said)) => {
                format!("{whom} closed the connection: {said}")
            }
            (_, Some(said)) => format!("the connection to {whom} is lost: {said}"),
            (_, None) => format!("{whom} closed the connection"),
        };
        Self::new(step, Reason::Disconnected, message)
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same, said of one part of several: `jump host bob@gate: ...`.
    #[must_use]
    pub fn of(mut self, whom: impl fmt::Display) -> Self {
        self.message = format!("{whom}: {}", self.message);
        self
    }

    /// The same in so many bytes at most: a peer's words may be many.
    #[must_use]
    pub(crate) fn cut(mut self, most: usize) -> Self {
        const MORE: &str = "...";
        if self.message.len() > most {
            let mut end = most.saturating_sub(MORE.len());
            while !self.message.is_char_boundary(end) {
                end -= 1;
            }
            self.message.truncate(end);
            self.message.push_str(MORE);
            self.message.shrink_to_fit();
        }
        self
    }

    /// The same at another step: what was a connection through one host is the way to the next.
    #[must_use]
    pub fn at(mut self, step: Step) -> Self {
        self.step = step;
        self
    }

    /// Where it happened.
    #[must_use]
    pub fn step(&self) -> Step {
        self.step
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// What the reader can do about it, where we know.
    #[must_use]
    pub fn remedy(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The message without step and hint.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step.name(), self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

impl std::error::Error for Error {}
