//! From a host's name to a connected socket, each step under its own deadline.

use super::error::{Error, Reason, Step};
use crate::failure::Failure;
use crate::reactor::{Deadline, Handle, Interest, Source, elsewhere};
use crate::sys::{self, Address, Kind};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// The addresses of a host, in the order of getaddrinfo(3) (RFC 6724).
pub(super) async fn resolve(
    reactor: &Handle,
    host: &str,
    port: u16,
    within: Duration,
) -> Result<Vec<SocketAddr>, Error> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let name = host.to_owned();
    // It blocks and cannot be broken off: a thread that comes too late ends unheard.
    let answer = elsewhere(move || (name.as_str(), port).to_socket_addrs().map(Vec::from_iter))
        .map_err(|e| Error::failure(Step::Resolve, &Failure::new("clone", "", e)))?;
    let answer = reactor.within(Deadline::after(within), answer).await;
    let failed = |error: io::Error| {
        // The resolver's own errors have no errno: "failed to lookup address information: Name or service not known".
        let error = error.to_string();
        let text = error.rsplit(": ").next().unwrap_or(&error);
        Error::new(Step::Resolve, Reason::Io(None), format!("{host}: {text}"))
    };
    match answer {
        Err(_) => Err(Error::timed_out(Step::Resolve, host, within)),
        Ok(Err(error) | Ok(Err(error))) => Err(failed(error)),
        Ok(Ok(Ok(addresses))) if addresses.is_empty() => {
            Err(Error::new(Step::Resolve, Reason::Io(None), format!("{host}: it has no address")))
        }
        Ok(Ok(Ok(addresses))) => Ok(addresses),
    }
}

/// A connection to the first address that takes one. All of them share the time: each has its part of what is left, so that an
/// address that says nothing leaves some for the next.
pub(super) async fn connect(
    reactor: &Handle,
    addresses: &[SocketAddr],
    within: Duration,
) -> Result<(OwnedFd, SocketAddr), Error> {
    let deadline = Deadline::after(within);
    let mut failures = Vec::new();
    let mut reason = Reason::Io(None);
    for (tried, &address) in addresses.iter().enumerate() {
        let left = deadline.left().unwrap_or(within);
        // Addresses are as many as getaddrinfo(3) found.
        let part = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        // Rounded up, so that the message has no digits that nobody wants.
        let part = Duration::from_millis(10 * part.as_millis().div_ceil(10) as u64);
        match reactor.within(Deadline::after(part), connect_one(reactor, address)).await {
            Ok(Ok(socket)) => return Ok((socket, address)),
            Ok(Err(failure)) => {
                reason = Reason::Io(failure.errno());
                failures.push(failure.to_string());
            }
            Err(_) => {
                reason = Reason::TimedOut(within);
                failures.push(format!("connect {address}: no answer after {part:?}"));
            }
        }
    }
    Err(Error::new(Step::Connect, reason, failures.join(", ")))
}

async fn connect_one(reactor: &Handle, address: SocketAddr) -> Result<OwnedFd, Failure> {
    let failed = |call| move |error| Failure::new(call, address, error);
    let socket = sys::socket(Address::from(address), Kind::Stream).map_err(failed("socket"))?;
    sys::set_nonblocking(&socket, true).map_err(failed("fcntl"))?;
    // A request is a packet of its own: it must not wait for the acknowledgement of the one before.
    sys::set_nodelay(&socket).map_err(failed("setsockopt"))?;
    established(reactor, socket, Address::from(address)).await.map_err(failed("connect"))
}

/// Connects a non-blocking socket, and waits for it.
pub(super) async fn established(
    reactor: &Handle,
    socket: OwnedFd,
    address: Address,
) -> io::Result<OwnedFd> {
    let socket = Arc::new(socket);
    {
        let source = Source::new(reactor, Arc::clone(&socket)).map_err(|f| {
            f.errno().map_or(io::ErrorKind::Other.into(), io::Error::from_raw_os_error)
        })?;
        match sys::connect(&socket, address) {
            // EINTR: the handshake goes on as well.
            Err(error) if is_under_way(&error) => {
                source.ready(Interest::Write).await;
                sys::take_error(&socket)?;
            }
            done => done?,
        }
    }
    Arc::try_unwrap(socket).map_err(|_| io::ErrorKind::Other.into())
}

fn is_under_way(error: &io::Error) -> bool {
    sys::errno_name(error) == Some("EINPROGRESS") || error.kind() == io::ErrorKind::Interrupted
}

#[cfg(test)]
mod tests {
    use super::connect;
    use crate::reactor::Reactor;
    use crate::sys::{self, Address, Kind};
    use std::net::{Ipv4Addr, SocketAddr};
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    /// A listener on a free port of loopback, with room for so many that nobody accepts.
    fn listening(backlog: u32) -> (OwnedFd, SocketAddr) {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = sys::socket(any, Kind::Stream).unwrap();
        sys::bind(&listener, any).unwrap();
        sys::listen(&listener, backlog).unwrap();
        let address = sys::getsockname(&listener).unwrap().ip().unwrap();
        (listener, address)
    }

    #[test]
    fn an_address_that_says_nothing_leaves_time_for_the_next() {
        let (_silent, silent) = listening(0);
        // Once the queue is full the kernel drops who asks for more.
        let _queue: Vec<OwnedFd> = std::iter::repeat_with(|| {
            let socket = sys::socket(silent, Kind::Stream).unwrap();
            sys::set_nonblocking(&socket, true).unwrap();
            let _ = sys::connect(&socket, Address::from(silent));
            socket
        })
        .take(4)
        .collect();
        let (_open, open) = listening(8);
        let reactor = Reactor::new().unwrap();
        let within = Duration::from_millis(400);
        let (_, taken) = reactor.run(connect(&reactor, &[silent, open], within)).unwrap();
        assert_eq!(taken, open);
        let error = reactor.run(connect(&reactor, &[silent, silent], within)).unwrap_err();
        assert_eq!(error.message().matches("no answer after 200ms").count(), 2, "{error}");
    }
}
