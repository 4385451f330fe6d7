//! `socketserver`: limits, time-outs, bad handlers, the pool's queue, pairs that are refused, and what an observer hears.

#[path = "support/handlers.rs"]
mod handlers;
mod support;

use handlers::{ANY, Client, LIMIT, Running, WAYS, pause, tcp_by, upper};
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use support::{PATIENCE, alone, scratch, until, watchdog};
use waitcopy::json::Value;
use waitcopy::net::Full;
use waitcopy::phase::{Count, Metric, Part, Report, Subject};
use waitcopy::socketserver::{Connection, Datagram, tcp, udp, unix};
use waitcopy::sys;

/// Asks for trouble with `p`; anything else is the notes' conversation.
fn poisonable(client: &mut Connection<'_>) -> io::Result<()> {
    let mut first = [0];
    client.read_exact(&mut first)?;
    assert_ne!(&first, b"p", "poison");
    client.write_all(&first.to_ascii_uppercase())?;
    upper(client)
}

#[test]
fn a_poisoned_pool_has_all_its_workers() {
    watchdog(PATIENCE, || {
        let server = Running::start(tcp_by("pool").bind(poisonable).unwrap());
        for _ in 0..10 {
            let mut client = server.connect();
            client.write_all(b"p").unwrap();
            client.closed();
        }
        // Both at once: each of the two workers is there.
        let mut clients = [server.connect(), server.connect()];
        clients.iter_mut().for_each(|client| client.exchange(b"served"));
        clients.into_iter().for_each(Client::leave);
        assert_eq!(server.stop().get(Count::HandlerFailed), 10);
    });
}

#[test]
fn an_early_reply_outlives_a_megabyte_that_nobody_reads() {
    watchdog(PATIENCE, || {
        let endings = ["ends", "fails", "panics"];
        for (way, end) in WAYS.into_iter().flat_map(|way| endings.map(|end| (way, end))) {
            let early = move |client: &mut Connection<'_>| {
                client.write_all(&[b'r'; 20_000])?;
                assert_ne!(end, "panics", "after its reply");
                if end == "ends" { Ok(()) } else { Err(io::Error::other("after its reply")) }
            };
            let server = Running::start(tcp_by(way).bind(early).unwrap());
            for round in 0..20 {
                let mut client = server.connect();
                let sent = client.write_all(&vec![b'x'; 1 << 20]);
                assert!(sent.is_ok(), "{way}, {end}, round {round}: {sent:?}");
                client.end();
                assert!(client.rest() == [b'r'; 20_000], "{way}, {end}, round {round}");
            }
            server.stop();
        }
    });
}

#[test]
fn the_linger_of_an_early_reply_ends() {
    watchdog(PATIENCE, || {
        const LINGER: Duration = Duration::from_millis(200);
        let mut server = tcp(ANY).linger(LINGER).bind(nothing).unwrap();
        let _stays = Client::connect(&server.server_address());
        let start = Instant::now();
        assert!(server.handle_request().unwrap());
        let took = start.elapsed();
        assert!(LINGER <= took && took < LINGER * 10, "{took:?}");
    });
}

#[test]
fn a_limit_of_connections_refuses_the_rest_and_frees_places() {
    watchdog(PATIENCE, || {
        let server = Running::start(tcp(ANY).threads().max_connections(2).bind(upper).unwrap());
        let mut held = [server.connect(), server.connect()];
        held.iter_mut().for_each(|client| client.exchange(b"in"));
        for _ in 0..10 {
            server.connect().closed();
        }
        held.iter_mut().for_each(|client| client.exchange(b"unharmed"));
        assert_eq!(server.count(Count::Refused), 10);
        let [one, other] = held;
        one.leave();
        // Its place is free when its thread has ended, which no event tells a client.
        until("a place is free", || {
            let mut next = server.connect();
            let said = next.write_all(b"a").and_then(|()| next.read_exact(&mut [0]));
            said.is_ok()
        });
        other.leave();
        server.stop();
    });
}

