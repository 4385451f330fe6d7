//! A line protocol with all three parts of a handler: a small calculator that greets, sums up, and says goodbye.
//!
//!     cargo run --example line_protocol -- 127.0.0.1:8080
//!
//! A line is `add N`, `sum` or `quit`; anything else is answered `error ...`. ^C ends it.

use std::io::{self, BufRead, Read, Write};
use std::sync::OnceLock;
use std::time::Duration;
use waitcopy::socketserver::{Connection, Stopper, StreamHandler, tcp};
use waitcopy::sys;

/// Cloned for each connection, so that each has a sum of its own.
#[derive(Clone, Default)]
struct Calculator {
    sum: i64,
    lines: u64,
}

impl StreamHandler for Calculator {
    fn setup(&mut self, client: &mut Connection<'_>) -> io::Result<()> {
        let greeting = format!("hello {}\n", client.peer());
        client.write_all(greeting.as_bytes())
    }

    fn handle(&mut self, client: &mut Connection<'_>) -> io::Result<()> {
        let mut line = String::new();
        // No line is longer; without a bound one client could fill the memory.
        while client.take(1024).read_line(&mut line)? > 0 {
            self.lines += 1;
            let answer = match line.trim_end().split_once(' ') {
                Some(("add", n)) => match n.parse().ok().and_then(|n| self.sum.checked_add(n)) {
                    Some(sum) => {
                        self.sum = sum;
                        "ok\n".to_owned()
                    }
                    None => "error: not a number, or too large\n".to_owned(),
                },
                None if line.trim_end() == "sum" => format!("{}\n", self.sum),
                None if line.trim_end() == "quit" => return Ok(()),
                _ => "error: add N, sum or quit\n".to_owned(),
            };
            client.write_all(answer.as_bytes())?;
            line.clear();
        }
        Ok(())
    }

    fn finish(&mut self, client: &mut Connection<'_>) -> io::Result<()> {
        let goodbye = format!("goodbye after {} lines\n", self.lines);
        // Who has left already does not hear it.
        let _ = client.write_all(goodbye.as_bytes());
        Ok(())
    }
}

static STOPPER: OnceLock<Stopper> = OnceLock::new();

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let server = tcp(address)
        .pool(16)
        .max_connections(100)
        .idle_timeout(Duration::from_secs(60))
        .verify_request(|peer| peer.ip().is_some_and(|address| address.ip().is_loopback()))
        .handle_error(|peer, trouble| eprintln!("{peer}: {trouble}"))
        .bind(Calculator::default())?;
    println!("listening on {}", server.server_address());
    // Asking to stop is async-signal-safe.
    STOPPER.get_or_init(|| server.stopper());
    for signal in [sys::SIGINT, sys::SIGTERM] {
        sys::on_signal(signal, |_| {
            if let Some(stopper) = STOPPER.get() {
                stopper.request();
            }
        })?;
    }
    Ok(server.serve_forever()?)
}
