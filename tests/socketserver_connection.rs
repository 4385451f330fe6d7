//! `socketserver`: what a handler gets: a connection that reads buffered and unbuffered and writes through, a datagram and
//! the way back.

#[path = "support/handlers.rs"]
mod handlers;
mod support;

use handlers::{ANY, LIMIT, Running, WAYS, by, pause, tcp_by};
use std::io::{self, BufRead, Read, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use support::{PATIENCE, alone, pattern, scratch, until, watchdog};
use waitcopy::phase::Count;
use waitcopy::socketserver::{Connection, Datagram, udp, unixgram};
use waitcopy::sys;

const SHORT: Duration = Duration::from_millis(30);

#[test]
fn lines_are_whole_whatever_the_segments() {
    watchdog(PATIENCE, || {
        let (told, lines) = mpsc::channel();
        let handler = move |client: &mut Connection<'_>| {
            let mut line = String::new();
            while client.read_line(&mut line)? > 0 {
                told.send(std::mem::take(&mut line)).unwrap();
            }
            Ok(())
        };
        let server = Running::start(tcp_by("threads").bind(handler).unwrap());
        let mut client = server.connect();
        for segment in ["hel", "lo\nwor", "ld\nthree\nfour", "\n", &"long".repeat(5000), "\nlast"] {
            client.write_all(segment.as_bytes()).unwrap();
            pause(SHORT);
        }
        client.leave();
        let long = "long".repeat(5000) + "\n";
        let expected = ["hello\n", "world\n", "three\n", "four\n", &long, "last"];
        assert_eq!(lines.iter().take(6).collect::<Vec<_>>(), expected);
        server.stop();
    });
}

#[test]
fn nothing_is_lost_between_buffered_and_unbuffered_reads() {
    watchdog(PATIENCE, || {
        const LEN: usize = 400_000;
        for seed in 0..8 {
            let (told, received) = mpsc::channel();
            let mixing = move |client: &mut Connection<'_>| {
                // Sizes on both sides of the reader's own buffer, in no order.
                let sizes: Vec<_> = pattern(64, seed).into_iter().map(usize::from).collect();
                let (mut bytes, mut big) = (Vec::new(), vec![0; 70_000]);
                for (turn, &size) in sizes.iter().cycle().enumerate() {
                    let n = match turn % 5 {
                        0 => {
                            let ahead = client.fill_buf()?;
                            let n = ahead.len().min(size * 10 + 1);
                            bytes.extend_from_slice(&ahead[..n]);
                            client.consume(n);
                            n
                        }
                        1 => client.read_until(b'\n', &mut bytes)?,
                        kind => {
                            let room = [size + 1, size * 100 + 1, 70_000][kind - 2];
                            let n = client.read(&mut big[..room.min(70_000)])?;
                            bytes.extend_from_slice(&big[..n]);
                            n
                        }
                    };
                    if n == 0 {
                        break;
                    }
                }
                told.send(bytes).unwrap();
                Ok(())
            };
            let server = Running::start(tcp_by("threads").bind(mixing).unwrap());
            let sent = pattern(LEN, seed + 100);
            let mut client = server.connect();
            client.write_all(&sent).unwrap();
            client.leave();
            assert!(received.recv_timeout(LIMIT).unwrap() == sent, "seed {seed}");
            server.stop();
        }
    });
}

#[test]
fn a_big_read_gives_what_was_read_ahead_first() {
    watchdog(PATIENCE, || {
        let (told, seen) = mpsc::channel();
        let handler = move |client: &mut Connection<'_>| {
            if client.fill_buf()?.len() < 6 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            client.consume(2);
            let mut big = [0; 65_536];
            let n = client.read(&mut big)?;
            told.send(big[..n].to_vec()).unwrap();
            Ok(())
        };
        let server = Running::start(tcp_by("threads").bind(handler).unwrap());
        let mut client = server.connect();
        client.write_all(b"abcdef").unwrap();
        client.end();
        assert_eq!(seen.recv_timeout(LIMIT).unwrap(), b"cdef");
        server.stop();
    });
}

#[test]
fn an_empty_read_returns_at_once_and_takes_nothing() {
    watchdog(PATIENCE, || {
        let (told, seen) = mpsc::channel();
        let handler = move |client: &mut Connection<'_>| {
            told.send(client.read(&mut [])?).unwrap();
            let mut bytes = [0; 5];
            client.read_exact(&mut bytes)?;
            told.send(client.read(&mut [])?).unwrap();
            client.write_all(&bytes)
        };
        let server = Running::start(tcp_by("threads").bind(handler).unwrap());
        let mut client = server.connect();
        let nothing = seen.recv_timeout(Duration::from_secs(3));
        assert_eq!(nothing, Ok(0), "it waits for data that nobody asked for");
        client.write_all(b"hello").unwrap();
        assert_eq!(seen.recv_timeout(Duration::from_secs(3)), Ok(0));
        client.end();
        assert_eq!(client.rest(), b"hello");
        server.stop();
    });
}