/// A client with an address of its own on loopback.
fn connect_from(ip: [u8; 4], to: SocketAddr) -> Client {
    let socket = sys::socket(to, sys::Kind::Stream).unwrap();
    sys::bind(&socket, SocketAddr::from((ip, 0))).unwrap();
    sys::connect(&socket, to).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    Client::Tcp(stream)
}

#[test]
fn a_limit_per_peer_is_each_addresss_own() {
    watchdog(PATIENCE, || {
        let server = Running::start(tcp(ANY).threads().max_per_peer(2).bind(upper).unwrap());
        let mut held: Vec<_> = [[127, 0, 0, 1], [127, 0, 0, 1], [127, 0, 0, 2]]
            .map(|ip| connect_from(ip, server.address()))
            .into();
        held.iter_mut().for_each(|client| client.exchange(b"in"));
        connect_from([127, 0, 0, 1], server.address()).closed();
        let mut second = connect_from([127, 0, 0, 2], server.address());
        second.exchange(b"its second");
        connect_from([127, 0, 0, 2], server.address()).closed();
        assert_eq!(server.count(Count::Refused), 2);
        drop(held);
        server.stop();
    });
}

/// Reads until that fails; tells how many bytes came, how long after the start, and how long after the last byte.
fn timing_out(
    told: mpsc::Sender<(usize, Duration, Duration)>,
) -> impl FnMut(&mut Connection<'_>) -> io::Result<()> + Clone {
    move |client| {
        let (start, mut last, mut bytes) = (Instant::now(), Instant::now(), 0);
        loop {
            match client.read(&mut [0; 4096]) {
                Ok(0) => return Ok(()),
                Ok(n) => (last, bytes) = (Instant::now(), bytes + n),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                    told.send((bytes, start.elapsed(), last.elapsed())).unwrap();
                    return Err(error);
                }
            }
        }
    }
}

#[test]
fn an_idle_client_is_ended_and_one_that_dribbles_is_not() {
    watchdog(PATIENCE, || {
        const IDLE: Duration = Duration::from_millis(300);
        for way in WAYS {
            let (told, ended) = mpsc::channel();
            let builder = tcp_by(way).idle_timeout(IDLE);
            let server = Running::start(builder.bind(timing_out(told)).unwrap());
            let mut client = server.connect();
            for _ in 0..6 {
                client.write_all(b"d").unwrap();
                pause(Duration::from_millis(100));
            }
            let (bytes, whole, idle) = ended.recv_timeout(LIMIT).unwrap();
            assert_eq!(bytes, 6, "{way}: twice the time-out, but never idle for one");
            assert!(whole > IDLE * 2 && idle >= IDLE * 9 / 10 && idle < IDLE * 5, "{idle:?}");
            client.closed();
            let tally = server.stop();
            assert_eq!((tally.get(Count::TimedOut), tally.get(Count::HandlerFailed)), (1, 0));
        }
    });
}

#[test]
fn a_dribbling_client_is_ended_by_the_time_of_its_request() {
    watchdog(PATIENCE, || {
        const WHOLE: Duration = Duration::from_millis(400);
        for way in WAYS {
            let (told, ended) = mpsc::channel();
            let builder = tcp_by(way).request_timeout(WHOLE);
            let server = Running::start(builder.bind(timing_out(told)).unwrap());
            let mut client = server.connect();
            let start = Instant::now();
            while client.write_all(b"d").is_ok() && start.elapsed() < WHOLE * 5 {
                pause(Duration::from_millis(40));
            }
            let (bytes, whole, _) = ended.recv_timeout(LIMIT).unwrap();
            assert!(bytes >= 3, "{way}: {bytes}");
            assert!(whole >= WHOLE * 9 / 10 && whole < WHOLE * 5, "{way}: {whole:?}");
            assert_eq!(server.stop().get(Count::TimedOut), 1);
        }
    });
}

#[test]
fn a_full_queue_refuses() {
    watchdog(PATIENCE, || {
        let builder = tcp(ANY).pool(1).queue(1, Full::Refuse, None);
        let server = Running::start(builder.bind(upper).unwrap());
        let mut served = server.connect();
        served.exchange(b"takes the worker");
        let mut queued = server.connect();
        server.connect().closed();
        assert_eq!(server.count(Count::PoolFull), 1);
        served.leave();
        queued.exchange(b"its turn");
        queued.leave();
        assert_eq!(server.stop().get(Count::PoolFull), 1);
    });
}

