//! What can be done with names: the stat family, directories, links, file systems.

use super::session::{Line, Sftp, failed};
use super::{
    Attributes, Extension, File, FileKind, Handle, Name, OpenFlags, Reply, Request, StatusCode,
    Statvfs,
};
use crate::remote::error::{Error, Reason, Step};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

/// What [`Sftp::read_dir`] takes of one directory, in bytes of memory: some 200,000 entries of OpenSSH's.
const MOST: usize = 64 << 20;

/// How often a directory names itself and the one above it, each once: what is more may go on for ever.
pub(super) const DOTS: u64 = 2;

/// A path on the server: bytes of whatever encoding.
pub(super) fn bytes(path: &(impl AsRef<OsStr> + ?Sized)) -> &[u8] {
    path.as_ref().as_bytes()
}

/// A reply that does not fit its request ends the session before it gets here.
pub(super) fn unfit() -> Error {
    Error::new(Step::Sftp, Reason::Protocol, "a reply that does not fit its request")
}

/// Success, or the failure of `what` on a path.
pub(super) fn done(what: &str, path: &[u8], reply: Reply) -> Result<(), Error> {
    match reply {
        Reply::Status(status) if status.code == StatusCode::Ok => Ok(()),
        Reply::Status(status) => Err(failed(what, path, &status)),
        _ => Err(unfit()),
    }
}

impl Line {
    pub(super) async fn do_it(
        &self,
        what: &str,
        path: &[u8],
        request: Request<'_>,
    ) -> Result<(), Error> {
        done(what, path, self.call(request).await?)
    }

    pub(super) async fn attributes(
        &self,
        what: &str,
        path: &[u8],
        request: Request<'_>,
    ) -> Result<Attributes, Error> {
        match self.call(request).await? {
            Reply::Attributes(attributes) => Ok(attributes),
            Reply::Status(status) => Err(failed(what, path, &status)),
            _ => Err(unfit()),
        }
    }

    pub(super) async fn fstat(&self, path: &[u8], handle: &Handle) -> Result<Attributes, Error> {
        self.attributes("fstat", path, Request::Fstat(handle)).await
    }

    pub(super) async fn handle(
        &self,
        what: &str,
        path: &[u8],
        request: Request<'_>,
    ) -> Result<Handle, Error> {
        match self.call(request).await? {
            Reply::Handle(handle) => Ok(handle),
            Reply::Status(status) => Err(failed(what, path, &status)),
            _ => Err(unfit()),
        }
    }

    pub(super) async fn one_name(
        &self,
        what: &str,
        path: &[u8],
        request: Request<'_>,
    ) -> Result<Vec<u8>, Error> {
        match self.call(request).await? {
            Reply::Names(names) => names.into_iter().next().map(|name| name.name).ok_or_else(unfit),
            Reply::Status(status) => Err(failed(what, path, &status)),
            _ => Err(unfit()),
        }
    }

    pub(super) async fn stat(&self, path: &[u8]) -> Result<Attributes, Error> {
        self.attributes("stat", path, Request::Stat(path)).await
    }

