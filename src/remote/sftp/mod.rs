//! SFTP version 3, our own client.

pub mod attrs;
pub mod broken;
pub mod protocol;
pub mod reply;
pub mod request;
pub mod wire;

pub use attrs::{Attributes, FileKind};
pub use broken::{Broken, Refused};
pub use protocol::{Protocol, Ticket};
pub use reply::{Data, Limits, Name, Reply, Status, StatusCode, Statvfs};
pub use request::{Extension, Handle, OpenFlags, Request};
