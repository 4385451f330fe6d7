//! A session that is logged in.

use super::error::{Error, Step};
use super::exec::Exec;
use super::host_key::HostKey;
use super::route::Carrier;
use super::sftp::Sftp;
use super::transport::Transport;
use crate::reactor::Handle;
use crate::sys::ssh::Traffic;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// How long the steps to a session took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Name to addresses.
    pub resolve: Duration,
    /// TCP.
    pub connect: Duration,
    /// Banner, key exchange, check of the host's key.
    pub handshake: Duration,
    /// Authentication, the time that a person took to answer included.
    pub auth: Duration,
}

/// Whom a session is with, and how it came about.
#[derive(Clone, Debug)]
pub struct About {
    /// The host as it was asked for.
    pub host: String,
    /// The user there.
    pub user: String,
    /// The address that took the connection; `None` where it was made elsewhere.
    pub peer: Option<SocketAddr>,
    /// What the bytes pass on their way, the nearest first: the jump hosts as `user@host`, or `a proxy command`.
    pub via: Vec<String>,
    /// The server's key, checked.
    pub host_key: HostKey,
    /// How the server calls itself (`SSH-2.0-OpenSSH_9.2`). From the server: escape it before printing.
    pub server: String,
    /// Key exchange, host key, cipher and MAC to the server, cipher and MAC from it, as they were agreed on.
    pub methods: Vec<String>,
    /// What it said before the login (RFC 4252 section 5.4), perhaps nothing. From the server: escape it before printing.
    pub banner: String,
    /// The method and credential that the server took: `publickey /home/user/.ssh/id_ed25519`.
    pub login: String,
    /// What a person should know: a host key that was accepted without being known.
    pub notices: Vec<String>,
    /// How long it took.
    pub steps: Steps,
}

/// A session. Everything on it shares one connection; dropping it ends the connection without waiting for anything.
pub struct Session {
    pub(super) transport: Rc<Transport>,
    pub(super) about: About,
}

impl Session {
    /// Whom it is with, and how it came about.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The reactor that it runs on.
    #[must_use]
    pub fn reactor(&self) -> &Handle {
        self.transport.reactor()
    }

    /// A command to run there: the server hands it to the user's shell.
    pub fn exec(&self, command: impl Into<Vec<u8>>) -> Exec<'_> {
        Exec::new(self, Some(command.into()))
    }

    /// The user's shell there, paramiko's `invoke_shell`. With [`Exec::pty`] it is an interactive one; without, it reads commands from
    /// its input.
    pub fn shell(&self) -> Exec<'_> {
        Exec::new(self, None)
    }

    /// Starts SFTP, on a channel of its own.
    ///
    /// # Errors
    /// The server has none; a connection that is gone.
    pub async fn sftp(&self) -> Result<Sftp, Error> {
        Sftp::open(&self.transport).await
    }

    /// From now on whatever is waited for fails when no byte has moved on the connection for so long, in either direction.
    pub fn set_idle_timeout(&self, idle: Option<Duration>) {
        self.transport.set_idle(idle);
    }

    /// What has passed the socket, encrypted.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.transport.traffic()
    }

    /// Says goodbye and ends the connection, then those to the jump hosts on the way.
    ///
    /// # Errors
    /// The goodbye could not be sent; the connection is ended nevertheless.
    pub async fn close(self) -> Result<(), Error> {
        let done =
            self.transport.attended(Step::Close, "goodbye", self.transport.disconnect()).await;
        // What is still open on it holds the transport, and so what carries it, until it hears of the end.
        let carrier = self.transport.carrier.take();
        drop(self.transport);
        match carrier {
            Some(Carrier::Jump(host)) => done.and(Box::pin(host.close()).await),
            _ => done,
        }
    }
}
