//! The load generator sees what servers do wrong, and nothing else; counts are exact; each mode measures what it says.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use support::{PATIENCE, serve, watchdog};
use waitcopy::client::load::{self, Load, Mode, Outcome, Watch};
use waitcopy::net::Endpoint;
use waitcopy::phase::Histogram;

fn drive(server: &support::Server, connections: usize, size: usize) -> Outcome {
    let load = Load {
        connections,
        size,
        // A message of megabytes may take that long on a busy machine.
        duration: Duration::from_millis(if size > 1 << 20 { 2000 } else { 200 }),
        ..Load::new(Endpoint::Tcp(server.address))
    };
    load::run(&load, &mut ()).unwrap()
}

/// So many requests of 64 bytes, all measured.
fn counted(server: SocketAddr, count: u64) -> Load {
    Load {
        count: Some(count),
        // Only what hangs waits so long; what must be lost says its own time.
        timeout: Duration::from_secs(10),
        ..Load::new(Endpoint::Tcp(server))
    }
}

fn run(load: &Load) -> Outcome {
    load::run(load, &mut ()).unwrap()
}

/// A server of the notes' protocol in this process, a thread per connection. `spoil` may change each reply: it is told the
/// connection's number and where in its stream the reply begins.
fn crooked(spoil: impl Fn(usize, usize, &mut Vec<u8>) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let spoil = Arc::new(spoil);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (mut stream, spoil) = (stream.unwrap(), Arc::clone(&spoil));
            stream.set_nodelay(true).unwrap();
            thread::spawn(move || {
                let (mut bytes, mut at) = (vec![0; 1 << 16], 0);
                while let Ok(n @ 1..) = stream.read(&mut bytes) {
                    let mut reply = bytes[..n].to_ascii_uppercase();
                    spoil(number, at, &mut reply);
                    at += n;
                    if stream.write_all(&reply).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Values above a limit.
fn above(histogram: &Histogram, limit: Duration) -> u64 {
    let limit = limit.as_nanos() as u64;
    histogram.filled().filter(|(value, _)| *value > limit).map(|(_, n)| n).sum()
}

#[test]
fn a_wrong_byte_is_seen() {
    watchdog(PATIENCE, || {
        // It answers as it was asked: in lower case.
        let outcome = drive(&serve("epoll").args(&["--service", "echo"]).start(), 3, 64);
        assert_eq!((outcome.wrong, outcome.dead, outcome.requests), (3, 0, 0));
        assert!(!outcome.sound());
    });
}

#[test]
fn one_byte_in_a_million_is_seen() {
    watchdog(PATIENCE, || {
        let load = |server| Load { size: 1000, connections: 2, ..counted(server, 5_000) };
        let honest = run(&load(crooked(|_, _, _| ())));
        assert!(honest.complete() && honest.requests == 5_000, "{honest:?}");
        let server = crooked(|number, at, reply| {
            if number == 1 && (at..at + reply.len()).contains(&1_000_000) {
                reply[1_000_000 - at] ^= 1;
            }
        });
        let outcome = run(&load(server));
        assert_eq!((outcome.wrong, outcome.dead), (1, 0));
        assert!(!outcome.sound());
        // The other connection has gone on: only what one had in flight is missing.
        assert_eq!(outcome.requests, 4_999);
    });
}

#[test]
fn a_lost_a_doubled_and_a_foreign_byte_are_seen() {
    watchdog(PATIENCE, || {
        let load = |server| Load { timeout: Duration::from_secs(5), ..counted(server, 300) };
        let lost = run(&load(crooked(|_, at, reply| {
            if (at..at + reply.len()).contains(&10_000) {
                reply.remove(10_000 - at);
            }
        })));
        // The letters behind it are in the wrong place; only of the last byte nothing but silence would tell.
        assert_eq!((lost.wrong, lost.requests), (1, 10_000 / 64), "{lost:?}");
        let doubled = run(&load(crooked(|_, at, reply| {
            if (at..at + reply.len()).contains(&10_000) {
                reply.insert(10_000 - at, reply[10_000 - at]);
            }
        })));
        assert_eq!((doubled.wrong, doubled.requests), (1, 10_000 / 64), "{doubled:?}");
        let surplus = run(&load(crooked(|_, at, reply| {
            if at == 6_400 {
                reply.push(b'X');
            }
        })));
        assert_eq!((surplus.wrong, surplus.requests), (1, 100), "{surplus:?}");
    });
}

/// Two messages, read whole, and answered the wrong way round once, after so many right rounds.
fn swapping(streams: usize, rounds: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut streams: Vec<TcpStream> =
            (0..streams).map(|_| listener.accept().unwrap().0).collect();
        let (last, mut messages) = (streams.len() - 1, [[0; 64]; 2]);
        for round in 0.. {
            for (at, message) in messages.iter_mut().enumerate() {
                if streams[at.min(last)].read_exact(message).is_err() {
                    return;
                }
                message.make_ascii_uppercase();
            }
            if round == rounds {
                messages.swap(0, 1);
            }
            for (at, message) in messages.iter().enumerate() {
                // The generator hangs up at the first wrong one.
                let _ = streams[at.min(last)].write_all(message);
            }
        }
    });
    address
}

#[test]
fn replies_of_two_connections_and_of_two_messages_are_told_apart() {
    watchdog(PATIENCE, || {
        let load = Load { connections: 2, ..counted(swapping(2, 50), 1_000) };
        let outcome = run(&load);
        assert_eq!((outcome.wrong, outcome.requests), (2, 100), "{outcome:?}");
        let load = Load { mode: Mode::Pipeline(2), ..counted(swapping(1, 50), 1_000) };
        let outcome = run(&load);
        assert_eq!((outcome.wrong, outcome.requests), (1, 100), "{outcome:?}");
    });
}

#[test]
fn a_dead_server_and_a_silent_one_are_seen() {
    watchdog(PATIENCE, || {
        let server = serve("epoll").args(&["--max-connections", "2"]).start();
        let outcome = drive(&server, 3, 64);
        assert_eq!((outcome.dead, outcome.wrong), (1, 0));
        assert!(!outcome.sound());
        let outcome = drive(&serve("poll").args(&["--service", "discard"]).start(), 2, 64);
        assert_eq!((outcome.unserved, outcome.requests), (2, 0));
        assert!(!outcome.sound());
    });
}

#[test]
fn a_served_connection_that_gets_no_answer_is_unanswered() {
    watchdog(PATIENCE, || {
        // The first message is answered, the second one never whole.
        let server = crooked(|_, at, reply| {
            if at >= 64 {
                reply.truncate(10);
            }
        });
        let duration = Duration::from_millis(50);
        let load = Load { duration, timeout: duration, ..Load::new(Endpoint::Tcp(server)) };
        let outcome = run(&Load { warm_up: Some(Duration::from_nanos(1)), ..load });
        assert_eq!((outcome.unanswered, outcome.unserved), (1, 0), "{outcome:?}");
        assert!(!outcome.sound());
    });
}

#[test]
fn long_messages_are_driven_whole() {
    watchdog(PATIENCE, || {
        // More than any socket buffer takes at once: both ends stall and go on.
        let outcome = drive(&serve("epoll-et").start(), 2, 8 << 20);
        assert!(outcome.complete(), "{outcome:?}");
        let outcome = drive(&serve("select").start(), 2, 100_000);
        assert!(outcome.complete(), "{outcome:?}");
    });
}

#[test]
fn blocking_serves_one_and_the_others_are_told() {
    watchdog(PATIENCE, || {
        let server = serve("blocking").start();
        let outcome = drive(&server, 5, 64);
        assert!(outcome.sound() && !outcome.complete());
        assert_eq!(outcome.unserved, 4);
        // Of a count, those four hold one each.
        let load = Load {
            connections: 5,
            timeout: Duration::from_millis(300),
            ..counted(server.address, 100)
        };
        let outcome = run(&load);
        assert_eq!((outcome.unserved, outcome.requests, outcome.unanswered), (4, 96, 0));
    });
}

#[test]
fn a_count_is_exact_in_every_mode() {
    watchdog(PATIENCE, || {
        let modes = [Mode::Closed, Mode::Pipeline(7), Mode::Open(20_000.0), Mode::Churn];
        for mode in modes {
            for (connections, threads) in [(1, 1), (13, 3)] {
                let server = serve("epoll").start();
                let load = Load { connections, threads, mode, ..counted(server.address, 1_000) };
                let outcome = run(&load);
                assert!(outcome.complete(), "{mode:?}: {outcome:?}");
                assert_eq!((outcome.requests, outcome.latency.count()), (1_000, 1_000), "{mode:?}");
                assert_eq!(outcome.bytes, [64_000, 64_000], "{mode:?}");
                let ended = server.stop().clean();
                // A receive may take several of a pipeline.
                if !matches!(mode, Mode::Pipeline(_)) {
                    assert_eq!(ended.count("requests"), 1_000, "{mode:?}: {}", ended.stderr);
                }
                let opened = if mode == Mode::Churn { 1_000 } else { connections as u64 };
                assert_eq!(ended.count("connections"), opened, "{mode:?}: {}", ended.stderr);
            }
        }
    });
}

/// When the last answer is there, nobody waits for another one.
#[test]
fn a_run_ends_with_its_last_answer() {
    watchdog(PATIENCE, || {
        let server = serve("epoll").start();
        let took = (0..5).map(|_| {
            let begin = std::time::Instant::now();
            assert_eq!(run(&counted(server.address, 10)).requests, 10);
            begin.elapsed()
        });
        // The fastest: others may have had to wait for their turn.
        assert!(took.min().unwrap() < Duration::from_millis(150));
    });
}

#[test]
fn a_pipeline_has_as_many_in_flight_as_it_says() {
    watchdog(PATIENCE, || {
        // It answers when five whole messages are there, and hangs for ever with four.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, mut five) = (listener.accept().unwrap().0, [0; 5 * 64]);
            while stream.read_exact(&mut five).is_ok() {
                stream.write_all(&five.to_ascii_uppercase()).unwrap();
            }
        });
        let outcome = run(&Load { mode: Mode::Pipeline(5), ..counted(address, 100) });
        assert!(outcome.complete() && outcome.requests == 100, "{outcome:?}");
    });
}

