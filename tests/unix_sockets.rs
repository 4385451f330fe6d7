//! Unix sockets: whose path it is, descriptors that nobody asked for, a stop with clients in flight; `faults.md` rows 9
//! and 39.

#[path = "support/datagrams.rs"]
mod datagrams;
mod support;

use datagrams::{Peer, Serving, Start, entry, own_path, python_works, served};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use support::{PATIENCE, assert_refused, long, pattern, strace_works, until, watchdog};
use waitcopy::client;
use waitcopy::model::Who;
use waitcopy::net::{Endpoint, Transport};
use waitcopy::sys::{self, Kind};

/// Well below the 10 s of the drain: who needs longer was freed by the deadline, not by the stop.
const SOON: Duration = Duration::from_secs(5);

/// The Unix transports that a model serves.
fn unix(model: &str) -> Vec<Transport> {
    let both = [served(model, Kind::Stream), served(model, Kind::Datagram)].concat();
    both.into_iter().filter(|t| matches!(t, Transport::Unix | Transport::Unixgram)).collect()
}

/// A few workers do as well as 64, sooner.
fn few(model: &str) -> &'static [&'static str] {
    if matches!(entry(model).who, Who::Prefork | Who::Pool) { &["--workers", "4"] } else { &[] }
}

fn in_use(endpoint: impl std::fmt::Display) -> String {
    format!("bind {endpoint}: address already in use (EADDRINUSE)")
}

for_each_model! {
    /// Over a stream every length comes back whole, and several clients each get their own.
    fn streams_are_answered_byte_for_byte(model: &str) {
        if !unix(model).contains(&Transport::Unix) { return }
        let server = Start::new(model, Transport::Unix).args(few(model)).start();
        let peers: Vec<_> = (0..if entry(model).is_exempt("neighbour") { 1 } else { 4 })
            .map(|_| Peer::of(&server))
            .collect();
        for len in (1..=1024).step_by(7).chain([1023, 1024, 1025, 5000, 60_000]) {
            peers.iter().for_each(|peer| peer.exchange(&pattern(len, len as u64)));
        }
        sys::shutdown(&peers[0].0, sys::Shutdown::Write).unwrap();
        assert_eq!(peers[0].receive(), b"", "the end of the stream");
        let ended = server.stop().clean();
        assert_eq!(ended.count("connections"), peers.len() as u64);
        assert_eq!(ended.count("bytes in"), ended.count("out"));
    }
}

for_each_model! {
    /// Made by bind, gone after a clean stop: also where children hold copies of the socket.
    fn the_path_comes_and_goes_with_its_server(model: &str) {
        for transport in unix(model) {
            let server = Start::new(model, transport).args(few(model)).start();
            let path = server.place();
            assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
            let peer = Peer::of(&server);
            peer.exchange(b"a child, where there are any");
            assert!(Path::new(&path).exists(), "a child that ends leaves it alone");
            server.stop().clean();
            assert!(!Path::new(&path).exists());
        }
    }
}

for_each_model! {
    /// A child of prefork that ends in the middle of it all does not take its parent's path with it.
    fn a_killed_child_leaves_the_path(model: &str) {
        if entry(model).who != Who::Prefork { return }
        let server = Start::new(model, Transport::Unix).args(few(model)).start();
        until("they are there", || server.family().len() == 5);
        let before = server.family();
        sys::kill(before[1], sys::SIGTERM).unwrap();
        until("it is replaced", || {
            let now = server.family();
            now.len() == 5 && !now.contains(&before[1])
        });
        Peer::of(&server).exchange(b"still found");
        let path = server.place();
        server.stop().clean();
        assert!(!Path::new(&path).exists());
    }
}

