//! Every model on datagrams, UDP and Unix: each gets its own answer, or none; `faults.md` rows 35 to 38; the stop.

#[path = "support/datagrams.rs"]
mod datagrams;
mod support;

use datagrams::{Peer, Serving, Start, entry, served};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use support::{PATIENCE, WAITCOPY, assert_refused, long, pattern, skip, watchdog};
use waitcopy::failure::Failure;
use waitcopy::model::{CATALOGUE, Who};
use waitcopy::net::{Bind, DEFAULT_ADDRESS, Endpoint, Front, Settings, Transport, Workers};
use waitcopy::phase::{Count, Counting, Tally};
use waitcopy::service::{Answer, Service};
use waitcopy::stop::Stop;
use waitcopy::sys::{self, Kind};

/// Well below the 10 s of the drain: who needs longer was freed by the deadline, not by the stop.
const SOON: Duration = Duration::from_secs(5);

/// The datagram transports that a model serves, each with a server.
fn servers(model: &str, args: &[&str]) -> Vec<Serving> {
    let transports = served(model, Kind::Datagram).into_iter();
    transports.map(|transport| Start::new(model, transport).args(args).start()).collect()
}

for_each_model! {
    /// All lengths up to the buffer's, all bytes; nothing more and nothing less than its own answer comes back.
    fn every_datagram_has_its_answer(model: &str) {
        for server in servers(model, &[]) {
            let peer = Peer::of(&server);
            // A child or a thread for each: fewer lengths there, the ends among them.
            let step = if matches!(entry(model).who, Who::Fork | Who::Threads) { 31 } else { 1 };
            let lengths = (1..=1024).step_by(step).chain([255, 256, 1023, 1024]);
            let mut sent = (0, 0);
            for len in lengths {
                peer.exchange(&pattern(len, len as u64));
                sent = (sent.0 + 1, sent.1 + len as u64);
            }
            assert_eq!(peer.receive_now(), None);
            let ended = server.stop().clean();
            let counted = ["requests", "bytes in", "out", "unsent"].map(|name| ended.count(name));
            assert_eq!(counted, [sent.0, sent.1, sent.1, 0]);
        }
    }
}

for_each_model! {
    /// Nothing is a message too, and neither the end of a stream nor a stop.
    fn an_empty_datagram_has_an_empty_answer(model: &str) {
        for service in ["upper", "echo"] {
            for server in servers(model, &["--service", service]) {
                let peer = Peer::of(&server);
                for _ in 0..3 {
                    peer.send(b"");
                    assert_eq!(peer.receive(), b"");
                }
                peer.send(b"AND ON");
                assert_eq!(peer.receive(), b"AND ON");
                assert_eq!(server.stop().clean().count("requests"), 4);
            }
        }
    }
}

for_each_model! {
    fn echo_changes_nothing_and_discard_answers_nothing(model: &str) {
        for server in servers(model, &["--service", "echo"]) {
            let (peer, bytes) = (Peer::of(&server), pattern(1024, 7));
            peer.send(&bytes);
            assert!(peer.receive() == bytes);
            server.stop().clean();
        }
        for server in servers(model, &["--service", "discard"]) {
            let peer = Peer::of(&server);
            // As few as fit into the shortest queue.
            (0..5).for_each(|n| peer.send(&pattern(10 * n, 1)));
            let ended = server.stop().clean();
            // It has ended: no answer is on its way.
            assert_eq!(peer.receive_now(), None);
            let counted = ["requests", "bytes in", "out"].map(|name| ended.count(name));
            assert_eq!(counted, [5, 100, 0], "{}", ended.stderr);
        }
    }
}

for_each_model! {
    /// Several are under way at the same time, and each one goes where it belongs.
    fn each_client_gets_its_own(model: &str) {
        for server in servers(model, &[]) {
            let peers: Vec<_> = (0..7).map(|_| Peer::of(&server)).collect();
            for round in 0..20_usize {
                let message = |n: usize| pattern(1 + (97 * n + 13 * round) % 1024, (n * 100 + round) as u64);
                peers.iter().enumerate().for_each(|(n, peer)| peer.send(&message(n)));
                for (n, peer) in peers.iter().enumerate() {
                    assert!(peer.receive() == message(n).to_ascii_uppercase(), "client {n}");
                }
            }
            assert!(peers.iter().all(|peer| peer.receive_now().is_none()));
            server.stop().clean();
        }
    }
}

