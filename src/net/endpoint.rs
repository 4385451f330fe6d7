//! Where to listen, and how a person writes it.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

/// The notes' address.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:8080";

/// Why a text is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// It is not written as an address.
    Malformed(String),
    /// It is, but the resolver finds nothing behind the name.
    Unknown(String),
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Malformed(text) | Self::Unknown(text)) = self;
        f.write_str(text)
    }
}

impl std::error::Error for AddressError {}

/// Where a server listens or a client dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP address.
    Tcp(SocketAddr),
}

impl Endpoint {
    /// All TCP endpoints behind an ADDR as typed: `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`.
    /// Names are looked up by the system's resolver, in its order.
    ///
    /// # Errors
    /// A sentence that says what the text lacks, or that the name is unknown.
    pub fn resolve_tcp(text: &str) -> Result<Vec<Self>, AddressError> {
        if let Ok(address) = text.parse() {
            return Ok(vec![Self::Tcp(address)]);
        }
        let wrong = |what: &str| AddressError::Malformed(format!("address '{text}': {what}"));
        let unknown = |what: &str| AddressError::Unknown(format!("address '{text}': {what}"));
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| wrong("HOST:PORT expected, such as 127.0.0.1:8080"))?;
        let port: u16 = port.parse().map_err(|_| wrong("the port is a number from 0 to 65535"))?;
        if host.is_empty() || host.contains([':', '[', ']', ' ', '/']) {
            return Err(wrong("HOST:PORT expected; IPv6 addresses stand in brackets, [::1]:8080"));
        }
        let found: Vec<_> = (host, port)
            .to_socket_addrs()
            .map_err(|e| unknown(&unknown_host(&e)))?
            .map(Self::Tcp)
            .collect();
        if found.is_empty() { Err(unknown("the name has no address")) } else { Ok(found) }
    }

    /// The socket address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let Self::Tcp(address) = self;
        *address
    }
}

/// The resolver's own words without std's frame around them.
fn unknown_host(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    format!("unknown host ({text})")
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Tcp(address) = self;
        write!(f, "tcp {address}")
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn addresses_as_people_type_them() {
        let one = |text| Endpoint::resolve_tcp(text).unwrap()[0].to_string();
        assert_eq!(one("127.0.0.1:0"), "tcp 127.0.0.1:0");
        assert_eq!(one("[::1]:8080"), "tcp [::1]:8080");
        assert!(one("localhost:81").ends_with(":81"));
    }

    #[test]
    fn what_is_no_address_is_refused_with_a_sentence() {
        for text in
            ["", "8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", ":80", "::1:80", "a b:1"]
        {
            let error = Endpoint::resolve_tcp(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("address '{text}': ")), "{error}");
        }
    }
}
