//! Where a copied file goes: a temporary name beside its own, and then its own.

use super::copying::Ending;
use super::files::is_missing;
use super::partial::{self, OWNER, narrowed, narrowed_here};
use super::resume::Identity;
use super::session::Line;
use super::tree::dress;
use super::{Attributes, Extension, File, FileKind, OpenFlags, Request, StatusCode};
use crate::failure::Failure;
use crate::remote::error::{Error, Reason, Step};
use crate::remote::stream::{AT_ONCE, is_waited_for};
use crate::sys;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The longest name that file systems take (`NAME_MAX`).
pub(super) const NAME_MAX: usize = 255;
/// The server's word for EACCES (`SSH_FX_PERMISSION_DENIED`).
const DENIED: Reason = Reason::Status(3);

/// A file's place on the server.
pub(super) struct Place {
    line: Rc<Line>,
    path: Vec<u8>,
    /// What is written and then renamed; `None`: the file itself is written.
    pub(super) temporary: Option<Vec<u8>>,
    /// Its size means something.
    pub(super) regular: bool,
    /// What is written was not there.
    pub(super) new: bool,
    /// The permissions of the file that is there: whoever may not read it may not read its successor.
    kept: Option<u32>,
    /// What is written may be there in part, and stays when it is given up.
    partial: bool,
    /// What is written is opened again before it is whole.
    again: bool,
}

impl Place {
    /// Looks at what is there.
    pub(super) async fn find(line: &Rc<Line>, path: &[u8], in_place: bool) -> Result<Self, Error> {
        let mut path = path.to_vec();
        let there = match line.lstat(&path).await {
            Ok(attributes) if attributes.kind() == FileKind::Symlink => {
                // Through the link, as a plain write would go; a link to nowhere makes the file it names.
                path = line.realpath(&path).await?;
                line.stat(&path).await.ok()
            }
            Ok(attributes) => Some(attributes),
            Err(error) if is_missing(&error) => None,
            Err(error) => return Err(error),
        };
        let kind = there.map_or(FileKind::Unknown, |attributes| attributes.kind());
        if kind == FileKind::Directory {
            let message =
                format!("{} is a directory", String::from_utf8_lossy(&path).escape_debug());
            return Err(Error::new(Step::Sftp, Reason::Usage, message).hint("name the file in it"));
        }
        let regular = kind != FileKind::Other;
        let temporary = (regular && !in_place).then(|| temporary(&path)).transpose()?;
        let kept = there.filter(|_| temporary.is_some()).and_then(|there| there.mode());
        Ok(Self {
            line: Rc::clone(line),
            path,
            new: temporary.is_some() || there.is_none(),
            temporary,
            regular,
            kept: kept.map(|mode| mode & 0o777),
            partial: false,
            again: false,
        })
    }

    /// The place of a file in a tree, of which this is there: a symbolic link is replaced, not followed, and what is neither
    /// file nor link stays.
    pub(super) fn below(
        line: &Rc<Line>,
        path: Vec<u8>,
        there: Option<Attributes>,
    ) -> Result<Self, Error> {
        let kept = match there.map(|there| (there.kind(), there.mode())) {
            None | Some((FileKind::Symlink, _)) => None,
            Some((FileKind::Regular | FileKind::Unknown, mode)) => mode.map(|mode| mode & 0o777),
            Some((FileKind::Directory | FileKind::Other, _)) => return Err(in_the_way(&path)),
        };
        let temporary = Some(temporary(&path)?);
        let (line, partial, again) = (Rc::clone(line), false, false);
        Ok(Self { line, path, temporary, regular: true, new: true, kept, partial, again })
    }

    /// The same for a file of which a part may be there, which stays when this is given up. Nothing for one that is written in
    /// its own place.
    pub(super) fn resumable(mut self, identity: &Identity) -> Self {
        if self.temporary.is_some() {
            self.temporary = Some(partial::name(&self.path, identity));
            self.partial = true;
            self.again = true;
        }
        self
    }

    /// The same for a file that several sessions write.
    pub(super) fn shared(mut self) -> Self {
        self.again = self.temporary.is_some();
        self
    }

    /// Whether what is to be written is a file, or not there yet.
    pub(super) async fn is_ours(&self) -> Result<bool, Error> {
        let there = self.line.there(self.written()).await?;
        Ok(there.is_none_or(|there| there.kind() == FileKind::Regular))
    }

    /// What is written.
    pub(super) fn written(&self) -> &[u8] {
        self.temporary.as_ref().unwrap_or(&self.path)
    }