/// Each cell of the matrix that the catalogue refuses is refused with the catalogue's sentence, each other one is served.
#[test]
fn refused_cells_say_why() {
    watchdog(PATIENCE, || {
        let mut refused = 0;
        for model in &CATALOGUE {
            for (transport, name) in Transport::ALL {
                let start = Start::new(model.name, transport);
                match model.serves(transport) {
                    Err(why) => {
                        let said = format!("{} does not serve {name}: {why}\n", model.name);
                        assert_refused(&mut start.command(), 2, &said);
                        refused += 1;
                    }
                    Ok(()) => {
                        let server = start.start();
                        Peer::of(&server).exchange(b"served");
                        server.stop().clean();
                    }
                }
            }
        }
        assert!(refused > 0);
    });
}

for_each_model! {
    /// Row 35: not half an answer, none; and the next one is served. Also where a recorder receives with its stamp.
    fn a_datagram_larger_than_the_buffer_is_not_answered(model: &str) {
        let report = support::scratch(&format!("truncated-{model}.json"));
        for args in [&[][..], &["--report", report.to_str().unwrap()]] {
            for server in servers(model, args) {
                let (sender, next) = (Peer::of(&server), Peer::of(&server));
                sender.send(&[b'x'; 9000]);
                sender.send(&[b'y'; 1025]);
                sender.exchange(&pattern(1024, 3));
                next.exchange(b"next");
                assert_eq!((sender.receive_now(), next.receive_now()), (None, None));
                let ended = server.stop().clean();
                let counted = ["truncated", "requests", "out"].map(|name| ended.count(name));
                assert_eq!(counted, [2, 2, 1028], "{}", ended.stderr);
                assert!(ended.stderr.contains("waitcopy: 9000 bytes from "), "{}", ended.stderr);
            }
        }
    }
}

/// Claims to have answered with far more than it was given.
struct Boastful;

impl Service for Boastful {
    fn stream(&self, _: &mut [u8]) -> Answer {
        unreachable!("datagrams only")
    }

    fn datagram(&self, packet: &mut [u8]) -> Option<usize> {
        packet.fill(b'!');
        Some(usize::MAX)
    }
}

for_each_model! {
    /// Row 36: whoever forges a sender's address gains nothing.
    fn a_reply_is_never_longer_than_its_request(model: &str) {
        // A model that forks serves only in a process with one thread.
        if !matches!(entry(model).who, Who::One | Who::Threads | Who::Pool) { return }
        for transport in served(model, Kind::Datagram) {
            let server = Library::start(model, transport, Boastful, Settings::default());
            let peer = Peer::at(server.endpoint);
            for len in [0, 1, 5, 1024] {
                // The buffer holds 1024: what an earlier one has left there stays there.
                peer.send(&vec![b'?'; len]);
                assert_eq!(peer.receive(), vec![b'!'; len]);
            }
            assert_eq!(server.stop().get(Count::BytesOut), 1030);
        }
    }
}

/// Row 36: nobody but this machine, unless asked for.
#[test]
fn the_default_address_is_loopback() {
    watchdog(PATIENCE, || {
        let default: SocketAddr = DEFAULT_ADDRESS.parse().unwrap();
        assert!(default.ip().is_loopback());
        // The port is taken, so the server says at once which one it wanted.
        let _taken = std::net::UdpSocket::bind(default);
        let mut command = Command::new(WAITCOPY);
        let said = format!("bind udp {default}: address already in use (EADDRINUSE)");
        assert_refused(command.args(["serve", "epoll", "--udp"]), 1, &said);
    });
}

