//! What clients cost in memory: a stopped reader (faults.md row 18) and an idle one.

mod support;

use std::io::{self, Write};
use std::net::TcpStream;
use support::{PATIENCE, Server, exchange, many_descriptors, serve, until, watchdog};
use waitcopy::{model, sys};

/// Far more than all socket buffers between client and server hold: a server that takes so much from a
/// client who reads nothing has kept it in its own memory.
const BOTTOMLESS: usize = 256 << 20;

/// A model that has one client at a time cannot meet what is said about a neighbour.
fn alone(model: &str) -> bool {
    model::find(model).unwrap().is_exempt("neighbour")
}

fn exchanges(client: &mut TcpStream, times: usize) {
    (0..times).for_each(|i| exchange(client, format!("exchange {i}").as_bytes()));
}

fn memory_kib(server: &Server) -> u64 {
    server.family().into_iter().map(support::own_memory_kib).sum()
}

for_each_model! {
    /// Row 18: what a stopped reader sent stays in the kernel's buffers, and then with the sender.
    fn a_stopped_reader_costs_no_memory_and_no_neighbour(model: &str) {
        if alone(model) { return }
        let server = serve(model).start();
        let mut neighbour = server.connect();
        exchange(&mut neighbour, b"all memory that a request takes is taken");
        let before = memory_kib(&server);
        let _stuck = stuck_client(&server, || exchanges(&mut neighbour, 100));
        exchanges(&mut neighbour, 1000);
        let grown = memory_kib(&server).saturating_sub(before);
        assert!(grown < 1024, "{grown} KiB more for a client who reads nothing");
    }
}

/// A client that has sent as much as it can and read nothing. It is stuck when three attempts in a
/// row, with something else served between them, found no room.
fn stuck_client(server: &Server, mut meanwhile: impl FnMut()) -> TcpStream {
    let mut client = server.connect();
    sys::set_receive_buffer(&client, 4096).unwrap();
    client.set_nonblocking(true).unwrap();
    let (mut sent, mut in_vain) = (0, 0);
    while in_vain < 3 {
        match client.write(&[b'x'; 1 << 16]) {
            Ok(n) => (sent, in_vain) = (sent + n, 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                in_vain += 1;
                meanwhile();
            }
            Err(error) => panic!("after {sent} bytes: {error}"),
        }
        assert!(sent < BOTTOMLESS, "the server takes everything");
    }
    client
}

/// Invariant 6: a place in a table and nothing else (`Clients::BYTES_PER_IDLE`), 94 KiB for 2,000.
#[test]
fn an_idle_connection_costs_a_place_in_a_table() {
    watchdog(PATIENCE, || {
        let Some(_alone) = many_descriptors(4200) else { return };
        let server = serve("epoll").start();
        let base = server.settled();
        let before = memory_kib(&server);
        let _clients: Vec<_> = (0..2000).map(|_| server.connect()).collect();
        until("all are in", || server.descriptors() >= base + 1999);
        let grown = memory_kib(&server).saturating_sub(before);
        assert!(grown < 400, "{grown} KiB more for 2,000 idle connections");
    });
}
