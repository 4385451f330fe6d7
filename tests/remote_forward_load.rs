//! `waitcopy remote forward` under load, and where something goes wrong.
#![cfg(feature = "remote")]

#[path = "support/forward.rs"]
mod forward;
#[path = "support/remote_cli.rs"]
mod remote_cli;
#[path = "support/slow.rs"]
mod slow;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use forward::{Forward, descriptors, echo, exchange, local, serving};
use remote_cli::Remote;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;
use support::{PATIENCE, own_memory_kib, pattern, until, watchdog};
use waitcopy::lab::sshd::{Dropbear, Options};
use waitcopy::sys;

fn on_a_server(test: impl FnOnce(Remote) + Send + 'static) {
    on(Options::default(), test);
}

fn on(options: Options, test: impl FnOnce(Remote) + Send + 'static) {
    watchdog(PATIENCE * 2, || {
        if let Some(remote) = Remote::start(options) {
            test(remote);
        }
    });
}

#[test]
fn who_does_not_read_costs_a_window_and_holds_up_nobody() {
    on_a_server(|remote| {
        let flood = serving(|mut client| {
            let piece = vec![7; 1 << 20];
            while client.write_all(&piece).is_ok() {}
        });
        let (to, flood) = (echo(), flood.to_string());
        let specs = [format!("0:{to}"), format!("0:{flood}")];
        let mut forward = Forward::start(&remote, &["-L", &specs[0], "-L", &specs[1]]);
        let (echo_at, flood_at) = (forward.addr(), forward.addr());
        let mut neighbour = TcpStream::connect(echo_at).unwrap();
        exchange(&mut neighbour, b"before");
        let before = own_memory_kib(forward.pid());
        let stalled: Vec<_> = (0..4)
            .map(|_| {
                let stream = TcpStream::connect(flood_at).unwrap();
                // It flows, and then nobody reads any more.
                (&stream).read_exact(&mut [0; 100_000]).unwrap();
                stream
            })
            .collect();
        (0..1000).for_each(|n: u32| exchange(&mut neighbour, &n.to_be_bytes()));
        let grown = own_memory_kib(forward.pid()).saturating_sub(before);
        println!("grown by {} KiB", grown);
        // Four windows of 2 MiB, and what the allocator makes of them.
        assert!(grown < 24 << 10, "{grown} KiB");
        // They can go on.
        for mut stream in stalled {
            let mut more = vec![0; 4 << 20];
            stream.read_exact(&mut more).unwrap();
            assert!(more.iter().all(|&byte| byte == 7));
        }
        exchange(&mut neighbour, b"after");
        forward.stop();
    });
}

#[test]
fn a_thousand_connections_leave_nothing_behind() {
    on_a_server(|remote| {
        let (forward, at) = local(&remote, echo());
        let one = |n: u32| {
            let mut stream = TcpStream::connect(at).unwrap();
            exchange(&mut stream, &pattern(5000, n.into()));
        };
        (0..50).for_each(one);
        let settled = |fds: usize| until("descriptors go", || descriptors(forward.pid()) <= fds);
        let mut fds = 0;
        until("descriptors settle", || {
            let now = descriptors(forward.pid());
            std::mem::replace(&mut fds, now) == now
        });
        settled(10);
        let (fds, before) = (descriptors(forward.pid()), own_memory_kib(forward.pid()));
        (0..1000).for_each(one);
        settled(fds);
        let grown = own_memory_kib(forward.pid()).saturating_sub(before);
        println!("1,000 in a row: {} KiB more, {fds} descriptors", grown);
        assert!(grown < 2 << 10, "{grown} KiB");
        drop(forward);
    });
}

