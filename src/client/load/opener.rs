//! Connections that are made without waiting for any of them.

use crate::client::{refused, unconnected};
use crate::failure::{During, Failure};
use crate::net::Endpoint;
use crate::sys;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// How far a connection is.
#[derive(Debug)]
pub(super) enum Opened {
    /// It is there.
    Done(OwnedFd),
    /// The handshake is under way: it is done when there is room to write.
    Begun(OwnedFd),
    /// The backlog of a Unix socket is full, which nothing but another try will tell.
    Later,
}

/// Makes connections to one server.
#[derive(Debug)]
pub(super) struct Opener {
    server: Endpoint,
    /// The last number of the loopback address to come from: ports run out after some 28,000 per pair of addresses.
    source: Option<u8>,
}

impl Opener {
    pub(super) fn new(server: Endpoint) -> Self {
        Self { server, source: None }
    }

    /// Begins a connection; datagram sockets are done at once.
    ///
    /// # Errors
    /// The connect's, with a hint.
    pub(super) fn open(&mut self) -> Result<Opened, Failure> {
        loop {
            let socket = unconnected(self.server)?;
            sys::set_nonblocking(&socket, true).during("fcntl", self.server)?;
            if let Some(last) = self.source {
                let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
                // The port is chosen by connect, where only the pair of both addresses must be unique.
                sys::set_bind_address_no_port(&socket)
                    .during("setsockopt IP_BIND_ADDRESS_NO_PORT", self.server)?;
                sys::bind(&socket, from).during("bind", from)?;
            }
            match sys::connect(&socket, self.server.address()) {
                Ok(()) => return Ok(Opened::Done(socket)),
                Err(error) if sys::in_progress(&error) => return Ok(Opened::Begun(socket)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Opened::Later),
                Err(error) if error.kind() == ErrorKind::AddrNotAvailable && self.next_source() => {
                }
                Err(error) => return Err(refused(self.server, error)),
            }
        }
    }

    /// Takes the next address of loopback, if the server is on it and there is one.
    fn next_source(&mut self) -> bool {
        let server = self.server.address().ip().map(|address| address.ip());
        let next = match self.source {
            None => 2,
            Some(last) => last.saturating_add(1),
        };
        let loopback = matches!(server, Some(IpAddr::V4(ip)) if ip.is_loopback());
        if !loopback || next == u8::MAX {
            return false;
        }
        self.source = Some(next);
        true
    }
}
