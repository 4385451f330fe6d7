//! A file that is opened again before it is whole, by a later copy or by another session: its owner may read and write it until
//! then, whatever it is to have in the end.

use super::Attributes;
use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

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

/// Opens a partial here. A copy that was cut at its very end had taken from its owner already.
pub(super) fn opened<F>(path: &Path, open: impl Fn() -> io::Result<F>) -> io::Result<F> {
    match open() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            give_back(path).map_err(|_| error)?;
            open()
        }
        done => done,
    }
}

fn give_back(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    // By this name it is the one that was looked at, whoever has its own by now.
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::set_permissions(open, Permissions::from_mode(meta.mode() & 0o777 | OWNER))
}