#[test]
fn a_thousand_connections_at_once() {
    on_a_server(|remote| {
        let Some(_guard) = support::many_descriptors(5000) else { return };
        let (forward, at) = local(&remote, echo());
        let (fds, before) = (descriptors(forward.pid()), own_memory_kib(forward.pid()));
        let mut streams: Vec<_> = (0..1000).map(|_| TcpStream::connect(at).unwrap()).collect();
        for round in 0..3 {
            for (n, stream) in streams.iter_mut().enumerate() {
                stream.write_all(&pattern(300, n as u64 + round)).unwrap();
            }
            for (n, stream) in streams.iter_mut().enumerate() {
                let mut reply = [0; 300];
                stream.read_exact(&mut reply).unwrap();
                assert!(reply.as_slice() == pattern(300, n as u64 + round), "{n}");
            }
        }
        let grown = own_memory_kib(forward.pid()).saturating_sub(before);
        println!("1,000 at once: {} KiB more", grown);
        assert!(grown < 24 << 10, "{grown} KiB");
        drop(streams);
        until("descriptors go", || descriptors(forward.pid()) <= fds + 1);
        let (_, said) = forward.stop();
        assert!(said.contains("forwarded 1000 connections: "), "{said}");
    });
}

#[test]
fn clients_that_reset_in_the_middle_end_nobody_else() {
    on_a_server(|remote| {
        // The way is slow, so that nearly always a packet is sent in part.
        let way = slow::way(remote.sshd.addr());
        let port = |addr: std::net::SocketAddr| addr.port().to_string();
        let known = remote.sshd.known_hosts().replace(&port(remote.sshd.addr()), &port(way));
        std::fs::write(&remote.known, known).unwrap();
        let to = echo();
        let mut command = remote.bare("forward");
        command.arg("--identity").arg(&remote.key);
        command.args(["-L", &format!("0:{}:{}", to.ip(), to.port())]);
        command.arg(format!("{}@{way}", remote.sshd.user()));
        let mut forward = Forward::of(command);
        let at = forward.addr();
        let mut neighbour = TcpStream::connect(at).unwrap();
        let bytes = Arc::new(pattern(1 << 20, 13));
        for round in 0..5 {
            let barrier = Arc::new(Barrier::new(4));
            let clients: Vec<_> = (0..4)
                .map(|_| {
                    let (bytes, barrier) = (Arc::clone(&bytes), Arc::clone(&barrier));
                    thread::spawn(move || {
                        let mut stream = TcpStream::connect(at).unwrap();
                        barrier.wait();
                        // More than the socket to the server has room for: the echo comes back while more is on its way there.
                        stream.set_nonblocking(true).unwrap();
                        let (mut sent, mut back) = (0, 0);
                        while sent < 3 << 19 || back < 1 << 16 {
                            sent += now(stream.write(&bytes[..1 << 16]));
                            back += now(stream.read(&mut [0; 1 << 12]));
                            thread::yield_now();
                        }
                        // A reset: what is on its way here is thrown away.
                        sys::set_linger(&stream, 0).unwrap();
                    })
                })
                .collect();
            clients.into_iter().for_each(|client| client.join().unwrap());
            exchange(&mut neighbour, &bytes[..10_000 + round]);
        }
        assert!(!forward.ended());
        let (code, said) = forward.stop();
        assert_eq!(code, Some(143), "{said}");
    });
}

/// What went without waiting.
fn now(done: std::io::Result<usize>) -> usize {
    match done {
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        done => done.unwrap(),
    }
}

#[test]
fn a_session_that_dies_ends_it_at_once() {
    on_a_server(|remote| {
        let (forward, at) = local(&remote, echo());
        let mut stream = TcpStream::connect(at).unwrap();
        exchange(&mut stream, b"hello");
        remote.sshd.kill_sessions();
        let (code, said) = forward.wait();
        assert_eq!(code, Some(255), "{said}");
        assert!(said.contains("forward: ") && said.contains("forwarded 1 connections"), "{said}");
        let ended = stream.read(&mut [0]);
        let ended = ended.map_err(|error| error.kind());
        assert!(matches!(ended, Ok(0) | Err(ErrorKind::ConnectionReset)), "{ended:?}");
        // One that nobody uses hears of it as well.
        let (forward, _) = local(&remote, echo());
        remote.sshd.kill_sessions();
        let (code, said) = forward.wait();
        assert_eq!(code, Some(255), "{said}");
    });
}

#[test]
fn a_silent_server_is_given_up_where_an_idle_time_is_set() {
    on_a_server(|remote| {
        let mut forward = Forward::start(&remote, &["-D", "0", "--idle-timeout", "1s"]);
        forward.addr();
        let sessions = remote.sshd.sessions();
        sessions.iter().for_each(|session| session.stop());
        let (code, said) = forward.wait();
        sessions.iter().for_each(|session| session.resume());
        assert!(
            code == Some(255) && said.contains("the ports: the connection is silent"),
            "{said}"
        );
    });
}

