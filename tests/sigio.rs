//! Signal-driven: the calls themselves, a queue of signals that overflows (`faults.md` row 17), signals for a number that is
//! another's by now (row 11), and a thread that is left as it was.

#[path = "support/datagrams.rs"]
mod datagrams;
mod support;

use datagrams::{Peer, Start};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};
use support::{PATIENCE, connected, errno, exchange, pattern, serve, until, watchdog, wrapped};
use waitcopy::model;
use waitcopy::net::{Bind, Endpoint, Front, Settings, Signalled, Signals, Transport};
use waitcopy::phase::{Count, Counting, Tally};
use waitcopy::service::Upper;
use waitcopy::stop::Stop;
use waitcopy::sys::{self, Kind, SIGIO, SignalSet};

/// Waits for nothing.
const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

/// The mask `SigBlk:` or the pending signals `SigPnd:` of this thread.
fn signals(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let word = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    u64::from_str_radix(word.trim(), 16).unwrap()
}

/// Never requested.
fn no_stop() -> Stop {
    Stop::new(Duration::from_secs(10)).unwrap()
}

#[test]
fn each_event_has_a_signal_of_its_own() {
    watchdog(PATIENCE, || {
        let (before, stop) = (signals("SigBlk:"), no_stop());
        let signals_of_this = Signals::block().unwrap();
        let (near, far) = connected();
        sys::send(&near, b"too early").unwrap();
        let number = signals_of_this.ask(&far).unwrap();
        assert_eq!(number, far.as_raw_fd() as usize);
        assert_eq!(signals_of_this.wait(AT_ONCE, &stop).unwrap(), None, "what came before");
        sys::send(&near, b"one").unwrap();
        sys::send(&near, b"two").unwrap();
        sys::shutdown(&near, sys::Shutdown::Write).unwrap();
        // Two of data, one or two of the end: not merged, as an edge of epoll would be.
        let mut taken = 0;
        while let Some(signal) = signals_of_this.wait(AT_ONCE, &stop).unwrap() {
            assert_eq!(signal, Signalled::Number(number));
            taken += 1;
        }
        assert!((3..=4).contains(&taken), "{taken}");
        signals_of_this.ask_no_more(&far);
        drop(near);
        assert_eq!(signals_of_this.wait(AT_ONCE, &stop).unwrap(), None);
        drop(signals_of_this);
        assert_eq!(signals("SigBlk:"), before);
    });
}

#[test]
fn the_calls_say_what_is_wrong() {
    watchdog(PATIENCE, || {
        let set = SignalSet::of(&[SIGIO]);
        let before = set.block().unwrap();
        assert_eq!(errno(sys::sigtimedwait(&set, AT_ONCE)), 11, "EAGAIN");
        let start = Instant::now();
        assert_eq!(errno(sys::sigtimedwait(&set, Some(Duration::from_millis(20)))), 11);
        assert!(start.elapsed() >= Duration::from_millis(20));
        sys::tgkill(sys::gettid(), SIGIO).unwrap();
        let taken = sys::sigtimedwait(&set, None).unwrap();
        assert_eq!((taken.signal, taken.number), (SIGIO, None));
        let (near, _far) = connected();
        assert_eq!(errno(sys::fcntl_setsig(&near, 1000)), 22, "EINVAL");
        // No thread has this number: pid_max is 2^22 at most.
        assert_eq!(errno(sys::fcntl_setown(&near, 1 << 23)), 3, "ESRCH");
        assert_eq!(errno(sys::tgkill(1 << 23, SIGIO)), 3, "ESRCH");
        sys::restore_signals(&before).unwrap();
    });
}

/// A request from elsewhere: sticky, also for a call that begins later, and in another thread than the one that waits.
#[test]
fn a_stop_ends_a_wait_for_signals() {
    watchdog(PATIENCE, || {
        for early in [true, false] {
            let stop = no_stop();
            let signals = Signals::block().unwrap();
            let other = stop.clone();
            let tid = sys::gettid();
            let requests = thread::spawn(move || {
                let asleep = || {
                    let stat = std::fs::read_to_string(format!("/proc/self/task/{tid}/syscall"));
                    // rt_sigtimedwait by its number; a kernel without this file is no reason to fail.
                    let number = format!("{} ", libc::SYS_rt_sigtimedwait);
                    stat.map_or(true, |call| call.starts_with(&number))
                };
                if !early {
                    until("the other thread sleeps", asleep);
                }
                other.request();
            });
            if early {
                requests.join().unwrap();
                assert_eq!(signals.wait(None, &stop).unwrap(), Some(Signalled::Lost));
            } else {
                assert_eq!(signals.wait(None, &stop).unwrap(), Some(Signalled::Lost));
                requests.join().unwrap();
            }
        }
    });
}

/// Serves in this thread until `talk` has ended.
fn served(front: Front, talk: impl FnOnce(SocketAddr) + Send) -> Tally {
    let address = front.endpoint().address().ip().unwrap();
    let (stop, tally) = (no_stop(), Tally::new(false).unwrap());
    let other = stop.clone();
    thread::scope(|scope| {
        scope.spawn(move || {
            talk(address);
            other.request();
        });
        let mut observer = Counting(tally.clone());
        let sigio = model::find("sigio").unwrap();
        (sigio.run.counting)(front, &Settings::default(), &Upper, &mut observer, &stop).unwrap();
    });
    tally
}