#[test]
fn a_stall_shows_in_many_corrected_latencies_and_in_one_uncorrected() {
    watchdog(PATIENCE, || {
        let (connections, stall) = (2, Duration::from_millis(500));
        let served = AtomicUsize::new(0);
        let turn = Mutex::new(());
        let server = crooked(move |_, _, _| {
            let _turn = turn.lock().unwrap();
            if served.fetch_add(1, SeqCst) == 300 {
                // The stall that the test is about; everybody waits behind it.
                thread::sleep(stall);
            }
        });
        let load = Load { connections, mode: Mode::Open(1_000.0), ..counted(server, 1_000) };
        let outcome = run(&load);
        assert!(outcome.complete() && outcome.requests == 1_000, "{outcome:?}");
        // Of 500 planned in the stall, 250 waited for more than half of it.
        let slow = above(&outcome.latency, stall / 2);
        assert!(slow >= 240, "{slow}");
        let uncorrected = above(outcome.uncorrected.as_ref().unwrap(), stall / 2);
        assert!((1..=connections as u64).contains(&uncorrected), "{uncorrected}");
        assert!(outcome.latency.quantile(0.99) > 2 * outcome.uncorrected.unwrap().quantile(0.99));
    });
}

/// Whoever is told of the beginning may take longer than all of the measured time: none of it is over then.
#[test]
fn what_the_watch_does_is_not_measured() {
    struct Slow(Duration);
    impl Watch for Slow {
        fn begins(&mut self) {
            thread::sleep(self.0);
        }
    }
    watchdog(PATIENCE, || {
        let server = serve("epoll").start();
        let duration = Duration::from_millis(200);
        let load = Load { duration, ..Load::new(Endpoint::Tcp(server.address)) };
        let outcome = load::run(&load, &mut Slow(2 * duration)).unwrap();
        assert!(outcome.wall >= duration && outcome.requests > 10, "{outcome:?}");
    });
}