for_each_model! {
    /// Row 37: its answer has nowhere to go, which is nobody else's business.
    fn a_client_gone_before_its_answer_holds_nobody_up(model: &str) {
        for server in servers(model, &[]) {
            let before = Peer::of(&server);
            before.exchange(b"before");
            server.while_stopped(|| {
                let peers: Vec<_> = (0..5).map(|_| Peer::of(&server)).collect();
                peers.iter().for_each(|peer| peer.send(b"and gone"));
                let names: Vec<_> = peers
                    .iter()
                    .map(|peer| waitcopy::sys::getsockname(&peer.0).unwrap().to_string())
                    .collect();
                drop(peers);
                // A process that another test is just starting may hold copies until its exec.
                support::until("they are gone", || {
                    let table = std::fs::read_to_string("/proc/net/unix").unwrap();
                    !table.lines().any(|line| names.iter().any(|name| line.ends_with(name)))
                });
            });
            before.exchange(b"still there");
            Peer::of(&server).exchange(b"next");
            let unix = server.endpoint.transport() == Transport::Unixgram;
            let ended = server.stop().clean();
            // UDP hears of it later if at all; a Unix socket knows at once.
            assert_eq!(ended.count("unsent"), if unix { 5 } else { 0 }, "{}", ended.stderr);
            assert_eq!(ended.count("requests"), 8);
        }
    }
}

for_each_model! {
    /// Row 38: what the kernel had to drop is told, over all sockets of the server.
    fn datagrams_dropped_in_a_burst_are_counted(model: &str) {
        if entry(model).serves(Transport::Udp).is_err() { return }
        const BURST: u64 = 100_000;
        let workers = [&[][..], &["--workers", "2"]][usize::from(entry(model).who == Who::Reuseport)];
        let server = Start::new(model, Transport::Udp).args(workers).start();
        let peers: Vec<_> = (0..8).map(|_| Peer::of(&server)).collect();
        peers.iter().for_each(|peer| peer.exchange(b"here"));
        server.while_stopped(|| {
            (0..BURST).for_each(|n| peers[n as usize % peers.len()].send(b"burst"));
            // All that is there is answered, and nothing comes after it.
            server.signal(sys::SIGTERM);
        });
        let ended = server.wait().clean();
        let (dropped, requests) = (ended.count("dropped"), ended.count("requests"));
        assert!(dropped > BURST / 2, "{}", ended.stderr);
        assert_eq!(dropped + requests, BURST + 8, "{dropped} dropped, {requests} requests");
        let answers = peers.iter().map(|peer| std::iter::from_fn(|| peer.receive_now()).count());
        assert_eq!(answers.sum::<usize>() as u64, requests - 8, "every one that was kept");
    }
}

/// How many datagrams a socket's queue is sure to hold.
fn queue(transport: Transport) -> usize {
    if transport == Transport::Udp {
        return 200;
    }
    let limit = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap();
    limit.trim().parse::<usize>().unwrap().min(200)
}

for_each_model! {
    /// The stop comes before the first of them is received: all are answered before it ends.
    fn what_was_queued_at_the_stop_is_answered(model: &str) {
        let workers = [&[][..], &["--workers", "2"]][usize::from(entry(model).who == Who::Reuseport)];
        for server in servers(model, workers) {
            let queued = queue(server.endpoint.transport());
            let peers: Vec<_> = (0..queued).map(|_| Peer::of(&server)).collect();
            peers[0].exchange(b"it runs");
            let message = |n: usize| pattern(1 + n, n as u64);
            server.while_stopped(|| {
                peers.iter().enumerate().for_each(|(n, peer)| peer.send(&message(n)));
                server.signal(sys::SIGTERM);
            });
            let start = Instant::now();
            let ended = server.wait().clean();
            assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
            for (n, peer) in peers.iter().enumerate() {
                // It has ended: what is not there will not come.
                assert!(peer.receive_now() == Some(message(n).to_ascii_uppercase()), "{model} {n}");
            }
            let counted = ["requests", "unsent", "dropped"].map(|name| ended.count(name));
            assert_eq!(counted, [queued as u64 + 1, 0, 0], "{}", ended.stderr);
        }
    }
}

