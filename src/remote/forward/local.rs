//! From a port here to places that the server reaches: one place, or those that SOCKS clients ask for.

use super::bell::Bell;
use super::socks::{self, Wrong};
use super::{Forwards, Listen, Place, Shared};
use crate::failure::Failure;
use crate::net::{self, Bind, Endpoint};
use crate::reactor::{Deadline, Handle, Interest, Source};
use crate::remote::error::{Error, Reason, Step};
use crate::remote::stream::{Input, Sink};
use crate::remote::tunnel::{Half, halves};
use crate::sys::{self, AcceptFailure};
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

/// How long the listener is left alone when descriptors are short.
const REST: Duration = Duration::from_millis(50);
/// How long a SOCKS client may take to say where it wants to go.
const PATIENCE: Duration = Duration::from_secs(10);

impl Forwards {
    /// Listens here; each connection goes on to `to`, as the server resolves and reaches it. The address that it listens on.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`; a name to listen on that is none of this machine's.
    pub fn local(&self, listen: &Listen, to: Place) -> Result<SocketAddr, Error> {
        self.listen(listen, move |shared, socket, peer| {
            let to = to.clone();
            async move { to_place(&shared, socket, peer, &to).await }
        })
    }

    /// Listens here for SOCKS 5 clients (RFC 1928; connections, no login), and connects each to where it asks. The address that it listens on.
    ///
    /// # Errors
    /// As [`local`](Self::local).
    pub fn socks(&self, listen: &Listen) -> Result<SocketAddr, Error> {
        self.listen(listen, |shared, socket, peer| async move {
            to_wherever(&shared, socket, peer).await;
        })
    }

    fn listen<F: Future<Output = ()> + 'static>(
        &self,
        listen: &Listen,
        serve: impl Fn(Rc<Shared>, OwnedFd, SocketAddr) -> F + 'static,
    ) -> Result<SocketAddr, Error> {
        let failed = |failure: Failure| Error::failure(Step::Forward, &failure);
        let address = address_of(listen)?;
        let listener = net::Listener::bind(Endpoint::Tcp(address), &Bind::default());
        let listener = listener.map_err(|failure| match failure.kind() {
            // A server's advice names its flags.
            io::ErrorKind::AddrInUse => failed(failure.hint(None))
                .hint("another program has it: choose another port, or 0 for a free one"),
            _ => failed(failure),
        })?;
        sys::set_nonblocking(&listener, true)
            .map_err(|e| failed(Failure::new("fcntl", address, e)))?;
        let bound = listener.endpoint().address().ip().unwrap_or(address);
        let shared = Rc::clone(&self.shared);
        let reactor = shared.transport.reactor().clone();
        let listener = Source::new(&reactor, listener).map_err(failed)?;
        reactor.clone().spawn(async move {
            let ended = shared
                .until_stop(accept(&listener, &shared.stop, |socket, peer| {
                    reactor.spawn(serve(Rc::clone(&shared), socket, peer));
                }))
                .await;
            if let Some(error) = ended {
                shared.refuse(&failed(Failure::new("accept4", bound, error)));
            }
        });
        Ok(bound)
    }
}

/// What a person wrote as an address; names are not looked up, but for the one that every machine has.
fn address_of(listen: &Listen) -> Result<SocketAddr, Error> {
    let ip = match listen.bind.as_deref() {
        None | Some("localhost") => Ipv4Addr::LOCALHOST.into(),
        Some("" | "*") => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        Some(text) => text.parse().map_err(|_| {
            let message = format!("'{}' is no address to listen on", text.escape_debug());
            Error::new(Step::Forward, Reason::Usage, message)
        })?,
    };
    Ok(SocketAddr::new(ip, listen.port))
}