#[test]
fn a_rate_is_kept_and_what_could_not_be_sent_is_told() {
    watchdog(PATIENCE, || {
        let server = serve("epoll").start();
        let load = Load {
            connections: 4,
            threads: 2,
            mode: Mode::Open(2_000.0),
            duration: Duration::from_millis(500),
            ..Load::new(Endpoint::Tcp(server.address))
        };
        let outcome = run(&load);
        // Sends are planned by number: half a second holds 1,000 of them, give or take one per thread at its edges.
        assert!((998..=1_002).contains(&(outcome.requests + outcome.unsent)), "{outcome:?}");
        assert!(outcome.complete());
        // One connection, and a server that takes 20 ms for each: of 200 planned few leave.
        let slow = crooked(|_, _, _| thread::sleep(Duration::from_millis(20)));
        let load = Load {
            mode: Mode::Open(1_000.0),
            duration: Duration::from_millis(200),
            timeout: Duration::from_millis(200),
            ..Load::new(Endpoint::Tcp(slow))
        };
        let outcome = run(&load);
        assert!(outcome.unsent > 100, "{outcome:?}");
        // The measured time alone: 200 ms of plan.
        let planned = outcome.requests + outcome.unsent + outcome.unanswered as u64;
        assert!((199..=201).contains(&planned), "{outcome:?}");
    });
}

