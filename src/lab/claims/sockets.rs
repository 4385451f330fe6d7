//! What single sockets do: as they are made, after the switch, and when they are full.

use super::evidence::{FullSend, Switch};
use crate::client::connect;
use crate::failure::{During, Failure};
use crate::net::Endpoint;
use crate::sys::{self, Clock, Kind, PollFd};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How long a call that blocks is let block.
const BLOCKED: Duration = Duration::from_millis(50);

/// A socket of each kind as the kernel makes it, and one accepted from a listener that does not block.
pub(super) fn fresh() -> Result<Vec<(&'static str, bool)>, Failure> {
    let ip = Endpoint::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let unix = sys::socketpair().during("socketpair", "unix")?.0;
    let kinds = [("tcp", Kind::Stream), ("udp", Kind::Datagram)];
    let mut found = Vec::new();
    for (name, kind) in kinds {
        let socket = sys::socket(ip.address(), kind).during("socket", name)?;
        found.push((name, sys::nonblocking(&socket).during("fcntl", name)?));
    }
    found.push(("unix", sys::nonblocking(&unix).during("fcntl", "unix")?));
    let (listener, _near, far) = connected()?;
    sys::set_nonblocking(&listener, true).during("fcntl", "listener")?;
    let again = connect(&[listening_on(&listener)?])?;
    let accepted = sys::accept4(&listener).during("accept4", "listener")?.0;
    drop((again, far));
    found.push(("accepted", sys::nonblocking(&accepted).during("fcntl", "accepted")?));
    Ok(found)
}

fn listening_on(listener: &OwnedFd) -> Result<Endpoint, Failure> {
    let address = sys::getsockname(listener).during("getsockname", "listener")?;
    let address = address.ip().unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    Ok(Endpoint::Tcp(address))
}

/// A listener on loopback, and both ends of a connection to it.
fn connected() -> Result<(OwnedFd, OwnedFd, OwnedFd), Failure> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = sys::socket(any, Kind::Stream).during("socket", "listener")?;
    sys::bind(&listener, any).during("bind", any)?;
    sys::listen(&listener, 2).during("listen", any)?;
    let near = connect(&[listening_on(&listener)?])?;
    let far = sys::accept4(&listener).during("accept4", "listener")?.0;
    Ok((listener, near, far))
}

/// A receive without data, blocking (with a time-out) and not.
pub(super) fn switch() -> Result<Switch, Failure> {
    let (_listener, near, _far) = connected()?;
    sys::set_receive_timeout(&near, BLOCKED).during("setsockopt SO_RCVTIMEO", "socket")?;
    let mut buffer = [0; 8];
    let (_, blocked) = timed(|| sys::recv(&near, &mut buffer));
    sys::set_nonblocking(&near, true).during("fcntl", "socket")?;
    let (result, took) = timed(|| sys::recv(&near, &mut buffer));
    let again = result.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
    Ok(Switch { again, took, blocked })
}

/// 4 MiB to a reader who does not read, on a socket that poll(2) calls writable.
pub(super) fn full_send() -> Result<FullSend, Failure> {
    let bytes = vec![b'x'; 4 << 20];
    let (_listener, near, _far) = connected()?;
    writable(&near)?;
    sys::set_send_timeout(&near, BLOCKED).during("setsockopt SO_SNDTIMEO", "socket")?;
    let (_, blocking) = timed(|| sys::send(&near, &bytes));
    let (_listener, near, _far) = connected()?;
    writable(&near)?;
    sys::set_nonblocking(&near, true).during("fcntl", "socket")?;
    let (taken, nonblocking) = timed(|| sys::send(&near, &bytes));
    let taken = taken.during("send", "socket")?;
    Ok(FullSend { given: bytes.len(), blocking, nonblocking, taken })
}

fn writable(socket: &OwnedFd) -> Result<(), Failure> {
    let mut ask = [PollFd::new(socket, false, true)];
    let ready = sys::poll(&mut ask, Some(Duration::ZERO)).during("poll", "socket")?;
    if ready == 1 && ask[0].writable() {
        Ok(())
    } else {
        Err(Failure::new("poll", "socket: not writable", io::ErrorKind::WouldBlock.into()))
    }
}

/// What a call brings, and how long it took in nanoseconds.
fn timed<T>(call: impl FnOnce() -> T) -> (T, u64) {
    let start = sys::clock_gettime(Clock::Monotonic);
    let result = call();
    let took = sys::clock_gettime(Clock::Monotonic).saturating_sub(start);
    (result, took.as_nanos() as u64)
}
