//! SSH: log in, run, copy.

pub mod agent;
mod agent_socket;
mod auth;
mod base64;
pub mod blocking;
mod channel;
mod client;
pub mod config;
mod connect;
mod credentials;
mod error;
mod exec;
pub mod host_key;
pub mod key_file;
pub mod known_hosts;
pub mod pattern;
pub mod secret;
mod session;
pub mod sftp;
mod stream;
pub mod target;
mod transport;
mod verify;
mod wire;

pub use channel::{Channel, Exit, Stream};
pub use client::{Client, Timeouts};
pub use credentials::{Ask, PASSWORDS};
pub use error::{Error, Reason, Step};
pub use exec::{Ended, Exec, Output};
pub use session::{About, Session, Steps};
pub use stream::{Descriptor, Input, Sink};
pub use verify::Policy;
