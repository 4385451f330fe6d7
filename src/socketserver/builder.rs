//! What a server shall be: its transport, who serves, its limits.

use super::connection::{StreamHandler, StreamWork};
use super::datagram::{DatagramHandler, DatagramWork};
use super::flow::Times;
use super::{Hooks, Server};
use crate::concurrency::{Limits, Trouble};
use crate::failure::Failure;
use crate::model::Who;
use crate::net::{Bind, Endpoint, Front, Full, Transport, Workers};
use crate::sys::Address;
use std::fmt::Display;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A [`Builder`] of servers whose requests are connections.
#[derive(Debug)]
pub struct Streams;

/// A [`Builder`] of servers whose requests are datagrams.
#[derive(Debug)]
pub struct Datagrams;

/// What a server shall be. [`bind`](Builder::bind) makes it.
#[derive(Debug)]
pub struct Builder<K> {
    transport: Transport,
    address: Where,
    pub(super) who: Who,
    bind: Bind,
    pub(super) limits: Limits,
    pub(super) times: Times,
    pub(super) drain: Duration,
    pub(super) hooks: Hooks,
    amplifies: bool,
    kind: PhantomData<fn() -> K>,
}

/// An address as the user gave it.
#[derive(Debug)]
enum Where {
    Text(String),
    Path(PathBuf),
}

/// A server of connections over IP: `127.0.0.1:8080`, `[::]:8080` (IPv6 and IPv4), `localhost:0`.
#[must_use]
pub fn tcp(address: impl Display) -> Builder<Streams> {
    Builder::new(Transport::Tcp, Where::Text(address.to_string()))
}

/// A server of datagrams over IP.
#[must_use]
pub fn udp(address: impl Display) -> Builder<Datagrams> {
    Builder::new(Transport::Udp, Where::Text(address.to_string()))
}

/// A server of connections at a path; `@name` is a name of the abstract namespace.
#[must_use]
pub fn unix(path: impl AsRef<Path>) -> Builder<Streams> {
    Builder::new(Transport::Unix, Where::Path(path.as_ref().to_owned()))
}

/// A server of datagrams at a path.
#[must_use]
pub fn unixgram(path: impl AsRef<Path>) -> Builder<Datagrams> {
    Builder::new(Transport::Unixgram, Where::Path(path.as_ref().to_owned()))
}

impl<K> Builder<K> {
    fn new(transport: Transport, address: Where) -> Self {
        Self {
            transport,
            address,
            who: Who::One,
            bind: Bind::default(),
            limits: Limits {
                buffer: 65_536,
                max_connections: None,
                per_peer: None,
                workers: Workers::default(),
                interval: None,
                requests: None,
                timeout: None,
            },
            times: Times { idle: None, request: None, linger: Duration::from_secs(2) },
            drain: Duration::from_secs(10),
            hooks: Hooks::default(),
            amplifies: false,
            kind: PhantomData,
        }
    }

    /// Requests are served one after the other, by the flow that accepts them.
    #[must_use]
    pub fn one(mut self) -> Self {
        self.who = Who::One;
        self
    }

    /// Each request has a thread of its own.
    #[must_use]
    pub fn threads(mut self) -> Self {
        self.who = Who::Threads;
        self
    }

    /// Requests are served by `workers` threads, which are made once. As many more may stand in its queue, unless
    /// [`queue`](Self::queue) says otherwise.
    #[must_use]
    pub fn pool(mut self, workers: usize) -> Self {
        self.who = Who::Pool;
        self.limits.workers.count = Some(workers.max(1));
        self
    }

    /// Each request has a child process of its own. Only in a process with one thread.
    #[must_use]
    pub fn fork(mut self) -> Self {
        self.who = Who::Fork;
        self
    }

    /// Requests are served by `workers` child processes, made once, on one listener; one that dies is replaced. Only in
    /// a process with one thread.
    #[must_use]
    pub fn prefork(mut self, workers: usize) -> Self {
        self.who = Who::Prefork;
        self.limits.workers.count = Some(workers.max(1));
        self
    }

    /// `workers` child processes with a listener each, and in each a thread per request. Only in a process with one thread.
    #[must_use]
    pub fn reuseport(mut self, workers: usize) -> Self {
        self.who = Who::Reuseport;
        self.limits.workers.count = Some(workers.max(1));
        self
    }

    /// The pool's queue: how many requests may stand in it, and what becomes of one that finds it full. Who has stood in it
    /// for `patience` is turned away.
    #[must_use]
    pub fn queue(mut self, room: usize, full: Full, patience: Option<Duration>) -> Self {
        let workers = &mut self.limits.workers;
        (workers.queue, workers.full, workers.patience) = (Some(room), full, patience);
        self
    }

    /// `SO_REUSEADDR`, for TCP \[on\]: a server can start again while connections of the last one are in TIME_WAIT.
    #[must_use]
    pub fn reuse_address(mut self, on: bool) -> Self {
        self.bind.reuse_address = on;
        self
    }

    /// Connections that may wait in the kernel to be accepted \[1024\].
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> Self {
        self.bind.backlog = connections;
        self
    }

    /// `TCP_NODELAY` \[on\]: what a handler writes is sent at once.
    #[must_use]
    pub fn no_delay(mut self, on: bool) -> Self {
        self.bind.nodelay = on;
        self
    }