/// Takes everybody who comes; ends only when the listener is broken.
async fn accept(
    listener: &Source<net::Listener>,
    stop: &Bell,
    mut take: impl FnMut(OwnedFd, SocketAddr),
) -> io::Error {
    loop {
        match sys::accept4(listener.get_ref()) {
            Ok((socket, peer)) => {
                if let (Some(peer), Ok(())) = (peer.ip(), sys::set_nonblocking(&socket, true)) {
                    take(socket, peer);
                }
            }
            Err(error) => match sys::accept_failure(&error) {
                AcceptFailure::Again => listener.ready(Interest::Read).await,
                AcceptFailure::Interrupted | AcceptFailure::OneClient => {}
                // They wait in the backlog until somebody has gone.
                AcceptFailure::NoResources => {
                    listener.reactor().sleep(Deadline::after(REST)).await;
                }
                AcceptFailure::Shut | AcceptFailure::Broken => return error,
            },
        }
        if stop.rung() {
            std::future::pending::<()>().await;
        }
    }
}

async fn to_place(shared: &Shared, socket: OwnedFd, peer: SocketAddr, to: &Place) {
    let channel = match shared.open(to, Some(peer)).await {
        Ok(channel) => channel,
        Err(error) => return shared.refuse(&error),
    };
    match halves(shared.transport.reactor(), socket) {
        Ok((mut input, mut output)) => shared.carry(channel, &mut input, &mut output).await,
        Err(failure) => shared.refuse(&Error::failure(Step::Forward, &failure)),
    }
}

async fn to_wherever(shared: &Shared, socket: OwnedFd, peer: SocketAddr) {
    let reactor = shared.transport.reactor();
    let (input, mut output) = match halves(reactor, socket) {
        Ok(halves) => halves,
        Err(failure) => return shared.refuse(&Error::failure(Step::Forward, &failure)),
    };
    let mut input = Ahead { first: Vec::new(), rest: input };
    let asking = shared.until_stop(asked(reactor, &mut input, &mut output)).await;
    let to = match asking {
        Some(Ok(to)) => to,
        Some(Err(why)) => {
            let message = format!("SOCKS client {peer}: {why}");
            return shared.refuse(&Error::new(Step::Forward, Reason::Protocol, message));
        }
        None => return,
    };
    let opened = shared.open(&to, Some(peer)).await;
    let code = match &opened {
        Ok(_) => socks::CONNECTED,
        Err(error) if error.reason() == Reason::Refused => socks::REFUSED,
        Err(_) => socks::FAILED,
    };
    // A client that is gone is found out by what comes next.
    let _ = output.write(&socks::reply(code)).await;
    match opened {
        Ok(channel) => shared.carry(channel, &mut input, &mut output).await,
        Err(error) => shared.refuse(&error),
    }
}

/// Asks a SOCKS client where it wants to go, within its time.
async fn asked(reactor: &Handle, input: &mut Ahead, output: &mut Half) -> Result<Place, String> {
    let late = || "it does not say where it wants to go".to_owned();
    let asking = async {
        let done: Result<Place, Wrong> = async {
            while socks::greeting(&mut input.first)?.is_none() {
                input.more().await?;
            }
            output.write(&socks::welcome()).await.map_err(|_| GONE)?;
            loop {
                match socks::request(&mut input.first)? {
                    Some(place) => return Ok(place),
                    None => input.more().await?,
                }
            }
        }
        .await;
        if let Err(wrong) = &done {
            let _ = output.write(&wrong.answer).await;
        }
        done.map_err(|wrong| wrong.why.to_owned())
    };
    reactor.within(Deadline::after(PATIENCE), asking).await.unwrap_or_else(|_| Err(late()))
}

const GONE: Wrong =
    Wrong { answer: Vec::new(), why: "it hung up before it had said where it wants to go" };

/// A stream of which the first bytes have been taken already.
struct Ahead {
    first: Vec<u8>,
    rest: Half,
}

impl Ahead {
    /// Takes some more ahead.
    async fn more(&mut self) -> Result<(), Wrong> {
        let mut piece = [0; socks::LONGEST];
        match self.rest.read(&mut piece).await {
            Ok(n @ 1..) => self.first.extend_from_slice(&piece[..n]),
            Ok(_) | Err(_) => return Err(GONE),
        }
        Ok(())
    }
}

impl Input for Ahead {
    async fn arrival(&mut self) {
        if self.first.is_empty() {
            self.rest.arrival().await;
        }
    }

    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.first.is_empty() {
            return self.rest.read(buffer).await;
        }
        let n = self.first.len().min(buffer.len());
        self.first.drain(..n).zip(buffer).for_each(|(byte, place)| *place = byte);
        Ok(n)
    }
}