#[test]
fn a_server_without_sessions_still_forwards() {
    on(Options { max_sessions: Some(0), ..Options::default() }, |remote| {
        let (forward, at) = local(&remote, echo());
        let mut streams: Vec<_> = (0..10).map(|_| TcpStream::connect(at).unwrap()).collect();
        for stream in &mut streams {
            exchange(stream, &pattern(100_000, 3));
        }
        drop(streams);
        let (code, said) = forward.stop();
        assert!(code == Some(143) && said.contains("10 connections"), "{said}");
    });
}

#[test]
fn keys_are_exchanged_anew_in_the_middle() {
    // At every 256 KiB, with streams both ways, and once more through a jump host that does the same.
    let often = || Options { rekey_limit: Some("256K".into()), ..Options::default() };
    on(often(), move |remote| {
        let Some(gate) = Remote::start(often()) else { return };
        let known = remote.here("known_of_both");
        std::fs::write(&known, gate.sshd.known_hosts() + &remote.sshd.known_hosts()).unwrap();
        let to = echo();
        let spec = format!("0:{}:{}", to.ip(), to.port());
        let jump = [gate.host(), known.display().to_string()];
        let through = ["--jump", &jump[0], "--known-hosts", &jump[1], "-L", &spec];
        for flags in [&["-L", &spec][..], &through] {
            let mut forward = Forward::start(&remote, flags);
            let at = forward.addr();
            let clients: Vec<_> = (0..4)
                .map(|n| {
                    thread::spawn(move || {
                        let bytes = pattern(2 << 20, n);
                        let mut stream = TcpStream::connect(at).unwrap();
                        bytes.chunks(70_000).for_each(|piece| exchange(&mut stream, piece));
                    })
                })
                .collect();
            clients.into_iter().for_each(|client| client.join().unwrap());
            assert!(!forward.ended());
        }
    });
}

#[test]
fn without_descriptors_clients_wait_and_the_others_go_on() {
    on_a_server(|remote| {
        let to = echo();
        let program = remote.verb("forward", &["-L", &format!("0:{}:{}", to.ip(), to.port())]);
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -n 24; exec \"$@\"", "sh"]);
        limited.arg(program.get_program()).args(program.get_args());
        let mut forward = Forward::of(limited);
        let at = forward.addr();
        let mut first = TcpStream::connect(at).unwrap();
        exchange(&mut first, b"first");
        let held: Vec<_> = (0..40).map(|_| TcpStream::connect(at).unwrap()).collect();
        until("the table is full", || descriptors(forward.pid()) >= 24);
        (0..200).for_each(|n: u32| exchange(&mut first, &n.to_be_bytes()));
        // It does not spin: two seconds of this cost little of a core.
        let cpu = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", forward.pid())).unwrap();
            let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
            fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
        };
        let before = cpu();
        thread::sleep(Duration::from_secs(2));
        // In hundredths of a second.
        let spent = cpu() - before;
        println!("{spent} hundredths of a second");
        assert!(spent <= 20, "{spent}");
        drop(held);
        let mut last = TcpStream::connect(at).unwrap();
        exchange(&mut last, b"last");
        exchange(&mut first, b"still");
    });
}

#[test]
fn through_the_other_ssh_server() {
    watchdog(PATIENCE, || {
        let Some(remote) = ssh::or_skip(Dropbear::start(&[])).map(Remote::of) else { return };
        let to = echo();
        let spec = format!("0:{}:{}", to.ip(), to.port());
        let mut forward = Forward::start(&remote, &["-L", &spec, "-R", &spec]);
        for at in [forward.addr(), forward.addr()] {
            let bytes = pattern(2 << 20, 4);
            let mut stream = TcpStream::connect(at).unwrap();
            bytes.chunks(50_000).for_each(|piece| exchange(&mut stream, piece));
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        }
        let (_, said) = forward.stop();
        assert!(said.contains("forwarded 2 connections"), "{said}");
    });
}
