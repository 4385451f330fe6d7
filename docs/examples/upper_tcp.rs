//! The notes' ThreadingTCPServer: upper-case letters over TCP.
//!
//!     cargo run --example upper_tcp -- 127.0.0.1:8080 [threads|pool|one|fork|prefork|reuseport]

use std::io::{Read, Write};
use waitcopy::failure::Failure;
use waitcopy::socketserver::{Connection, tcp};

fn main() -> Result<(), Failure> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let server = tcp(address);
    let server = match std::env::args().nth(2).as_deref() {
        Some("one") => server.one(),
        Some("pool") => server.pool(64),
        Some("fork") => server.fork(),
        Some("prefork") => server.prefork(8),
        Some("reuseport") => server.reuseport(2),
        _ => server.threads(),
    };
    let server = server.bind(|client: &mut Connection<'_>| {
        let mut data = [0; 1024];
        while let n @ 1.. = client.read(&mut data)? {
            client.write_all(&data[..n].to_ascii_uppercase())?;
        }
        Ok(())
    })?;
    println!("listening on {}", server.server_address());
    server.serve_forever()
}
