//! SFTP version 3, the client's side, as a machine without I/O: received bytes go in by [`Protocol::feed`], bytes to
//! send come out of [`Protocol::output`], and who calls waits and copies.
//!
//! Any number of requests may be in flight; replies come in any order, each reaches its [`Ticket`]. Memory is bounded
//! by one packet under way and a reply for each request in flight, of at most a packet; names take up to nine times
//! their bytes. The first thing that no honest server sends ends it: [`Broken`].
//!
//! ```
//! use waitcopy::remote::sftp::{Protocol, Reply, Request, StatusCode};
//!
//! let mut protocol = Protocol::new();
//! assert_eq!(protocol.output(), b"\0\0\0\x05\x01\0\0\0\x03");
//! protocol.sent(9);
//! protocol.feed(b"\0\0\0\x05\x02\0\0\0\x03")?;
//! let ticket = protocol.send(Request::Remove(b"notes"))?;
//! assert_eq!(protocol.take(ticket), None);
//! protocol.feed(b"\0\0\0\x09\x65\0\0\0\x01\0\0\0\x02")?;
//! let Some(Reply::Status(status)) = protocol.take(ticket) else { panic!() };
//! assert_eq!(status.code, StatusCode::NoSuchFile);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::broken::{Broken, Refused};
use super::reply::{self, Limits, Reply};
use super::request::{Asked, Extension, Handle, Request};
use super::wire::{Malformed, Packets, Reader, Writer};
use std::collections::{HashMap, VecDeque};

/// The only version that servers in use speak.
const VERSION: u32 = 3;

/// Bytes of the longest packet, in both directions, until [`Protocol::raise_limit`]: OpenSSH's 256 KiB, and 1 KiB for
/// servers that count the bytes of a file only.
pub const PACKET_LIMIT: u32 = (256 + 1) * 1024;

/// No limit of a server raises ours above this, in bytes.
pub const PACKET_LIMIT_MAX: u32 = 1024 * 1024;

/// Stands for a request and fetches its reply, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(u32);

/// A request that is not yet answered.
#[derive(Debug)]
struct Pending {
    asked: Asked,
    abandoned: bool,
}

/// One SFTP session's state.
#[derive(Debug)]
pub struct Protocol {
    packets: Packets,
    output: Vec<u8>,
    /// How much of the front of `output` is sent.
    sent: usize,
    version: Option<u32>,
    /// The offered versions of the extensions, in the order of [`Extension::ALL`].
    extensions: [Option<Vec<u8>>; Extension::ALL.len()],
    /// The longest packet that the server says it takes, in bytes.
    announced: u64,
    last_id: u32,
    pending: HashMap<u32, Pending>,
    arrived: HashMap<u32, Reply>,
    orphans: VecDeque<Handle>,
    broken: Option<Broken>,
}

impl Default for Protocol {
    fn default() -> Self {
        Self::new()
    }
}

impl Protocol {
    /// A session at its beginning; the client's version is to be sent.
    #[must_use]
    pub fn new() -> Self {
        let mut output = Vec::new();
        Writer::new(&mut output).u32(5).u8(1).u32(VERSION);
        Self {
            packets: Packets::new(PACKET_LIMIT),
            output,
            sent: 0,
            version: None,
            extensions: Default::default(),
            announced: 0,
            last_id: 0,
            pending: HashMap::new(),
            arrived: HashMap::new(),
            orphans: VecDeque::new(),
            broken: None,
        }
    }

