//! `socketserver`: every transport with every way of concurrency and each kind of handler; how requests begin and end, and
//! how servers do. The ways that fork are in `examples.rs`: they refuse a process with threads, such as this one.

#[path = "support/handlers.rs"]
mod handlers;
mod support;

use handlers::{ANY, Client, Gate, LIMIT, Running, Steps, WAYS, Wrong, by, pause, tcp_by, upper};
use std::io::{self, Read, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use support::{PATIENCE, scratch, until, watchdog};
use waitcopy::concurrency::Trouble;
use waitcopy::phase::Count;
use waitcopy::socketserver::{Connection, Datagram, tcp, udp, unix, unixgram};

/// The notes' conversation with two clients, the second while the first is there where the server allows that.
fn converse(way: &str, server: Running) {
    let mut first = server.connect();
    first.exchange(b"hello");
    if way == "one" {
        first.leave();
        first = server.connect();
        first.exchange(b"the next");
    } else {
        let mut second = server.connect();
        second.exchange(b"at the same time");
        second.leave();
    }
    first.exchange(&b"twice ".repeat(500));
    first.leave();
    let tally = server.stop();
    assert_eq!(tally.get(Count::Connections), 2, "{way}");
    assert_eq!(tally.get(Count::HandlerFailed), 0, "{way}");
}

#[test]
fn streams_by_every_way_and_kind_of_handler() {
    watchdog(PATIENCE, || {
        for way in WAYS {
            for address in [ANY, "[::1]:0", "localhost:0"] {
                converse(way, Running::start(by(way, tcp(address)).bind(upper).unwrap()));
            }
            let (steps, told) = Steps::new(None);
            converse(way, Running::start(tcp_by(way).bind(steps).unwrap()));
            assert_eq!(told.iter().filter(|(step, _)| *step == "finish").count(), 2);
            for kind in ["closure", "steps"] {
                let path = scratch(&format!("stream-{way}-{kind}"));
                let builder = by(way, unix(&path));
                let running = if kind == "closure" {
                    Running::start(builder.bind(upper).unwrap())
                } else {
                    Running::start(builder.bind(Steps::new(None).0).unwrap())
                };
                assert!(path.exists());
                converse(way, running);
                assert!(!path.exists(), "{way}: its path is removed at the end");
            }
        }
    });
}

fn answer(request: &mut Datagram<'_>) -> io::Result<()> {
    let answer = request.bytes().to_ascii_uppercase();
    request.reply(&answer)
}

#[test]
fn datagrams_by_every_way_and_kind_of_handler() {
    watchdog(PATIENCE, || {
        for way in WAYS {
            for kind in ["closure", "steps"] {
                let (builder, steps) = (by(way, udp(ANY)), Steps::new(None).0);
                let server = if kind == "closure" {
                    Running::start(builder.bind(answer).unwrap())
                } else {
                    Running::start(builder.bind(steps.clone()).unwrap())
                };
                let client = UdpSocket::bind(ANY).unwrap();
                client.set_read_timeout(Some(LIMIT)).unwrap();
                client.connect(server.address()).unwrap();
                let mut reply = [0; 100];
                for message in [&b"hello"[..], b"again", b""] {
                    client.send(message).unwrap();
                    let n = client.recv(&mut reply).unwrap();
                    assert_eq!(reply[..n], message.to_ascii_uppercase());
                }
                assert_eq!(server.stop().get(Count::Requests), 3);

                let builder = by(way, unixgram(scratch(&format!("gram-{way}-{kind}"))));
                let server = if kind == "closure" {
                    Running::start(builder.bind(answer).unwrap())
                } else {
                    Running::start(builder.bind(steps).unwrap())
                };
                let (ours, theirs) = (scratch(&format!("own-{way}-{kind}")), server.endpoint);
                let client = UnixDatagram::bind(&ours).unwrap();
                client.set_read_timeout(Some(LIMIT)).unwrap();
                let path = theirs.address().path().map(Path::to_owned).unwrap();
                client.send_to(b"hello", &path).unwrap();
                let n = client.recv(&mut reply).unwrap();
                assert_eq!(&reply[..n], b"HELLO");
                server.stop();
                assert!(!path.exists(), "{way}: its path is removed at the end");
            }
        }
    });
}

/// What goes wrong, and which steps are seen then.
type Ending = (Option<(&'static str, Wrong)>, &'static [&'static str]);
const ENDINGS: [Ending; 7] = [
    (None, &["setup", "handle", "finish"]),
    (Some(("setup", Wrong::Fails)), &["setup"]),
    (Some(("setup", Wrong::Panics)), &["setup"]),
    (Some(("handle", Wrong::Fails)), &["setup", "handle", "finish"]),
    (Some(("handle", Wrong::Panics)), &["setup", "handle", "finish"]),
    (Some(("finish", Wrong::Fails)), &["setup", "handle", "finish"]),
    (Some(("finish", Wrong::Panics)), &["setup", "handle", "finish"]),
];

#[test]
fn finish_follows_whenever_setup_went_well_and_each_request_has_a_clone_of_its_own() {
    watchdog(PATIENCE, || {
        for way in WAYS {
            for (wrong, expected) in ENDINGS {
                let (steps, told) = Steps::new(wrong);
                let server = Running::start(tcp_by(way).bind(steps).unwrap());
                for _ in 0..2 {
                    let mut client = server.connect();
                    client.end();
                    client.closed();
                }
                let tally = server.stop();
                let told: Vec<_> = told.iter().collect();
                // The first of its clone, each time.
                let expected: Vec<_> = expected.iter().map(|&step| (step, 1)).collect();
                assert_eq!(told, [&expected[..], &expected].concat(), "{way}, {wrong:?}");
                let failed = if wrong.is_some() { 2 } else { 0 };
                assert_eq!(tally.get(Count::HandlerFailed), failed, "{way}, {wrong:?}");

                let (steps, told) = Steps::new(wrong);
                let server = Running::start(by(way, udp(ANY)).bind(steps).unwrap());
                UdpSocket::bind(ANY).unwrap().send_to(b"one", server.address()).unwrap();
                until("the request has come", || server.count(Count::Requests) == 1);
                let tally = server.stop();
                assert_eq!(told.iter().collect::<Vec<_>>(), expected, "{way}, {wrong:?}");
                assert_eq!(tally.get(Count::HandlerFailed), failed / 2, "{way}, {wrong:?}");
            }
        }
    });
}

#[test]
fn serve_forever_returns_when_the_last_handler_has() {
    watchdog(PATIENCE, || {
        for way in WAYS {
            let (gate, arrivals, open) = Gate::new();
            let held = move |_: &mut Connection<'_>| {
                gate.pass();
                Ok(())
            };
            let server = Running::start(tcp_by(way).bind(held).unwrap());
            let clients = if way == "one" { 1 } else { 2 };
            let _clients: Vec<_> = (0..clients).map(|_| server.connect()).collect();
            (0..clients).for_each(|_| arrivals.recv_timeout(LIMIT).unwrap());
            server.stopper.request();
            for _ in 0..clients {
                pause(Duration::from_millis(100));
                assert!(!server.is_finished(), "{way}: a handler is still at work");
                open.send(()).unwrap();
            }
            server.join();
        }
    });
}

#[test]
fn handle_request_serves_one_and_leaves_the_next_in_the_backlog() {
    watchdog(PATIENCE, || {
        const TIMEOUT: Duration = Duration::from_millis(100);
        for way in WAYS {
            let timeouts = Arc::new(AtomicUsize::new(0));
            let told = Arc::clone(&timeouts);
            let builder = tcp_by(way).timeout(TIMEOUT).handle_timeout(move || {
                told.fetch_add(1, Ordering::SeqCst);
            });
            let mut server = builder.bind(upper).unwrap();
            for round in 0..3 {
                let address = server.server_address();
                let mut clients = [Client::connect(&address), Client::connect(&address)];
                for client in &mut clients {
                    client.write_all(b"hello").unwrap();
                    client.end();
                }
                let [mut first, mut second] = clients;
                assert!(server.handle_request().unwrap(), "{way}");
                assert_eq!(first.rest(), b"HELLO");
                second.tcp().set_nonblocking(true).unwrap();
                let early = second.read(&mut [0]).unwrap_err();
                assert_eq!(early.kind(), io::ErrorKind::WouldBlock, "{way}: one request only");
                second.tcp().set_nonblocking(false).unwrap();
                assert!(server.handle_request().unwrap(), "{way}");
                assert_eq!(second.rest(), b"HELLO");
                let start = Instant::now();
                assert!(!server.handle_request().unwrap(), "{way}: nobody came");
                let waited = start.elapsed();
                assert!(TIMEOUT <= waited && waited < TIMEOUT * 20, "{way}: {waited:?}");
                assert_eq!(timeouts.load(Ordering::SeqCst), round + 1);
            }
            // A stop is no time-out.
            server.stopper().shutdown();
            assert!(!server.handle_request().unwrap());
            assert_eq!(timeouts.load(Ordering::SeqCst), 3);
        }
    });
}

/// How long a shutdown from this thread takes.
fn shutdown(server: Running) -> Duration {
    let start = Instant::now();
    server.stop();
    start.elapsed()
}

#[test]
fn shutdown_is_prompt_and_may_come_early_or_twice() {
    watchdog(PATIENCE, || {
        let prompt = Duration::from_secs(3);
        for way in WAYS {
            let idle = Running::start(tcp_by(way).bind(upper).unwrap());
            let again = idle.stopper.clone();
            assert!(shutdown(idle) < prompt, "{way}");
            again.shutdown();

            let reading = Running::start(tcp_by(way).bind(upper).unwrap());
            let mut silent = reading.connect();
            silent.exchange(b"hello");
            // The drain has ten seconds, which a silent client does not get.
            assert!(shutdown(reading) < prompt, "{way}");
            silent.closed();

            let early = tcp_by(way).bind(upper).unwrap();
            early.stopper().shutdown();
            early.serve_forever().unwrap();
        }
    });
}

#[test]
fn a_stop_answers_what_had_come_and_does_not_wait_for_a_client_that_never_pauses() {
    watchdog(PATIENCE, || {
        for way in WAYS {
            let server = Running::start(tcp_by(way).bind(upper).unwrap());
            let mut client = server.connect();
            client.exchange(b"hello");
            let mut sender = client.tcp().try_clone().unwrap();
            let feeding =
                std::thread::spawn(move || while sender.write_all(&[b'x'; 1000]).is_ok() {});
            let (flowing, flows) = mpsc::channel();
            let reading = std::thread::spawn(move || {
                let mut bytes = vec![0; 1 << 16];
                while let Ok(n @ 1..) = client.read(&mut bytes) {
                    assert!(bytes[..n].iter().all(|&byte| byte == b'X'));
                    let _ = flowing.send(());
                }
            });
            flows.recv_timeout(LIMIT).unwrap();
            let took = shutdown(server);
            assert!(took < Duration::from_secs(5), "{way}: {took:?}, the drain has ten seconds");
            feeding.join().unwrap();
            reading.join().unwrap();
        }
    });
}

#[test]
fn a_handler_that_blocks_in_a_write_is_cut_at_the_deadline() {
    watchdog(PATIENCE, || {
        const DRAIN: Duration = Duration::from_millis(300);
        for (way, asked) in
            [("one", false), ("one", true), ("threads", false), ("threads", true), ("pool", true)]
        {
            let (told, writing) = mpsc::channel();
            let flood = move |client: &mut Connection<'_>| {
                told.send(None).unwrap();
                let failed = client.write_all(&vec![0; 64 << 20]).map_err(|error| error.kind());
                told.send(Some(failed)).unwrap();
                Err(io::Error::other("not told: the cut is the stop's"))
            };
            let server = Running::start(tcp_by(way).drain(DRAIN).bind(flood).unwrap());
            let _never_reads = server.connect();
            assert_eq!(writing.recv_timeout(LIMIT).unwrap(), None);
            // Time enough to fill the buffers.
            pause(Duration::from_millis(200));
            let start = Instant::now();
            let tally = if asked {
                server.stopper.request();
                server.join()
            } else {
                server.stop()
            };
            let took = start.elapsed();
            assert!(DRAIN <= took && took < DRAIN * 10, "{way}: {took:?}");
            assert!(matches!(writing.recv_timeout(LIMIT).unwrap(), Some(Err(_))));
            assert_eq!((tally.get(Count::Cut), tally.get(Count::HandlerFailed)), (1, 0), "{way}");
        }
    });
}

#[test]
fn a_request_that_is_not_verified_is_closed_and_counted() {
    watchdog(PATIENCE, || {
        for way in WAYS {
            let (asked, seen) = mpsc::channel();
            let ask = move |peer: &waitcopy::sys::Address| {
                asked.send(peer.ip().unwrap()).unwrap();
                false
            };
            let server =
                Running::start(tcp_by(way).verify_request(ask.clone()).bind(upper).unwrap());
            let mut client = server.connect();
            client.closed();
            assert_eq!(seen.recv_timeout(LIMIT).unwrap(), client.tcp().local_addr().unwrap());
            let tally = server.stop();
            let counts = [Count::Refused, Count::Connections, Count::HandlerFailed];
            assert_eq!(counts.map(|count| tally.get(count)), [1, 0, 0], "{way}");

            let server =
                Running::start(by(way, udp(ANY)).verify_request(ask).bind(answer).unwrap());
            UdpSocket::bind(ANY).unwrap().send_to(b"hello", server.address()).unwrap();
            until("counted", || server.count(Count::Refused) == 1);
            assert_eq!(server.stop().get(Count::BytesOut), 0, "{way}");
        }
    });
}

#[test]
fn service_actions_run_with_each_request_and_at_their_interval() {
    watchdog(PATIENCE, || {
        for way in WAYS {
            for interval in [None, Some(Duration::from_millis(10))] {
                let calls = Arc::new(AtomicUsize::new(0));
                let act = Arc::clone(&calls);
                let builder = tcp_by(way).service_actions(interval, move || {
                    act.fetch_add(1, Ordering::SeqCst);
                });
                let server = Running::start(builder.bind(upper).unwrap());
                let called = || calls.load(Ordering::SeqCst);
                if interval.is_some() {
                    until("called without traffic", || called() >= 5);
                } else {
                    for round in 1..=3 {
                        server.connect().leave();
                        until("called once a round", || called() > round);
                    }
                }
                server.stop();
            }
        }
    });
}

#[test]
fn handle_error_gets_the_peer_and_the_trouble_and_may_panic_itself() {
    watchdog(PATIENCE, || {
        for way in WAYS {
            for wrong in [Wrong::Fails, Wrong::Panics] {
                let (told, troubles) = mpsc::channel();
                let builder = tcp_by(way).handle_error(move |peer, trouble| {
                    let kind = match trouble {
                        Trouble::Failed(_) => Wrong::Fails,
                        Trouble::Panicked(_) => Wrong::Panics,
                    };
                    told.send((peer.ip().unwrap(), kind, trouble.to_string())).unwrap();
                    panic!("in handle_error");
                });
                let (steps, _told) = Steps::new(Some(("handle", wrong)));
                let server = Running::start(builder.bind(steps).unwrap());
                // More than the pool has workers: none is lost.
                for _ in 0..4 {
                    let mut client = server.connect();
                    client.closed();
                    let us = client.tcp().local_addr().unwrap();
                    drop(client);
                    let (peer, kind, text) = troubles.recv_timeout(LIMIT).unwrap();
                    assert_eq!((peer, kind), (us, wrong), "{way}");
                    assert!(text.starts_with("its handler ") && text.ends_with("poison"), "{text}");
                }
                assert_eq!(server.stop().get(Count::HandlerFailed), 4, "{way}");
            }
        }
    });
}
