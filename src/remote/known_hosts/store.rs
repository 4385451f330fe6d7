//! Files of known hosts: read whole, or one line appended.

use super::{KnownHosts, Verdict, line};
use crate::failure::{During, Failure};
use crate::remote::host_key::HostKey;
use crate::sys;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Bytes that are read of a file at most: half a million ed25519 keys.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Bytes of a host's name or an alias that are written at most; a name in the DNS has 253 (RFC 1035, 2.3.4).
const MAX_HOST: usize = 255;

/// ssh's port, the one that is not written.
const PORT: u16 = 22;

/// The name under which the files know a host: `host`, or `[host]:port` for another port than 22 (OpenSSH's
/// `put_host_port`; a line with `[host]:22` matches nothing, there as here).
pub(in crate::remote) fn entry_name(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    if port == PORT { host } else { format!("[{host}]:{port}") }
}

/// All of a file; nothing of one that is missing.
pub(super) fn contents(path: &Path) -> Result<Vec<u8>, Failure> {
    match File::open(path) {
        Ok(file) => read(&file).during("read", path.display()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Failure::new("open", path.display(), error)),
    }
}

fn read(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than allowed tells: the size in the inode says nothing of a pipe or /dev/zero.
    let length = file.take(MAX_FILE + 1).read_to_end(&mut bytes)? as u64;
    if length > MAX_FILE { Err(ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

/// Notes a host's key at the end of a file, and says what the file alone said of it just before. The line is written
/// after [`Verdict::Unknown`] only: twice never, and neither a revoked key nor one beside another of the host's, which
/// another process may have noted since the caller looked. The caller has to look at the verdict again.
///
/// Nothing that is there is changed; a last line without its newline gets it first. A missing file is made with mode
/// 0600, and a missing directory around it with 0700. With `hashed`, the name can only be guessed from the line
/// (ssh_config(5), `HashKnownHosts`).
///
/// Waits for another process that is adding to the same file.
///
/// # Errors
/// A host whose name cannot stand in a line (`add`, before anything is touched): empty, of more than 255 bytes, or
/// with blanks, control characters, or one of `@?*#[]|'"\,!`. `EACCES`, `EROFS`, `ENOSPC` and others of the
/// file; after `ENOSPC` a piece of the line may stay behind, which no reader takes for an entry.
pub fn add(
    file: &Path,
    host: &str,
    port: u16,
    key: &HostKey,
    hashed: bool,
) -> Result<Verdict, Failure> {
    if !writable(host) {
        let refused = Failure::new("add", format!("{host:?}"), ErrorKind::InvalidInput.into());
        return Err(refused.hint(Some("such a name cannot stand in known_hosts")));
    }
    create_directory(file).during("mkdir", file.parent().unwrap_or(file).display())?;
    let mut locked = lock(file).during("open and lock", file.display())?;
    let before = read(&locked).during("read", file.display())?;
    let verdict = KnownHosts::parse(file, &before).check(host, port, key);
    if verdict == Verdict::Unknown {
        let mut name = entry_name(host, port);
        if hashed {
            let mut salt = [0; 20];
            sys::getrandom(&mut salt).during("getrandom", "")?;
            name = line::hashed(&name, salt);
        }
        let newline = if matches!(before.last(), None | Some(b'\n')) { "" } else { "\n" };
        // One write(2), at the end wherever that is by then: OpenSSH appends without a lock.
        let line = format!("{newline}{name} {key}\n");
        locked.write_all(line.as_bytes()).during("write", file.display())?;
    }
    Ok(verdict)
}

/// Whether a host's name means itself in a line, and nothing but itself. OpenSSH leaves out `@?*#[]|'"\` in the same
/// place (`check_host_key`); the comma and the exclamation mark would make a list of it.
fn writable(host: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !"@?*#[]|'\"\\,!".contains(c);
    (1..=MAX_HOST).contains(&host.len()) && host.chars().all(|c| plain(c) || c.is_alphanumeric())
}

/// Makes `~/.ssh` where it is missing; what is above it must be there.
fn create_directory(file: &Path) -> io::Result<()> {
    let Some(directory) = file.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// The file, open for reading and appending, and held until it is closed.
fn lock(path: &Path) -> io::Result<File> {
    loop {
        let file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        while let Err(error) = sys::flock(&file) {
            if error.kind() != ErrorKind::Interrupted {
                return Err(error);
            }
        }
        // `ssh-keygen -R` puts another file in its place: a line in the old one would be lost.
        let ours = file.metadata()?;
        match path.metadata() {
            Ok(now) if (now.dev(), now.ino()) == (ours.dev(), ours.ino()) => return Ok(file),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
}
