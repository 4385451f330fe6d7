//! Connections through a session: from a port here to a place that the server reaches ([`Forwards::local`]), from a port there to a
//! place that we reach ([`Forwards::remote`]), to wherever a SOCKS client asks ([`Forwards::socks`]), and one without a port
//! ([`Forwards::stream`]).
//!
//! ```no_run
//! use waitcopy::reactor::Reactor;
//! use waitcopy::remote::Client;
//! use waitcopy::remote::forward::{Listen, Place};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let reactor = Reactor::new()?;
//! let gate = Client::new("root@120.92.84.249")?;
//! let inner = Client::new("root@192.168.0.7")?.through(gate);
//! reactor.run(async {
//!     let ssh = inner.connect_on(&reactor).await?;
//!     let forwards = ssh.forwards().await?;
//!     let listen = Listen { bind: None, port: 0 };
//!     let at = forwards.local(&listen, Place { host: "localhost".into(), port: 5432 })?;
//!     println!("the database is at {at}");
//!     Err(forwards.run().await)
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! One task a connection, as many as there are descriptors. Each holds a piece of at most 32 KiB, as long as what has come, while it
//! carries one, and nothing while it waits; beyond that at most a channel's window, 2 MiB, waits for who does not read.
//!
//! # Who reads the socket
//!
//! A call of libssh2 takes whatever has come, for whichever channel. If every waiting channel asked the socket, each packet would cost
//! a system call per connection. So one task reads, the keeper, on a session channel of its own on which nothing ever comes; it then
//! looks, without a system call, for whom something is there, and wakes them (`Shared::arrived`). The one exception is a port there
//! ([`Forwards::remote`]): libssh2 tells of a new connection only in a call that reads, so that each such port asks the socket too, once
//! a packet. By the keeper an idle forward also hears at once that the connection is gone, and answers a server that asks whether we are
//! still there.

mod bell;
mod local;
mod place;
mod remote;
mod socks;

pub use super::tunnel::{Carried, Outlet};
pub use place::{Listen, Place, listen_and_place};

use super::channel::{Channel, Stream};
use super::error::{Error, Reason, Step};
use super::session::Session;
use super::stream::Input;
use super::transport::Transport;
use super::tunnel::{Arrivals, join};
use bell::{Bell, Turnstile};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// What has been forwarded so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that came to something.
    pub connections: u64,
    /// Of these, those that have not ended.
    pub open: u64,
    /// Connections that came to nothing: the place refused, or could not be reached.
    pub refused: u64,
    /// Bytes of those that have ended, to the server and from it.
    pub carried: Carried,
}

/// Forwarded ports of one session: [`Session::forwards`]. When it is dropped nobody is let in any more, and the connections end.
pub struct Forwards {
    shared: Rc<Shared>,
}

impl fmt::Debug for Forwards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Forwards({:?})", self.shared.counts.get())
    }
}

/// What hears of connections that came to nothing.
type Refusal = Box<dyn Fn(&Error)>;

/// What every task of a session's forwards knows.
struct Shared {
    transport: Rc<Transport>,
    /// Channels are opened one at a time: libssh2 knows only one that is being opened.
    opening: Turnstile,
    /// Everything ends.
    stop: Bell,
    /// The session cannot go on.
    failed: RefCell<Option<Error>>,
    counts: Cell<Counts>,
    refusal: RefCell<Refusal>,
    /// The keeper reads for all.
    kept: Cell<bool>,
    waiting: RefCell<BTreeMap<u64, (Rc<Channel>, Waker)>>,
    last: Cell<u64>,
}

impl Session {
    /// Begins to forward: opens the channel by which the connection is watched. A server that allows no such channel is done without.
    ///
    /// # Errors
    /// A connection that is gone.
    pub async fn forwards(&self) -> Result<Forwards, Error> {
        let shared = Rc::new(Shared {
            transport: Rc::clone(&self.transport),
            opening: Turnstile::default(),
            stop: Bell::default(),
            failed: RefCell::default(),
            counts: Cell::default(),
            refusal: RefCell::new(Box::new(|_| {})),
            kept: Cell::new(false),
            waiting: RefCell::default(),
            last: Cell::new(0),
        });
        match Channel::open(&self.transport).await {
            Ok(channel) => {
                shared.kept.set(true);
                let keeper = Rc::clone(&shared);
                self.reactor().spawn(async move { keeper.keep(channel).await });
            }
            Err(error) if error.reason() == Reason::Refused => {}
            Err(error) => return Err(error),
        }
        Ok(Forwards { shared })
    }
}

impl Forwards {
    /// Tells of each connection that came to nothing.
    pub fn on_refusal(&self, told: impl Fn(&Error) + 'static) {
        *self.shared.refusal.borrow_mut() = Box::new(told);
    }

