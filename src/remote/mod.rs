//! SSH: log in, run, copy.

pub mod agent;
mod channel;
pub mod config;
mod error;
pub mod key_file;
pub mod known_hosts;
pub mod sftp;
pub mod target;
mod transport;

pub use channel::{Channel, Exit, Stream};
pub use error::{Error, Reason, Step};
