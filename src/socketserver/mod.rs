//! Floor 3: request handlers over TCP, UDP and Unix sockets, after Python's `socketserver`.
//!
//! A **server** is a transport and a way of concurrency, chosen apart and put together; a **handler** is what the user writes.
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
//! | transport | | concurrency | |
//! |---|---|---|---|
//! | [`tcp`] | IPv4, IPv6; `[::]` takes both | [`one`](Builder::one) | the flow that accepts; the default |
//! | [`udp`] | the same, datagrams | [`threads`](Builder::threads) | a thread per request |
//! | [`unix`] | a path, or `@name` | [`pool`](Builder::pool) | N threads, a bounded queue |
//! | [`unixgram`] | the same, datagrams | [`fork`](Builder::fork) | a child per request |
//! | | | [`prefork`](Builder::prefork) | N children, one listener |
//! | | | [`reuseport`](Builder::reuseport) | N children, a listener each |
//!
//! On a stream a **request** is a whole connection, on datagrams one datagram.
//!
//! # Handlers
//!
//! A handler is cloned for each request, as Python makes an instance of the class; then `setup`, `handle` and `finish` are
//! called on the clone. `finish` runs whenever `setup` went well, also after an error or a panic in `handle`. A closure is a
//! handler that has only `handle`. A handler owns its flow of control and may block; that is why it cannot run inside an event
//! loop, and why it is another trait than [`Service`](crate::service::Service).
//!
//! A handler that fails or panics costs its request: the connection is closed, the failure is told on standard error the first time,
//! counted, and passed to [`handle_error`](Builder::handle_error).
//!
//! # Ending
//!
//! [`Server::stopper`] gives a handle for another thread or a signal handler. A stop wakes whatever waits, at once: no new request is
//! taken; a handler that reads gets what was received already and then the end of the stream. Who is still at work at the drain's
//! deadline is cut: its sends fail.
//!
//! # What Python calls
//!
//! | Python | here |
//! |---|---|
//! | `ThreadingTCPServer(addr, Handler)` | `tcp(addr).threads().bind(handler)` |
//! | `serve_forever`, `handle_request`, `shutdown`, `server_address` | the same, on [`Server`] and [`Stopper`] |
//! | `verify_request`, `service_actions`, `handle_error`, `handle_timeout` | closures given to the [`Builder`] |
//! | `allow_reuse_address`, `request_queue_size`, `timeout`, `max_packet_size` | [`reuse_address`](Builder::reuse_address), [`backlog`](Builder::backlog), [`timeout`](Builder::timeout), [`buffer`](Builder::buffer) |
//! | `rfile`, `wfile` | [`Connection`]: a buffered reader and an unbuffered writer |
//! | `max_children` | [`max_connections`](Builder::max_connections) |
//! | `block_on_close` | always: `serve_forever` returns when the last handler has |

mod builder;
mod connection;
mod datagram;
mod flow;
mod server;

pub use crate::concurrency::Trouble;
pub use crate::failure::Failure;
pub use crate::net::{Endpoint, Full};
pub use crate::sys::Address;
pub use builder::{Builder, Datagrams, Streams, tcp, udp, unix, unixgram};
pub use connection::{Connection, StreamHandler, StreamWork};
pub use datagram::{Datagram, DatagramHandler, DatagramWork};
pub use server::{Server, Stopper};

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::AtomicU64;

type Ask = Box<dyn Fn(&Address) -> bool + Send + Sync>;
type Told = Box<dyn Fn(&Address, &Trouble) + Send + Sync>;
type Act = Box<dyn Fn() + Send + Sync>;

/// What the user wants to be asked and told, and what the server remembers of it.
#[derive(Default)]
struct Hooks {
    verify_request: Option<Ask>,
    handle_error: Option<Told>,
    service_actions: Option<Act>,
    handle_timeout: Option<Act>,
    /// Requests that were taken so far.
    taken: AtomicU64,
}

impl Hooks {
    fn admits(&self, peer: &Address) -> bool {
        self.verify_request.as_ref().is_none_or(|ask| {
            // The hook is the user's: its panic must not end the server.
            catch_unwind(AssertUnwindSafe(|| ask(peer))).unwrap_or(false)
        })
    }

    fn turned(&self) {
        if let Some(act) = &self.service_actions {
            let _ = catch_unwind(AssertUnwindSafe(act));
        }
    }

    fn troubled(&self, peer: &Address, trouble: &Trouble) {
        if let Some(told) = &self.handle_error {
            told(peer, trouble);
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooks")
    }
}

/// `handle`, and then `finish` whatever came of it. An error of `handle` is worth more than one of `finish`, a panic more than both.
fn finally<H>(
    handler: &mut H,
    handle: impl FnOnce(&mut H) -> std::io::Result<()>,
    finish: impl FnOnce(&mut H) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let handled = catch_unwind(AssertUnwindSafe(|| handle(handler)));
    let finished = finish(handler);
    match handled {
        Ok(handled) => handled.and(finished),
        Err(panic) => resume_unwind(panic),
    }
}