    /// What has been forwarded so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.counts.get()
    }

    /// Carries one stream to a place that the server reaches, until both ways have ended.
    ///
    /// # Errors
    /// The server refuses; the stream here fails; a connection that is gone.
    pub async fn stream(
        &self,
        to: &Place,
        input: &mut impl Input,
        output: &mut impl Outlet,
    ) -> Result<Carried, Error> {
        let stream = async {
            let channel = self.shared.open(to, None).await?;
            let stop = self.shared.stop.heard();
            let (carried, ended) = join(channel, &*self.shared, input, output, stop).await;
            ended.map(|()| carried)
        };
        self.shared.transport.attended(Step::Forward, "the stream", stream).await
    }

    /// Waits until the session cannot go on, or no byte has moved on it for its idle time.
    pub async fn run(&self) -> Error {
        let ended = async {
            self.shared.stop.heard().await;
            let failed = self.shared.failed.borrow().clone();
            let ended = || Error::new(Step::Forward, Reason::Disconnected, "it has ended");
            Err::<Infallible, _>(failed.unwrap_or_else(ended))
        };
        match self.shared.transport.attended(Step::Forward, "the ports", ended).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }
}

impl Drop for Forwards {
    fn drop(&mut self) {
        self.shared.stop.ring();
    }
}

impl Shared {
    /// Opens a connection from the server to a place.
    async fn open(&self, to: &Place, from: Option<std::net::SocketAddr>) -> Result<Channel, Error> {
        let _turn = self.opening.turn().await;
        Channel::direct(&self.transport, (&to.host, to.port), from).await
    }

    /// Joins a channel to a stream, and counts it.
    async fn carry(&self, channel: Channel, input: &mut impl Input, output: &mut impl Outlet) {
        self.count(|counts| {
            counts.connections += 1;
            counts.open += 1;
        });
        let (carried, ended) = join(channel, self, input, output, self.stop.heard()).await;
        self.count(|counts| {
            counts.open -= 1;
            counts.carried.there += carried.there;
            counts.carried.back += carried.back;
        });
        // One side that went away in the middle is its own affair; the session's end is everybody's.
        if let Err(error) = ended {
            self.note(&error);
        }
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }

    /// A connection came to nothing.
    fn refuse(&self, error: &Error) {
        self.count(|counts| counts.refused += 1);
        (self.refusal.borrow())(error);
        self.note(error);
    }

    /// A failure that is the session's ends all.
    fn note(&self, error: &Error) {
        if matches!(error.reason(), Reason::Disconnected | Reason::Abandoned) {
            self.failed.borrow_mut().get_or_insert_with(|| error.clone());
            self.stop.ring();
        }
    }

    /// Something else until everything ends. What it has sent in part goes out first.
    async fn until_stop<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let (mut future, mut stop) = (pin!(future), pin!(self.stop.heard()));
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if stop.as_mut().poll(cx).is_pending() => Poll::Pending,
            Poll::Pending if self.transport.mid_packet(cx) => Poll::Pending,
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    /// Reads for all.
    async fn keep(&self, channel: Channel) {
        let mut nothing = [0; 64];
        let reading = async {
            // What a server says there is nothing that was asked for.
            while channel.read(Step::Forward, Stream::Output, &mut nothing).await? > 0 {}
            Ok::<_, Error>(())
        };
        let mut reading = pin!(reading);
        let done = self
            .until_stop(poll_fn(|cx| {
                let done = reading.as_mut().poll(cx);
                // After it has read, and also where somebody else had: libssh2 may hold what nobody was told of.
                self.arrived(|channel| channel.has_arrived());
                done
            }))
            .await;
        // From here on everybody reads for himself.
        self.kept.set(false);
        self.arrived(|_| true);
        if let Some(Err(error)) = done {
            self.note(&error);
        }
    }

    /// Wakes those for whom something is there.
    fn arrived(&self, is_there: impl Fn(&Channel) -> bool) {
        self.waiting.borrow_mut().retain(|_, (channel, waker)| {
            let there = is_there(channel);
            if there {
                waker.wake_by_ref();
            }
            !there
        });
    }
}

impl Arrivals for Shared {
    fn arrival(&self, channel: &Rc<Channel>) -> impl Future<Output = ()> {
        self.last.set(self.last.get() + 1);
        Arrival { shared: self, number: self.last.get(), channel: Rc::clone(channel) }
    }
}

/// Waits until something is there for a channel.
struct Arrival<'a> {
    shared: &'a Shared,
    number: u64,
    channel: Rc<Channel>,
}

impl Future for Arrival<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.shared.kept.get() || self.channel.has_arrived() {
            return Poll::Ready(());
        }
        let place = (Rc::clone(&self.channel), cx.waker().clone());
        self.shared.waiting.borrow_mut().insert(self.number, place);
        Poll::Pending
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        self.shared.waiting.borrow_mut().remove(&self.number);
    }
}
