//! The agent's socket, on the reactor: an agent that asks its owner, or hangs, holds up nobody else.

use super::agent::{self, Answer, Framing, Identity, Signature};
use super::connect::established;
use crate::reactor::{Handle, Interest, Source};
use crate::sys::{self, Address, Kind};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A connection to an agent.
pub(super) struct AgentSocket {
    socket: Source<OwnedFd>,
    framing: Framing,
}

impl AgentSocket {
    /// Connects to the agent at a path.
    pub(super) async fn connect(reactor: &Handle, path: &Path) -> io::Result<Self> {
        let address = Address::unix(path)?;
        let socket = sys::socket(address, Kind::Stream)?;
        sys::set_nonblocking(&socket, true)?;
        let socket = established(reactor, socket, address).await?;
        let socket = Source::new(reactor, socket).map_err(io::Error::other)?;
        Ok(Self { socket, framing: Framing::new() })
    }

    /// The keys that it holds.
    pub(super) async fn identities(&mut self) -> io::Result<Vec<Identity>> {
        match self.ask(&agent::request_identities()).await? {
            Answer::Identities(identities) => Ok(identities),
            _ => Ok(Vec::new()),
        }
    }

    /// A signature; `None`: it refuses.
    pub(super) async fn sign(
        &mut self,
        blob: &[u8],
        message: &[u8],
        flags: u32,
    ) -> io::Result<Option<Signature>> {
        let request = agent::sign_request(blob, message, flags).map_err(io::Error::other)?;
        match self.ask(&request).await? {
            Answer::Signature(signature) => Ok(Some(signature)),
            _ => Ok(None),
        }
    }

    async fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        let mut left = request;
        while !left.is_empty() {
            let n = self.socket.until(Interest::Write, |fd| sys::send_now(fd, left)).await?;
            left = &left[n..];
        }
        let mut buffer = [0; 4096];
        loop {
            if let Some(message) = self.framing.message().map_err(io::Error::other)? {
                return Answer::parse(&message).map_err(io::Error::other);
            }
            let n = self.socket.until(Interest::Read, |fd| sys::recv_now(fd, &mut buffer)).await?;
            if n == 0 {
                return Err(io::Error::other("the agent hung up"));
            }
            self.framing.feed(&buffer[..n]);
        }
    }
}