for_each_model! {
    /// Row 9: nobody cleans up after SIGKILL. The next server takes the path over.
    fn a_dead_path_is_reclaimed(model: &str) {
        for transport in unix(model) {
            let path = own_path(model);
            for _ in 0..3 {
                let server = Start::new(model, transport).args(few(model)).at(&path).start();
                Peer::of(&server).exchange(b"in the place of a dead one");
                server.kill();
                assert!(Path::new(&path).exists(), "it left its path");
            }
            Start::new(model, transport).args(few(model)).at(&path).start().stop().clean();
            assert!(!Path::new(&path).exists());
        }
    }
}

for_each_model! {
    /// Row 9: who answers keeps its path, whether its clients are being served or not.
    fn a_live_path_is_never_taken(model: &str) {
        for transport in unix(model) {
            let server = Start::new(model, transport).args(few(model)).start();
            let path = server.place();
            let peer = Peer::of(&server);
            peer.exchange(b"before");
            let inode = fs::symlink_metadata(&path).unwrap().ino();
            let second = || Start::new(model, transport).args(few(model)).at(&path).command();
            assert_refused(&mut second(), 1, &in_use(server.endpoint));
            // Stopped is not dead.
            server.while_stopped(|| assert_refused(&mut second(), 1, &in_use(server.endpoint)));
            assert_eq!(fs::symlink_metadata(&path).unwrap().ino(), inode);
            // A client of its own that says nothing: the probe was one as well, and costs nobody a place.
            peer.exchange(b"after");
            drop(peer);
            Peer::of(&server).exchange(b"next");
            let ended = server.stop().clean();
            assert_eq!(ended.count("requests"), 3, "{}", ended.stderr);
        }
    }
}

/// Row 9, for what is no dead server: it stays as it was.
#[test]
fn what_is_no_dead_socket_is_never_removed() {
    watchdog(PATIENCE, || {
        for transport in [Transport::Unix, Transport::Unixgram] {
            let refused = |path: &str| {
                let endpoint = Endpoint::resolve(transport, path).unwrap()[0];
                let mut command = Start::new("epoll", transport).at(path).command();
                assert_refused(&mut command, 1, &in_use(endpoint));
            };
            let file = own_path("file");
            fs::write(&file, "not yours").unwrap();
            refused(&file);
            assert_eq!(fs::read_to_string(&file).unwrap(), "not yours");
            let directory = own_path("directory");
            fs::create_dir(&directory).unwrap();
            refused(&directory);
            assert!(Path::new(&directory).is_dir());
            // A link would lead to somebody else's socket.
            let link = own_path("link");
            std::os::unix::fs::symlink(&file, &link).unwrap();
            refused(&link);
            assert!(fs::symlink_metadata(&link).unwrap().file_type().is_symlink());
            // A socket of the other kind that lives: it does not refuse, it is another protocol.
            let other = own_path("other");
            let _lives: Box<dyn std::any::Any> = match transport {
                Transport::Unix => Box::new(UnixDatagram::bind(&other).unwrap()),
                _ => Box::new(UnixListener::bind(&other).unwrap()),
            };
            refused(&other);
            assert!(Path::new(&other).exists());
            // Nor one that is too busy to answer: its backlog is full.
            if transport == Transport::Unix {
                let busy = own_path("busy");
                let endpoint = Endpoint::resolve(transport, &busy).unwrap()[0];
                let listener = sys::socket(endpoint.address(), Kind::Stream).unwrap();
                sys::bind(&listener, endpoint.address()).unwrap();
                sys::listen(&listener, 0).unwrap();
                let _waits = Peer::at(endpoint);
                refused(&busy);
                assert!(Path::new(&busy).exists());
            }
        }
    });
}

/// Row 9: at the end only what is ours is removed.
#[test]
fn somebody_elses_socket_at_our_path_stays() {
    watchdog(PATIENCE, || {
        let server = Start::new("epoll", Transport::Unix).start();
        let path = server.place();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        server.stop().clean();
        assert!(Path::new(&path).exists());
    });
}

