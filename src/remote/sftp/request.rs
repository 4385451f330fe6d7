//! What the client asks (draft-ietf-secsh-filexfer-02, section 6; the extensions: OpenSSH's PROTOCOL, section 3).

use super::attrs::Attributes;
use super::broken::Refused;
use super::wire::{Malformed, Writer};
use std::ops::BitOr;

const EXTENDED: u8 = 200;

/// How a file is opened: a set of flags, joined by `|`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFlags(u32);

impl OpenFlags {
    /// For reading.
    pub const READ: Self = Self(0x01);
    /// For writing.
    pub const WRITE: Self = Self(0x02);
    /// Each write goes to the end of the file, whatever its offset.
    pub const APPEND: Self = Self(0x04);
    /// Makes the file where there is none.
    pub const CREATE: Self = Self(0x08);
    /// Empties the file; with `CREATE` only.
    pub const TRUNCATE: Self = Self(0x10);
    /// Fails where there is one already; with `CREATE` only.
    pub const EXCLUSIVE: Self = Self(0x20);

    /// As they are sent.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl BitOr for OpenFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A server's name for an open file or directory: bytes that mean nothing to us.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Handle(Box<[u8]>);

impl Handle {
    /// The longest that the draft allows, in bytes.
    pub const MAX: usize = 256;

    /// A handle of these bytes.
    ///
    /// # Errors
    /// [`Malformed`] above [`Handle::MAX`].
    pub fn new(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > Self::MAX { Err(Malformed) } else { Ok(Self(bytes.into())) }
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// OpenSSH's additions that this client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// How much a server takes and gives at once.
    Limits,
    /// rename(2): over an existing file, atomically.
    PosixRename,
    /// link(2).
    Hardlink,
    /// fsync(2).
    Fsync,
    /// statvfs(3) of a path.
    Statvfs,
    /// The same of an open file.
    Fstatvfs,
    /// Set attributes of a symbolic link itself.
    Lsetstat,
}

impl Extension {
    /// All of them, in the order of the enum, with the name and the version that this client speaks.
    pub const ALL: [(Self, &'static str, &'static str); 7] = [
        (Self::Limits, "limits@openssh.com", "1"),
        (Self::PosixRename, "posix-rename@openssh.com", "1"),
        (Self::Hardlink, "hardlink@openssh.com", "1"),
        (Self::Fsync, "fsync@openssh.com", "1"),
        (Self::Statvfs, "statvfs@openssh.com", "2"),
        (Self::Fstatvfs, "fstatvfs@openssh.com", "2"),
        (Self::Lsetstat, "lsetstat@openssh.com", "1"),
    ];