    /// Makes the file that is written: with the permissions asked for, else those of the file it replaces, else its source's. What
    /// it has beyond them until it is whole is then to be taken off: that is added to its ending.
    pub(super) async fn open(
        &self,
        asked: Option<u32>,
        source: Option<u32>,
        ending: &mut Ending,
    ) -> Result<File, Error> {
        let mode = asked.or(self.kept).or(source);
        let until_whole = |mode| if self.again { mode | OWNER } else { mode };
        let flags = match self.temporary {
            Some(_) if self.partial => OpenFlags::READ | OpenFlags::WRITE | OpenFlags::CREATE,
            Some(_) => OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUSIVE,
            None => OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE,
        };
        let path = self.written();
        let permissions = mode.map(until_whole);
        let attributes = Attributes { permissions, ..Attributes::default() };
        let open = || self.line.handle("open", path, Request::Open { path, flags, attributes });
        let mut handle = open().await;
        let denied = |error: &Error| error.reason() == DENIED;
        if self.partial && handle.as_ref().is_err_and(denied) && self.give_back().await? {
            handle = open().await;
        }
        let handle = handle.map_err(|error| match self.temporary {
            // The folder may take no new file while the file itself could be written.
            Some(_) if error.reason() == DENIED => {
                error.hint("to overwrite a file in a folder that takes no new one: in place")
            }
            _ => error,
        })?;
        let file = File::new(Rc::clone(&self.line), path, handle);
        if let (None, Some(kept)) = (asked, self.kept) {
            // The server's umask has taken from them. One that cannot set them leaves fewer, and no more.
            let permissions = Some(until_whole(kept));
            let attributes = Attributes { permissions, ..Attributes::default() };
            match file.set_stat(attributes).await {
                Err(error) if !matches!(error.reason(), Reason::Status(_)) => return Err(error),
                _ => {}
            }
        }
        if let Some(mode) = mode.filter(|mode| until_whole(*mode) != *mode) {
            let now = file.stat().await?.mode().unwrap_or(mode);
            ending.set = partial::with(ending.set, narrowed(mode, now));
        }
        Ok(file)
    }

    /// Gives a partial's owner back what a copy that was cut at its very end has taken already. False: that is not the trouble.
    async fn give_back(&self) -> Result<bool, Error> {
        let path = self.written();
        let there = self.line.there(path).await?;
        let Some(mode) = there.and_then(|there| there.mode()) else { return Ok(false) };
        let attributes = Attributes { permissions: Some(mode | OWNER), ..Attributes::default() };
        match self.line.do_it("setstat", path, Request::Setstat { path, attributes }).await {
            Err(error) if !matches!(error.reason(), Reason::Status(_)) => Err(error),
            done => Ok(done.is_ok()),
        }
    }

    /// Gives the file its name. A server that cannot rename over another file has it removed first: for a moment there is none.
    pub(super) async fn finish(mut self) -> Result<(), Error> {
        let Some(temporary) = self.temporary.clone() else { return Ok(()) };
        let failure = Reason::Status(StatusCode::Failure.number());
        match self.line.replace(&temporary, &self.path).await {
            Ok(()) => {
                self.temporary = None;
                return Ok(());
            }
            Err(error)
                if error.reason() == failure && !self.line.offers(Extension::PosixRename) => {}
            Err(error) => return Err(error),
        }
        // From here on it may be all there is, and stays whatever happens.
        self.temporary = None;
        if let Err(error) = self.line.remove(&self.path).await {
            self.line.forget(Request::Remove(&temporary));
            return Err(error);
        }
        self.line.replace(&temporary, &self.path).await.map_err(|error| {
            let temporary = String::from_utf8_lossy(&temporary);
            error.hint(format!(
                "the old file is removed; the new one is whole, as {}",
                temporary.escape_debug()
            ))
        })
    }
}

impl Drop for Place {
    /// What was not finished is taken away, as far as the connection lasts.
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.as_ref().filter(|_| !self.partial) {
            self.line.forget(Request::Remove(temporary));
        }
    }
}

/// What is there is no file, and stays.
pub(super) fn in_the_way(path: &[u8]) -> Error {
    let path = String::from_utf8_lossy(path);
    let message = format!("{} is there, and is no file", path.escape_debug());
    Error::new(Step::Sftp, Reason::Usage, message)
}

/// A name beside a path: hidden, random, and no longer than a name may be.
pub(super) fn temporary(path: &[u8]) -> Result<Vec<u8>, Error> {
    let mut random = [0; 8];
    sys::getrandom(&mut random)
        .map_err(|error| Error::failure(Step::Sftp, &Failure::new("getrandom", "", error)))?;
    Ok(hidden(path, &random))
}

/// A name beside a path that holds these bytes.
pub(super) fn hidden(path: &[u8], bytes: &[u8; 8]) -> Vec<u8> {
    let suffix: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let suffix = format!(".{suffix}.part");
    let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let (folder, name) = path.split_at(at);
    let kept = &name[..name.len().min(NAME_MAX - suffix.len() - 1)];
    [folder, b".", kept, suffix.as_bytes()].concat()
}

