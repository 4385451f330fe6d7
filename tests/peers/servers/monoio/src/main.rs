//! The upper-case server with monoio, as in its own echo example: a task per connection, one thread, io_uring.
//!
//!     peer-monoio ADDR BYTES [epoll]
//!
//! io_uring is given the buffer before there is data, so each connection owns one. With `epoll` it is monoio's other driver.

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use std::io;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let (address, bytes) = (words[1].clone(), words[2].parse().expect("bytes of the buffer"));
    if words.len() > 3 {
        monoio::start::<monoio::LegacyDriver, _>(serve(address, bytes)).expect("a server");
    } else {
        let ring = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new().with_entries(4096);
        ring.build().expect("io_uring").block_on(serve(address, bytes)).expect("a server");
    }
}

async fn serve(address: String, bytes: usize) -> io::Result<()> {
    let listener = TcpListener::bind(&address)?;
    println!("listening on tcp {}", listener.local_addr()?);
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        monoio::spawn(attend(stream, bytes));
    }
}

/// Answers one client until it goes.
async fn attend(mut stream: TcpStream, bytes: usize) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(bytes);
    loop {
        let (n, mut filled) = stream.read(buffer).await;
        if n? == 0 {
            return Ok(());
        }
        filled.make_ascii_uppercase();
        let (sent, filled) = stream.write_all(filled).await;
        sent?;
        buffer = filled;
        buffer.clear();
    }
}
