//! The upper-case server with tokio: a task per connection, all on one thread.
//!
//!     peer-tokio ADDR BYTES
//!
//! A task waits for readiness first and takes its buffer then, from the thread: an idle connection holds none.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let bytes = words[2].parse().expect("bytes of the buffer");
    BUFFER.set(vec![0; bytes]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(&words[1]).await?;
        println!("listening on tcp {}", listener.local_addr()?);
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            tokio::spawn(attend(stream));
        }
    })
}

/// Answers one client until it goes.
async fn attend(mut stream: TcpStream) -> io::Result<()> {
    loop {
        stream.readable().await?;
        // What the kernel has not taken, if anything: the buffer is everybody's again at the next wait.
        let rest = BUFFER.with_borrow_mut(|buffer| {
            let n = match stream.try_read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            let answer = &mut buffer[..n];
            answer.make_ascii_uppercase();
            match stream.try_write(answer) {
                Ok(sent) => Ok(answer[sent..].to_vec()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(answer.to_vec()),
                Err(error) => Err(error),
            }
        })?;
        if !rest.is_empty() {
            stream.write_all(&rest).await?;
        }
    }
}
