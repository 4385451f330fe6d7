//! Every Unix I/O model as a real server, with the two phases of each I/O, **waiting** for the data
//! and **copying** it, made visible and measured.
//!
//! # The notes' server
//!
//! All of it: upper-case letters, a thread per client. [`socketserver`] says what else there is.
//!
//! ```no_run
//! use std::io::{Read, Write};
//! use waitcopy::socketserver::{Connection, tcp};
//!
//! fn main() -> Result<(), waitcopy::failure::Failure> {
//!     tcp("127.0.0.1:8080").threads().bind(|client: &mut Connection<'_>| {
//!         let mut data = [0; 1024];
//!         while let n @ 1.. = client.read(&mut data)? {
//!             client.write_all(&data[..n].to_ascii_uppercase())?;
//!         }
//!         Ok(())
//!     })?.serve_forever()
//! }
//! ```
//!
//! # A model
//!
//! How one flow of control waits and copies, for a service that never blocks:
//!
//! ```
//! use std::time::Duration;
//! use waitcopy::net::{Bind, Endpoint, Front, Settings};
//! use waitcopy::phase::{Counting, Tally};
//! use waitcopy::{model, service::Upper, stop::Stop};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let front = Front::bind(Endpoint::Tcp("127.0.0.1:0".parse()?), &Bind::default())?;
//! let stop = Stop::new(Duration::from_secs(1))?;
//! let mut observer = Counting(Tally::new(false)?);
//! # stop.request(); // an example must end
//! // Another thread or a signal handler ends it with stop.request().
//! model::epoll::serve(front, &Settings::default(), &Upper, &mut observer, &stop)?;
//! # Ok(())
//! # }
//! ```
//!
//! # The house
//!
//! An upper floor uses lower ones, never the other way.
//!
//! ```text
//! 5  cli/           one file per command; one table of flags makes parser and help
//! 4  lab/           compare: runs models as child processes; sshd: a real SSH server of one's own
//! 3  socketserver/  request handlers over TCP, UDP, Unix  x  threads, pool, fork, ...
//!    client/        the line client (the notes' `>>:`), the load generator
//!    remote/        SSH: session, host keys, login, commands, files (feature `remote`)
//! 2  model/         how ONE flow of control waits and copies: a file per I/O model
//!    concurrency/   WHO runs it: one, threads, pool, fork, prefork, reuseport
//! 1  net/           endpoint, listener, datagrams, connections, slab with generations, drain
//!    phase/         wait and copy: observer, recorder, histogram, report
//!    reactor/       futures on our own epoll: executor, readiness, timers
//!    service.rs     what a server answers;  stop.rs how it ends;  failure.rs, json.rs
//! 0  sys/           every unsafe line; one wrapper per system call
//! ```
//!
//! `docs/architecture.md` has a sentence for each room and the way of one request through the house.
#![deny(unsafe_code)]

pub mod cli;
pub mod client;
pub mod concurrency;
pub mod failure;
pub mod json;
pub mod lab;
pub mod model;
pub mod net;
pub mod phase;
pub mod reactor;
#[cfg(feature = "remote")]
pub mod remote;
pub mod service;
pub mod socketserver;
pub mod stop;
#[allow(unsafe_code)]
pub mod sys;
