//! A file that is opened again before it is whole, by a later copy or by another session: its owner may read and write it until
//! then, whatever it is to have in the end.

use super::Attributes;
use super::place::hidden;
use super::resume::Identity;
use crate::failure::Failure;
use crate::remote::error::{Error, Reason, Step};
use crate::sys;
use libc::{EISDIR, ELOOP, ENOLCK, ENOSYS, ENXIO, EOPNOTSUPP};
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Said of what is there under its name.
const FOREIGN: &str = "is there, and is no partial file of ours";

/// How often a partial may be gone by the time that it is locked.
const TRIES: u32 = 100;

/// What its owner needs.
pub(super) const OWNER: u32 = 0o600;

/// What it is to have in the end, where that is less: of `mode` what it has by now, from which the umask has taken.
pub(super) fn narrowed(mode: u32, now: u32) -> Option<u32> {
    (mode & OWNER != OWNER).then_some(mode & now)
}

/// The same of a file here.
pub(super) fn narrowed_here(mode: u32, file: &fs::File) -> io::Result<Option<u32>> {
    Ok(narrowed(mode, file.metadata()?.mode()))
}

/// What is set in the end: these permissions, unless others are asked for.
pub(super) fn with(set: Option<Attributes>, narrow: Option<u32>) -> Option<Attributes> {
    let Some(narrow) = narrow else { return set };
    let set = set.unwrap_or_default();
    Some(Attributes { permissions: set.permissions.or(Some(narrow)), ..set })
}

/// The name of a place's partial: hidden, and with a digest of its source's identity and of the whole name of the place, of which
/// it may hold a part only.
pub(super) fn name(path: &[u8], source: &Identity) -> Vec<u8> {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let digest = sys::sha256(&[source, name].concat());
    hidden(path, &std::array::from_fn(|at| digest[at]))
}

/// Opens a partial here and holds it, until it is closed, against other copies of the same source. Its name can be foreseen: what
/// somebody else has put there is not written to. `call` is what `open` makes; `look` says which device and inode has the name now.
///
/// # Errors
/// It is no file, or another user's, or has another name as well; another copy writes it.
pub(super) fn opened<F: Into<fs::File>>(
    (call, path): (&'static str, &Path),
    open: impl Fn() -> io::Result<F>,
    look: impl Fn() -> io::Result<(u64, u64)>,
) -> Result<fs::File, Error> {
    let shown = path.file_name().unwrap_or_default().to_string_lossy().escape_debug().to_string();
    let refused = |why| Error::new(Step::Sftp, Reason::Usage, format!("{shown} {why}"));
    let failed = |call| {
        let name = shown.clone();
        move |error| Error::failure(Step::Sftp, &Failure::new(call, name, error))
    };
    for _ in 0..TRIES {
        let opened = match open() {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                give_back(path).map_err(|_| error).and_then(|()| open())
            }
            opened => opened,
        };
        let file: fs::File = match opened {
            // A symbolic link, a directory, a socket.
            Err(error) if matches!(error.raw_os_error(), Some(ELOOP | EISDIR | ENXIO)) => {
                return Err(refused(FOREIGN));
            }
            opened => opened.map_err(failed(call))?.into(),
        };
        let meta = file.metadata().map_err(failed("fstat"))?;
        if !is_ours(&meta) {
            return Err(refused(FOREIGN));
        }
        match sys::flock_now(&file) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(refused("is written by another copy"));
            }
            // This file system has no locks: then nobody is held off.
            Err(error) if matches!(error.raw_os_error(), Some(ENOSYS | EOPNOTSUPP | ENOLCK)) => {}
            locked => locked.map_err(failed("flock"))?,
        }
        match look() {
            Ok(now) if now == (meta.dev(), meta.ino()) => return Ok(file),
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(failed("lstat")(error));
            }
            // The other copy has given it its name between our two calls.
            _ => {}
        }
    }
    Err(refused("is written by one copy after the other"))
}

/// A copy that was cut at its very end had taken from its owner already.
fn give_back(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)?;
    let meta = file.metadata()?;
    if !is_ours(&meta) {
        return Err(ErrorKind::PermissionDenied.into());
    }
    // By this name it is the one that was looked at, whoever has its own by now.
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::set_permissions(open, Permissions::from_mode(meta.mode() & 0o777 | OWNER))
}

fn is_ours(meta: &fs::Metadata) -> bool {
    meta.is_file() && meta.uid() == sys::geteuid() && meta.nlink() == 1
}
