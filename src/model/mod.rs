//! Floor 2: how **one flow of control** waits and copies. A file per I/O model.
//!
//! # The contract of a model file
//!
//! Each file has the same functions in the same order, so that two models read as a diff:
//!
//! - `serve(front, settings, service, observer, stop)` sets up and loops until the stop: first the **wait**,
//!   then the **copy**, each one visible step where the model separates them. It looks at
//!   [`Stop::requested`] before each call that may wait, and what it waits on
//!   contains the stop, so that no request to stop is slept through. After the loop it drops the listener and
//!   drains: [`Clients::drain`](crate::net::Clients::drain) is the same for all.
//! - `admit` takes in the clients that wait, with at most 64 tries a turn; of a datagram front, which has no clients to take in,
//!   it answers the datagrams that wait.
//! - `attend` gives one ready connection its turn. In `futures.rs`, the model `async`, it is an `async fn handle`, which goes from turn to turn.
//!
//! What is not the model is shared: [`Front`] knows which accept errors
//! end nothing, [`Clients`] keeps the connections, `Connection` receives and answers, the
//! [`Observer`] is told of each call where it is made. A failed call ends at most one
//! connection; only set-up and a broken listener end a server.
//!
//! Who runs a model's flow, and how many of them there are, is the business of [`concurrency`](crate::concurrency); [`pairs`] has the named
//! combinations.
//!
//! A model has two type parameters, service and observer. The program serves through one boxed service
//! and two observers ([`Run`]), which makes two instances a model.

pub mod blocking;
mod catalogue;
mod entries;
pub mod epoll;
pub mod epoll_et;
mod executor;
pub mod futures;
pub mod grammar;
pub mod io_uring;
pub mod nonblocking;
pub mod pairs;
pub mod poll;
pub mod select;
pub mod sigio;

pub use catalogue::{Model, On, Per, Phase, Run, Serve, Step, Who};
pub use entries::{CATALOGUE, find, suggest};

// What every model file needs, in one place.
use crate::failure::{During, Failure};
use crate::net::{Clients, Front, Mode, Settings, Turn, interrupted_is_none};
use crate::phase::Id;
use crate::phase::{Call, Observer};
use crate::service::Service;
use crate::stop::Stop;
use crate::sys::{Epoll, Interest};
use std::time::Duration;

/// Events taken per `epoll_wait`: with fewer than are ready, each turn would serve fewer per call.
const EVENTS_PER_TURN: usize = 512;
/// Receives per connection and turn where a turn drains: times the buffer, the bytes per turn.
const RECEIVES_PER_TURN: usize = 16;

/// For the epoll models, before a wait that may have to end by itself ([`Clients::timed`]): closes who was idle for too long, ends the
/// listener's rest, and says how long the wait may take.
#[cold]
fn moment<O: Observer>(
    epoll: &Epoll,
    clients: &mut Clients,
    front: &mut Front,
    observer: &mut O,
) -> Result<Option<Duration>, Failure> {
    clients.expire(observer);
    if front.wakes() {
        listen(epoll, front, Interest::READ)?;
    }
    Ok(clients.timeout(front))
}

/// For the epoll models: turns the listener's readiness on or off, around a rest.
fn listen(epoll: &Epoll, front: &Front, interest: Interest) -> Result<(), Failure> {
    epoll.modify(front, interest, Id::LISTENER.token()).during("epoll_ctl", "listener")
}
