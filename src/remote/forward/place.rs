//! Where a forwarded connection goes, and how a person writes it.

use crate::remote::target::HostPort;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// A host and a port, as whoever connects to them resolves them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// `HOST:PORT`, IPv6 addresses in brackets.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HostPort(&self.host, self.port).fmt(f)
    }
}

impl FromStr for Place {
    type Err = &'static str;

    /// # Errors
    /// A sentence that says what is expected.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match fields(text)?.as_slice() {
            [host, digits] => Self::of(host, digits),
            _ => Err("HOST:PORT is expected; IPv6 addresses stand in brackets"),
        }
    }
}

impl Place {
    fn of(host: &str, digits: &str) -> Result<Self, &'static str> {
        let plain = host.parse::<Ipv6Addr>().is_ok()
            || host.chars().all(|c| c.is_alphanumeric() || "-._%".contains(c));
        if host.is_empty() || !plain {
            return Err("a host is a name or an address");
        }
        let port = port(digits)?;
        if port == 0 {
            return Err("a connection goes to a port from 1 to 65535");
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

/// A port to listen on, 0 for any, and who may connect to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// `None`: those who are on the same machine. Else an address or name of the machine's; empty or `*`: everybody.
    pub bind: Option<String>,
    /// The port.
    pub port: u16,
}

impl FromStr for Listen {
    type Err = &'static str;

    /// `[BIND:]PORT`.
    ///
    /// # Errors
    /// A sentence that says what is expected.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match fields(text)?.as_slice() {
            [digits] => Ok(Self { bind: None, port: port(digits)? }),
            [bind, digits] => Ok(Self { bind: Some((*bind).to_owned()), port: port(digits)? }),
            _ => Err("[BIND:]PORT is expected; IPv6 addresses stand in brackets"),
        }
    }
}

/// `[BIND:]PORT:HOST:PORT`: where to listen, and where connections go.
///
/// # Errors
/// A sentence that says what is expected.
pub fn listen_and_place(text: &str) -> Result<(Listen, Place), &'static str> {
    let fields = fields(text)?;
    let (bind, rest) = match fields.as_slice() {
        [bind, rest @ ..] if rest.len() == 3 => (Some((*bind).to_owned()), rest),
        rest => (None, rest),
    };
    let [listen, host, to] = rest else {
        return Err("[BIND:]PORT:HOST:PORT is expected; IPv6 addresses stand in brackets");
    };
    Ok((Listen { bind, port: port(listen)? }, Place::of(host, to)?))
}

/// What stands between colons; in brackets colons are the address's.
fn fields(text: &str) -> Result<Vec<&str>, &'static str> {
    let mut fields = Vec::new();
    let mut rest = Some(text);
    while let Some(text) = rest {
        let (field, after) = match text.strip_prefix('[') {
            Some(inside) => {
                let (field, after) = inside.split_once(']').ok_or("a bracket is not closed")?;
                let after = match after {
                    "" => None,
                    after => {
                        Some(after.strip_prefix(':').ok_or("after a bracket a colon is expected")?)
                    }
                };
                (field, after)
            }
            None => {
                text.split_once(':').map_or((text, None), |(field, after)| (field, Some(after)))
            }
        };
        fields.push(field);
        rest = after;
    }
    Ok(fields)
}

/// Digits only: `u16` alone would also take `+22`.
fn port(digits: &str) -> Result<u16, &'static str> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain).ok_or("a port is a number from 0 to 65535")
}

#[cfg(test)]
mod tests {
    use super::{Listen, Place, listen_and_place};

    #[test]
    fn places_as_people_write_them() {
        for text in ["db:5432", "[::1]:80", "192.0.2.1:65535", "büro:1"] {
            let place: Place = text.parse().unwrap();
            assert_eq!(place.to_string(), text);
        }
        for wrong in [
            "db",
            "db:0",
            "db:+1",
            "db:65536",
            ":1",
            "a:b:1",
            "[::1:80",
            "[::1]80",
            "a b:1",
            "a\u{1b}:1",
            "",
        ] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn where_to_listen() {
        let listen = |bind: Option<&str>, port| Listen { bind: bind.map(str::to_owned), port };
        assert_eq!("0".parse(), Ok(listen(None, 0)));
        assert_eq!("*:1080".parse(), Ok(listen(Some("*"), 1080)));
        assert_eq!("[::1]:1080".parse(), Ok(listen(Some("::1"), 1080)));
        assert!("::1:1080".parse::<Listen>().is_err());
        let both = |text| listen_and_place(text).map(|(listen, place)| (listen, place.to_string()));
        assert_eq!(both("8080:web:80"), Ok((listen(None, 8080), "web:80".into())));
        assert_eq!(both(":8080:web:80"), Ok((listen(Some(""), 8080), "web:80".into())));
        assert_eq!(both("[::]:0:[::1]:80"), Ok((listen(Some("::"), 0), "[::1]:80".into())));
        for wrong in ["8080", "8080:web", "8080:80", "a:8080:web:80:1", "8080::80", "x:web:80"] {
            assert!(listen_and_place(wrong).is_err(), "{wrong}");
        }
    }
}
