//! The same without futures: each call runs to its end before it returns.
//!
//! ```no_run
//! use waitcopy::remote::{Client, Policy, secret::Secret};
//!
//! # fn main() -> Result<(), waitcopy::remote::Error> {
//! let ssh = Client::new("root@120.92.84.249")?
//!     .password(Secret::from(String::from("xxx")))
//!     .host_key(Policy::AcceptNew)
//!     .connect()?;
//! println!("{}", String::from_utf8_lossy(&ssh.exec("df")?.stdout));
//! ssh.put("/tmp/id_rsa", "/etc/test.rsa")?;
//! ssh.get("remove_path", "local_path")?;
//! ssh.close()
//! # }
//! ```

use super::error::Error;
use super::exec::Output;
use super::session::About;
use super::sftp;
use crate::reactor::Reactor;
use std::cell::OnceCell;
use std::ffi::OsStr;
use std::path::Path;

/// A session on a reactor of its own.
pub struct Session {
    // Dropped in this order: the reactor last.
    sftp: OnceCell<sftp::Sftp>,
    session: super::Session,
    reactor: Reactor,
}

impl Session {
    pub(super) fn new(session: super::Session, reactor: Reactor) -> Self {
        Self { sftp: OnceCell::new(), session, reactor }
    }

    /// Whom it is with, and how it came about.
    #[must_use]
    pub fn about(&self) -> &About {
        self.session.about()
    }

    /// Runs anything that a [session](super::Session) can do: `ssh.run(async |ssh| ssh.exec("cat").output_of(b"hi").await)`.
    ///
    /// # Panics
    /// When it is called from within itself.
    pub fn run<T>(&self, operation: impl AsyncFnOnce(&super::Session) -> T) -> T {
        self.reactor.run(operation(&self.session))
    }

    /// Runs a command without input and collects what it says, at most 64 MiB of each stream.
    ///
    /// # Errors
    /// The server refuses; a connection that is gone. A command that fails is no error: see its [`Output::exit`].
    pub fn exec(&self, command: impl Into<Vec<u8>>) -> Result<Output, Error> {
        self.reactor.run(self.session.exec(command).output())
    }

    /// Copies a file to the server, and returns its size in bytes.
    ///
    /// # Errors
    /// The server's; a file here that cannot be read.
    pub fn put(&self, from: impl AsRef<Path>, to: impl AsRef<OsStr>) -> Result<u64, Error> {
        self.reactor.run(async { self.sftp().await?.put(from, to).await })
    }

    /// Copies a file from the server, and returns its size in bytes.
    ///
    /// # Errors
    /// The server's; a file here that cannot be written.
    pub fn get(&self, from: impl AsRef<OsStr>, to: impl AsRef<Path>) -> Result<u64, Error> {
        self.reactor.run(async { self.sftp().await?.get(from, to).await })
    }

    /// Does anything with files: `ssh.files(async |sftp| sftp.stat("/etc").await)`. SFTP is started at its first use.
    ///
    /// # Errors
    /// The server has no SFTP; those of the operation.
    ///
    /// # Panics
    /// When it is called from within itself.
    pub fn files<T>(
        &self,
        operation: impl AsyncFnOnce(&sftp::Sftp) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.reactor.run(async { operation(self.sftp().await?).await })
    }

    async fn sftp(&self) -> Result<&sftp::Sftp, Error> {
        if self.sftp.get().is_none() {
            let sftp = self.session.sftp().await?;
            return Ok(self.sftp.get_or_init(|| sftp));
        }
        Ok(self.sftp.get_or_init(|| unreachable!("it was there")))
    }

    /// Ends SFTP if it was started, says goodbye and ends the connection.
    ///
    /// # Errors
    /// The goodbye could not be sent; the connection is ended nevertheless.
    pub fn close(self) -> Result<(), Error> {
        let Self { mut sftp, session, reactor } = self;
        reactor.run(async {
            if let Some(sftp) = sftp.take() {
                sftp.close().await?;
            }
            session.close().await
        })
    }
}