/// A library's thread has its mask back, and nothing pending, also from a front that its host keeps.
#[test]
fn a_thread_is_left_as_it_was() {
    watchdog(PATIENCE, || {
        let before = signals("SigBlk:");
        let any = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
        let front = Front::bind(any, &Bind { backlog: 16, ..Bind::default() }).unwrap();
        let kept = front.clone();
        let tally = served(front, |address| {
            let mut client = TcpStream::connect(address).unwrap();
            exchange(&mut client, b"hello");
            // The stop finds signals that nobody has taken.
            (0..20).for_each(|_| client.write_all(b"x").unwrap());
        });
        assert!(tally.get(Count::Requests) >= 2);
        let left = || (signals("SigBlk:"), signals("SigPnd:"));
        assert_eq!(left(), (before, 0));
        let late = TcpStream::connect(kept.endpoint().address().ip().unwrap()).unwrap();
        assert_eq!(left(), (before, 0), "the front that is kept still sends signals");
        drop(late);
    });
}

/// Row 17 over TCP: far more events than the queue has room for, of clients and of the listener, data larger than a turn, an end
/// of file behind it.
#[test]
fn no_client_is_stuck_when_the_queue_of_signals_overflows() {
    watchdog(PATIENCE, || {
        const LEN: usize = 40_000;
        for _ in 0..5 {
            let server = wrapped(&["prlimit", "--sigpending=8"], "sigio").start();
            let mut here: Vec<_> = (0..100).map(|_| server.connect()).collect();
            here.iter_mut().for_each(|client| exchange(client, b"here"));
            let mut all = server.while_stopped(|| {
                let mut later: Vec<_> = (0..150).map(|_| server.connect()).collect();
                for (seed, client) in here.iter_mut().chain(&mut later).enumerate() {
                    client.write_all(&pattern(LEN, seed as u64)).unwrap();
                    if seed % 3 == 0 {
                        client.shutdown(std::net::Shutdown::Write).unwrap();
                    }
                }
                here.append(&mut later);
                here
            });
            for (seed, client) in all.iter_mut().enumerate() {
                let mut reply = vec![0; LEN];
                client.read_exact(&mut reply).unwrap();
                assert!(reply == pattern(LEN, seed as u64).to_ascii_uppercase(), "client {seed}");
                if seed % 3 == 0 {
                    assert_eq!(client.read(&mut [0]).unwrap(), 0, "client {seed}");
                } else {
                    exchange(client, b"calm again");
                }
            }
            let ended = server.stop().clean();
            assert!(ended.count("signals lost") > 0, "no overflow: {}", ended.stderr);
            assert!(ended.stderr.contains("the queue of signals is full"), "{}", ended.stderr);
        }
    });
}

/// Row 17 on the other transports.
#[test]
fn no_datagram_and_no_unix_client_is_stuck_either() {
    watchdog(PATIENCE, || {
        for transport in [Transport::Udp, Transport::Unix, Transport::Unixgram] {
            let limit = ["prlimit", "--sigpending=4"];
            let server = Start::new("sigio", transport).wrapper(&limit).start();
            // As many as a Unix datagram queue holds for sure (net.unix.max_dgram_qlen is 10 at least).
            let peers: Vec<_> = (0..10).map(|_| Peer::of(&server)).collect();
            peers.iter().for_each(|peer| peer.exchange(b"here"));
            server.while_stopped(|| peers.iter().for_each(|peer| peer.send(b"burst")));
            peers.iter().for_each(|peer| assert_eq!(peer.receive(), b"BURST"));
            peers.iter().for_each(|peer| peer.exchange(b"calm again"));
            let ended = server.stop().clean();
            let kind = transport.kind();
            assert!(ended.count("signals lost") > 0, "{kind:?}: {}", ended.stderr);
            if kind == Kind::Datagram {
                assert_eq!(ended.count("requests"), 30, "{}", ended.stderr);
            }
        }
    });
}

/// Row 11: signals of a client that is gone are still in the queue when its number is the next one's.
#[test]
fn a_signal_for_the_number_of_somebody_else_is_harmless() {
    watchdog(PATIENCE, || {
        let server = serve("sigio").start();
        let base = server.settled();
        for round in 0..300_u32 {
            let mut gone = server.connect();
            gone.write_all(b"first").unwrap();
            gone.read_exact(&mut [0; 5]).unwrap();
            // Signals of one number are taken in the order in which they were sent: the next one's coming stands between the message that
            // ends the first, at which it is found reset and closed, and what else was sent of that one.
            let mut next = server.while_stopped(|| {
                gone.write_all(b"a").unwrap();
                let mut next = server.connect();
                (0..5).for_each(|_| gone.write_all(b"of the one that is gone").unwrap());
                sys::set_linger(&gone, 0).unwrap();
                drop(gone);
                next.write_all(format!("{round:05}").as_bytes()).unwrap();
                next
            });
            let mut reply = [0; 5];
            next.read_exact(&mut reply).unwrap();
            assert_eq!(reply, format!("{round:05}").as_bytes());
            exchange(&mut next, b"still here");
            drop(next);
        }
        until("all are closed", || server.descriptors() == base);
        let ended = server.stop().clean();
        // Those that `settled` counts by are among them.
        assert!(ended.count("connections") >= 600, "{}", ended.stderr);
    });
}

/// Who waits in the backlog before the listener's signals are asked for is served all the same.
#[test]
fn who_came_before_the_server_is_served() {
    watchdog(PATIENCE, || {
        let any = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
        let front = Front::bind(any, &Bind { backlog: 16, ..Bind::default() }).unwrap();
        let mut early = TcpStream::connect(front.endpoint().address().ip().unwrap()).unwrap();
        early.write_all(b"early").unwrap();
        early.shutdown(std::net::Shutdown::Write).unwrap();
        let tally = served(front, move |_| {
            let mut reply = Vec::new();
            early.read_to_end(&mut reply).unwrap();
            assert_eq!(reply, b"EARLY");
        });
        assert_eq!(tally.get(Count::Connections), 1);
        // Free again.
        TcpListener::bind("127.0.0.1:0").unwrap();
    });
}
