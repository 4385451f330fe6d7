//! Floor 1: what a server answers, in any model.

/// What to do with the buffer after the service has worked on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Send the first `n` bytes of the buffer back; 0 sends nothing.
    Send(usize),
    /// The same, and then close the connection.
    SendThenClose(usize),
}

/// Answers each receive **in place**: the reply lies in the buffer that the request came in, so it can
/// never be longer, and nothing is allocated per request.
///
/// One service serves all connections, from several threads if the server has them. It must not
/// block: under a multiplexing model every other client waits meanwhile.
///
/// ```
/// use waitcopy::service::{Answer, Service};
///
/// struct Reverse;
///
/// impl Service for Reverse {
///     fn stream(&self, bytes: &mut [u8]) -> Answer {
///         bytes.reverse();
///         Answer::Send(bytes.len())
///     }
/// }
///
/// let mut bytes = *b"abc";
/// assert_eq!(Reverse.stream(&mut bytes), Answer::Send(3));
/// assert_eq!(&bytes, b"cba");
/// ```
pub trait Service: Sync {
    /// Turns what one receive brought into what is sent back.
    fn stream(&self, bytes: &mut [u8]) -> Answer;

    /// Turns a datagram into its answer: how many bytes of the buffer to send back, or `None` for no answer. An empty
    /// datagram is one like any other. Unless said otherwise, as [`stream`](Self::stream), with nothing for 0 bytes.
    fn datagram(&self, packet: &mut [u8]) -> Option<usize> {
        let (Answer::Send(n) | Answer::SendThenClose(n)) = self.stream(packet);
        (n > 0).then_some(n)
    }
}

/// The notes' service: `data.upper()`, ASCII letters only, as Python does it for bytes.
#[derive(Clone, Copy, Debug)]
pub struct Upper;

/// Sends everything back as it came (RFC 862).
#[derive(Clone, Copy, Debug)]
pub struct Echo;

/// Takes everything and answers nothing (RFC 863).
#[derive(Clone, Copy, Debug)]
pub struct Discard;

/// `make_ascii_uppercase` with a quarter fewer instructions, in blocks whose length the compiler knows.
fn upper(bytes: &mut [u8]) {
    let block = |bytes: &mut [u8]| {
        for byte in bytes {
            // Moves a to z to the upper end of the signed numbers: one comparison instead of two.
            let moved = byte.wrapping_add(i8::MAX as u8 - b'z') as i8;
            *byte ^= u8::from(moved > i8::MAX - 26) << 5;
        }
    };
    let mut rest = bytes;
    while rest.len() >= 64 {
        let (first, others) = std::mem::take(&mut rest).split_at_mut(64);
        block(first);
        rest = others;
    }
    block(rest);
}

impl Service for Upper {
    fn stream(&self, bytes: &mut [u8]) -> Answer {
        upper(bytes);
        Answer::Send(bytes.len())
    }

    fn datagram(&self, packet: &mut [u8]) -> Option<usize> {
        upper(packet);
        Some(packet.len())
    }
}

impl Service for Echo {
    fn stream(&self, bytes: &mut [u8]) -> Answer {
        Answer::Send(bytes.len())
    }

    fn datagram(&self, packet: &mut [u8]) -> Option<usize> {
        Some(packet.len())
    }
}

impl Service for Discard {
    fn stream(&self, _: &mut [u8]) -> Answer {
        Answer::Send(0)
    }
}

/// The services of `serve --service`: name, what it answers, and itself.
pub const SERVICES: [(&str, &str, &dyn Service); 3] = [
    ("upper", "ASCII letters in upper case, as the notes' servers do", &Upper),
    ("echo", "the same bytes", &Echo),
    ("discard", "nothing", &Discard),
];

#[cfg(test)]
mod tests {
    use super::{Answer, Service, Upper};

    #[test]
    fn upper_changes_ascii_letters_and_nothing_else() {
        // All bytes, in whole blocks and in what is left of one.
        for length in 0..=320 {
            let mut bytes: Vec<u8> = (0..length).map(|i| i as u8).collect();
            assert_eq!(Upper.stream(&mut bytes), Answer::Send(length));
            for (i, byte) in bytes.into_iter().enumerate() {
                assert_eq!(byte, (i as u8).to_ascii_uppercase(), "byte {i} of {length}");
            }
        }
    }
}
