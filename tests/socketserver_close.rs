//! How a handler's connection ends: no reply is lost, whatever the client still sends and whenever the stop comes.

#[path = "support/handlers.rs"]
mod handlers;
mod support;

use handlers::{ANY, LIMIT, Running, WAYS, by, tcp_by};
use std::io::{self, Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use support::{PATIENCE, pattern, scratch, until, watchdog};
use waitcopy::phase::Count;
use waitcopy::socketserver::{Connection, Full, tcp, unix};

/// A Unix socket has no reset on the wire, but a close with unread input is told to the peer as one.
#[test]
fn an_early_reply_on_a_unix_socket_ends_in_an_orderly_way() {
    watchdog(PATIENCE, || {
        for way in WAYS {
            let early = |client: &mut Connection<'_>| client.write_all(b"enough");
            let path = scratch(&format!("early-{way}.sock"));
            let server = Running::start(by(way, unix(path)).bind(early).unwrap());
            for _ in 0..20 {
                let mut client = server.connect();
                client.write_all(&[b'x'; 100_000]).unwrap();
                client.end();
                assert_eq!(client.rest(), b"enough", "{way}");
            }
            server.stop();
        }
    });
}

/// Whether the server's end of a connection, by local and remote port, is in FIN_WAIT1 or 2 (proc(5), net/tcp).
fn lingers(ports: [u16; 2]) -> bool {
    let [own, peers] = ports.map(|port| format!(":{port:04X}"));
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().any(|line| {
        let fields: Vec<_> = line.split_whitespace().take(4).collect();
        matches!(fields[..], [_, local, remote, "04" | "05"] if local.ends_with(&own) && remote.ends_with(&peers))
    })
}

/// The handler is done and its reply is on the way while the client sends on and on: then comes the stop.
#[test]
fn a_stop_while_a_connection_lingers_truncates_nothing() {
    watchdog(PATIENCE, || {
        for way in WAYS {
            let reply = pattern(2 << 20, 7);
            let (done, written) = mpsc::channel();
            let early = {
                let reply = reply.clone();
                move |client: &mut Connection<'_>| {
                    client.write_all(&reply)?;
                    done.send(()).unwrap();
                    Ok(())
                }
            };
            let server = tcp_by(way).linger(Duration::from_secs(5)).drain(LIMIT);
            let server = Running::start(server.bind(early).unwrap());
            let mut client = server.connect();
            let mut sender = client.tcp().try_clone().unwrap();
            // Until the server's end is closed.
            let sending = thread::spawn(move || while sender.write_all(&[b'x'; 4096]).is_ok() {});
            // Read up to what makes room for the rest of the reply, and slowly from there on.
            let mut got = vec![0; 1 << 20];
            client.read_exact(&mut got).unwrap();
            let stopper = server.stopper.clone();
            let ports = [server.address().port(), client.tcp().local_addr().unwrap().port()];
            let stopping = thread::spawn(move || {
                written.recv_timeout(LIMIT).unwrap();
                until("the server has ended its direction", || lingers(ports));
                stopper.request();
            });
            let mut part = [0; 64 << 10];
            while got.len() < reply.len() {
                match client.read(&mut part) {
                    Ok(0) => break,
                    Ok(n) => got.extend_from_slice(&part[..n]),
                    Err(error) => panic!("{way}: {error} after {} bytes", got.len()),
                }
            }
            assert!(got == reply, "{way}: {} of {} bytes", got.len(), reply.len());
            stopping.join().unwrap();
            drop(client);
            server.join();
            sending.join().unwrap();
        }
    });
}

/// With no room in its queue the pool takes whom a free worker can serve, and nobody else.
#[test]
fn a_pool_without_a_queue_serves() {
    watchdog(PATIENCE, || {
        let server = tcp(ANY).pool(2).queue(0, Full::Wait, None).bind(handlers::upper).unwrap();
        let server = Running::start(server);
        for _ in 0..10 {
            let mut clients = [server.connect(), server.connect()];
            clients.iter_mut().for_each(|client| client.exchange(b"both"));
        }
        server.stop();
    });
}

/// A handler that answers a time-out by itself, and then fails for a reason of its own, has failed.
#[test]
fn an_error_after_a_time_out_that_was_answered_is_the_handlers() {
    watchdog(PATIENCE, || {
        let handle = |client: &mut Connection<'_>| {
            let error = client.read(&mut [0; 1024]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            client.write_all(b"408")?;
            Err(io::Error::other("told and counted"))
        };
        let server = tcp(ANY).idle_timeout(Duration::from_millis(100)).bind(handle).unwrap();
        let server = Running::start(server);
        assert_eq!(server.connect().rest(), b"408");
        let tally = server.stop();
        assert_eq!((tally.get(Count::HandlerFailed), tally.get(Count::TimedOut)), (1, 0));
    });
}
