//! The agent's protocol: what is asked of `ssh-agent`, and what it answers (draft-miller-ssh-agent, RFC 9987).
//!
//! Bytes in, bytes out: whoever holds the socket writes the requests as they are and feeds what comes to [`Framing`].
//! Requests are answered in their order, one message each.

use super::wire::{number, put_string, string};
use std::fmt;

/// The longest message either side takes, in bytes without its length: OpenSSH's `AGENT_MAX_LEN`.
pub const LONGEST: usize = 256 * 1024;
/// OpenSSH's `MAX_AGENT_IDENTITIES`.
const MOST_IDENTITIES: usize = 2048;

/// Flag of a [`sign_request`] with an RSA key: sign with SHA-256 (`rsa-sha2-256`).
pub const RSA_SHA2_256: u32 = 2;
/// Flag of a [`sign_request`] with an RSA key: sign with SHA-512 (`rsa-sha2-512`).
pub const RSA_SHA2_512: u32 = 4;

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
// Of old agents; OpenSSH still takes them for a failure.
const FAILURES: [u8; 3] = [FAILURE, 30, 102];

/// What is wrong with an agent's bytes, or with what it should be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentError {
    /// A message of this many bytes: none, or more than [`LONGEST`]. What follows it cannot be found any more.
    Length(u64),
    /// It says that it holds this many keys.
    TooManyKeys(u32),
    /// A message that ends inside of a field, or has a wrong one.
    Malformed(&'static str),
    /// A message of this type answers none of our requests.
    Unexpected(u8),
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ssh-agent: ")?;
        match self {
            Self::Length(len) => write!(f, "a message of {len} bytes (1 to {LONGEST} are taken)"),
            Self::TooManyKeys(count) => {
                write!(f, "it offers {count} keys ({MOST_IDENTITIES} are taken)")
            }
            Self::Malformed(what) => write!(f, "its answer is malformed: {what}"),
            Self::Unexpected(kind) => write!(f, "an answer of type {kind} to no request of ours"),
        }
    }
}

impl std::error::Error for AgentError {}

/// The request for the keys that the agent holds, ready to be written.
#[must_use]
pub fn request_identities() -> Vec<u8> {
    vec![0, 0, 0, 1, REQUEST_IDENTITIES]
}

/// The request for a signature of `message` with the key of the public `blob`, ready to be written. `flags` are 0, or
/// [`RSA_SHA2_256`] or [`RSA_SHA2_512`] for RSA.
///
/// # Errors
/// [`AgentError::Length`] where the agent would hang up on it.
pub fn sign_request(blob: &[u8], message: &[u8], flags: u32) -> Result<Vec<u8>, AgentError> {
    // The type, two lengths, the flags.
    let len = blob.len().saturating_add(message.len()).saturating_add(1 + 4 + 4 + 4);
    let short = u32::try_from(len).ok().filter(|_| len <= LONGEST);
    let too_long = || AgentError::Length(len as u64);
    let mut request = Vec::with_capacity(4 + short.ok_or_else(too_long)? as usize);
    request.extend_from_slice(&short.ok_or_else(too_long)?.to_be_bytes());
    request.push(SIGN_REQUEST);
    put_string(&mut request, blob).ok_or_else(too_long)?;
    put_string(&mut request, message).ok_or_else(too_long)?;
    request.extend_from_slice(&flags.to_be_bytes());
    Ok(request)
}

/// A key that the agent holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The public key as servers are offered it (RFC 4253, section 6.6).
    pub blob: Vec<u8>,
    /// What its owner called it; foreign text, not to be printed as it is.
    pub comment: String,
}

impl Identity {
    /// The type at the head of the blob: `ssh-ed25519`, `sk-ssh-ed25519@openssh.com`. `None` where there is none.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        std::str::from_utf8(string(&mut self.blob.as_slice())?).ok()
    }
}

/// A signature, divided as RFC 4253, section 6.6 has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// How it was made. An old agent ignores the flags of a request and signs with `ssh-rsa`: to be compared with
    /// what was asked for.
    pub algorithm: String,
    /// The signature itself.
    pub bytes: Vec<u8>,
    /// What follows it for a FIDO key: a byte of flags and a counter (OpenSSH's PROTOCOL.u2f). Else nothing.
    pub trailer: Vec<u8>,
}

