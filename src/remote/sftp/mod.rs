//! SFTP version 3, our own client.

pub mod attrs;
pub mod broken;
mod budget;
mod changes;
mod copying;
mod entries;
mod file;
mod files;
mod further;
mod partial;
mod pieces;
mod place;
pub mod protocol;
mod readv;
pub mod reply;
pub mod request;
mod resume;
mod session;
mod transfer;
mod tree;
mod under_way;
pub mod wire;

pub use attrs::{Attributes, FileKind};
pub use broken::{Broken, Refused};
pub use entries::Entries;
pub use file::File;
pub use protocol::{Protocol, Ticket};
pub use reply::{Data, Limits, Name, Reply, Status, StatusCode, Statvfs};
pub use request::{Extension, Handle, OpenFlags, Request};
pub use session::Sftp;
pub use transfer::{Progress, Transfer};
pub use tree::{Event, Failed, Links, Summary, Tree};
