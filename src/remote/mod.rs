//! SSH: log in, run, copy.

pub mod agent;
mod channel;
pub mod config;
mod connect;
mod error;
mod exec;
pub mod key_file;
pub mod known_hosts;
mod session;
pub mod sftp;
mod stream;
pub mod target;
mod transport;

pub use channel::{Channel, Exit, Stream};
pub use error::{Error, Reason, Step};
pub use exec::{Ended, Exec, Output};
pub use session::{About, Session, Steps};
pub use stream::{Descriptor, Input, Sink};