/// A message of the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`request_identities`]: the keys, in the agent's order.
    Identities(Vec<Identity>),
    /// To [`sign_request`].
    Signature(Signature),
    /// It refuses: no such key, locked, or its owner said no.
    Failure,
}

impl Answer {
    /// Reads a message, without its length. What stands behind the last field is passed over, as OpenSSH does.
    ///
    /// # Errors
    /// An [`AgentError`]: it is malformed, too long, or of another type.
    pub fn parse(message: &[u8]) -> Result<Self, AgentError> {
        if message.len() > LONGEST {
            return Err(AgentError::Length(message.len() as u64));
        }
        let (&kind, mut rest) = message.split_first().ok_or(AgentError::Length(0))?;
        match kind {
            IDENTITIES_ANSWER => identities(&mut rest).map(Self::Identities),
            SIGN_RESPONSE => signature(&mut rest).map(Self::Signature),
            kind if FAILURES.contains(&kind) => Ok(Self::Failure),
            kind => Err(AgentError::Unexpected(kind)),
        }
    }
}

fn identities(rest: &mut &[u8]) -> Result<Vec<Identity>, AgentError> {
    let cut = AgentError::Malformed("the list of keys is cut off");
    let count = number(rest).ok_or(cut.clone())?;
    if count as usize > MOST_IDENTITIES {
        return Err(AgentError::TooManyKeys(count));
    }
    let mut identity = || {
        let (blob, comment) = (string(rest)?.to_vec(), string(rest)?);
        Some(Identity { blob, comment: String::from_utf8_lossy(comment).into_owned() })
    };
    // Room is made as keys come, not by what the count says.
    (0..count).map(|_| identity().ok_or(cut.clone())).collect()
}