/// Reads nothing, many times and in every way.
fn at_its_end(client: &mut Connection<'_>) -> io::Result<bool> {
    let [small, big] = [client.read(&mut [0; 10])?, client.read(&mut [0; 4096])?];
    let ahead = client.fill_buf()?.len();
    Ok([small, big, ahead] == [0; 3])
}

#[test]
fn the_end_stays_the_end() {
    watchdog(PATIENCE, || {
        let (told, seen) = mpsc::channel();
        let (open, opened) = mpsc::channel::<()>();
        let opened = Arc::new(std::sync::Mutex::new(opened));
        let handler = move |client: &mut Connection<'_>| {
            client.read_to_end(&mut Vec::new())?;
            told.send(at_its_end(client)?).unwrap();
            let _ = opened.lock().unwrap().recv();
            told.send(at_its_end(client)?).unwrap();
            client.write_all(b"and an answer")
        };
        let server = Running::start(tcp_by("threads").bind(handler).unwrap());
        let mut client = server.connect();
        client.write_all(b"hello").unwrap();
        client.end();
        assert_eq!(seen.recv_timeout(LIMIT), Ok(true));
        open.send(()).unwrap();
        assert_eq!(seen.recv_timeout(LIMIT), Ok(true));
        assert_eq!(client.rest(), b"and an answer");

        // The end that a stop makes is one as well, though this client goes on sending.
        let mut client = server.connect();
        client.write_all(b"hello").unwrap();
        // Its handler has begun, or the stop would find nobody.
        until("accepted", || server.count(Count::Requests) == 2);
        server.stopper.request();
        assert_eq!(seen.recv_timeout(LIMIT), Ok(true));
        client.write_all(&[b'x'; 100]).unwrap();
        let unacknowledged = || sys::siocoutq(client.tcp()).unwrap();
        until("it has arrived", || unacknowledged() == 0);
        open.send(()).unwrap();
        assert_eq!(seen.recv_timeout(LIMIT), Ok(true), "data after the end");
        server.join();
    });
}

#[test]
fn ten_megabytes_reach_a_slow_reader() {
    watchdog(PATIENCE, || {
        let sent = Arc::new(pattern(10 << 20, 7));
        for way in WAYS {
            let bytes = Arc::clone(&sent);
            let writing = move |client: &mut Connection<'_>| client.write_all(&bytes);
            let server = Running::start(tcp_by(way).bind(writing).unwrap());
            let mut client = server.connect();
            let (mut received, mut part) = (Vec::new(), vec![0; 100_000]);
            loop {
                if received.len() < 1 << 20 {
                    pause(SHORT);
                }
                match client.read(&mut part).unwrap() {
                    0 => break,
                    n => received.extend_from_slice(&part[..n]),
                }
            }
            assert!(received == *sent, "{way}: {} bytes", received.len());
            drop(client);
            server.stop();
        }
    });
}

#[test]
fn the_socket_is_the_peers() {
    watchdog(PATIENCE, || {
        let (told, seen) = mpsc::channel();
        let handler = move |client: &mut Connection<'_>| {
            let name = sys::getpeername(&*client)?;
            told.send((name.ip(), client.peer().ip())).unwrap();
            Ok(())
        };
        let server = Running::start(tcp_by("threads").bind(handler).unwrap());
        let client = server.connect();
        let us = Some(client.tcp().local_addr().unwrap());
        assert_eq!(seen.recv_timeout(LIMIT).unwrap(), (us, us));
        client.leave();
        server.stop();
    });
}

/// The calling thread's number. kill(2) prefers the thread that has the number it is given.
fn thread() -> u32 {
    let link = std::fs::read_link("/proc/thread-self").unwrap();
    link.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

#[test]
fn signals_interrupt_reads_and_writes_and_lose_nothing() {
    // Alone: the handler and the signals are the process'.
    alone("signals_interrupt_reads_and_writes_and_lose_nothing", || {
        const LEN: usize = 8 << 20;
        sys::on_signal(sys::SIGUSR1, |_| {}).unwrap();
        let (told, flow) = mpsc::channel();
        let handler = move |client: &mut Connection<'_>| {
            told.send(thread()).unwrap();
            // Not read_exact and write_all, which make interrupted calls again themselves.
            let (mut bytes, mut got, mut sent) = (vec![0; LEN], 0, 0);
            while got < LEN {
                got += client.read(&mut bytes[got..])?;
            }
            while sent < LEN {
                sent += client.write(&bytes[sent..])?;
            }
            Ok(())
        };
        let server = Running::start(tcp_by("one").bind(handler).unwrap());
        let mut client = server.connect();
        let flow = flow.recv_timeout(LIMIT).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let storm = std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                sys::kill(flow, sys::SIGUSR1).unwrap();
                std::thread::yield_now();
            }
        });
        let sent = pattern(LEN, 3);
        for part in sent.chunks(1 << 20) {
            // The handler sleeps in its read meanwhile.
            pause(Duration::from_millis(5));
            client.write_all(part).unwrap();
        }
        client.end();
        pause(SHORT);
        assert!(client.rest() == sent);
        over.store(true, Ordering::SeqCst);
        storm.join().unwrap();
        assert!(server.stop().get(Count::Interrupted) > 0, "no signal came in time");
    });
}