    /// Its name in the protocol.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The version that this client speaks.
    #[must_use]
    pub fn version(self) -> &'static str {
        Self::ALL[self as usize].2
    }
}

/// One request. Paths are the server's, in bytes of whatever encoding; relative ones start in the login's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Opens a file.
    Open {
        /// The file.
        path: &'a [u8],
        /// How.
        flags: OpenFlags,
        /// What a file that is made gets; servers heed the permissions only.
        attributes: Attributes,
    },
    /// Closes a file or a directory. The handle is gone even when it fails.
    Close(&'a Handle),
    /// Reads from an open file; the reply may be shorter than asked.
    Read {
        /// The file.
        handle: &'a Handle,
        /// Where, in bytes from its start.
        offset: u64,
        /// How many bytes at most.
        len: u32,
    },
    /// Writes to an open file: all of it or an error.
    Write {
        /// The file.
        handle: &'a Handle,
        /// Where, in bytes from its start.
        offset: u64,
        /// What; at most what [`Limits`](super::Limits) says, or 32 KiB.
        bytes: &'a [u8],
    },
    /// Attributes, of a symbolic link itself.
    Lstat(&'a [u8]),
    /// Attributes of an open file.
    Fstat(&'a Handle),
    /// Sets attributes, through symbolic links.
    Setstat {
        /// The file.
        path: &'a [u8],
        /// Those to set.
        attributes: Attributes,
    },
    /// Sets attributes of an open file.
    Fsetstat {
        /// The file.
        handle: &'a Handle,
        /// Those to set.
        attributes: Attributes,
    },
    /// Opens a directory.
    Opendir(&'a [u8]),
    /// The next names of an open directory, until [`StatusCode::Eof`](super::StatusCode::Eof).
    Readdir(&'a Handle),
    /// Removes a file, not a directory.
    Remove(&'a [u8]),
    /// Makes a directory.
    Mkdir {
        /// The directory.
        path: &'a [u8],
        /// Its permissions.
        attributes: Attributes,
    },
    /// Removes an empty directory.
    Rmdir(&'a [u8]),
    /// The absolute path of a path.
    Realpath(&'a [u8]),
    /// Attributes, through symbolic links.
    Stat(&'a [u8]),
    /// Renames; fails where `to` is there.
    Rename {
        /// The present name.
        from: &'a [u8],
        /// The new one.
        to: &'a [u8],
    },
    /// Where a symbolic link leads.
    Readlink(&'a [u8]),
    /// Makes a symbolic link. Sent in OpenSSH's order, the target first: its server turned the draft's two around
    /// before anybody noticed, and all others follow it (PROTOCOL, section 3.1).
    Symlink {
        /// The name of the link.
        link: &'a [u8],
        /// Where it leads.
        target: &'a [u8],
    },
    /// Renames over what is there.
    PosixRename {
        /// The present name.
        from: &'a [u8],
        /// The new one.
        to: &'a [u8],
    },
    /// Makes a second name for a file.
    Hardlink {
        /// The file.
        file: &'a [u8],
        /// Its second name.
        link: &'a [u8],
    },
    /// What was written is on the disk when the reply comes.
    Fsync(&'a Handle),
    /// The file system of a path.
    Statvfs(&'a [u8]),
    /// The file system of an open file.
    Fstatvfs(&'a Handle),
    /// The server's limits.
    Limits,
    /// Sets attributes, of a symbolic link itself.
    Lsetstat {
        /// The file.
        path: &'a [u8],
        /// Those to set.
        attributes: Attributes,
    },
}

/// What may come back, beside a status that is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Only a status.
    Status,
    Handle,
    /// At most so many bytes.
    Bytes(u32),
    /// Names of a directory.
    Names,
    /// Exactly one name.
    OneName,
    Attributes,
    Statvfs,
    Limits,
}

impl Request<'_> {
    /// The packet's type and what may come back.
    pub(super) fn kind(&self) -> (u8, Asked) {
        match self {
            Self::Open { .. } => (3, Asked::Handle),
            Self::Close(_) => (4, Asked::Status),
            Self::Read { len, .. } => (5, Asked::Bytes(*len)),
            Self::Write { .. } => (6, Asked::Status),
            Self::Lstat(_) => (7, Asked::Attributes),
            Self::Fstat(_) => (8, Asked::Attributes),
            Self::Setstat { .. } => (9, Asked::Status),
            Self::Fsetstat { .. } => (10, Asked::Status),
            Self::Opendir(_) => (11, Asked::Handle),
            Self::Readdir(_) => (12, Asked::Names),
            Self::Remove(_) => (13, Asked::Status),
            Self::Mkdir { .. } => (14, Asked::Status),
            Self::Rmdir(_) => (15, Asked::Status),
            Self::Realpath(_) => (16, Asked::OneName),
            Self::Stat(_) => (17, Asked::Attributes),
            Self::Rename { .. } => (18, Asked::Status),
            Self::Readlink(_) => (19, Asked::OneName),
            Self::Symlink { .. } => (20, Asked::Status),
            Self::Statvfs(_) | Self::Fstatvfs(_) => (EXTENDED, Asked::Statvfs),
            Self::Limits => (EXTENDED, Asked::Limits),
            Self::PosixRename { .. }
            | Self::Hardlink { .. }
            | Self::Fsync(_)
            | Self::Lsetstat { .. } => (EXTENDED, Asked::Status),
        }
    }

    /// The extension that the server must have offered for it.
    #[must_use]
    pub fn extension(&self) -> Option<Extension> {
        Some(match self {
            Self::Limits => Extension::Limits,
            Self::PosixRename { .. } => Extension::PosixRename,
            Self::Hardlink { .. } => Extension::Hardlink,
            Self::Fsync(_) => Extension::Fsync,
            Self::Statvfs(_) => Extension::Statvfs,
            Self::Fstatvfs(_) => Extension::Fstatvfs,
            Self::Lsetstat { .. } => Extension::Lsetstat,
            _ => return None,
        })
    }

    /// Appends the packet without its length field.
    ///
    /// # Errors
    /// [`Refused::Nul`]; what was appended until then stays.
    pub(super) fn encode(&self, id: u32, writer: &mut Writer<'_>) -> Result<(), Refused> {
        writer.u8(self.kind().0).u32(id);
        if let Some(extension) = self.extension() {
            writer.string(extension.name().as_bytes());
        }
        match *self {
            Self::Limits => {}
            Self::Close(handle)
            | Self::Fstat(handle)
            | Self::Readdir(handle)
            | Self::Fsync(handle)
            | Self::Fstatvfs(handle) => _ = writer.string(handle.bytes()),
            Self::Lstat(path)
            | Self::Opendir(path)
            | Self::Remove(path)
            | Self::Rmdir(path)
            | Self::Realpath(path)
            | Self::Stat(path)
            | Self::Readlink(path)
            | Self::Statvfs(path) => _ = writer.string(whole(path)?),
            Self::Rename { from: first, to: second }
            | Self::PosixRename { from: first, to: second }
            | Self::Hardlink { file: first, link: second }
            | Self::Symlink { target: first, link: second } => {
                writer.string(whole(first)?).string(whole(second)?);
            }
            Self::Setstat { path, attributes }
            | Self::Mkdir { path, attributes }
            | Self::Lsetstat { path, attributes } => {
                attributes.encode(writer.string(whole(path)?));
            }
            Self::Fsetstat { handle, attributes } => {
                attributes.encode(writer.string(handle.bytes()));
            }
            Self::Open { path, flags, attributes } => {
                attributes.encode(writer.string(whole(path)?).u32(flags.bits()));
            }
            Self::Read { handle, offset, len } => {
                writer.string(handle.bytes()).u64(offset).u32(len);
            }
            Self::Write { handle, offset, bytes } => {
                writer.string(handle.bytes()).u64(offset).string(bytes);
            }
        }
        Ok(())
    }
}

impl<'a> Request<'a> {
    /// The same with its relative paths written out from a directory on, into these buffers. What a symbolic link leads to is no
    /// path of ours, and stays.
    #[must_use]
    pub fn below(self, cwd: &[u8], first: &'a mut Vec<u8>, second: &'a mut Vec<u8>) -> Self {
        fn at<'a>(cwd: &[u8], buffer: &'a mut Vec<u8>) -> impl FnOnce(&'a [u8]) -> &'a [u8] {
            move |path| {
                if path.starts_with(b"/") {
                    return path;
                }
                let ends = cwd.ends_with(b"/") || path.is_empty();
                *buffer = [cwd, if ends { b"" } else { b"/" }, path].concat();
                buffer
            }
        }
        let (one, other) = (at(cwd, first), at(cwd, second));
        match self {
            Self::Open { path, flags, attributes } => {
                Self::Open { path: one(path), flags, attributes }
            }
            Self::Setstat { path, attributes } => Self::Setstat { path: one(path), attributes },
            Self::Mkdir { path, attributes } => Self::Mkdir { path: one(path), attributes },
            Self::Lsetstat { path, attributes } => Self::Lsetstat { path: one(path), attributes },
            Self::Lstat(path) => Self::Lstat(one(path)),
            Self::Opendir(path) => Self::Opendir(one(path)),
            Self::Remove(path) => Self::Remove(one(path)),
            Self::Rmdir(path) => Self::Rmdir(one(path)),
            Self::Realpath(path) => Self::Realpath(one(path)),
            Self::Stat(path) => Self::Stat(one(path)),
            Self::Readlink(path) => Self::Readlink(one(path)),
            Self::Statvfs(path) => Self::Statvfs(one(path)),
            Self::Rename { from, to } => Self::Rename { from: one(from), to: other(to) },
            Self::PosixRename { from, to } => Self::PosixRename { from: one(from), to: other(to) },
            Self::Hardlink { file, link } => Self::Hardlink { file: one(file), link: other(link) },
            Self::Symlink { link, target } => Self::Symlink { link: one(link), target },
            Self::Close(_)
            | Self::Read { .. }
            | Self::Write { .. }
            | Self::Fstat(_)
            | Self::Fsetstat { .. }
            | Self::Readdir(_)
            | Self::Fsync(_)
            | Self::Fstatvfs(_)
            | Self::Limits => self,
        }
    }
}

/// A path as the server will see it: OpenSSH's server ends the whole session over a NUL in one.
fn whole(path: &[u8]) -> Result<&[u8], Refused> {
    if path.contains(&0) { Err(Refused::Nul) } else { Ok(path) }
}