/// A file's place here.
pub(super) struct Here {
    pub(super) file: fs::File,
    path: PathBuf,
    temporary: Option<PathBuf>,
    /// It stays when it is given up.
    pub(super) partial: bool,
    /// Writing it may have to be waited for.
    pub(super) waited: bool,
    /// What is written was not there.
    pub(super) new: bool,
    /// What it is to have in the end.
    narrow: Option<u32>,
}

impl Here {
    /// Makes the file that is written, with permissions as [`Place::open`].
    pub(super) fn create(
        path: &Path,
        asked: Option<u32>,
        source: u32,
        in_place: bool,
        partial: Option<Identity>,
    ) -> Result<Self, Error> {
        let mut path = path.to_owned();
        let there = match fs::metadata(&path) {
            Ok(meta) => Some(meta),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("stat", &path, error)),
        };
        if there.as_ref().is_some_and(fs::Metadata::is_dir) {
            let message = format!("{} is a directory", path.display());
            return Err(Error::new(Step::Sftp, Reason::Usage, message).hint("name the file in it"));
        }
        let regular = there.as_ref().is_none_or(fs::Metadata::is_file);
        let kept = there.as_ref().map(|there| there.permissions().mode() & 0o777);
        let mode = asked.or(kept).unwrap_or(source);
        if !regular || in_place {
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).truncate(regular).mode(mode);
            let new = there.is_none();
            let waited = there.is_some_and(|there| is_waited_for(there.file_type()));
            if waited {
                options.custom_flags(AT_ONCE);
            }
            let file = options.open(&path).map_err(|error| failed("open", &path, error))?;
            let (temporary, partial, narrow) = (None, false, None);
            return Ok(Self { file, path, temporary, partial, waited, new, narrow });
        }
        if there.is_some() {
            // Through a symbolic link, as a plain write would go.
            path = fs::canonicalize(&path).map_err(|error| failed("realpath", &path, error))?;
        }
        let bytes = path.as_os_str().as_bytes();
        let temporary = match &partial {
            Some(identity) => partial::name(bytes, identity),
            None => temporary(bytes)?,
        };
        let temporary = PathBuf::from(std::ffi::OsString::from_vec(temporary));
        let mut options = fs::OpenOptions::new();
        let until_whole = |mode| if partial.is_some() { mode | OWNER } else { mode };
        options.write(true).mode(until_whole(mode));
        let file = match &partial {
            Some(_) => {
                options.read(true).create(true);
                options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
                let look = || fs::symlink_metadata(&temporary).map(|now| (now.dev(), now.ino()));
                partial::opened(("open", &temporary), || options.open(&temporary), look)?
            }
            None => {
                let opened = options.create_new(true).open(&temporary);
                opened.map_err(|error| failed("open", &temporary, error))?
            }
        };
        let (temporary, partial) = (Some(temporary), partial.is_some());
        let (waited, new, narrow) = (false, true, None);
        let mut here = Self { file, path, temporary, partial, waited, new, narrow };
        if let (None, Some(kept)) = (asked, kept) {
            // The umask has taken from them.
            let kept = fs::Permissions::from_mode(until_whole(kept));
            here.file.set_permissions(kept).map_err(|error| failed("fchmod", &here.path, error))?;
        }
        if here.partial {
            let narrow = narrowed_here(mode, &here.file);
            here.narrow = narrow.map_err(|error| failed("fstat", &here.path, error))?;
        }
        Ok(here)
    }

    /// Whether it has another name until it is whole.
    pub(super) fn is_hidden(&self) -> bool {
        self.temporary.is_some()
    }

    /// Gives the file its name, after what it is to get.
    pub(super) fn finish(mut self, set: Option<Attributes>, sync: bool) -> Result<(), Error> {
        if let Some(set) = partial::with(set, self.narrow) {
            dress(&self.file, set, self.path.as_os_str().as_bytes())?;
        }
        if sync {
            self.file.sync_all().map_err(|error| failed("fsync", &self.path, error))?;
        }
        let Some(temporary) = &self.temporary else { return Ok(()) };
        fs::rename(temporary, &self.path).map_err(|error| failed("rename", &self.path, error))?;
        self.temporary = None;
        Ok(())
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.as_ref().filter(|_| !self.partial) {
            // Whoever took it away already has done our work.
            let _ = fs::remove_file(temporary);
        }
    }
}

fn failed(call: &'static str, path: &Path, error: io::Error) -> Error {
    Error::failure(Step::Sftp, &Failure::new(call, path.display(), error))
}
