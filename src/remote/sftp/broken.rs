//! Why a server is no longer spoken to, and why a request is not sent.

use super::request::Extension;
use super::wire::Malformed;
use std::fmt;

/// What a server did that no SFTP server does. Nothing it says is believed any more, and its stream has no
/// recognisable next packet: the channel is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Text came where the first packet was due: this is its beginning. Mostly a line that the login shell's start-up
    /// files print.
    Text([u8; 4]),
    /// A packet of so many bytes: 0, or above the limit.
    Length(u32),
    /// The first packet is of this type, not `SSH_FXP_VERSION`.
    NotVersion(u8),
    /// The server speaks this version: an older one, or a newer one, which is no answer to 3.
    Version(u32),
    /// The fields do not fit into the packet of this type.
    Malformed(u8),
    /// A packet of this type, which a server does not send.
    Type(u8),
    /// A reply to a request that is not in flight.
    Unknown(u32),
    /// A second reply to this request.
    Twice(u32),
    /// A reply of this type, which does not fit its request. A status of success counts as 101, where something
    /// else was asked for.
    Unfit(u8),
    /// A handle of so many bytes, above 256.
    Handle(usize),
    /// More bytes than were asked for.
    Excess {
        /// So many were.
        asked: u32,
        /// So many came.
        got: usize,
    },
    /// No bytes and no end of file: asking again would go on for ever.
    Empty,
    /// So many names where one is due.
    Names(usize),
}

impl Broken {
    /// A packet of that type that ends too early.
    pub(super) fn malformed(kind: u8) -> impl Fn(Malformed) -> Self {
        move |Malformed| Self::Malformed(kind)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Text(text) => write!(
                f,
                "the server sends text instead of SFTP, beginning with '{}': \
                 a start-up file of the login shell may print it",
                text.escape_ascii()
            ),
            Self::Length(0) => f.write_str("the server sent an empty packet"),
            Self::Length(len) => write!(f, "the server sent a packet of {len} bytes, too long"),
            Self::NotVersion(kind) => {
                write!(f, "the server's first packet is of type {kind}, not its version")
            }
            Self::Version(version) => {
                write!(f, "the server speaks version {version} of SFTP, not 3")
            }
            Self::Malformed(kind) => {
                write!(f, "the server sent a malformed packet of type {kind}")
            }
            Self::Type(kind) => write!(f, "the server sent a packet of type {kind}, no reply"),
            Self::Unknown(id) => write!(f, "the server answered request {id}, which nobody asked"),
            Self::Twice(id) => write!(f, "the server answered request {id} twice"),
            Self::Unfit(kind) => {
                write!(f, "the server sent a reply of type {kind} that does not fit its request")
            }
            Self::Handle(len) => write!(f, "the server sent a handle of {len} bytes, above 256"),
            Self::Excess { asked, got } => {
                write!(f, "the server sent {got} bytes where {asked} were asked for")
            }
            Self::Empty => f.write_str("the server sent no bytes and no end of file"),
            Self::Names(count) => write!(f, "the server sent {count} names where one is due"),
        }
    }
}

impl std::error::Error for Broken {}

/// Why a request is not sent. The session goes on, but for [`Refused::Broken`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The server has not told its version yet.
    Early,
    /// The server did not offer that extension, in the version that this client speaks.
    Unoffered(Extension),
    /// A path holds a NUL byte.
    Nul,
    /// The packet would be of so many bytes, above the limit.
    TooLong(usize),
    /// The server broke the protocol before.
    Broken(Broken),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Early => f.write_str("the server has not told its version yet"),
            Self::Unoffered(extension) => {
                write!(f, "the server does not offer {}", extension.name())
            }
            Self::Nul => f.write_str("a path holds a NUL byte"),
            Self::TooLong(len) => write!(f, "a request of {len} bytes is too long"),
            Self::Broken(broken) => broken.fmt(f),
        }
    }
}

impl std::error::Error for Refused {}
