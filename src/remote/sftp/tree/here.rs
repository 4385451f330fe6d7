//! The receiving side of a tree: every call is made below a directory's descriptor, and follows no symbolic link.

use crate::failure::Failure;
use crate::remote::error::{Error, Step};
use crate::remote::sftp::Attributes;
use crate::remote::sftp::partial::{self, OWNER, narrowed_here};
use crate::remote::sftp::place::{in_the_way, temporary};
use crate::remote::sftp::resume::Identity;
use crate::sys::{self, Open};
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// A failed call, of which the path is told by whoever knows it.
pub(super) fn failed(call: &'static str, name: &[u8]) -> impl FnOnce(io::Error) -> Error {
    let name = String::from_utf8_lossy(name).escape_debug().to_string();
    move |error| Error::failure(Step::Sftp, &Failure::new(call, name, error))
}

/// Opens a directory below the root; the empty path is the root itself.
pub(super) fn directory(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Error> {
    let path = if path.is_empty() { b"." } else { path };
    sys::openat2(root, path, Open::Directory).map_err(failed("openat2", path))
}

/// A directory of its own in another one; whether it is new.
pub(super) fn make_directory(
    root: &OwnedFd,
    parent: &[u8],
    name: &[u8],
    mode: u32,
) -> Result<(OwnedFd, bool), Error> {
    let parent = directory(root, parent)?;
    // To be filled, whatever its permissions will be.
    let fresh = match sys::mkdirat(&parent, name, mode | 0o700) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(failed("mkdirat", name)(error)),
    };
    let made = sys::openat2(&parent, name, Open::Directory).map_err(failed("openat2", name))?;
    Ok((made, fresh))
}

/// A file that has not its name yet; it goes with this, unless it gets it.
pub(super) struct New {
    dir: Arc<OwnedFd>,
    pub(super) file: fs::File,
    name: Vec<u8>,
    temporary: Option<Vec<u8>>,
    /// It may be there in part, and stays when it is given up.
    pub(super) partial: bool,
    /// What it is to have in the end.
    narrow: Option<u32>,
}

impl New {
    /// Makes one, with the permissions of the file that it replaces, else these less the umask; of a partial takes what is there.
    pub(super) fn create(
        dir: &Arc<OwnedFd>,
        name: &[u8],
        fresh: bool,
        mode: u32,
        partial: Option<Identity>,
    ) -> Result<Self, Error> {
        let kept = if fresh { None } else { kept(dir, name)? };
        let mode = kept.unwrap_or(mode);
        let until_whole = |mode| if partial.is_some() { mode | OWNER } else { mode };
        let (temporary, open) = match &partial {
            Some(identity) => (partial::name(name, identity), Open::Continue(until_whole(mode))),
            None => (temporary(name)?, Open::Create(mode)),
        };
        let open = || sys::openat2(dir, &temporary, open);
        let file = match &partial {
            Some(_) => {
                // The directory by its descriptor.
                let below = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string());
                let path = below.join(OsStr::from_bytes(&temporary));
                let look = || sys::fstatat(dir, &temporary, false).map(|now| now.id);
                partial::opened(("openat2", &path), open, look)?
            }
            None => open().map_err(failed("openat2", &temporary))?.into(),
        };
        let (dir, temporary, partial) = (Arc::clone(dir), Some(temporary), partial.is_some());
        let mut new = Self { dir, file, name: name.to_vec(), temporary, partial, narrow: None };
        if let Some(kept) = kept {
            // The umask has taken from them.
            permit(&new.file, until_whole(kept), name)?;
        }
        if partial {
            new.narrow = narrowed_here(mode, &new.file).map_err(failed("fstat", name))?;
        }
        Ok(new)
    }

    /// Gives it its name, after what it is to get.
    pub(super) fn finish(mut self, set: Option<Attributes>, sync: bool) -> Result<(), Error> {
        if let Some(attributes) = partial::with(set, self.narrow) {
            dress(&self.file, attributes, &self.name)?;
        }
        if sync {
            self.file.sync_all().map_err(failed("fsync", &self.name))?;
        }
        let Some(temporary) = &self.temporary else { return Ok(()) };
        sys::renameat(&self.dir, temporary, &self.name).map_err(failed("renameat", &self.name))?;
        self.temporary = None;
        Ok(())
    }
}

impl Drop for New {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.as_ref().filter(|_| !self.partial) {
            // Whoever took it away already has done our work.
            let _ = sys::unlinkat(&self.dir, temporary);
        }
    }
}

/// The permissions of the file of this name, if there is one. A link is replaced; anything else stays.
fn kept(dir: &OwnedFd, name: &[u8]) -> Result<Option<u32>, Error> {
    match sys::fstatat(dir, name, false) {
        Ok(there) if there.mode & KIND == REGULAR => Ok(Some(there.mode & 0o777)),
        Ok(there) if there.mode & KIND == LINK => Ok(None),
        Ok(_) => Err(in_the_way(name)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("fstatat", name)(error)),
    }
}

/// Whether a file is there that has this size and time.
pub(super) fn is_copy(dir: &OwnedFd, name: &[u8], of: &Attributes) -> bool {
    let Ok(there) = sys::fstatat(dir, name, false) else { return false };
    let modified = of.times.map(|(_, modified)| i64::from(modified));
    there.mode & KIND == REGULAR && of.size == Some(there.size) && modified == Some(there.times.1)
}

/// Makes a link, in the place of the file or link that is there.
pub(super) fn make_link(dir: &OwnedFd, name: &[u8], target: &[u8]) -> Result<(), Error> {
    match sys::symlinkat(target, dir, name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        done => return done.map_err(failed("symlinkat", name)),
    }
    kept(dir, name)?;
    let temporary = temporary(name)?;
    sys::symlinkat(target, dir, &temporary).map_err(failed("symlinkat", &temporary))?;
    sys::renameat(dir, &temporary, name).map_err(|error| {
        // It shall not stay; that it could not be removed either is not the first trouble.
        let _ = sys::unlinkat(dir, &temporary);
        failed("renameat", name)(error)
    })
}

/// Gives an open file or directory permissions and times, as far as there are any.
pub(in crate::remote::sftp) fn dress(
    file: &fs::File,
    attributes: Attributes,
    name: &[u8],
) -> Result<(), Error> {
    if let Some(mode) = attributes.mode() {
        permit(file, mode & 0o777, name)?;
    }
    if let Some((access, modification)) = attributes.times {
        let at = |seconds: u32| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into());
        let times = fs::FileTimes::new().set_accessed(at(access)).set_modified(at(modification));
        file.set_times(times).map_err(failed("futimens", name))?;
    }
    Ok(())
}

fn permit(file: &fs::File, mode: u32, name: &[u8]) -> Result<(), Error> {
    file.set_permissions(Permissions::from_mode(mode)).map_err(failed("fchmod", name))
}

/// Permissions and times, as a server takes them.
pub(in crate::remote::sftp) fn attributes_of(meta: &fs::Metadata) -> Attributes {
    let seconds = |time: i64| u32::try_from(time.max(0)).unwrap_or(u32::MAX);
    Attributes {
        permissions: Some(meta.mode() & 0o777),
        times: Some((seconds(meta.atime()), seconds(meta.mtime()))),
        ..Attributes::default()
    }
}