#[test]
fn who_stands_in_the_queue_for_too_long_is_turned_away() {
    watchdog(PATIENCE, || {
        const LONG: Duration = Duration::from_millis(300);
        let builder = tcp(ANY).pool(1).queue(5, Full::Wait, Some(LONG));
        let server = Running::start(builder.bind(upper).unwrap());
        let mut served = server.connect();
        served.exchange(b"takes the worker");
        let start = Instant::now();
        let mut late = [server.connect(), server.connect()];
        late.iter_mut().for_each(Client::closed);
        let waited = start.elapsed();
        assert!(LONG <= waited && waited < LONG * 10, "{waited:?}");
        assert_eq!(server.count(Count::PoolFull), 2);
        served.exchange(b"unharmed");
        served.leave();
        let mut next = server.connect();
        next.exchange(b"at once");
        next.leave();
        server.stop();
    });
}

#[test]
fn who_finds_the_queue_full_waits_in_the_backlog() {
    watchdog(PATIENCE, || {
        // Without room in the queue too: then a request is taken when a worker is free for it.
        for room in [2, 1, 0] {
            let builder = tcp(ANY).pool(1).queue(room, Full::Wait, None);
            let server = Running::start(builder.bind(upper).unwrap());
            let mut clients: Vec<_> = (0..6).map(|_| server.connect()).collect();
            for client in &mut clients {
                client.tcp().set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                client.exchange(format!("room for {room}").as_bytes());
                client.end();
                assert_eq!(client.rest(), b"");
            }
            assert_eq!(server.stop().get(Count::PoolFull), 0);
        }
    });
}

#[test]
fn a_panic_in_a_hook_leaves_no_server_that_neither_serves_nor_ends() {
    watchdog(PATIENCE, || {
        for way in WAYS {
            let once = AtomicBool::new(true);
            let panics = move |_: &sys::Address| {
                assert!(!once.swap(false, Ordering::SeqCst), "in verify_request");
                true
            };
            let server = Running::start(tcp_by(way).verify_request(panics).bind(upper).unwrap());
            server.connect().closed();
            let mut next = TcpStream::connect(server.address()).map(Client::Tcp);
            let serves = next.as_mut().is_ok_and(|next| {
                next.tcp().set_read_timeout(Some(Duration::from_secs(3))).unwrap();
                next.write_all(b"a").and_then(|()| next.read_exact(&mut [0])).is_ok()
            });
            drop(next);
            assert!(serves || server.is_finished(), "{way}: nobody serves, and nothing is told");
        }
    });
}

fn nothing(_: &mut Connection<'_>) -> io::Result<()> {
    Ok(())
}

fn no_answer(_: &mut Datagram<'_>) -> io::Result<()> {
    Ok(())
}

#[test]
fn senseless_pairs_are_refused_in_a_sentence() {
    watchdog(PATIENCE, || {
        for builder in [tcp(ANY).fork(), tcp(ANY).prefork(2), tcp(ANY).reuseport(2)] {
            let text = builder.bind(nothing).unwrap().serve_forever().unwrap_err().to_string();
            assert!(
                text.starts_with("fork: this process has ") && text.contains("threads"),
                "{text}"
            );
        }
        let text = udp(ANY).prefork(2).bind(no_answer).err().unwrap().to_string();
        assert!(text.starts_with("serve udp: ") && text.len() > 40, "{text}");
        let text = unix("@refused").reuseport(2).bind(nothing).err().unwrap().to_string();
        assert!(text.starts_with("serve unix: ") && text.len() > 40, "{text}");
        let limited = tcp(ANY).prefork(2).max_per_peer(1).bind(nothing).unwrap();
        let text = limited.serve_forever().unwrap_err().to_string();
        assert!(text.contains("a limit per peer needs one acceptor"), "{text}");
        let mut several = tcp(ANY).prefork(2).bind(nothing).unwrap();
        let text = several.handle_request().unwrap_err().to_string();
        assert!(text.contains("a single request needs one acceptor"), "{text}");
        let text = tcp("nonsense").bind(nothing).err().unwrap().to_string();
        assert!(text.contains("address 'nonsense': HOST:PORT expected"), "{text}");
    });
}

