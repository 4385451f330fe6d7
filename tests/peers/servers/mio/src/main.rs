//! The upper-case server with mio, its loop as in mio's own examples: one thread, one `Poll`.
//!
//!     peer-mio ADDR BYTES
//!
//! mio is edge-triggered: a socket has to be drained before the next wait. A read that is shorter than the
//! buffer has drained it (epoll(7)), so that a request costs no second read to hear `EAGAIN`.

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::io::{self, ErrorKind, Read, Write};

const LISTENER: Token = Token(usize::MAX);

struct Client {
    stream: TcpStream,
    /// What the kernel has not taken of the last answer.
    rest: Vec<u8>,
}

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let mut buffer = vec![0; words[2].parse().expect("bytes of the buffer")];
    let mut listener = TcpListener::bind(words[1].parse().expect("an address"))?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    println!("listening on tcp {}", listener.local_addr()?);
    let mut events = Events::with_capacity(512);
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut free = Vec::new();
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            let token = event.token();
            if token == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    let _ = stream.set_nodelay(true);
                    let slot = free.pop().unwrap_or_else(|| {
                        clients.push(None);
                        clients.len() - 1
                    });
                    let both = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(slot), both)?;
                    clients[slot] = Some(Client { stream, rest: Vec::new() });
                }
            } else if let Some(client) = &mut clients[token.0] {
                if !attend(client, &mut buffer, event.is_read_closed() || event.is_error()) {
                    clients[token.0] = None;
                    free.push(token.0);
                }
            }
        }
    }
}

/// Answers until the socket is drained, or has no room; whether the client is still there.
fn attend(client: &mut Client, buffer: &mut [u8], hung_up: bool) -> bool {
    while !client.rest.is_empty() {
        match client.stream.write(&client.rest) {
            Ok(n) => drop(client.rest.drain(..n)),
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
    loop {
        let n = match client.stream.read(buffer) {
            Ok(0) => return false,
            Ok(n) => n,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        };
        let answer = &mut buffer[..n];
        answer.make_ascii_uppercase();
        let sent = match client.stream.write(answer) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => return false,
        };
        if sent < n {
            client.rest.extend_from_slice(&answer[sent..]);
            return true;
        }
        if n < buffer.len() && !hung_up {
            return true;
        }
    }
}