    /// Has the kernel stamp what it receives, for a [`Recorder`](crate::phase::Recorder) \[off\].
    #[must_use]
    pub fn stamps(mut self, on: bool) -> Self {
        self.bind.stamps = on;
        self
    }

    /// Requests at work and in queues at most; more are turned away and counted \[no limit\].
    #[must_use]
    pub fn max_connections(mut self, most: usize) -> Self {
        self.limits.max_connections = Some(most);
        self
    }

    /// The same for each IP address. Not for prefork and reuseport, where every worker accepts for itself.
    #[must_use]
    pub fn max_per_peer(mut self, most: usize) -> Self {
        self.limits.per_peer = Some(most);
        self
    }

    /// [`Server::handle_request`] gives up when nobody has come for so long \[never\].
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.limits.timeout = Some(time);
        self
    }

    /// How long a stop waits for requests that are at work before it cuts them \[10 s\].
    #[must_use]
    pub fn drain(mut self, time: Duration) -> Self {
        self.drain = time;
        self
    }

    /// Asked before a request is taken; `false` turns it away. In the flow that accepts: it must not block.
    #[must_use]
    pub fn verify_request(
        mut self,
        ask: impl Fn(&Address) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.hooks.verify_request = Some(Box::new(ask));
        self
    }

    /// Told of a handler that failed or panicked, in its flow.
    #[must_use]
    pub fn handle_error(
        mut self,
        told: impl Fn(&Address, &Trouble) + Send + Sync + 'static,
    ) -> Self {
        self.hooks.handle_error = Some(Box::new(told));
        self
    }

    /// Called each time the accepting flow comes round: before it waits for the next request, and at least each `interval`
    /// if there is one.
    #[must_use]
    pub fn service_actions(
        mut self,
        interval: Option<Duration>,
        act: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        self.limits.interval = interval;
        self.hooks.service_actions = Some(Box::new(act));
        self
    }

    /// Called when [`Server::handle_request`] gives up.
    #[must_use]
    pub fn handle_timeout(mut self, act: impl Fn() + Send + Sync + 'static) -> Self {
        self.hooks.handle_timeout = Some(Box::new(act));
        self
    }

    /// The bound socket.
    fn front(&self) -> Result<Front, Failure> {
        let refuse = |why: &str| {
            let error = io::Error::new(io::ErrorKind::Unsupported, why.to_owned());
            Failure::new("serve", self.transport.name(), error)
        };
        // The same pairs as the program's models.
        let name = match self.who {
            Who::Prefork => "prefork",
            Who::Reuseport => "reuseport",
            _ => "blocking",
        };
        if let Some(model) = crate::model::find(name) {
            model.serves(self.transport).map_err(refuse)?;
        }
        let endpoint = match &self.address {
            Where::Text(text) => Endpoint::resolve(self.transport, text).map(|all| all[0]),
            Where::Path(path) => Endpoint::at_path(self.transport, path),
        };
        let endpoint = endpoint.map_err(|error| {
            let error = io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
            Failure::new("resolve", "", error)
        })?;
        let bind = Bind { reuse_port: self.who == Who::Reuseport, ..self.bind };
        Front::bind(endpoint, &bind)
    }
}

impl Builder<Streams> {
    /// A connection on which its handler waits for so long in one read or write fails with `TimedOut` \[never\].
    #[must_use]
    pub fn idle_timeout(mut self, time: Duration) -> Self {
        self.times.idle = Some(time);
        self
    }

    /// The same so long after its handler began, whatever has moved; for time in a queue there is [`queue`](Self::queue) \[never\].
    #[must_use]
    pub fn request_timeout(mut self, time: Duration) -> Self {
        self.times.request = Some(time);
        self
    }

    /// When a handler ends before its client has: how long what the client still sends is read and thrown away, so that the reply is
    /// not lost by a reset \[2 s\].
    #[must_use]
    pub fn linger(mut self, time: Duration) -> Self {
        self.times.linger = time;
        self
    }

    /// Binds the socket. From here on clients can connect; they are served by [`Server::serve_forever`].
    ///
    /// # Errors
    /// The call that failed, the address and the errno, with a hint where one helps; a pair of transport and
    /// concurrency that does not go together.
    pub fn bind<H: StreamHandler>(self, handler: H) -> Result<Server<StreamWork<H>>, Failure> {
        let front = self.front()?;
        let times = self.times;
        Server::new(front, self, |hooks| StreamWork::new(handler, hooks, times))
    }
}

impl Builder<Datagrams> {
    /// Bytes of a datagram at most; longer ones are counted and not handled, rather than in half \[65,536, which is all\].
    #[must_use]
    pub fn buffer(mut self, bytes: usize) -> Self {
        self.limits.buffer = bytes.max(1);
        self
    }

    /// Lets a handler answer more bytes than it was asked \[off\]: whoever forges a sender's address can then have this server
    /// flood somebody with little effort.
    #[must_use]
    pub fn amplify(mut self, on: bool) -> Self {
        self.amplifies = on;
        self
    }

    /// Binds the socket. From here on datagrams arrive; they are served by [`Server::serve_forever`].
    ///
    /// # Errors
    /// As [`Builder::<Streams>::bind`](Builder::bind).
    pub fn bind<H: DatagramHandler>(self, handler: H) -> Result<Server<DatagramWork<H>>, Failure> {
        let front = self.front()?;
        let amplifies = self.amplifies;
        Server::new(front, self, |hooks| DatagramWork::new(handler, hooks, amplifies))
    }
}
