//! Floor 3: SSH: log in, run, copy; what the notes do with paramiko, with both phases in sight.
//!
//! [`Client`] says whom to connect to and how; [`Client::connect`] gives a [blocking session](blocking::Session), and
//! [`Client::connect_on`] a [`Session`] of futures on a [`Reactor`](crate::reactor::Reactor): many of them, and many
//! sessions, on one thread. The blocking face runs the same code to its end.
//!
//! ```no_run
//! use std::time::Duration;
//! use waitcopy::reactor::Reactor;
//! use waitcopy::remote::{Client, Error};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let reactor = Reactor::new()?;
//! let client = Client::new("root@120.92.84.249")?;
//! reactor.run(async {
//!     let ssh = client.connect_on(&reactor).await?;
//!     let df = ssh.exec("df").timeout(Duration::from_secs(10)).output().await?;
//!     println!("{}", String::from_utf8_lossy(&df.stdout));
//!     let sftp = ssh.sftp().await?;
//!     sftp.put("/tmp/id_rsa", "/etc/test.rsa").await?;
//!     sftp.close().await?;
//!     ssh.close().await
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! # How it waits and copies
//!
//! libssh2 never waits here. A call that says "again" ends in the reactor's one epoll_wait(2): the **wait**. The call that then
//! takes bytes from the kernel, decrypts and hands them on is the **copy**. Both are told to the reactor's observer, from the one
//! place where they happen: `transport.rs`.
//!
//! # The rooms
//!
//! - `client.rs` from a name to a session, `connect.rs` its first steps, `methods.rs` which ciphers come first, `verify.rs` the check of the host's key
//!   ([`known_hosts`], [`host_key`]), `auth.rs` the login ([`key_file`], [`agent`], [`secret`], `credentials.rs`).
//! - [`target`] what a person types, [`config`] what OpenSSH's configuration says of it.
//! - `transport.rs` the one owner of libssh2's session; `channel.rs` channels; `exec.rs` commands and shells, `window.rs` their terminal's size; `stream.rs` where bytes come from
//!   and go to; [`sftp`] files.
//! - `route.rs` the way to a host, through others or over a command; `tunnel.rs` a channel joined to a socket; [`forward`] ports
//!   here and there whose connections go through a session.
//! - `session.rs` and [`blocking`] the two faces.
//!
//! # What holds
//!
//! - No authentication before the host's key is checked. An unknown host is refused unless a [`Policy`] says otherwise; a changed key
//!   is refused under each.
//! - Every step has a deadline of its own ([`Timeouts`]), and every length that a server sends is bounded before it is believed.
//! - Dropping anything never waits. A future that is dropped in the middle of a packet leaves a session that says so
//!   ([`Reason::Abandoned`]) instead of one that hangs; SFTP requests can always be dropped.
//! - Text from a server ([`About::server`], error texts, file names) may hold control characters: escape it before printing.

pub mod agent;
mod agent_socket;
mod auth;
pub(crate) mod base64;
pub mod blocking;
mod channel;
mod client;
pub mod config;
mod connect;
mod credentials;
mod error;
mod exec;
pub mod forward;
pub mod host_key;
pub mod key_file;
pub mod known_hosts;
mod methods;
pub mod pattern;
mod route;
mod scratch;
pub mod secret;
mod session;
pub mod sftp;
mod stream;
pub mod target;
mod timeouts;
mod transport;
mod tunnel;
mod verify;
mod window;
mod wire;

pub use channel::{Channel, Exit, Stream};
pub use client::Client;
pub use credentials::{Ask, PASSWORDS};
pub use error::{Error, Reason, Step};
pub use exec::{Ended, Exec, Output};
pub use session::{About, Session, Steps};
pub use stream::{Descriptor, Input, Sink};
pub use timeouts::{Keepalive, Timeouts};
pub use verify::Policy;
pub use window::Window;