/// Lets servers begin at once on one path; how many of them serve, and whether who serves is found there.
fn race(transport: Transport, path: &str, wrapper: &[&str]) {
    let start = || {
        let mut command = Start::new("epoll", transport).at(path).wrapper(wrapper).command();
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let both = [start(), start()];
    let pids = [both[0].id(), both[1].id()];
    let (to, ended) = std::sync::mpsc::channel();
    for child in both {
        let (to, pid) = (to.clone(), child.id());
        thread::spawn(move || to.send((pid, child.wait_with_output().unwrap())).unwrap());
    }
    // The one that loses ends by itself. If none does, both serve, and nobody finds the first.
    let (loser, Output { status, stderr, .. }) =
        ended.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| {
            pids.into_iter().for_each(end);
            panic!("both serve {path}");
        });
    let winner = pids[usize::from(pids[0] == loser)];
    let endpoint = Endpoint::resolve(transport, path).unwrap()[0];
    let said = String::from_utf8_lossy(&stderr);
    let refused = status.code() == Some(1) && said.contains(&in_use(endpoint));
    if refused {
        until("the winner answers", || client::connect(&[endpoint]).is_ok());
        Peer::at(endpoint).exchange(b"the winner serves");
    }
    end(winner);
    let (_, Output { status, .. }) = ended.recv().unwrap();
    assert!(refused, "{said}");
    assert_eq!(status.code(), Some(0));
    assert!(!Path::new(path).exists());
}

/// SIGTERM to a server, which may stand behind strace.
fn end(pid: u32) {
    let children =
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let child = children.split_whitespace().next().map_or(pid, |child| child.parse().unwrap());
    let _ = sys::kill(child, sys::SIGTERM);
}

/// Leaves a path behind that nobody serves.
fn dead(transport: Transport) -> String {
    let path = own_path("dead");
    match transport {
        Transport::Unix => drop(UnixListener::bind(&path).unwrap()),
        _ => drop(UnixDatagram::bind(&path).unwrap()),
    }
    path
}

/// Row 9: of two servers that find the same dead path, exactly one takes it.
#[test]
fn of_two_on_a_dead_path_one_wins() {
    watchdog(2 * PATIENCE, || {
        for transport in [Transport::Unix, Transport::Unixgram] {
            for _ in 0..if long() { 100 } else { 15 } {
                race(transport, &dead(transport), &[]);
            }
        }
    });
}

/// The same with the window held open: a bound socket that does not listen yet looks dead.
#[test]
fn who_has_bound_and_not_yet_listened_is_alive() {
    watchdog(2 * PATIENCE, || {
        if !strace_works() {
            return;
        }
        // Microseconds.
        let wrapper = ["strace", "-f", "-o", "/dev/null", "-e", "inject=listen:delay_enter=300000"];
        for path in [dead(Transport::Unix), own_path("fresh")] {
            race(Transport::Unix, &path, &wrapper);
        }
    });
}

for_each_model! {
    /// Names of the abstract namespace have no file, and are free again when their server is gone, however it went.
    fn abstract_names_are_served(model: &str) {
        for transport in unix(model) {
            let name = format!("@waitcopy-{}-{model}-{}", std::process::id(), transport.name());
            for killed in [true, false] {
                let server = Start::new(model, transport).args(few(model)).at(&name).start();
                assert_eq!(server.place(), name);
                Peer::of(&server).exchange(b"by name");
                let mut second = Start::new(model, transport).args(few(model)).at(&name).command();
                assert_refused(&mut second, 1, &in_use(server.endpoint));
                if killed { server.kill() } else { drop(server.stop().clean()) }
            }
            assert!(!Path::new(&name).exists());
        }
    }
}

/// Connects, passes 50 descriptors with a message of 8 bytes, and prints the answers to that and to two more.
const PASSES_FIFTY: &str = "
import os, socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == 'unix' else socket.SOCK_DGRAM
peer = socket.socket(socket.AF_UNIX, kind)
peer.settimeout(20)
if kind == socket.SOCK_DGRAM: peer.bind('')
peer.connect(sys.argv[2])
fds = [os.open('/dev/null', os.O_RDONLY) for _ in range(50)]
for message, passed in ((b'with fds', fds), (b'without', []), (b'and more', fds)):
    assert socket.send_fds(peer, [message], passed) == len(message)
    print(peer.recv(100).decode())
