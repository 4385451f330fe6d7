//! The notes' ThreadingUDPServer: upper-case letters over UDP.
//!
//!     cargo run --example upper_udp -- 127.0.0.1:8080

use waitcopy::failure::Failure;
use waitcopy::socketserver::{Datagram, udp};

fn main() -> Result<(), Failure> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let server = udp(address).threads().bind(|request: &mut Datagram<'_>| {
        let answer = request.bytes().to_ascii_uppercase();
        request.reply(&answer)
    })?;
    println!("listening on {}", server.server_address());
    server.serve_forever()
}
