//! Numbers, strings and packets as SFTP writes them: big-endian, each string and each packet after its length
//! (draft-ietf-secsh-filexfer-02, section 3; RFC 4251, section 5).

use std::fmt;

/// A packet that ends before its fields do, or holds a length that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed packet")
    }
}

impl std::error::Error for Malformed {}

/// Takes fields from the front of a packet. Nothing is copied: a string is a piece of the packet.
#[derive(Clone, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads these bytes from the first one on.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What is not yet read, in bytes.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.0.len()
    }

    /// One byte.
    ///
    /// # Errors
    /// [`Malformed`] at the end of the packet, as for all of them.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    /// Four bytes.
    ///
    /// # Errors
    /// [`Malformed`] when fewer are left.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// [`Malformed`] when fewer are left.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// A length and as many bytes; no text, names are bytes.
    ///
    /// # Errors
    /// [`Malformed`] when the length leads beyond the packet.
    pub fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.u32()? as usize;
        let (string, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        Ok(string)
    }

    /// A count of things that need at least `each` bytes, so that no memory is taken for more than can follow.
    ///
    /// # Errors
    /// [`Malformed`] when the rest of the packet cannot hold as many.
    pub fn count(&mut self, each: usize) -> Result<usize, Malformed> {
        let count = self.u32()? as usize;
        if count > self.remaining() / each { Err(Malformed) } else { Ok(count) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*array)
    }
}

/// Appends fields to a buffer.
#[derive(Debug)]
pub struct Writer<'a>(&'a mut Vec<u8>);

impl<'a> Writer<'a> {
    /// Appends to what `bytes` holds.
    pub fn new(bytes: &'a mut Vec<u8>) -> Self {
        Self(bytes)
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// A length and the bytes. A string of 4 GiB or more has no length here: check before.
    pub fn string(&mut self, string: &[u8]) -> &mut Self {
        self.u32(u32::try_from(string.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(string);
        self
    }
}

/// Bytes of a packet's length field, which it does not count.
const HEAD: usize = 4;

/// Cuts the received stream into packets, wherever the pieces of it end. Holds one packet at most.
#[derive(Debug)]
pub(super) struct Packets {
    head: [u8; HEAD],
    /// How much of `head` is there.
    got: usize,
    body: Vec<u8>,
    /// The longest packet that is taken, in bytes without its length field.
    pub(super) limit: u32,
}

impl Packets {
    pub(super) fn new(limit: u32) -> Self {
        Self { head: [0; HEAD], got: 0, body: Vec::new(), limit }
    }

    /// Takes from `bytes` what the packet under way lacks; the packet once it is whole, `None` when the bytes are
    /// used up before. Each byte is copied once, into a buffer of the packet's size.
    ///
    /// # Errors
    /// The length field, when it is 0 or above the limit: before any memory is taken for it.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Vec<u8>>, [u8; HEAD]> {
        let head = take(bytes, HEAD - self.got);
        self.head[self.got..self.got + head.len()].copy_from_slice(head);
        self.got += head.len();
        if self.got < HEAD {
            return Ok(None);
        }
        let len = u32::from_be_bytes(self.head);
        if len == 0 || len > self.limit {
            return Err(self.head);
        }
        let len = len as usize;
        if self.body.capacity() < len {
            // Only ever an empty one: a body under way has its place.
            self.body = Vec::with_capacity(len);
        }
        self.body.extend_from_slice(take(bytes, len - self.body.len()));
        if self.body.len() < len {
            return Ok(None);
        }
        self.got = 0;
        Ok(Some(std::mem::take(&mut self.body)))
    }

    /// Gives a packet's buffer back, for the next one.
    pub(super) fn reuse(&mut self, mut spare: Vec<u8>) {
        spare.clear();
        self.body = spare;
    }
}

/// Up to `most` bytes from the front.
fn take<'a>(bytes: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (front, rest) = bytes.split_at(most.min(bytes.len()));
    *bytes = rest;
    front
}
