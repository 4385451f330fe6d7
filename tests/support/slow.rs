//! A slow way to a server.
#![allow(unreachable_pub, missing_docs, reason = "as in mod.rs")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Stands before the server and takes what goes to it slowly, four mebibytes in a second; what comes from it goes through.
pub fn way(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    // Inherited by what it accepts.
    waitcopy::sys::set_receive_buffer(&listener, 32 << 10).expect("a small buffer");
    let here = listener.local_addr().expect("its address");
    thread::spawn(move || {
        let (mut near, _) = listener.accept().expect("a client");
        let mut far = TcpStream::connect(to).expect("the server");
        waitcopy::sys::set_send_buffer(&far, 32 << 10).expect("a small buffer");
        let (mut from, mut into) = (far.try_clone().expect("dup"), near.try_clone().expect("dup"));
        thread::spawn(move || std::io::copy(&mut from, &mut into));
        let mut piece = [0; 16 << 10];
        while let Ok(n @ 1..) = near.read(&mut piece) {
            if far.write_all(&piece[..n]).is_err() {
                break;
            }
            thread::sleep(Duration::from_secs(1) * n as u32 / (4 << 20));
        }
    });
    here
}