    /// What there is at a path, if there is anything; a symbolic link itself.
    pub(super) async fn there(&self, path: &[u8]) -> Result<Option<Attributes>, Error> {
        match self.lstat(path).await {
            Ok(attributes) => Ok(Some(attributes)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn lstat(&self, path: &[u8]) -> Result<Attributes, Error> {
        self.attributes("lstat", path, Request::Lstat(path)).await
    }

    pub(super) async fn realpath(&self, path: &[u8]) -> Result<Vec<u8>, Error> {
        self.one_name("realpath", path, Request::Realpath(path)).await
    }

    /// Renames over what is there, where the server can; else fails where there is something.
    pub(super) async fn replace(&self, from: &[u8], to: &[u8]) -> Result<(), Error> {
        let request = if self.offers(Extension::PosixRename) {
            Request::PosixRename { from, to }
        } else {
            Request::Rename { from, to }
        };
        self.do_it("rename", to, request).await
    }

    pub(super) async fn remove(&self, path: &[u8]) -> Result<(), Error> {
        self.do_it("remove", path, Request::Remove(path)).await
    }
}

/// Names are the server's: bytes of whatever encoding, taken from a `&str`, a `&Path` or an `&OsStr`. Relative ones begin in
/// the login's directory. Every failure of these methods is an [`Error`] with [`Reason::Status`] and the server's own words, or
/// one that has ended the session.
impl Sftp {
    /// Opens a file. `mode` is for one that is made, and is subject to the server's umask.
    ///
    /// # Errors
    /// The server's.
    pub async fn open_file(
        &self,
        path: impl AsRef<OsStr>,
        flags: OpenFlags,
        mode: Option<u32>,
    ) -> Result<File, Error> {
        let path = bytes(&path);
        let attributes = Attributes { permissions: mode, ..Attributes::default() };
        let open = Request::Open { path, flags, attributes };
        let handle = self.line.handle("open", path, open).await?;
        Ok(File::new(Rc::clone(&self.line), path, handle))
    }

    /// What the server knows of a file, through symbolic links.
    ///
    /// # Errors
    /// The server's.
    pub async fn stat(&self, path: impl AsRef<OsStr>) -> Result<Attributes, Error> {
        self.line.stat(bytes(&path)).await
    }

    /// The same, of a symbolic link itself.
    ///
    /// # Errors
    /// The server's.
    pub async fn lstat(&self, path: impl AsRef<OsStr>) -> Result<Attributes, Error> {
        self.line.lstat(bytes(&path)).await
    }

    /// Sets the attributes that are there, through symbolic links: chmod(2), chown(2), utimes(2), truncate(2).
    ///
    /// # Errors
    /// The server's.
    pub async fn set_stat(
        &self,
        path: impl AsRef<OsStr>,
        attributes: Attributes,
    ) -> Result<(), Error> {
        let path = bytes(&path);
        self.line.do_it("setstat", path, Request::Setstat { path, attributes }).await
    }

    /// The entries of a directory in the server's order, without `.` and `..`. A name is the server's word: one that is empty
    /// or holds `/` or NUL is refused here, but it may still hold control characters.
    ///
    /// # Errors
    /// The server's; [`Reason::Protocol`] for a name that is none, and for a directory of more than 64 MiB: a server may name
    /// entries for ever.
    pub async fn read_dir(&self, path: impl AsRef<OsStr>) -> Result<Vec<Name>, Error> {
        let path = bytes(&path);
        let handle = self.line.handle("opendir", path, Request::Opendir(path)).await?;
        let dir = File::new(Rc::clone(&self.line), path, handle);
        let (mut all, mut room) = (Vec::new(), MOST);
        loop {
            let Some(handle) = dir.handle() else { return Err(unfit()) };
            match self.line.call(Request::Readdir(handle)).await? {
                Reply::Names(names) => {
                    for name in names {
                        let size = size_of::<Name>() + name.name.len() + name.long.len();
                        room = room.checked_sub(size).ok_or_else(|| endless(path))?;
                        all.extend(checked(path, name)?);
                    }
                }
                Reply::Status(status) if status.code == StatusCode::Eof => break,
                Reply::Status(status) => return Err(failed("readdir", path, &status)),
                _ => return Err(unfit()),
            }
        }
        dir.close().await?;
        Ok(all)
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// The server's.
    pub async fn mkdir(&self, path: impl AsRef<OsStr>, mode: Option<u32>) -> Result<(), Error> {
        let path = bytes(&path);
        let attributes = Attributes { permissions: mode, ..Attributes::default() };
        self.line.do_it("mkdir", path, Request::Mkdir { path, attributes }).await
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// The server's.
    pub async fn rmdir(&self, path: impl AsRef<OsStr>) -> Result<(), Error> {
        let path = bytes(&path);
        self.line.do_it("rmdir", path, Request::Rmdir(path)).await
    }

    /// Removes a file, or a symbolic link.
    ///
    /// # Errors
    /// The server's.
    pub async fn remove(&self, path: impl AsRef<OsStr>) -> Result<(), Error> {
        self.line.remove(bytes(&path)).await
    }

    /// The same, and nobody hears what comes of it: for whoever is dropped and cannot wait.
    pub fn remove_unheard(&self, path: impl AsRef<OsStr>) {
        self.line.forget(Request::Remove(bytes(&path)));
    }

    /// Renames; fails where `to` is there.
    ///
    /// # Errors
    /// The server's.
    pub async fn rename(
        &self,
        from: impl AsRef<OsStr>,
        to: impl AsRef<OsStr>,
    ) -> Result<(), Error> {
        let (from, to) = (bytes(&from), bytes(&to));
        self.line.do_it("rename", from, Request::Rename { from, to }).await
    }

    /// Renames over what is there, at once, as rename(2) does (`posix-rename@openssh.com`).
    ///
    /// # Errors
    /// The server's; [`Reason::Usage`] where it does not offer this.
    pub async fn posix_rename(
        &self,
        from: impl AsRef<OsStr>,
        to: impl AsRef<OsStr>,
    ) -> Result<(), Error> {
        let (from, to) = (bytes(&from), bytes(&to));
        self.line.do_it("posix-rename", from, Request::PosixRename { from, to }).await
    }

    /// Makes a symbolic link that leads to `target`.
    ///
    /// # Errors
    /// The server's.
    pub async fn symlink(
        &self,
        target: impl AsRef<OsStr>,
        link: impl AsRef<OsStr>,
    ) -> Result<(), Error> {
        let (target, link) = (bytes(&target), bytes(&link));
        self.line.do_it("symlink", link, Request::Symlink { link, target }).await
    }

    /// Where a symbolic link leads.
    ///
    /// # Errors
    /// The server's.
    pub async fn read_link(&self, path: impl AsRef<OsStr>) -> Result<Vec<u8>, Error> {
        let path = bytes(&path);
        self.line.one_name("readlink", path, Request::Readlink(path)).await
    }

    /// The absolute path of a path, as the server writes it; `.` is the login's directory.
    ///
    /// # Errors
    /// The server's.
    pub async fn real_path(&self, path: impl AsRef<OsStr>) -> Result<Vec<u8>, Error> {
        self.line.realpath(bytes(&path)).await
    }

    /// Makes a second name for a file (`hardlink@openssh.com`).
    ///
    /// # Errors
    /// The server's; [`Reason::Usage`] where it does not offer this.
    pub async fn hard_link(
        &self,
        file: impl AsRef<OsStr>,
        link: impl AsRef<OsStr>,
    ) -> Result<(), Error> {
        let (file, link) = (bytes(&file), bytes(&link));
        self.line.do_it("hardlink", link, Request::Hardlink { file, link }).await
    }

    /// The file system of a path (`statvfs@openssh.com`).
    ///
    /// # Errors
    /// The server's; [`Reason::Usage`] where it does not offer this.
    pub async fn statvfs(&self, path: impl AsRef<OsStr>) -> Result<Statvfs, Error> {
        let path = bytes(&path);
        match self.line.call(Request::Statvfs(path)).await? {
            Reply::Statvfs(statvfs) => Ok(statvfs),
            Reply::Status(status) => Err(failed("statvfs", path, &status)),
            _ => Err(unfit()),
        }
    }

    /// Whether the server offers an extension.
    #[must_use]
    pub fn offers(&self, extension: Extension) -> bool {
        self.line.offers(extension)
    }

    /// Whether there is a directory at a path.
    ///
    /// # Errors
    /// The server's, but for "no such file".
    pub async fn is_dir(&self, path: impl AsRef<OsStr>) -> Result<bool, Error> {
        match self.stat(path).await {
            Ok(attributes) => Ok(attributes.kind() == FileKind::Directory),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Whether a failure says that there is no such file.
pub(super) fn is_missing(error: &Error) -> bool {
    error.reason() == Reason::Status(StatusCode::NoSuchFile.number())
}

fn endless(path: &[u8]) -> Error {
    let path = String::from_utf8_lossy(path);
    let message = format!("readdir {}: more than 64 MiB of entries", path.escape_debug());
    Error::new(Step::Sftp, Reason::Protocol, message)
}

/// A name from a server, as a name in one directory. `None`: the directory itself or the one above it.
///
/// # Errors
/// Whatever would lead elsewhere.
pub(super) fn named(name: &[u8]) -> Result<Option<&[u8]>, Error> {
    match name {
        b"." | b".." => Ok(None),
        _ if name.is_empty() || name.contains(&b'/') || name.contains(&0) => {
            let message = format!("the server names an entry '{}'", name.escape_ascii());
            Err(Error::new(Step::Sftp, Reason::Protocol, message))
        }
        _ => Ok(Some(name)),
    }
}

/// An entry of a directory that can be one; `.` and `..` are none.
pub(super) fn checked(path: &[u8], name: Name) -> Result<Option<Name>, Error> {
    let path = String::from_utf8_lossy(path);
    let one =
        named(&name.name).map_err(|e| e.of(format_args!("readdir {}", path.escape_debug())))?;
    Ok(one.is_some().then_some(name))
}
