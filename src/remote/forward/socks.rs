//! SOCKS version 5 as a server speaks it (RFC 1928): connections only, without a login. Who can reach the port may use it.

use super::place::Place;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What the client is told, and why it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) answer: Vec<u8>,
    pub(super) why: &'static str,
}

/// The longest greeting and the longest request, in bytes: what has come beyond that without being whole is neither.
pub(super) const LONGEST: usize = 2 + 255 + 4 + 1 + 255 + 2;

const VERSION: u8 = 5;
/// Methods: none, and that none of the client's is taken.
const NO_LOGIN: u8 = 0;
const NONE_TAKEN: u8 = 0xff;
/// Replies.
pub(super) const CONNECTED: u8 = 0;
pub(super) const FAILED: u8 = 1;
pub(super) const REFUSED: u8 = 5;
const NO_COMMAND: u8 = 7;
const NO_ADDRESS: u8 = 8;

/// A reply; the address that the connection has at the server is not told to us.
pub(super) fn reply(code: u8) -> Vec<u8> {
    vec![VERSION, code, 0, 1, 0, 0, 0, 0, 0, 0]
}

/// The answer to a greeting that is taken.
pub(super) fn welcome() -> [u8; 2] {
    [VERSION, NO_LOGIN]
}

/// Takes a greeting off the front; `None`: it is not whole yet.
pub(super) fn greeting(bytes: &mut Vec<u8>) -> Result<Option<()>, Wrong> {
    if bytes.first().is_some_and(|&version| version != VERSION) {
        return Err(Wrong { answer: Vec::new(), why: "it is no SOCKS 5" });
    }
    let Some(&count) = bytes.get(1) else { return Ok(None) };
    let end = 2 + usize::from(count);
    let Some(methods) = bytes.get(2..end) else { return Ok(None) };
    if !methods.contains(&NO_LOGIN) {
        let answer = vec![VERSION, NONE_TAKEN];
        return Err(Wrong { answer, why: "it wants to log in, and there is no login" });
    }
    bytes.drain(..end);
    Ok(Some(()))
}

/// Takes a request off the front; `None`: it is not whole yet.
pub(super) fn request(bytes: &mut Vec<u8>) -> Result<Option<Place>, Wrong> {
    let wrong = |code, why| Err(Wrong { answer: reply(code), why });
    let &[version, command, _, kind, first, ..] = bytes.as_slice() else { return Ok(None) };
    if version != VERSION {
        return wrong(FAILED, "its request is no SOCKS 5");
    }
    if command != 1 {
        return wrong(NO_COMMAND, "it asks for more than a connection");
    }
    let (from, len) = match kind {
        1 => (4, 4),
        3 => (5, usize::from(first)),
        4 => (4, 16),
        _ => return wrong(NO_ADDRESS, "its address is of no known kind"),
    };
    let end = from + len;
    let (Some(address), Some(port)) = (bytes.get(from..end), bytes.get(end..end + 2)) else {
        return Ok(None);
    };
    let port = u16::from_be_bytes([port[0], port[1]]);
    let host = match (<[u8; 4]>::try_from(address), <[u8; 16]>::try_from(address)) {
        (Ok(v4), _) if kind == 1 => Ipv4Addr::from(v4).to_string(),
        (_, Ok(v6)) if kind == 4 => Ipv6Addr::from(v6).to_string(),
        _ => match std::str::from_utf8(address) {
            // It goes into a message to the server and into our messages, and nowhere else.
            Ok(name) if !name.is_empty() && !name.chars().any(char::is_control) => name.to_owned(),
            _ => return wrong(NO_ADDRESS, "its host is no name"),
        },
    };
    bytes.drain(..end + 2);
    Ok(Some(Place { host, port }))
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, Place, greeting, reply, request};
    use proptest::prelude::*;

    fn asked(bytes: &[u8]) -> Result<Option<(Place, usize)>, Vec<u8>> {
        let mut rest = bytes.to_vec();
        let place = request(&mut rest).map_err(|wrong| wrong.answer)?;
        Ok(place.map(|place| (place, bytes.len() - rest.len())))
    }

    #[test]
    fn requests_of_every_kind() {
        for (bytes, host, port) in [
            (&b"\x05\x01\0\x01\x7f\0\0\x01\x1f\x90"[..], "127.0.0.1", 8080),
            (b"\x05\x01\0\x03\x03web\0\x50", "web", 80),
            (b"\x05\x01\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x01\xbb", "::1", 443),
            // Four letters are a name, too.
            (b"\x05\x01\0\x03\x04host\0\x16", "host", 22),
        ] {
            let place = Place { host: host.into(), port };
            // What the client sends on its heels stays.
            let more = [bytes, b"GET"].concat();
            assert_eq!(asked(&more), Ok(Some((place, bytes.len()))));
            (0..bytes.len()).for_each(|n| assert_eq!(asked(&bytes[..n]), Ok(None), "{n}"));
        }
        for (bytes, code) in [
            (&b"\x05\x02\0\x01\x7f\0\0\x01\x1f\x90"[..], 7),
            (b"\x05\x01\0\x02\x7f\0\0\x01\x1f\x90", 8),
            (b"\x05\x01\0\x03\0\0\x50", 8),
            (b"\x05\x01\0\x03\x02\x1b[\0\x50", 8),
            (b"\x04\x01\0\x01\x7f\0\0\x01\x1f\x90", 1),
        ] {
            assert_eq!(asked(bytes), Err(reply(code)), "{bytes:?}");
        }
    }

    #[test]
    fn greetings() {
        let said = |bytes: &[u8]| {
            let mut rest = bytes.to_vec();
            greeting(&mut rest).map(|done| done.map(|()| rest)).map_err(|wrong| wrong.answer)
        };
        assert_eq!(said(b"\x05\x02\x02\0rest"), Ok(Some(b"rest".to_vec())));
        assert_eq!(said(b"\x05\x02\x02"), Ok(None));
        assert_eq!(said(b"\x05\x01\x02"), Err(vec![5, 0xff]));
        assert_eq!(said(b"\x05\0"), Err(vec![5, 0xff]));
        assert_eq!(said(b"GET /"), Err(vec![]));
        assert_eq!(said(b"\x04"), Err(vec![]));
    }

    proptest! {
        #[test]
        fn nothing_whole_is_longer_than_the_longest(bytes in prop::collection::vec(any::<u8>(), LONGEST..600)) {
            let mut rest = bytes;
            if let Ok(greeted) = greeting(&mut rest) {
                prop_assert!(greeted.is_some());
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = greeting(&mut bytes.clone());
            let _ = request(&mut [b"\x05\x01\0", bytes.as_slice()].concat());
        }
    }
}