for_each_model! {
    /// As for streams: nearly every stop falls between the check of the flag and the call that blocks.
    fn no_stop_is_slept_through(model: &str) {
        for transport in served(model, Kind::Datagram) {
            for run in 0..if long() { 100 } else { 10 } {
                let server =
                    Start::new(model, transport).env(&[("WAITCOPY_WIDEN_RACE_US", "1000")]).start();
                let peer = Peer::of(&server);
                (0..run % 4).for_each(|_| peer.exchange(b"one more"));
                let start = Instant::now();
                server.stop().clean();
                assert!(start.elapsed() < SOON, "run {run}: {:?}", start.elapsed());
            }
        }
    }
}

for_each_model! {
    /// `[::]` is for IPv4 clients as well, who are shown and answered as such.
    fn dual_stack_takes_both_families(model: &str) {
        if std::net::UdpSocket::bind("[::1]:0").is_err() {
            return skip("no IPv6 loopback here");
        }
        for transport in [Transport::Tcp, Transport::Udp] {
            if entry(model).serves(transport).is_err() { continue }
            let args = ["--listen", "[::]:0"];
            let server = Start::new(model, transport).args(&args).start();
            let port = server.endpoint.address().ip().unwrap().port();
            assert_eq!(server.place(), format!("[::]:{port}"));
            for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
                let there = Endpoint::of(transport, SocketAddr::new(ip, port).into()).unwrap();
                Peer::at(there).exchange(b"from here");
            }
            assert_eq!(server.stop().clean().count("requests"), 2);
        }
    }
}

/// Answers only when as many requests are in it at once as there are workers.
struct AllAtOnce(Arc<Barrier>);

impl Service for AllAtOnce {
    fn stream(&self, _: &mut [u8]) -> Answer {
        unreachable!("datagrams only")
    }

    fn datagram(&self, packet: &mut [u8]) -> Option<usize> {
        self.0.wait();
        Some(packet.len())
    }
}

/// N slow requests overlap in N threads: one after the other they would wait for ever.
#[test]
fn slow_requests_overlap_in_the_workers() {
    watchdog(PATIENCE, || {
        const N: usize = 5;
        for (model, count) in [("thread-pool", Some(N)), ("threads", None)] {
            let settings = Settings {
                workers: Workers { count, ..Workers::default() },
                ..Settings::default()
            };
            let service = AllAtOnce(Arc::new(Barrier::new(N)));
            let server = Library::start(model, Transport::Udp, service, settings);
            let peers: Vec<_> = (0..N).map(|_| Peer::at(server.endpoint)).collect();
            for round in 0..10 {
                let message = |n: usize| pattern(10 + n, round);
                peers.iter().enumerate().for_each(|(n, peer)| peer.send(&message(n)));
                for (n, peer) in peers.iter().enumerate() {
                    assert!(peer.receive() == message(n), "round {round}, client {n}");
                }
            }
            assert_eq!(server.stop().get(Count::Requests), 10 * N as u64);
        }
    });
}

/// A model as a user of the library runs it, on a datagram socket.
struct Library {
    endpoint: Endpoint,
    stop: Arc<Stop>,
    tally: Tally,
    flow: JoinHandle<Result<(), Failure>>,
}

impl Library {
    fn start(
        model: &str,
        transport: Transport,
        service: impl Service + Send + 'static,
        settings: Settings,
    ) -> Self {
        let serve = entry(model).run.counting;
        let path = datagrams::own_path("library");
        let place = if transport == Transport::Udp { "127.0.0.1:0" } else { &path };
        let endpoint = Endpoint::resolve(transport, place).unwrap()[0];
        let front = Front::bind(endpoint, &Bind::default()).unwrap();
        let (endpoint, tally) = (front.endpoint(), Tally::new(false).unwrap());
        let stop = Arc::new(Stop::new(Duration::from_secs(300)).unwrap());
        let (mut observer, stopped) = (Counting(tally.clone()), Arc::clone(&stop));
        let flow =
            thread::spawn(move || serve(front, &settings, &service, &mut observer, &stopped));
        Self { endpoint, stop, tally, flow }
    }

    fn stop(self) -> Tally {
        self.stop.request();
        self.flow.join().unwrap().unwrap();
        self.tally
    }
}
