//! The scripted client: connects, sends its messages, reads each answer, leaves.

use crate::client;
use crate::failure::{During, Failure};
use crate::net::Endpoint;
use crate::sys::{self, Shutdown};
use std::io;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

/// An answer, and the end of a connection, must come within this time.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the clients do.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    /// How many there are.
    pub clients: usize,
    /// How many messages each of them sends.
    pub messages: usize,
    /// One after the other, because the server serves one at a time.
    pub in_turn: bool,
    /// How late each message is sent; zero: at once.
    pub late: Duration,
    /// Bytes of a message; 0: words of different lengths.
    pub size: usize,
}

impl Script {
    /// Talks to a server; each byte is checked.
    ///
    /// # Errors
    /// A sentence: no connection, or an answer that is wrong or does not come.
    pub fn talk(&self, server: Endpoint) -> Result<(), String> {
        if self.in_turn {
            return (0..self.clients).try_for_each(|_| {
                let client = Client::connect(server)?;
                (0..self.messages).try_for_each(|n| self.exchange(&client, n))?;
                client.leave()
            });
        }
        let clients: Result<Vec<_>, _> =
            (0..self.clients).map(|_| Client::connect(server)).collect();
        let clients = clients?;
        for n in 0..self.messages {
            clients.iter().try_for_each(|client| self.exchange(client, n))?;
        }
        clients.into_iter().try_for_each(Client::leave)
    }

    fn exchange(&self, client: &Client, n: usize) -> Result<(), String> {
        if !self.late.is_zero() {
            thread::sleep(self.late);
        }
        const WORDS: [&[u8]; 4] = [b"hello", b"wait", b"copy", b"upper case"];
        if self.size == 0 {
            return client.exchange(WORDS[n % WORDS.len()]);
        }
        client.exchange(&vec![b'a' + (n % 26) as u8; self.size])
    }
}

struct Client {
    socket: OwnedFd,
    server: Endpoint,
}

impl Client {
    fn connect(server: Endpoint) -> Result<Self, String> {
        let socket = client::connect(&[server]).map_err(|failure| failure.to_string())?;
        sys::set_receive_timeout(&socket, PATIENCE)
            .during("setsockopt SO_RCVTIMEO", server)
            .map_err(text)?;
        Ok(Self { socket, server })
    }

    /// Sends a message and reads the whole answer.
    fn exchange(&self, message: &[u8]) -> Result<(), String> {
        let Self { socket, server } = self;
        let mut sent = 0;
        while sent < message.len() {
            sent += again(|| sys::send(socket, &message[sent..]))
                .during("send", server)
                .map_err(text)?;
        }
        let (mut answer, mut came) = (vec![0; message.len()], 0);
        while came < message.len() {
            match again(|| sys::recv(socket, &mut answer[came..]))
                .during("recv", server)
                .map_err(text)?
            {
                0 => return Err(format!("{server} closed the connection instead of answering")),
                n => came += n,
            }
        }
        if answer == message.to_ascii_uppercase() {
            Ok(())
        } else {
            Err(format!("{server}: a wrong answer to '{}'", message.escape_ascii()))
        }
    }

    /// The client's last word, and the server's end of file: then it has closed the connection. Datagrams have neither.
    fn leave(self) -> Result<(), String> {
        let Self { socket, server } = self;
        if server.transport().kind() == sys::Kind::Datagram {
            return Ok(());
        }
        sys::shutdown(&socket, Shutdown::Write).during("shutdown", server).map_err(text)?;
        match again(|| sys::recv(&socket, &mut [0])).during("recv", server).map_err(text)? {
            0 => Ok(()),
            _ => Err(format!("{server}: more than was asked for")),
        }
    }
}

fn again<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn text(failure: Failure) -> String {
    failure.to_string()
}
