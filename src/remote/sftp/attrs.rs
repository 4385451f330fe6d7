//! What a server knows of a file, and what a client wants it to be (draft-ietf-secsh-filexfer-02, section 5).

use super::wire::{Malformed, Reader, Writer};

const SIZE: u32 = 0x1;
const OWNER: u32 = 0x2;
const PERMISSIONS: u32 = 0x4;
const TIMES: u32 = 0x8;
const EXTENDED: u32 = 0x8000_0000;

/// An extended pair is two strings; the shortest string is its length field.
const SHORTEST_PAIR: usize = 8;

/// The attributes of a file; those that are `None` are unknown, or stay as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Bytes.
    pub size: Option<u64>,
    /// User and group, by the server's numbers.
    pub owner: Option<(u32, u32)>,
    /// `st_mode` of stat(2), the kind of file included where the server sends it.
    pub permissions: Option<u32>,
    /// Last access and last modification, in seconds since 1970, to 2106.
    pub times: Option<(u32, u32)>,
}

/// The kinds that a copy treats differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A file with bytes in it.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, a FIFO, a socket: opening one may wait for ever.
    Other,
    /// The server does not say.
    Unknown,
}

impl Attributes {
    /// The kind of file, from the permissions' upper bits (inode(7)).
    #[must_use]
    pub fn kind(&self) -> FileKind {
        match self.permissions.unwrap_or(0) & 0o170_000 {
            0 => FileKind::Unknown,
            0o100_000 => FileKind::Regular,
            0o040_000 => FileKind::Directory,
            0o120_000 => FileKind::Symlink,
            _ => FileKind::Other,
        }
    }

    /// The permissions without the kind: nine bits, and set-user-ID, set-group-ID, sticky above them.
    #[must_use]
    pub fn mode(&self) -> Option<u32> {
        self.permissions.map(|permissions| permissions & 0o7777)
    }

    /// Reads attributes. Extended pairs are skipped; flags that version 3 does not know are ignored, as by OpenSSH's
    /// client.
    ///
    /// # Errors
    /// [`Malformed`] when the packet ends before they do.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let flags = reader.u32()?;
        let mut attributes = Self::default();
        if flags & SIZE != 0 {
            attributes.size = Some(reader.u64()?);
        }
        if flags & OWNER != 0 {
            attributes.owner = Some((reader.u32()?, reader.u32()?));
        }
        if flags & PERMISSIONS != 0 {
            attributes.permissions = Some(reader.u32()?);
        }
        if flags & TIMES != 0 {
            attributes.times = Some((reader.u32()?, reader.u32()?));
        }
        if flags & EXTENDED != 0 {
            for _ in 0..2 * reader.count(SHORTEST_PAIR)? {
                reader.string()?;
            }
        }
        Ok(attributes)
    }

    /// Appends the attributes that are there.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        let flag = |there: bool, flag: u32| if there { flag } else { 0 };
        writer.u32(
            flag(self.size.is_some(), SIZE)
                | flag(self.owner.is_some(), OWNER)
                | flag(self.permissions.is_some(), PERMISSIONS)
                | flag(self.times.is_some(), TIMES),
        );
        if let Some(size) = self.size {
            writer.u64(size);
        }
        if let Some((user, group)) = self.owner {
            writer.u32(user).u32(group);
        }
        if let Some(permissions) = self.permissions {
            writer.u32(permissions);
        }
        if let Some((access, modification)) = self.times {
            writer.u32(access).u32(modification);
        }
    }
}
