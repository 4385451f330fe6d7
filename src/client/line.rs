//! The notes' client: a line, its reply, the next line.
//!
//! Unlike the notes' it reads the **whole** reply: a message of n bytes has a reply of n bytes, however many
//! segments it comes in. It sends and receives at the same time, so a message larger than all buffers on
//! the way does not stop both ends. A datagram may be lost: its reply is waited for only so long.

use crate::failure::{During, Failure};
use crate::net::Endpoint;
use crate::sys::{self, PollFd};
use std::io::{self, BufRead, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// The notes' prompt.
const PROMPT: &[u8] = b">>:";

/// What the lines travel over.
#[derive(Debug)]
pub enum Link {
    /// A connection.
    Stream(OwnedFd),
    /// A connected datagram socket, and how long a reply is waited for.
    Datagram(OwnedFd, Duration),
}

/// Why a conversation ended early.
#[derive(Debug)]
pub enum Trouble {
    /// The connection's.
    Server(Failure),
    /// The server closed it: bytes of the reply that came, bytes that were to come.
    Gone(usize, usize),
    /// Reading the lines or printing the replies failed.
    Terminal(io::Error),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Server(failure)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Terminal(error)
    }
}

/// Sends each line of `input`, stripped as the notes do it, and prints each reply as a line. Blank lines
/// are skipped; the end of input ends it. How many datagrams got no reply in time, which standard error tells.
///
/// # Errors
/// See [`Trouble`].
pub fn converse(
    mut link: Link,
    server: Endpoint,
    input: &mut impl BufRead,
    output: &mut impl Write,
    prompt: bool,
) -> Result<u64, Trouble> {
    let (Link::Stream(socket) | Link::Datagram(socket, _)) = &link;
    sys::set_nonblocking(socket, true).during("fcntl", server)?;
    let (mut line, mut reply, mut lost) = (Vec::new(), Vec::new(), 0);
    loop {
        if prompt {
            output.write_all(PROMPT)?;
            output.flush()?;
        }
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            if prompt {
                writeln!(output)?;
            }
            return Ok(lost);
        }
        let message = line.trim_ascii();
        if message.is_empty() {
            continue;
        }
        let came = match &link {
            Link::Stream(socket) => exchange(socket, server, message, &mut reply).map(|()| true)?,
            Link::Datagram(socket, patience) => {
                ask(socket, server, message, *patience, &mut reply)?
            }
        };
        if came {
            output.write_all(&reply)?;
            output.write_all(b"\n")?;
            output.flush()?;
        } else {
            lost += 1;
            // What comes late after all must not be taken for the next line's reply: a new port does not hear it.
            if let Link::Datagram(socket, _) = &mut link {
                *socket = super::connect(&[server])?;
                sys::set_nonblocking(&*socket, true).during("fcntl", server)?;
            }
            writeln!(io::stderr(), "waitcopy: {server}: no reply in time: lost, or not answered")?;
        }
    }
}

/// Sends a datagram and waits for the next one; whether it came in time.
fn ask(
    socket: &OwnedFd,
    server: Endpoint,
    message: &[u8],
    patience: Duration,
    reply: &mut Vec<u8>,
) -> Result<bool, Trouble> {
    // The largest datagram there is, over IP.
    reply.resize(65_536, 0);
    // Whatever is here belongs to an earlier message.
    while now(sys::recv(socket, reply)).is_ok_and(|late| late.is_some()) {}
    let end = Instant::now() + patience;
    while now(sys::send(socket, message)).during("send", server)?.is_none() {
        if !ready(socket, end, true).during("poll", server)? {
            return Ok(false);
        }
    }
    loop {
        if let Some(n) = now(sys::recv(socket, reply)).during("recv", server)? {
            reply.truncate(n);
            return Ok(true);
        }
        if !ready(socket, end, false).during("poll", server)? {
            return Ok(false);
        }
    }
}

/// Waits for data, or for room, until a moment; false when it is over.
fn ready(socket: &OwnedFd, end: Instant, room: bool) -> io::Result<bool> {
    let left = end.saturating_duration_since(Instant::now());
    let mut watch = [PollFd::new(socket, !room, room)];
    match sys::poll(&mut watch, Some(left)) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        Ok(0) => Ok(false),
        _ => Ok(true),
    }
}

/// Sends the message and receives as many bytes.
fn exchange(
    socket: &OwnedFd,
    server: Endpoint,
    message: &[u8],
    reply: &mut Vec<u8>,
) -> Result<(), Trouble> {
    reply.clear();
    reply.resize(message.len(), 0);
    let (mut sent, mut received) = (0, 0);
    while received < message.len() {
        let mut watch = [PollFd::new(socket, true, sent < message.len())];
        match sys::poll(&mut watch, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other.during("poll", server)?,
        };
        if watch[0].writable() && sent < message.len() {
            sent += now(sys::send(socket, &message[sent..])).during("send", server)?.unwrap_or(0);
        }
        if watch[0].readable() {
            match now(sys::recv(socket, &mut reply[received..])).during("recv", server)? {
                Some(0) => return Err(Trouble::Gone(received, message.len())),
                n => received += n.unwrap_or(0),
            }
        }
    }
    Ok(())
}

/// `None` where the call would have waited.
fn now(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Ok(None)
        }
        other => other.map(Some),
    }
}
