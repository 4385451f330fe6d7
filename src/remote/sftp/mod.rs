//! SFTP version 3, our own client.

pub mod attrs;
pub mod broken;
mod file;
mod files;
mod place;
pub mod protocol;
pub mod reply;
pub mod request;
mod session;
mod transfer;
pub mod wire;

pub use attrs::{Attributes, FileKind};
pub use broken::{Broken, Refused};
pub use file::File;
pub use protocol::{Protocol, Ticket};
pub use reply::{Data, Limits, Name, Reply, Status, StatusCode, Statvfs};
pub use request::{Extension, Handle, OpenFlags, Request};
pub use session::Sftp;
pub use transfer::{Progress, Transfer};