fn signature(rest: &mut &[u8]) -> Result<Signature, AgentError> {
    let cut = AgentError::Malformed("the signature is cut off");
    let mut inner = string(rest).ok_or(cut.clone())?;
    let algorithm = string(&mut inner).ok_or(cut.clone())?;
    let bytes = string(&mut inner).ok_or(cut)?.to_vec();
    // A name has at most 64 printable ASCII letters (RFC 4251, section 6).
    let name = std::str::from_utf8(algorithm).ok().filter(|name| {
        (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
    });
    let algorithm = name.ok_or(AgentError::Malformed("the signature has no name"))?.to_owned();
    Ok(Signature { algorithm, bytes, trailer: inner.to_vec() })
}

/// Finds messages in a stream: bytes go in as they come, messages come out.
#[derive(Debug, Default)]
pub struct Framing {
    /// What came and was not taken, from `start` on.
    bytes: Vec<u8>,
    start: usize,
}

impl Framing {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what was read, in pieces of any size. Take all messages out before the next piece: what is held stays
    /// below one message and one piece then.
    pub fn feed(&mut self, bytes: &[u8]) {
        // What was taken makes room first, so a long stream of short messages holds little.
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message, without its length; `None` until it is there as a whole.
    ///
    /// # Errors
    /// [`AgentError::Length`], and again at each further call: the socket is of no use any more.
    pub fn message(&mut self) -> Result<Option<Vec<u8>>, AgentError> {
        let mut rest = &self.bytes[self.start..];
        let Some(len) = number(&mut rest) else { return Ok(None) };
        // Refused at the head: nobody makes us hold more.
        if len == 0 || len as usize > LONGEST {
            return Err(AgentError::Length(len.into()));
        }
        let Some(message) = rest.get(..len as usize) else { return Ok(None) };
        self.start += 4 + message.len();
        Ok(Some(message.to_vec()))
    }

    /// Whether a message has begun and is not whole: an end of file here has cut it.
    #[must_use]
    pub fn inside(&self) -> bool {
        self.start < self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{AgentError, Answer, Framing, Identity, LONGEST, RSA_SHA2_512, Signature};
    use super::{request_identities, sign_request};
    use proptest::prelude::*;

    /// A string with its length.
    fn s(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
    }

    #[test]
    fn requests_byte_by_byte() {
        assert_eq!(request_identities(), [0, 0, 0, 1, 11]);
        assert_eq!(
            sign_request(b"key", b"hello", RSA_SHA2_512).unwrap(),
            b"\0\0\0\x15\x0d\0\0\0\x03key\0\0\0\x05hello\0\0\0\x04"
        );
        let room = LONGEST - 13;
        assert_eq!(sign_request(b"", &vec![0; room], 0).unwrap().len(), 4 + LONGEST);
        let long = sign_request(b"", &vec![0; room + 1], 0);
        assert_eq!(long, Err(AgentError::Length(LONGEST as u64 + 1)));
    }

    #[test]
    fn answers_of_every_kind() {
        let blob = s(b"ssh-ed25519");
        let list = [&[12][..], &[0, 0, 0, 2], &s(&blob), &s(b"a \xff"), &s(b""), &s(b"b")].concat();
        let Answer::Identities(keys) = Answer::parse(&list).unwrap() else { panic!("a list") };
        assert_eq!(keys[0], Identity { blob, comment: String::from("a \u{fffd}") });
        assert_eq!((keys[0].kind(), keys[1].kind(), keys.len()), (Some("ssh-ed25519"), None, 2));
        assert_eq!(Answer::parse(&[12, 0, 0, 0, 0]), Ok(Answer::Identities(Vec::new())));

        let inner = [s(b"sk-ssh-ed25519@openssh.com"), s(b"raw"), vec![1, 0, 0, 0, 9]].concat();
        let signed = Answer::parse(&[&[14][..], &s(&inner)].concat()).unwrap();
        let Answer::Signature(Signature { algorithm, bytes, trailer }) = signed else { panic!() };
        assert_eq!((algorithm.as_str(), &bytes[..]), ("sk-ssh-ed25519@openssh.com", &b"raw"[..]));
        assert_eq!(trailer, [1, 0, 0, 0, 9]);

        for failure in [&[5][..], &[30], &[102, 0]] {
            assert_eq!(Answer::parse(failure), Ok(Answer::Failure));
        }
    }

    #[test]
    fn what_an_agent_may_not_send() {
        use AgentError::{Length, Malformed, TooManyKeys, Unexpected};
        assert_eq!(Answer::parse(&[]), Err(Length(0)));
        assert_eq!(Answer::parse(&[6]), Err(Unexpected(6)));
        assert_eq!(Answer::parse(&vec![5; LONGEST + 1]), Err(Length(LONGEST as u64 + 1)));
        assert_eq!(Answer::parse(&[12, 0, 0, 8, 1]), Err(TooManyKeys(2049)));
        let inner = [s(b""), s(b"raw")].concat();
        for message in [
            vec![12, 0, 0],
            vec![12, 0, 0, 8, 0],
            vec![12, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 1],
            vec![14, 0, 0, 0, 9, 1],
            [vec![14], s(&s(b"ssh-ed25519"))].concat(),
            [vec![14], s(&inner)].concat(),
            [vec![14], s(&[s(b"a\nb"), s(b"raw")].concat())].concat(),
        ] {
            assert!(matches!(Answer::parse(&message), Err(Malformed(_))), "{message:?}");
        }
    }

    #[test]
    fn a_false_length_is_refused_at_the_head() {
        for len in [0, LONGEST as u32 + 1, u32::MAX] {
            let mut framing = Framing::new();
            framing.feed(&len.to_be_bytes());
            assert_eq!(framing.message(), Err(AgentError::Length(len.into())));
            framing.feed(&[0; 8]);
            assert_eq!(framing.message(), Err(AgentError::Length(len.into())));
        }
    }

    proptest! {
        #[test]
        fn messages_come_out_however_the_bytes_come_in(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            step in 1_usize..50,
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(|message| s(message)).collect();
            let (mut framing, mut found) = (Framing::new(), Vec::new());
            for piece in stream.chunks(step) {
                framing.feed(piece);
                while let Some(message) = framing.message().unwrap() {
                    found.push(message);
                }
            }
            prop_assert_eq!(found, messages);
            prop_assert!(!framing.inside());
        }

        #[test]
        fn no_bytes_make_it_panic(kind in prop::sample::select(vec![5_u8, 12, 14, 0]), bytes: Vec<u8>) {
            let _ = Answer::parse(&[&[kind][..], &bytes].concat());
            let mut framing = Framing::new();
            framing.feed(&bytes);
            while let Ok(Some(message)) = framing.message() {
                prop_assert!(!message.is_empty() && message.len() <= bytes.len());
            }
        }
    }
}
