//! Servers under strace, and what it wrote.
#![allow(dead_code, unreachable_pub, reason = "as in mod.rs")]

use crate::support::{Server, exchange, scratch, who, wrapped};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use waitcopy::model::{Model, Who, find};
use waitcopy::phase::Call;

#[allow(unused_imports, reason = "as in mod.rs")]
pub use waitcopy::lab::trace::{Trace, Traced};

/// A trace, perhaps one that is still being written.
pub fn read(path: &Path) -> Trace {
    Trace::read(path).unwrap()
}

/// A server under `strace -f -o FILE` with more options.
pub fn traced(model: &str, test: &str, options: &[&str], args: &[&str]) -> (Server, PathBuf) {
    let file = scratch(&format!("{test}-{model}.strace"));
    let wrapper = [&["strace", "-f", "-o", file.to_str().unwrap()], options].concat();
    (wrapped(&wrapper, model).args(args).start(), file)
}

/// The catalogue's entry, and the call in which it waits for readiness, if there is one.
pub fn entry(name: &str) -> (&'static Model, Option<Call>) {
    let model = find(name).unwrap();
    let wait = model.readiness();
    (model, wait)
}

/// Where several processes accept, strace counts the calls of each.
pub fn one_acceptor(model: &str) -> &'static [&'static str] {
    match who(model) {
        Who::Prefork | Who::Reuseport => &["--workers", "1"],
        _ => &[],
    }
}

/// The client's last word, the server's end of file, in this order.
pub fn leave(mut client: TcpStream) {
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

/// Clients of whom each is served once alone, and then all of them at once, so many times; what is sent is `here`, then `busy`.
pub fn busy(server: &Server, clients: usize, rounds: usize) {
    let mut clients: Vec<_> = (0..clients).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| exchange(client, b"here"));
    for _ in 0..rounds {
        clients.iter_mut().for_each(|client| client.write_all(b"busy").unwrap());
        for client in &mut clients {
            let mut reply = [0; 4];
            client.read_exact(&mut reply).unwrap();
            assert_eq!(&reply, b"BUSY");
        }
    }
}

pub fn serve_one(server: &Server) {
    let mut client = server.connect();
    exchange(&mut client, b"next");
    leave(client);
}