#[test]
fn a_builder_that_turns_to_threads_keeps_its_port_to_itself() {
    watchdog(PATIENCE, || {
        let first = tcp(ANY).reuseport(2).threads().bind(nothing).unwrap();
        let address = first.server_address().address().ip().unwrap();
        let second = tcp(address).reuseport(2).threads().bind(nothing);
        assert!(second.is_err(), "two servers on one address, each with half of its clients");
    });
}

#[test]
fn a_path_is_taken_byte_for_byte_or_not_at_all() {
    watchdog(PATIENCE, || {
        let path = scratch("").join(OsStr::from_bytes(b"not \xff UTF-8"));
        match unix(&path).bind(nothing) {
            Ok(_server) => assert!(path.exists(), "a server at another path"),
            Err(failure) => assert!(failure.to_string().contains("address"), "{failure}"),
        }
    });
}

#[test]
fn a_port_in_use_is_named_and_costs_no_descriptor() {
    // Alone: other tests open descriptors.
    alone("a_port_in_use_is_named_and_costs_no_descriptor", || {
        let taken = TcpListener::bind(ANY).unwrap();
        let address = taken.local_addr().unwrap();
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = open();
        for _ in 0..50 {
            let failure = tcp(address).bind(nothing).err().unwrap();
            assert_eq!(failure.errno(), Some(libc::EADDRINUSE));
            let said = format!("bind tcp {address}: address already in use (EADDRINUSE)");
            assert!(failure.to_string().starts_with(&said), "{failure}");
        }
        assert_eq!(open(), before);
    });
}

#[test]
fn an_observer_hears_of_every_part() {
    watchdog(PATIENCE, || {
        const CLIENTS: u64 = 5;
        for way in WAYS {
            let server = tcp_by(way).stamps(true).bind(upper).unwrap();
            let (endpoint, stopper) = (server.server_address(), server.stopper());
            let (tally, mut recorder) = (server.tally(), server.recorder(false).unwrap());
            let flow = std::thread::spawn(move || {
                server.serve_observed(&mut recorder).unwrap();
                recorder.settle();
                recorder
            });
            for _ in 0..CLIENTS {
                let mut client = Client::connect(&endpoint);
                client.exchange(b"one");
                client.exchange(b"two");
                client.leave();
            }
            stopper.shutdown();
            let recorder = flow.join().unwrap();
            let count = |metric| recorder.metric(metric).count();
            assert_eq!(tally.get(Count::Connections), CLIENTS);
            assert_eq!(tally.get(Count::Requests), 2 * CLIENTS);
            for metric in [Metric::Wait, Metric::Copy, Metric::Send] {
                assert_eq!(count(metric), 2 * CLIENTS, "{way}, {metric:?}");
            }
            assert_eq!(count(Metric::Accept), CLIENTS, "{way}");
            // A thread for each connection, or for each worker.
            let [starts, queued] = match way {
                "one" => [0, 0],
                "threads" => [CLIENTS, 0],
                _ => [2, CLIENTS],
            };
            assert_eq!([Metric::Start, Metric::Line].map(count), [starts, queued], "{way}");
            let told: u64 = Part::ALL.into_iter().map(|(part, _)| tally.spent(part)).sum();
            assert!(0 < told && told <= tally.wall(), "{way}: {told} of {}", tally.wall());
            let subject =
                Subject { model: "socketserver", endpoint: String::new(), service: "", buffer: 0 };
            let report = Report::recorded(&subject, &tally, &recorder).unwrap().to_json();
            let count =
                |part: &Value| if let Value::Count(n) = part { *n } else { panic!("{part:?}") };
            let parts = report.members("partition_ns").map(|(_, part)| count(part));
            assert_eq!(parts.sum::<u64>(), report.count("wall_ns").unwrap(), "{way}");
        }
    });
}