#[test]
fn signals_do_not_put_an_idle_time_out_off() {
    alone("signals_do_not_put_an_idle_time_out_off", || {
        const IDLE: Duration = Duration::from_millis(300);
        sys::on_signal(sys::SIGUSR1, |_| {}).unwrap();
        let (told, heard) = mpsc::channel();
        let (ended, end) = mpsc::channel();
        let waiting = move |client: &mut Connection<'_>| {
            told.send(thread()).unwrap();
            let start = Instant::now();
            let error = client.read(&mut [0]).map_err(|error| error.kind());
            ended.send((error, start.elapsed())).unwrap();
            Ok(())
        };
        let server = Running::start(tcp_by("one").idle_timeout(IDLE).bind(waiting).unwrap());
        let _silent = server.connect();
        let flow = heard.recv_timeout(LIMIT).unwrap();
        let (start, mut outcome) = (Instant::now(), None);
        while outcome.is_none() && start.elapsed() < IDLE * 10 {
            sys::kill(flow, sys::SIGUSR1).unwrap();
            outcome = end.recv_timeout(SHORT).ok();
        }
        let (error, took) = outcome.expect("each signal begins the idle time-out anew");
        assert_eq!(error, Err(io::ErrorKind::TimedOut));
        assert!(took >= IDLE * 9 / 10 && took < IDLE * 3, "{took:?}");
        server.stop();
    });
}

/// A client of a UDP server.
fn client(server: &Running) -> UdpSocket {
    let client = UdpSocket::bind(ANY).unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    client.connect(server.address()).unwrap();
    client
}

#[test]
fn replies_together_are_no_longer_than_the_request() {
    watchdog(PATIENCE, || {
        for (way, amplifies) in WAYS.into_iter().flat_map(|way| [(way, false), (way, true)]) {
            let (told, seen) = mpsc::channel();
            let answering = move |request: &mut Datagram<'_>| {
                let told_of = (request.bytes().to_vec(), request.peer().ip());
                // Within the bound together, then one byte more.
                let replies = [&b"abc"[..], b"de", b"f"].map(|part| request.reply(part));
                let replies = replies.map(|reply| reply.map_err(|error| error.kind()));
                told.send((told_of, replies)).unwrap();
                Ok(())
            };
            let builder = by(way, udp(ANY)).amplify(amplifies);
            let server = Running::start(builder.bind(answering).unwrap());
            let client = client(&server);
            client.send(b"12345").unwrap();
            let ((bytes, peer), replies) = seen.recv_timeout(LIMIT).unwrap();
            assert_eq!(bytes, b"12345");
            assert_eq!(peer, Some(client.local_addr().unwrap()));
            let last = if amplifies { Ok(()) } else { Err(io::ErrorKind::InvalidInput) };
            assert_eq!(replies, [Ok(()), Ok(()), last], "{way}");
            let mut buffer = [0; 10];
            let sent = if amplifies { &["abc", "de", "f"][..] } else { &["abc", "de"] };
            for part in sent {
                let n = client.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..n], part.as_bytes());
            }
            // What was refused was not sent either.
            let out = sent.concat().len() as u64;
            assert_eq!(server.stop().get(Count::BytesOut), out, "{way}");
        }
    });
}

#[test]
fn a_datagram_that_does_not_fit_is_counted_and_not_handled_in_half() {
    watchdog(PATIENCE, || {
        for way in WAYS {
            let echo = |request: &mut Datagram<'_>| {
                let bytes = request.bytes().to_vec();
                request.reply(&bytes)
            };
            let server = Running::start(by(way, udp(ANY)).buffer(10).bind(echo).unwrap());
            let client = client(&server);
            client.send(&[b'x'; 11]).unwrap();
            client.send(b"fits just.").unwrap();
            let mut buffer = [0; 20];
            assert_eq!(client.recv(&mut buffer).unwrap(), 10);
            assert_eq!(&buffer[..10], b"fits just.");
            let tally = server.stop();
            assert_eq!(tally.get(Count::Truncated), 1, "{way}");
            assert_eq!(tally.get(Count::BytesOut), 10, "{way}");
        }
    });
}

#[test]
fn an_answer_to_nobody_is_counted() {
    watchdog(PATIENCE, || {
        let path = scratch("unnamed.gram");
        let echo = |request: &mut Datagram<'_>| {
            assert!(request.peer().unnamed());
            let told = request.reply(b"hm").unwrap_err();
            assert_eq!(told.raw_os_error(), Some(libc::EDESTADDRREQ));
            Ok(())
        };
        let server = Running::start(unixgram(&path).bind(echo).unwrap());
        UnixDatagram::unbound().unwrap().send_to(b"hello", &path).unwrap();
        until("counted", || server.count(Count::Unsent) == 1);
        assert_eq!(server.stop().get(Count::HandlerFailed), 0);
    });
}
