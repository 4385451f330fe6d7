//! What a server answers (draft-ietf-secsh-filexfer-02, section 7).
//!
//! Bytes after a packet's last field are ignored, as OpenSSH's client does: later versions append fields, and some
//! servers of version 3 send them early.

use super::attrs::Attributes;
use super::broken::Broken;
use super::request::{Asked, Handle};
use super::wire::{Malformed, Reader};
use std::fmt;
use std::ops::Deref;

pub(super) const VERSION: u8 = 2;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;
const EXTENDED_REPLY: u8 = 201;

/// Bytes kept of a server's error text.
const TEXT_MAX: usize = 1024;

/// Bytes of the shortest entry of a NAME packet: two empty strings and no attributes.
const SHORTEST_NAME: usize = 12;

/// Bytes before those of a file in a DATA packet: type, id, length.
const BEFORE_BYTES: usize = 9;

/// How a request ended, by the draft's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StatusCode {
    /// Success.
    Ok,
    /// The end of the file or directory.
    Eof,
    /// No such file.
    NoSuchFile,
    /// Permission denied.
    PermissionDenied,
    /// Anything else: mostly all that is known of ENOSPC, EEXIST, ENOTEMPTY, EDQUOT.
    Failure,
    /// The server found the request malformed.
    BadMessage,
    /// Not for servers to send.
    NoConnection,
    /// Not for servers to send.
    ConnectionLost,
    /// The server does not know the request.
    OpUnsupported,
    /// A number above those.
    Other(u32),
}

impl StatusCode {
    const NAMED: [(Self, &'static str); 9] = [
        (Self::Ok, "success"),
        (Self::Eof, "end of file"),
        (Self::NoSuchFile, "no such file or directory"),
        (Self::PermissionDenied, "permission denied"),
        (Self::Failure, "failure"),
        (Self::BadMessage, "bad message"),
        (Self::NoConnection, "no connection"),
        (Self::ConnectionLost, "connection lost"),
        (Self::OpUnsupported, "operation unsupported"),
    ];
}

impl StatusCode {
    /// Its number in the protocol.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Other(number) => number,
            named => {
                (0..).zip(Self::NAMED).find(|(_, (code, _))| *code == named).map_or(4, |(n, _)| n)
            }
        }
    }
}

impl From<u32> for StatusCode {
    fn from(number: u32) -> Self {
        Self::NAMED.get(number as usize).map_or(Self::Other(number), |(code, _)| *code)
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(number) => write!(f, "error {number}"),
            named => (Self::NAMED.iter().filter(|(code, _)| code == named))
                .try_for_each(|(_, text)| f.write_str(text)),
        }
    }
}

/// How a request ended, with the server's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// By number.
    pub code: StatusCode,
    /// The server's text, at most 1 KiB, perhaps empty. What is not UTF-8 is replaced; control characters are not:
    /// escape them before a terminal sees them.
    pub text: String,
}

impl fmt::Display for Status {
    /// The server's text, escaped for a terminal; else our words for the code.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.is_empty() {
            return self.code.fmt(f);
        }
        self.text.chars().try_for_each(|c| match c.is_control() {
            true => c.escape_default().fmt(f),
            false => c.fmt(f),
        })
    }
}

/// Bytes of a file: a piece of the packet that brought them, in that packet's buffer.
#[derive(Clone)]
pub struct Data(Vec<u8>);

impl Deref for Data {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0[BEFORE_BYTES..]
    }
}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Data {}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is in a file does not belong into a log.
        write!(f, "Data({} bytes)", self.len())
    }
}

/// One entry of a directory, or the answer to Realpath or Readlink. Not checked: a hostile server sends `../x` too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name, or the path, in the server's bytes.
    pub name: Vec<u8>,
    /// A line as of `ls -l`, for people.
    pub long: Vec<u8>,
    /// As of lstat(2).
    pub attributes: Attributes,
}

/// A file system, as by statvfs(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statvfs {
    /// Bytes of a block, as preferred for I/O.
    pub block_size: u64,
    /// Bytes of the units in which blocks are counted.
    pub fragment_size: u64,
    /// Units in all.
    pub blocks: u64,
    /// Units free.
    pub blocks_free: u64,
    /// Units free for others than root.
    pub blocks_available: u64,
    /// Inodes in all.
    pub files: u64,
    /// Inodes free.
    pub files_free: u64,
    /// Inodes free for others than root.
    pub files_available: u64,
    /// The file system's number.
    pub id: u64,
    /// 1: read-only; 2: set-user-ID is ignored.
    pub flags: u64,
    /// Bytes of the longest name.
    pub name_max: u64,
}

/// What a server takes and gives at once; 0 where it does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the longest packet.
    pub packet: u64,
    /// Bytes of the longest Read.
    pub read: u64,
    /// Bytes of the longest Write.
    pub write: u64,
    /// Handles open at the same time.
    pub handles: u64,
}

/// A reply that fits its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// How it ended. Success only for requests that bring nothing else.
    Status(Status),
    /// An open file or directory.
    Handle(Handle),
    /// At least one byte, and at most as many as asked for.
    Data(Data),
    /// Names: at least one, and exactly one for Realpath and Readlink.
    Names(Vec<Name>),
    /// Attributes.
    Attributes(Attributes),
    /// A file system.
    Statvfs(Statvfs),
    /// The server's limits.
    Limits(Limits),
}

