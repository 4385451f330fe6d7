//! HTTP/1.1 with one fixed answer: enough for `curl` and `wrk`, and no web server.
//!
//!     cargo run --release --example http_fixed -- 127.0.0.1:8080 &
//!     curl -i http://127.0.0.1:8080/
//!
//! It reads each request's head to the empty line, and its body by Content-Length (chunked bodies are refused), answers, and
//! keeps the connection unless the client asks to close it (RFC 9112).

use std::io::{self, BufRead, Read, Write};
use std::time::Duration;
use waitcopy::failure::Failure;
use waitcopy::socketserver::{Connection, tcp};

const BODY: &str = "wait and copy\n";
/// Bytes of a request's head at most.
const HEAD: u64 = 16 << 10;

/// What of a request decides the answer.
#[derive(Default)]
struct Request {
    close: bool,
    head_only: bool,
    length: u64,
}

/// Reads one head; `None` at the end of the stream.
fn head(client: &mut Connection<'_>) -> io::Result<Option<Result<Request, &'static str>>> {
    let mut lines = client.take(HEAD);
    let (mut line, mut request, mut first) = (Vec::new(), Request::default(), true);
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            let cut = first && lines.limit() == HEAD;
            return Ok(if cut { None } else { Some(Err("400 Bad Request")) });
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if first {
            let mut words = text.split(' ');
            request.head_only = words.next() == Some("HEAD");
            match words.nth(1) {
                Some("HTTP/1.1") => {}
                Some("HTTP/1.0") => request.close = true,
                _ => return Ok(Some(Err("400 Bad Request"))),
            }
            first = false;
        } else if text.is_empty() {
            return Ok(Some(Ok(request)));
        } else if let Some((name, value)) = text.split_once(':') {
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "connection" => {
                    let close = |word: &str| word.trim().eq_ignore_ascii_case("close");
                    request.close |= value.split(',').any(close);
                }
                "content-length" => match value.parse() {
                    Ok(length) => request.length = length,
                    Err(_) => return Ok(Some(Err("400 Bad Request"))),
                },
                "transfer-encoding" => return Ok(Some(Err("501 Not Implemented"))),
                _ => {}
            }
        }
    }
}

fn handle(client: &mut Connection<'_>) -> io::Result<()> {
    while let Some(request) = head(client)? {
        let (status, Request { close, head_only, length }) = match request {
            Ok(request) => ("200 OK", request),
            Err(status) => (status, Request { close: true, ..Request::default() }),
        };
        io::copy(&mut client.take(length), &mut io::sink())?;
        let connection = if close { "Connection: close\r\n" } else { "" };
        let body = if head_only { "" } else { BODY };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n{connection}\r\n{body}",
            BODY.len()
        );
        client.write_all(answer.as_bytes())?;
        if close {
            break;
        }
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let server = tcp(address).threads().idle_timeout(Duration::from_secs(30)).bind(handle)?;
    println!("listening on {}", server.server_address());
    server.serve_forever()
}