/// What a server that is too slow for the rate was to get in the warm-up is no debt of the measured time: what it answers there is measured.
#[test]
fn an_overloaded_run_has_the_rate_that_was_reached() {
    watchdog(PATIENCE, || {
        let warm_up = Some(Duration::from_millis(300));
        for count in [None, Some(200)] {
            // 1,000 a second at most of 10,000: the plan of the warm-up alone is three seconds of work.
            let slow = crooked(|_, _, _| thread::sleep(Duration::from_millis(2)));
            let load = Load {
                connections: 2,
                mode: Mode::Open(10_000.0),
                warm_up,
                duration: Duration::from_millis(300),
                count,
                ..Load::new(Endpoint::Tcp(slow))
            };
            let outcome = run(&load);
            assert!(outcome.complete(), "{outcome:?}");
            // In flight when it began: one for each connection at most.
            let answers = outcome.bytes[1].div_ceil(64);
            assert!((outcome.requests..=outcome.requests + 2).contains(&answers), "{outcome:?}");
            // Nobody waits since before it began.
            assert!(outcome.latency.max() <= outcome.wall.as_nanos() as u64, "{outcome:?}");
            match count {
                None => {
                    let planned = outcome.requests + outcome.unsent;
                    assert!((2_999..=3_001).contains(&planned), "{outcome:?}");
                    assert!(outcome.unsent > 0, "{outcome:?}");
                }
                Some(count) => assert_eq!((outcome.requests, outcome.unsent), (count, 0)),
            }
        }
    });
}

#[test]
fn bystanders_are_there_and_only_there() {
    struct Counts<'s>(&'s support::Server, usize);
    impl Watch for Counts<'_> {
        fn ends(&mut self) {
            self.1 = self.0.descriptors();
        }
    }
    watchdog(PATIENCE, || {
        let server = serve("epoll").start();
        let base = server.settled();
        let load = Load {
            idle: 50,
            slow: 3,
            slow_interval: Duration::from_millis(1),
            ..counted(server.address, 500)
        };
        let mut counts = Counts(&server, 0);
        let outcome = load::run(&load, &mut counts).unwrap();
        assert!(outcome.complete() && outcome.requests == 500, "{outcome:?}");
        assert_eq!(counts.1, base + 54);
        // A server that has room for the first one only, which is the one that talks.
        let strict = serve("epoll").args(&["--max-connections", "1"]).start();
        let load = Load { idle: 7, ..counted(strict.address, 500) };
        let outcome = run(&load);
        assert!(outcome.sound() && !outcome.complete(), "{outcome:?}");
        assert_eq!(outcome.bystanders_dead, 7);
    });
}

#[test]
fn slow_clients_send_one_byte_at_a_time() {
    watchdog(PATIENCE, || {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let server = {
            let seen = Arc::clone(&seen);
            crooked(move |number, _, reply| seen.lock().unwrap().push((number, reply.len())))
        };
        let load = Load {
            slow: 1,
            slow_interval: Duration::from_millis(2),
            duration: Duration::from_millis(300),
            ..Load::new(Endpoint::Tcp(server))
        };
        assert!(run(&load).complete());
        let seen = seen.lock().unwrap();
        let slow: Vec<_> = seen.iter().filter(|(number, _)| *number == 1).collect();
        // A server that comes late finds several.
        let single = slow.iter().filter(|(_, len)| *len == 1).count();
        assert!(slow.len() > 5 && 2 * single > slow.len(), "{slow:?}");
    });
}

#[test]
fn connections_come_one_after_the_other_in_a_ramp() {
    watchdog(PATIENCE, || {
        let accepted = Arc::new(Mutex::new(Vec::new()));
        let server = {
            let accepted = Arc::clone(&accepted);
            crooked(move |number, at, _| {
                if at == 0 {
                    accepted.lock().unwrap().push((number, std::time::Instant::now()));
                }
            })
        };
        let ramp = Duration::from_millis(600);
        let outcome = run(&Load { connections: 4, ramp, ..counted(server, 100) });
        assert!(outcome.sound(), "{outcome:?}");
        let accepted = accepted.lock().unwrap();
        let (first, last) = (accepted[0].1, accepted[3].1);
        // The fourth is due after three quarters of it, 450 ms; the server may have been late for the first.
        assert!(last - first >= Duration::from_millis(200), "{accepted:?}");
    });
}
