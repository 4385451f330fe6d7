//! What is changed of a file by its name, as paramiko names it; all of it is [`Sftp::set_stat`]. And the working directory.

use super::files::bytes;
use super::{Attributes, FileKind, Sftp};
use crate::remote::error::{Error, Reason, Step};
use std::ffi::OsStr;

impl Sftp {
    /// Sets permissions, through symbolic links (chmod(2)).
    ///
    /// # Errors
    /// The server's.
    pub async fn chmod(&self, path: impl AsRef<OsStr>, mode: u32) -> Result<(), Error> {
        let permissions = Some(mode);
        self.set_stat(path, Attributes { permissions, ..Attributes::default() }).await
    }

    /// Sets user and group, by the server's numbers, through symbolic links (chown(2)).
    ///
    /// # Errors
    /// The server's.
    pub async fn chown(&self, path: impl AsRef<OsStr>, user: u32, group: u32) -> Result<(), Error> {
        let owner = Some((user, group));
        self.set_stat(path, Attributes { owner, ..Attributes::default() }).await
    }

    /// Sets the times of the last access and modification, in seconds since 1970, through symbolic links (utimes(2)).
    ///
    /// # Errors
    /// The server's.
    pub async fn utime(
        &self,
        path: impl AsRef<OsStr>,
        access: u32,
        modification: u32,
    ) -> Result<(), Error> {
        let times = Some((access, modification));
        self.set_stat(path, Attributes { times, ..Attributes::default() }).await
    }

    /// Cuts a file to so many bytes, or fills it up with zeros (truncate(2)).
    ///
    /// # Errors
    /// The server's.
    pub async fn truncate(&self, path: impl AsRef<OsStr>, size: u64) -> Result<(), Error> {
        let size = Some(size);
        self.set_stat(path, Attributes { size, ..Attributes::default() }).await
    }

    /// From now on relative paths begin in this directory. The protocol knows none: they are written out before they are sent, so
    /// that it costs nothing, and a directory that is moved away is not followed.
    ///
    /// # Errors
    /// The server's; [`Reason::Usage`] for what is no directory.
    pub async fn chdir(&self, path: impl AsRef<OsStr>) -> Result<(), Error> {
        let path = bytes(&path);
        let real = self.line.realpath(path).await?;
        if self.line.stat(&real).await?.kind() != FileKind::Directory {
            let path = String::from_utf8_lossy(path);
            let message = format!("chdir {}: it is no directory", path.escape_debug());
            return Err(Error::new(Step::Sftp, Reason::Usage, message));
        }
        self.line.cwd.replace(Some(real));
        Ok(())
    }

    /// Where relative paths begin: what [`chdir`](Self::chdir) was told last. `None`: in the login's directory.
    #[must_use]
    pub fn getcwd(&self) -> Option<Vec<u8>> {
        self.line.cwd.borrow().clone()
    }
}
