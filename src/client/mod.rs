//! Floor 3: the other end of the connection.
//!
//! [`line`](mod@line) is the notes' client for a person or a pipe; [`load`] drives a server with many
//! connections and checks every byte.

pub mod line;
pub mod load;

use crate::failure::{During, Failure};
use crate::net::{Endpoint, Transport};
use crate::sys::{self, Address};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;

/// Connects to the first of the endpoints that answers, as getaddrinfo(3) suggests.
///
/// # Errors
/// The last one's failure: `connect tcp 127.0.0.1:8080: connection refused (ECONNREFUSED)`.
pub fn connect(endpoints: &[Endpoint]) -> Result<OwnedFd, Failure> {
    let mut last = None;
    for endpoint in endpoints {
        match connect_one(*endpoint) {
            Ok(socket) => return Ok(socket),
            Err(failure) => last = Some(failure),
        }
    }
    Err(last.unwrap_or_else(|| {
        Failure::new("connect", "nowhere", std::io::ErrorKind::AddrNotAvailable.into())
    }))
}

fn connect_one(endpoint: Endpoint) -> Result<OwnedFd, Failure> {
    let socket = unconnected(endpoint)?;
    sys::connect(&socket, endpoint.address()).map_err(|error| refused(endpoint, error))?;
    Ok(socket)
}

/// A socket that is ready for its connect.
fn unconnected(endpoint: Endpoint) -> Result<OwnedFd, Failure> {
    let transport = endpoint.transport();
    let socket = sys::socket(endpoint.address(), transport.kind()).during("socket", endpoint)?;
    match transport {
        Transport::Tcp => sys::set_nodelay(&socket).during("setsockopt TCP_NODELAY", endpoint)?,
        // Who has no name gets no reply.
        Transport::Unixgram => sys::bind(&socket, Address::AUTOBIND).during("bind", endpoint)?,
        Transport::Udp | Transport::Unix => {}
    }
    Ok(socket)
}

/// A connect that failed, with what can be done about it.
fn refused(endpoint: Endpoint, error: std::io::Error) -> Failure {
    let hint = match error.kind() {
        ErrorKind::ConnectionRefused if endpoint.transport() == Transport::Tcp => {
            Some("no server listens there; the notes' servers bind 8080")
        }
        ErrorKind::ConnectionRefused => Some("its server is gone"),
        ErrorKind::AddrNotAvailable => {
            Some("no port is left to connect from (net.ipv4.ip_local_port_range)")
        }
        _ => None,
    };
    Failure::new("connect", endpoint, error).hint(hint)
}
