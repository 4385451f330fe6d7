//! Where to listen, and how a person writes it.

use crate::sys::{Address, Kind};
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

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

/// What carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Connections over IP.
    Tcp,
    /// Datagrams over IP.
    Udp,
    /// Connections inside of the machine, by a path.
    Unix,
    /// Datagrams inside of the machine, by a path.
    Unixgram,
}

impl Transport {
    /// All of them, with the names that readiness lines and the catalogue use.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Tcp, "tcp"),
        (Self::Udp, "udp"),
        (Self::Unix, "unix"),
        (Self::Unixgram, "unixgram"),
    ];

    /// `tcp`, `udp`, `unix`, `unixgram`.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Connections, or datagrams.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Tcp | Self::Unix => Kind::Stream,
            Self::Udp | Self::Unixgram => Kind::Datagram,
        }
    }

    /// Whether the kernel stamps what is received: only Unix streams have none (checked on Linux 6.18).
    #[must_use]
    pub fn stamps(self) -> bool {
        self != Self::Unix
    }
}

/// Where a server listens or a client dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A UDP address.
    Udp(SocketAddr),
    /// A Unix address for connections.
    Unix(Address),
    /// A Unix address for datagrams.
    Unixgram(Address),
}

impl Endpoint {
    /// All TCP or UDP endpoints behind an ADDR as typed: `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`.
    /// Names are looked up by the system's resolver, in its order. For the Unix transports, the path; `@name` is a
    /// name of the abstract namespace.
    ///
    /// # Errors
    /// A sentence that says what the text lacks, or that the name is unknown.
    pub fn resolve(transport: Transport, text: &str) -> Result<Vec<Self>, AddressError> {
        let wrong = |what: &str| AddressError::Malformed(format!("address '{text}': {what}"));
        if !matches!(transport, Transport::Tcp | Transport::Udp) {
            return Self::at_path(transport, Path::new(text)).map(|endpoint| vec![endpoint]);
        }
        let of = |address: SocketAddr| match transport {
            Transport::Udp => Self::Udp(address),
            _ => Self::Tcp(address),
        };
        if let Ok(address) = text.parse() {
            return Ok(vec![of(address)]);
        }
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
            .map(of)
            .collect();
        if found.is_empty() { Err(unknown("the name has no address")) } else { Ok(found) }
    }

    /// The endpoint of a Unix transport at a path; `@name` is a name of the abstract namespace.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the path.
    pub fn at_path(transport: Transport, path: &Path) -> Result<Self, AddressError> {
        let wrong =
            |what: &str| AddressError::Malformed(format!("address '{}': {what}", path.display()));
        let address = Address::unix(path).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => wrong("a path is expected, without NUL bytes"),
            _ => wrong("a Unix address has 107 bytes at most"),
        })?;
        Self::of(transport, address).ok_or_else(|| wrong("a path is no IP address"))
    }

    /// The endpoint of that transport at an address; `None` where the two do not fit.
    #[must_use]
    pub fn of(transport: Transport, address: Address) -> Option<Self> {
        match (transport, address.ip()) {
            (Transport::Tcp, Some(ip)) => Some(Self::Tcp(ip)),
            (Transport::Udp, Some(ip)) => Some(Self::Udp(ip)),
            (Transport::Unix, None) => Some(Self::Unix(address)),
            (Transport::Unixgram, None) => Some(Self::Unixgram(address)),
            _ => None,
        }
    }

    /// The endpoint in a readiness line's words: `tcp 127.0.0.1:8080`, `unix /run/x.sock`.
    #[must_use]
    pub fn parse(words: &str) -> Option<Self> {
        let (name, address) = words.split_once(' ')?;
        let (transport, _) = Transport::ALL.into_iter().find(|(_, known)| *known == name)?;
        match transport {
            Transport::Tcp | Transport::Udp => {
                Self::of(transport, address.parse::<SocketAddr>().ok()?.into())
            }
            _ => Self::of(transport, Address::unix(Path::new(address)).ok()?),
        }
    }

    /// What carries the bytes.
    #[must_use]
    pub fn transport(&self) -> Transport {
        match self {
            Self::Tcp(_) => Transport::Tcp,
            Self::Udp(_) => Transport::Udp,
            Self::Unix(_) => Transport::Unix,
            Self::Unixgram(_) => Transport::Unixgram,
        }
    }

    /// The socket address.
    #[must_use]
    pub fn address(&self) -> Address {
        match self {
            Self::Tcp(ip) | Self::Udp(ip) => (*ip).into(),
            Self::Unix(address) | Self::Unixgram(address) => *address,
        }
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
        // An address is shown as it was typed: not an IPv6 one as IPv4.
        match self {
            Self::Tcp(ip) | Self::Udp(ip) => write!(f, "{} {ip}", self.transport().name()),
            Self::Unix(address) | Self::Unixgram(address) => {
                write!(f, "{} {address}", self.transport().name())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, Transport};

    #[test]
    fn addresses_as_people_type_them() {
        let one =
            |transport, text| Endpoint::resolve(transport, text).map(|all| all[0].to_string());
        assert_eq!(one(Transport::Tcp, "127.0.0.1:0").unwrap(), "tcp 127.0.0.1:0");
        assert_eq!(one(Transport::Udp, "[::1]:8080").unwrap(), "udp [::1]:8080");
        assert!(one(Transport::Tcp, "localhost:81").unwrap().ends_with(":81"));
        assert_eq!(one(Transport::Unix, "/run/x y.sock").unwrap(), "unix /run/x y.sock");
        assert_eq!(one(Transport::Unixgram, "@name").unwrap(), "unixgram @name");
    }

    #[test]
    fn a_readiness_line_leads_back_to_its_endpoint() {
        for (transport, name) in Transport::ALL {
            assert_eq!(transport.name(), name);
            let text = if transport.name().starts_with("unix") { "/a b" } else { "[::]:5" };
            let endpoint = Endpoint::resolve(transport, text).unwrap()[0];
            assert_eq!(endpoint.transport(), transport);
            assert_eq!(Endpoint::parse(&endpoint.to_string()), Some(endpoint));
        }
        assert_eq!(Endpoint::parse("sctp 127.0.0.1:1"), None);
        assert_eq!(Endpoint::parse("tcp /a"), None);
    }

    #[test]
    fn what_is_no_address_is_refused_with_a_sentence() {
        let refused = |transport, text: &str| {
            let error = Endpoint::resolve(transport, text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("address '{text}': ")), "{error}");
        };
        for text in
            ["", "8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", ":80", "::1:80", "a b:1"]
        {
            refused(Transport::Tcp, text);
            refused(Transport::Udp, text);
        }
        refused(Transport::Unix, "");
        refused(Transport::Unixgram, &"x".repeat(108));
    }
}
