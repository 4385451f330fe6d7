//! One request, and what is done with it.

use super::Pass;
use crate::net::Datagrams;
use crate::phase::{Count, Observer};
use crate::stop::Stop;
use crate::sys::{Address, Packet};
use std::any::Any;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// An accepted client; its socket is blocking.
#[derive(Debug)]
pub struct Client {
    /// The connection.
    pub socket: OwnedFd,
    /// Who it is.
    pub peer: Address,
    /// Its place among those at work.
    pub pass: Pass,
}

/// A received datagram.
#[derive(Debug)]
pub struct Letter {
    /// Who sent it.
    pub packet: Packet,
    /// All of its bytes.
    pub bytes: Box<[u8]>,
    /// Where the answer goes out.
    pub socket: Datagrams,
    /// Its place among those at work.
    pub pass: Pass,
}

/// A request.
#[derive(Debug)]
pub enum Task {
    /// A whole connection.
    Connection(Client),
    /// One datagram.
    Datagram(Letter),
}

impl Task {
    /// Who asked.
    #[must_use]
    pub fn peer(&self) -> &Address {
        match self {
            Self::Connection(client) => &client.peer,
            Self::Datagram(letter) => &letter.packet.from,
        }
    }

    /// What its end frees.
    pub(super) fn into_pass(self) -> Pass {
        match self {
            Self::Connection(client) => client.pass,
            Self::Datagram(letter) => letter.pass,
        }
    }
}

/// How a request came to a bad end.
#[derive(Debug)]
pub enum Trouble {
    /// The handler said so.
    Failed(io::Error),
    /// The handler panicked with this message.
    Panicked(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "its handler failed: {}", crate::sys::describe(error)),
            Self::Panicked(message) => write!(f, "its handler panicked: {message}"),
        }
    }
}

/// What is done with each request, and what the acceptor asks about it.
pub trait Work<O: Observer>: Sync {
    /// Serves a request from its beginning to its end, in a flow of its own. It may block; the stop interrupts its
    /// receives, the drain's deadline its sends, where it makes them through [`Stop::interruptible`].
    ///
    /// # Errors
    /// What ended the request early, to be told and counted.
    fn serve(&self, task: Task, observer: &mut O, stop: &Stop) -> io::Result<()>;

    /// Whether a peer may come in.
    fn admits(&self, _peer: &Address) -> bool {
        true
    }

    /// A request was taken, in the flow that accepts.
    fn took(&self) {}

    /// The acceptor has come round: a request was taken, or nothing happened for a while.
    fn turned(&self) {}

    /// A request came to a bad end.
    fn troubled(&self, _peer: &Address, _trouble: &Trouble) {}
}

/// Serves a request; whatever happens in it ends here.
pub(super) fn run<W: Work<O>, O: Observer>(task: Task, work: &W, observer: &mut O, stop: &Stop) {
    let peer = *task.peer();
    let ended = catch_unwind(AssertUnwindSafe(|| work.serve(task, observer, stop)));
    let trouble = match ended {
        Ok(Ok(())) => return,
        Ok(Err(error)) => Trouble::Failed(error),
        Err(panic) => Trouble::Panicked(message(&*panic)),
    };
    observer.tally().notice(Count::HandlerFailed, || format!("{peer}: {trouble}"));
    // The hook is the user's as well.
    let _ = catch_unwind(AssertUnwindSafe(|| work.troubled(&peer, &trouble)));
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "?".to_owned())
}