impl Reply {
    /// Reads a reply. Only DATA takes the packet's buffer.
    pub(super) fn decode(asked: Asked, kind: u8, packet: &mut Vec<u8>) -> Result<Self, Broken> {
        let mut reader = Reader::new(packet);
        // Type and id, which have shown what was asked.
        let malformed = Broken::malformed(kind);
        (reader.u8().and(reader.u32())).map_err(&malformed)?;
        match (kind, asked) {
            (STATUS, _) => {
                status(&mut reader, asked).map_err(malformed)?.ok_or(Broken::Unfit(kind))
            }
            (HANDLE, Asked::Handle) => {
                let bytes = reader.string().map_err(malformed)?;
                Handle::new(bytes).map(Self::Handle).map_err(|_| Broken::Handle(bytes.len()))
            }
            (DATA, Asked::Bytes(asked)) => {
                let got = reader.string().map_err(malformed)?.len();
                bytes(asked, got, packet).map(Self::Data)
            }
            (NAME, Asked::Names | Asked::OneName) => {
                names(asked, names_of(&mut reader).map_err(malformed)?)
            }
            (ATTRS, Asked::Attributes) => {
                Attributes::decode(&mut reader).map(Self::Attributes).map_err(malformed)
            }
            (EXTENDED_REPLY, Asked::Statvfs) => {
                statvfs(&mut reader).map(Self::Statvfs).map_err(malformed)
            }
            (EXTENDED_REPLY, Asked::Limits) => {
                limits(&mut reader).map(Self::Limits).map_err(malformed)
            }
            _ => Err(Broken::Unfit(kind)),
        }
    }

    /// Whether a packet of this type carries the id of a request.
    pub(super) fn is(kind: u8) -> bool {
        matches!(kind, STATUS | HANDLE | DATA | NAME | ATTRS | EXTENDED_REPLY)
    }
}

/// `None`: a success that brings nothing of what was asked for.
fn status(reader: &mut Reader<'_>, asked: Asked) -> Result<Option<Reply>, Malformed> {
    let code = StatusCode::from(reader.u32()?);
    // Servers of the versions before 3 send no text, and some of version 3 forget it.
    let text = if reader.remaining() == 0 { &[] } else { reader.string()? };
    let mut text = String::from_utf8_lossy(&text[..text.len().min(TEXT_MAX)]).into_owned();
    // Each replaced byte has become three.
    text.truncate((0..=TEXT_MAX).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0));
    let fits = code != StatusCode::Ok || asked == Asked::Status;
    Ok(fits.then_some(Reply::Status(Status { code, text })))
}

/// Cuts off what stands after the bytes; the buffer keeps its place.
fn bytes(asked: u32, got: usize, packet: &mut Vec<u8>) -> Result<Data, Broken> {
    if got > asked as usize {
        return Err(Broken::Excess { asked, got });
    }
    if got == 0 && asked > 0 {
        return Err(Broken::Empty);
    }
    let mut packet = std::mem::take(packet);
    packet.truncate(BEFORE_BYTES + got);
    // Nothing to do but after a longer packet, or for a server that appends: it shall not hold memory for that.
    packet.shrink_to_fit();
    Ok(Data(packet))
}

fn names_of(reader: &mut Reader<'_>) -> Result<Vec<Name>, Malformed> {
    let count = reader.count(SHORTEST_NAME)?;
    let mut names = Vec::with_capacity(count);
    for _ in 0..count {
        let (name, long) = (reader.string()?.to_vec(), reader.string()?.to_vec());
        names.push(Name { name, long, attributes: Attributes::decode(reader)? });
    }
    Ok(names)
}

fn names(asked: Asked, names: Vec<Name>) -> Result<Reply, Broken> {
    match (asked, names.len()) {
        (Asked::OneName, 1) => Ok(Reply::Names(names)),
        (Asked::OneName, count) => Err(Broken::Names(count)),
        // No names and no end: OpenSSH's client takes it for the end, and asking again would go on for ever.
        (_, 0) => Ok(Reply::Status(Status { code: StatusCode::Eof, text: String::new() })),
        _ => Ok(Reply::Names(names)),
    }
}

fn statvfs(reader: &mut Reader<'_>) -> Result<Statvfs, Malformed> {
    Ok(Statvfs {
        block_size: reader.u64()?,
        fragment_size: reader.u64()?,
        blocks: reader.u64()?,
        blocks_free: reader.u64()?,
        blocks_available: reader.u64()?,
        files: reader.u64()?,
        files_free: reader.u64()?,
        files_available: reader.u64()?,
        id: reader.u64()?,
        flags: reader.u64()?,
        name_max: reader.u64()?,
    })
}

fn limits(reader: &mut Reader<'_>) -> Result<Limits, Malformed> {
    Ok(Limits {
        packet: reader.u64()?,
        read: reader.u64()?,
        write: reader.u64()?,
        handles: reader.u64()?,
    })
}
