//! The files that a command leaves: whole, or not at all.

use super::{Exit, Parsed};
use crate::failure::During;
use crate::sys;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

/// A file that is written when all is there, and looked at before anything runs.
pub(super) struct Output {
    /// As it was named.
    name: String,
    way: Way,
}

/// How it gets there.
enum Way {
    /// The file itself, behind all links, and where it is written until it is whole.
    Beside(PathBuf, PathBuf),
    /// Into the file that is there: its folder takes no other.
    Into,
    /// A pipe or a device. It stays open: a pipe's reader would take the close for the end.
    Stream(File),
}

impl Output {
    /// What `flag` names, if it does. Nothing that is there is changed, and nothing left behind: the run may fail, or be broken off by a signal.
    ///
    /// # Errors
    /// 1: it cannot be written. 2: it is the file that `--from` reads, whatever name either goes by.
    pub(super) fn asked(parsed: &Parsed, flag: &str) -> Result<Option<Self>, Exit> {
        let Some(name) = parsed.value(flag) else { return Ok(None) };
        if parsed.value("from").is_some_and(|from| same(from, name)) {
            return Err(Exit::usage(format!(
                "--{flag} {name} is the file that --from reads: it would be lost"
            )));
        }
        let there = fs::metadata(name);
        let open = || OpenOptions::new().write(true).open(name).during("open", name);
        let opened = there.as_ref().ok().map(|_| open()).transpose()?;
        let file = behind_links(Path::new(name)).during("readlink", name)?;
        let beside = beside(&file).during("getrandom", name)?;
        let way = match opened {
            Some(stream) if !there.is_ok_and(|there| there.is_file()) => Way::Stream(stream),
            Some(_) if tried(&beside).is_err() => Way::Into,
            Some(_) => Way::Beside(file, beside),
            None => {
                tried(&file).during("open", name)?;
                Way::Beside(file, beside)
            }
        };
        Ok(Some(Self { name: name.to_owned(), way }))
    }

    /// Writes it; what was there is there until all of it is written.
    ///
    /// # Errors
    /// 1: the disk is full, or the place has gone.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<(), Exit> {
        let (file, beside) = match &self.way {
            Way::Beside(file, beside) => (file, beside),
            Way::Into => return Ok(fs::write(&self.name, bytes).during("write", &self.name)?),
            Way::Stream(stream) => {
                let mut stream: &File = stream;
                return Ok(stream.write_all(bytes).during("write", &self.name)?);
            }
        };
        let written = write_beside(file, beside, bytes).during("write", &self.name);
        let placed = written.is_ok() && fs::rename(beside, file).is_ok();
        if !placed {
            // What is left of it is of no use; should it stay, its name says whose it is.
            let _ = fs::remove_file(beside);
            written?;
            // Another's file in a folder like /tmp, or one that is mounted: nothing takes its place, and it may be written into.
            fs::write(file, bytes).during("write", &self.name)?;
        }
        Ok(())
    }

    /// Where it is, for a person.
    pub(super) fn shown(&self) -> String {
        fs::canonicalize(&self.name)
            .map_or_else(|_| self.name.clone(), |path| path.display().to_string())
    }
}

/// Whether a file can be made there; it is not left.
fn tried(path: &Path) -> io::Result<()> {
    File::create_new(path).and_then(|_| fs::remove_file(path))
}

/// With the owner and the permissions of what it will replace.
fn write_beside(file: &Path, beside: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = File::create_new(beside)?;
    if let Ok(there) = fs::metadata(file) {
        // Only root may give a file away; another's is then ours.
        let _ = fchown(&new, Some(there.uid()), Some(there.gid()));
        new.set_permissions(there.permissions())?;
    }
    new.write_all(bytes)
}

/// A hidden name in the same folder, which nobody else has.
fn beside(file: &Path) -> io::Result<PathBuf> {
    let mut noise = [0; 8];
    sys::getrandom(&mut noise)?;
    let noise = u64::from_ne_bytes(noise);
    Ok(file.with_file_name(format!(".waitcopy-{}-{noise:016x}", std::process::id())))
}

/// What a name leads to, whether it is there or not: a link stays, and what it leads to is replaced.
fn behind_links(name: &Path) -> io::Result<PathBuf> {
    let mut path = name.to_owned();
    // A circle of links is refused by the kernel, where the file is opened.
    for _ in 0..40 {
        if !path.is_symlink() {
            break;
        }
        let to = fs::read_link(&path)?;
        path = path.parent().unwrap_or(Path::new("")).join(to);
    }
    Ok(path)
}

/// Whether both names are of one file. What is no file, a terminal or a pipe, holds nothing that could be lost.
fn same(one: &str, other: &str) -> bool {
    let file = |path| fs::metadata(path).ok().filter(fs::Metadata::is_file);
    file(one)
        .zip(file(other))
        .is_some_and(|(one, other)| (one.dev(), one.ino()) == (other.dev(), other.ino()))
}