";

fn pass_fifty(server: &Serving) {
    let (transport, path) = (server.endpoint.transport().name(), server.place());
    let sender = Command::new("python3").args(["-c", PASSES_FIFTY, transport, &path]).output();
    let Output { status, stdout, stderr } = sender.unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    assert_eq!(String::from_utf8_lossy(&stdout), "WITH FDS\nWITHOUT\nAND MORE\n");
}

for_each_model! {
    /// Row 39: nobody asked for them, nobody keeps them; also where a receive has room for some of them.
    fn descriptors_that_are_passed_are_closed(model: &str) {
        if !python_works() { return }
        let report = support::scratch(&format!("passed-{model}.json"));
        let report = ["--report", report.to_str().unwrap()];
        for transport in unix(model) {
            for more in [&[][..], &report] {
                let args = [few(model), more].concat();
                let server = Start::new(model, transport).args(&args).start();
                let ready = if entry(model).who == Who::Prefork { 5 } else { 1 };
                // With one client at both times, who was answered: it has all that serving takes.
                let one = |message: &[u8]| {
                    let peer = Peer::of(&server);
                    peer.exchange(message);
                    until("they are there", || server.family().len() >= ready);
                    peer
                };
                let first = one(b"first");
                let with_one = server.descriptors();
                drop(first);
                (0..3).for_each(|_| pass_fifty(&server));
                let _last = one(b"last");
                // A worker of a recorded server has a file of its own, and may have begun later; 300 were passed.
                until("all are closed", || server.descriptors() <= with_one + 4);
                assert_eq!(server.stop().clean().count("requests"), 11);
            }
        }
    }
}

for_each_model! {
    /// The stop comes before their messages are received; whoever was accepted is answered to the last byte.
    fn fifty_in_flight_are_answered_in_full(model: &str) {
        if !unix(model).contains(&Transport::Unix) { return }
        const LEN: usize = 17_000;
        let server = Start::new(model, Transport::Unix).start();
        let accepted = if entry(model).is_exempt("neighbour") { 1 } else { 50 };
        let peers: Vec<_> = (0..accepted).map(|_| Peer::of(&server)).collect();
        peers.iter().for_each(|peer| peer.exchange(b"accepted"));
        server.while_stopped(|| {
            for (seed, peer) in peers.iter().enumerate() {
                peer.send(&pattern(LEN, seed as u64));
            }
            server.signal(sys::SIGTERM);
        });
        let start = Instant::now();
        for (seed, peer) in peers.iter().enumerate() {
            let answer = peer.receive_all();
            assert!(answer == pattern(LEN, seed as u64).to_ascii_uppercase(), "{}", answer.len());
        }
        let ended = server.wait().clean();
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
        assert_eq!((ended.count("out"), ended.count("cut")), (accepted * (LEN as u64 + 8), 0));
    }
}

for_each_model! {
    /// As over TCP: nearly every stop falls between the check of the flag and the call that blocks.
    fn no_stop_is_slept_through(model: &str) {
        if !unix(model).contains(&Transport::Unix) { return }
        for run in 0..if long() { 100 } else { 10 } {
            let race = [("WAITCOPY_WIDEN_RACE_US", "1000")];
            let server = Start::new(model, Transport::Unix).args(few(model)).env(&race).start();
            let peer = (run % 4 > 0).then(|| Peer::of(&server));
            (0..run % 4).for_each(|_| peer.as_ref().unwrap().exchange(b"one more"));
            let start = Instant::now();
            server.stop().clean();
            assert!(start.elapsed() < SOON, "run {run}: {:?}", start.elapsed());
        }
    }
}