    /// Takes the next received bytes: any piece of the stream.
    ///
    /// # Errors
    /// [`Broken`], from then on always the same. Replies and output that were there are dropped.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Broken> {
        self.broken.map_or(Ok(()), Err)?;
        self.receive_all(&mut bytes).inspect_err(|broken| {
            *self = Self { output: Vec::new(), broken: Some(*broken), ..Self::new() };
        })
    }

    /// What is to be sent.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        &self.output[self.sent..]
    }

    /// The first `n` bytes of [`Protocol::output`] are sent. More than there are count as all of them.
    pub fn sent(&mut self, n: usize) {
        self.sent = self.output.len().min(self.sent.saturating_add(n));
        // The rest moves to the front when it is no longer than what was sent since it last did: a byte is moved
        // once for each byte sent, at most, however small the pieces.
        if self.sent >= self.output.len() - self.sent {
            self.output.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// The server's version, once it is here: 3.
    #[must_use]
    pub fn version(&self) -> Option<u32> {
        self.version
    }

    /// The version of an extension that the server offers: ours, or another one, which is of no use.
    #[must_use]
    pub fn extension(&self, extension: Extension) -> Option<&[u8]> {
        self.extensions[extension as usize].as_deref()
    }

    /// Whether requests of this extension may be sent.
    #[must_use]
    pub fn offers(&self, extension: Extension) -> bool {
        self.extension(extension) == Some(extension.version().as_bytes())
    }

    /// Why nothing goes any more.
    #[must_use]
    pub fn broken(&self) -> Option<Broken> {
        self.broken
    }

    /// Lets packets be as long as the server's [`Limits`] say, up to `to` bytes and to [`PACKET_LIMIT_MAX`]; never
    /// lowers the limit. Bytes that count now, in both directions.
    pub fn raise_limit(&mut self, to: u32) -> u32 {
        let announced = u32::try_from(self.announced).unwrap_or(u32::MAX);
        let raised = to.min(announced).min(PACKET_LIMIT_MAX);
        self.packets.limit = self.packets.limit.max(raised);
        self.packets.limit
    }

    /// Queues a request.
    ///
    /// # Errors
    /// [`Refused`]; nothing of it is queued.
    pub fn send(&mut self, request: Request<'_>) -> Result<Ticket, Refused> {
        self.broken.map_or(Ok(()), |broken| Err(Refused::Broken(broken)))?;
        self.version.ok_or(Refused::Early)?;
        if let Some(extension) = request.extension().filter(|extension| !self.offers(*extension)) {
            return Err(Refused::Unoffered(extension));
        }
        let (start, id) = (self.output.len(), self.free_id());
        self.append(&request, id).inspect_err(|_| self.output.truncate(start))?;
        self.last_id = id;
        self.pending.insert(id, Pending { asked: request.kind().1, abandoned: false });
        Ok(Ticket(id))
    }

    /// The reply, if it is here; it is given out once.
    pub fn take(&mut self, ticket: Ticket) -> Option<Reply> {
        self.arrived.remove(&ticket.0)
    }

    /// Whether the reply is here.
    #[must_use]
    pub fn has(&self, ticket: Ticket) -> bool {
        self.arrived.contains_key(&ticket.0)
    }

    /// Nobody waits for this reply any more: it is dropped, now or when it comes.
    pub fn abandon(&mut self, ticket: Ticket) {
        if let Some(pending) = self.pending.get_mut(&ticket.0) {
            pending.abandoned = true;
        } else if let Some(reply) = self.arrived.remove(&ticket.0) {
            self.bury(reply);
        }
    }

    /// A handle that came for an abandoned Open or Opendir: to be closed, else it stays open in the server.
    pub fn orphan(&mut self) -> Option<Handle> {
        self.orphans.pop_front()
    }

    /// Requests that are not yet answered, abandoned ones included.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.pending.len()
    }

    /// The next id that no request in flight and no reply not yet taken has: ids come round after 2^32 requests.
    fn free_id(&self) -> u32 {
        let mut id = self.last_id.wrapping_add(1);
        while self.pending.contains_key(&id) || self.arrived.contains_key(&id) {
            id = id.wrapping_add(1);
        }
        id
    }

    fn append(&mut self, request: &Request<'_>, id: u32) -> Result<(), Refused> {
        const HEAD: [u8; 4] = [0; 4];
        let start = self.output.len();
        self.output.extend_from_slice(&HEAD);
        let body = self.output.len();
        request.encode(id, &mut Writer::new(&mut self.output))?;
        let len = self.output.len() - body;
        let head = u32::try_from(len).ok().filter(|len| *len <= self.packets.limit);
        let head = head.ok_or(Refused::TooLong(len))?;
        self.output[start..body].copy_from_slice(&head.to_be_bytes());
        Ok(())
    }

    fn receive_all(&mut self, bytes: &mut &[u8]) -> Result<(), Broken> {
        while !bytes.is_empty() {
            let Some(mut packet) = self.packets.next(bytes).map_err(|head| self.no_packet(head))?
            else {
                break;
            };
            self.receive(&mut packet)?;
            self.packets.reuse(packet);
        }
        Ok(())
    }

    /// No length of a packet: what is it?
    fn no_packet(&self, head: [u8; 4]) -> Broken {
        let text = head.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
        if text && self.version.is_none() {
            Broken::Text(head)
        } else {
            Broken::Length(u32::from_be_bytes(head))
        }
    }

    /// A whole packet, which a reply may keep.
    fn receive(&mut self, packet: &mut Vec<u8>) -> Result<(), Broken> {
        let mut reader = Reader::new(packet);
        let kind = reader.u8().map_err(Broken::malformed(0))?;
        if self.version.is_none() {
            return if kind == reply::VERSION {
                self.greet(reader)
            } else {
                Err(Broken::NotVersion(kind))
            };
        }
        if !Reply::is(kind) {
            return Err(Broken::Type(kind));
        }
        let id = reader.u32().map_err(Broken::malformed(kind))?;
        let pending = self.pending.remove(&id).ok_or_else(|| {
            if self.arrived.contains_key(&id) { Broken::Twice(id) } else { Broken::Unknown(id) }
        })?;
        let reply = Reply::decode(pending.asked, kind, packet)?;
        if let Reply::Limits(Limits { packet, .. }) = reply {
            self.announced = packet;
        }
        if pending.abandoned {
            self.bury(reply);
        } else {
            self.arrived.insert(id, reply);
        }
        Ok(())
    }

    /// The server's version and what it offers. Of the extensions only known ones are kept, each once.
    fn greet(&mut self, mut reader: Reader<'_>) -> Result<(), Broken> {
        let version = reader.u32().map_err(Broken::malformed(reply::VERSION))?;
        if version != VERSION {
            return Err(Broken::Version(version));
        }
        self.offered(&mut reader).map_err(Broken::malformed(reply::VERSION))?;
        self.version = Some(version);
        Ok(())
    }

    fn offered(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        while reader.remaining() > 0 {
            let (name, offered) = (reader.string()?, reader.string()?);
            let known = Extension::ALL.iter().find(|(_, known, _)| known.as_bytes() == name);
            // An extension may be offered in several versions: ours is kept, whichever comes first.
            if let Some((extension, _, _)) = known.filter(|known| !self.offers(known.0)) {
                self.extensions[*extension as usize] = Some(offered.to_vec());
            }
        }
        Ok(())
    }

    fn bury(&mut self, reply: Reply) {
        if let Reply::Handle(handle) = reply {
            self.orphans.push_back(handle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Protocol, Reply, Request};

    /// A success for request `id`.
    fn success(id: u32) -> Vec<u8> {
        [&[0, 0, 0, 9, 101], &id.to_be_bytes()[..], &[0; 4]].concat()
    }

    #[test]
    fn ids_come_round_and_leave_out_those_in_use() {
        let mut protocol = Protocol::new();
        protocol.feed(b"\0\0\0\x05\x02\0\0\0\x03").unwrap();
        protocol.last_id = u32::MAX - 2;
        let send = |protocol: &mut Protocol| protocol.send(Request::Rmdir(b"x")).unwrap();
        let first: Vec<_> = (0..4).map(|_| send(&mut protocol)).collect();
        assert_eq!(first.iter().map(|t| t.0).collect::<Vec<_>>(), [u32::MAX - 1, u32::MAX, 0, 1]);
        // In flight: 0 and MAX. Arrived: 1. Free again: MAX - 1.
        protocol.feed(&[success(u32::MAX - 1), success(1)].concat()).unwrap();
        assert!(matches!(protocol.take(first[0]), Some(Reply::Status(_))));
        protocol.last_id = u32::MAX - 2;
        let second: Vec<_> = (0..3).map(|_| send(&mut protocol).0).collect();
        assert_eq!(second, [u32::MAX - 1, 2, 3]);
        assert_eq!(protocol.in_flight(), 5);
    }
}
