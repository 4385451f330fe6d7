//! Handlers of datagrams.

use super::{Hooks, finally};
use crate::concurrency::{Letter, Task, Trouble, Work};
use crate::phase::Observer;
use crate::stop::Stop;
use crate::sys::{Address, Packet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Handles a datagram. Cloned for each; a closure is one that has only `handle`.
pub trait DatagramHandler: Clone + Send + Sync {
    /// Before `handle`.
    ///
    /// # Errors
    /// Any ends the request; neither `handle` nor `finish` is called.
    fn setup(&mut self, _request: &mut Datagram<'_>) -> io::Result<()> {
        Ok(())
    }

    /// The work.
    ///
    /// # Errors
    /// Any is told and counted.
    fn handle(&mut self, request: &mut Datagram<'_>) -> io::Result<()>;

    /// After `handle`, also when it failed or panicked.
    ///
    /// # Errors
    /// Any is told and counted.
    fn finish(&mut self, _request: &mut Datagram<'_>) -> io::Result<()> {
        Ok(())
    }
}

impl<F: FnMut(&mut Datagram<'_>) -> io::Result<()> + Clone + Send + Sync> DatagramHandler for F {
    fn handle(&mut self, request: &mut Datagram<'_>) -> io::Result<()> {
        self(request)
    }
}

/// A datagram and the way back to its sender.
pub struct Datagram<'d> {
    bytes: &'d [u8],
    packet: &'d Packet,
    /// Bytes that may still be answered.
    allowed: usize,
    send: &'d mut dyn FnMut(&[u8]) -> io::Result<()>,
}

impl Datagram<'_> {
    /// All of its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// Who sent it. Over IP anybody can write any address there.
    #[must_use]
    pub fn peer(&self) -> &Address {
        &self.packet.from
    }

    /// Sends a datagram back. Whether it arrives nobody knows.
    ///
    /// # Errors
    /// `EAGAIN`, `ECONNREFUSED`, ... when it cannot even be sent, which is counted too (`unsent`); `InvalidInput` for more bytes, in all replies together, than the request had, unless
    /// [`Builder::amplify`](super::Builder::amplify) allows it.
    pub fn reply(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.allowed = self.allowed.checked_sub(bytes.len()).ok_or_else(|| {
            let why = "a reply longer than its request would let forged senders flood others";
            io::Error::new(io::ErrorKind::InvalidInput, why)
        })?;
        (self.send)(bytes)
    }
}

impl std::fmt::Debug for Datagram<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Datagram({} bytes from {})", self.bytes.len(), self.peer())
    }
}

/// What a server of datagrams does with each.
#[derive(Debug)]
pub struct DatagramWork<H> {
    handler: H,
    hooks: Arc<Hooks>,
    amplifies: bool,
}

impl<H> DatagramWork<H> {
    pub(super) fn new(handler: H, hooks: Arc<Hooks>, amplifies: bool) -> Self {
        Self { handler, hooks, amplifies }
    }
}

impl<H: DatagramHandler, O: Observer> Work<O> for DatagramWork<H> {
    fn serve(&self, task: Task, observer: &mut O, _: &Stop) -> io::Result<()> {
        let Task::Datagram(Letter { packet, bytes, socket, pass: _pass }) = task else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        observer.addressed(&packet.from);
        let allowed = if self.amplifies { usize::MAX } else { bytes.len() };
        let mut send = |reply: &[u8]| socket.send(&packet, reply, observer);
        let mut request = Datagram { bytes: &bytes, packet: &packet, allowed, send: &mut send };
        let mut handler = self.handler.clone();
        handler.setup(&mut request)?;
        let both = &mut (handler, request);
        finally(both, |(handler, it)| handler.handle(it), |(handler, it)| handler.finish(it))
    }

    fn admits(&self, peer: &Address) -> bool {
        self.hooks.admits(peer)
    }

    fn took(&self) {
        self.hooks.taken.fetch_add(1, Ordering::Relaxed);
    }

    fn turned(&self) {
        self.hooks.turned();
    }

    fn troubled(&self, peer: &Address, trouble: &Trouble) {
        self.hooks.troubled(peer, trouble);
    }
}
