//! Addresses and datagrams of `sys` against the kernel; locks, children, signals that are held back.

mod support;

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use support::{PATIENCE, alone, errno, pattern, scratch, skip, watchdog};
use waitcopy::sys::{self, Address, Clock, Kind};

const LOOPBACK: &str = "127.0.0.1:0";

/// A datagram socket at that address, and where it is.
fn bound(address: impl Into<Address>) -> (OwnedFd, Address) {
    let address = address.into();
    let socket = sys::socket(address, Kind::Datagram).unwrap();
    sys::bind(&socket, address).unwrap();
    let name = sys::getsockname(&socket).unwrap();
    (socket, name)
}

fn udp() -> (OwnedFd, Address) {
    bound(LOOPBACK.parse::<SocketAddr>().unwrap())
}

/// A Unix datagram socket with a name of the kernel's choice.
fn unixgram() -> (OwnedFd, Address) {
    bound(Address::AUTOBIND)
}

fn path(name: &str) -> Address {
    Address::unix(&scratch(name)).unwrap()
}

type Receive = fn(&OwnedFd, &mut [u8]) -> std::io::Result<sys::Packet>;
/// Both receives, one after the other, see the same.
const RECEIVES: [Receive; 2] = [
    |socket, buffer| sys::recvfrom(socket, buffer),
    |socket, buffer| sys::recvmsg_from(socket, buffer),
];

#[test]
fn a_datagram_comes_with_its_sender() {
    watchdog(PATIENCE, || {
        for pair in [[udp(), udp()], [unixgram(), unixgram()]] {
            let [(near, sender), (far, address)] = pair;
            for receive in RECEIVES {
                for len in [0, 1, 1023, 1024] {
                    let (message, mut buffer) = (pattern(len, 1), [0xee; 1025]);
                    assert_eq!(sys::sendto(&near, &message, &address).unwrap(), len);
                    let packet = receive(&far, &mut buffer[..1024]).unwrap();
                    assert_eq!((packet.len, packet.truncated, packet.stamp), (len, false, None));
                    assert_eq!((packet.from, packet.from.unnamed()), (sender, false));
                    assert!(buffer[..len] == message && buffer[len..].iter().all(|&b| b == 0xee));
                    // The answer goes to where it came from.
                    sys::sendto(&far, b"answer", &packet.from).unwrap();
                    assert_eq!(sys::recv(&near, &mut buffer).unwrap(), 6);
                }
            }
        }
    });
}

#[test]
fn a_datagram_that_does_not_fit_says_how_long_it_was() {
    watchdog(PATIENCE, || {
        for [(near, _), (far, address)] in [[udp(), udp()], [unixgram(), unixgram()]] {
            for receive in RECEIVES {
                let mut buffer = [0xee; 16];
                sys::sendto(&near, &[b'x'; 9000], &address).unwrap();
                let packet = receive(&far, &mut buffer[..10]).unwrap();
                assert_eq!((packet.len, packet.truncated), (9000, true));
                assert_eq!(&buffer, b"xxxxxxxxxx\xee\xee\xee\xee\xee\xee");
                // The rest is lost, it is no datagram of its own.
                sys::set_nonblocking(&far, true).unwrap();
                assert_eq!(errno(receive(&far, &mut buffer)), libc::EAGAIN);
                sys::set_nonblocking(&far, false).unwrap();
            }
        }
    });
}

#[test]
fn a_stamp_comes_with_a_datagram_where_it_was_asked_for() {
    watchdog(PATIENCE, || {
        for [(near, sender), (far, address)] in [[udp(), udp()], [unixgram(), unixgram()]] {
            sys::set_timestamps(&far).unwrap();
            let start = sys::clock_gettime(Clock::Realtime);
            sys::sendto(&near, b"stamped", &address).unwrap();
            let packet = sys::recvmsg_from(&far, &mut [0; 16]).unwrap();
            let end = sys::clock_gettime(Clock::Realtime);
            let stamp = packet.stamp.expect("a stamp");
            assert!(start <= stamp && stamp <= end, "{start:?} {stamp:?} {end:?}");
            assert_eq!((packet.len, packet.from), (7, sender));
        }
    });
}

#[test]
fn who_was_never_bound_is_unnamed() {
    let (far, address) = unixgram();
    let near = sys::socket(address, Kind::Datagram).unwrap();
    for receive in RECEIVES {
        sys::sendto(&near, b"from nobody", &address).unwrap();
        let packet = receive(&far, &mut [0; 16]).unwrap();
        assert!(
            packet.from.unnamed() && packet.from.ip().is_none() && packet.from.path().is_none()
        );
        assert_eq!((packet.len, packet.from.to_string()), (11, "unnamed".to_owned()));
    }
    assert!(sys::getsockname(&near).unwrap().unnamed());
}

#[test]
fn a_datagram_that_cannot_go_there_says_why() {
    // Alone: a child of a parallel test holds, up to its exec, the socket that is closed here.
    alone("a_datagram_that_cannot_go_there_says_why", || {
        let (near, address) = udp();
        // UDP has 16 bits for a length, its own and IP's headers included.
        let largest = 65_535 - 8 - 20;
        assert_eq!(errno(sys::sendto(&near, &vec![0; largest + 1], &address)), libc::EMSGSIZE);
        assert_eq!(sys::sendto(&near, &vec![0; largest], &address).unwrap(), largest);

        let (near, _) = unixgram();
        assert_eq!(errno(sys::sendto(&near, b"x", &path("nobody-was-here"))), libc::ENOENT);
        let dead = path("dead");
        drop(bound(dead));
        assert_eq!(errno(sys::sendto(&near, b"x", &dead)), libc::ECONNREFUSED);
        // A reader that does not read makes nobody wait.
        let (_full, address) = unixgram();
        let full = (0..100_000).find_map(|_| sys::sendto(&near, b"x", &address).err()).unwrap();
        assert_eq!(full.raw_os_error(), Some(libc::EAGAIN));
        // A stream listens there: another protocol.
        let listens = path("listens");
        let listener = sys::socket(listens, Kind::Stream).unwrap();
        sys::bind(&listener, listens).unwrap();
        assert_eq!(errno(sys::sendto(&near, b"x", &listens)), libc::EPROTOTYPE);
    });
}

/// The refusal comes back on the connected socket that sent, once.
#[test]
fn a_refused_datagram_is_reported_once() {
    // Alone: a child of a parallel test holds, up to its exec, the socket that is closed here.
    alone("a_refused_datagram_is_reported_once", || {
        let (gone, address) = udp();
        let (near, _) = udp();
        sys::connect(&near, address).unwrap();
        drop(gone);
        assert_eq!(sys::send(&near, b"x").unwrap(), 1);
        sys::set_nonblocking(&near, true).unwrap();
        assert_eq!(errno(sys::recvfrom(&near, &mut [0; 8])), libc::ECONNREFUSED);
        assert_eq!(errno(sys::recvfrom(&near, &mut [0; 8])), libc::EAGAIN);
    });
}

#[test]
fn names_come_back_from_the_kernel_as_they_went_in() {
    // Alone, for the same reason: a name that is let go is taken again.
    alone("names_come_back_from_the_kernel_as_they_went_in", || {
        let unique = |name: &str| format!("@waitcopy-{}-{name}", std::process::id());
        let longest = unique("x").len();
        // An abstract name may have any bytes but begins with one NUL; a dot and a space are nothing special.
        for name in [unique("plain"), unique("with space."), unique(&"x".repeat(107 - longest + 1))]
        {
            let address = Address::unix(Path::new(&name)).unwrap();
            let (socket, known) = bound(address);
            assert_eq!((known, known.to_string()), (address, name));
            assert!(known.path().is_none() && known.ip().is_none() && !known.unnamed());
            // It is found by that name, and its peers see it.
            let (near, _) = unixgram();
            sys::connect(&near, known).unwrap();
            assert_eq!(sys::getpeername(&near).unwrap(), address);
            drop(socket);
            drop(bound(address));
        }
        for name in ["short", "with space", "ümlaut", "@is-no-first-letter-here"] {
            let file = scratch(name);
            let (_socket, known) = bound(Address::unix(&file).unwrap());
            assert_eq!(
                (known.path(), known.to_string()),
                (Some(&*file), file.display().to_string())
            );
            assert!(fs::symlink_metadata(&file).is_ok());
        }
        // Not UTF-8, and as long as a path can be.
        let room = 107 - scratch("").as_os_str().len();
        let raw = scratch("").join(std::ffi::OsStr::from_bytes(&vec![0xff; room]));
        let (_socket, known) = bound(Address::unix(&raw).unwrap());
        assert_eq!(known.path(), Some(&*raw));
    });
}

#[test]
fn an_automatic_name_is_new_each_time() {
    let names: Vec<_> = (0..5).map(|_| unixgram()).collect();
    for (n, (_, name)) in names.iter().enumerate() {
        let text = name.to_string();
        assert!(text.starts_with('@') && text.len() == 6 && !name.unnamed(), "{text}");
        assert!(names[..n].iter().all(|(_, other)| other != name), "{text}");
    }
}

#[test]
fn several_sockets_share_a_port_when_all_ask_for_it() {
    watchdog(PATIENCE, || {
        let open = |address: SocketAddr, shares: bool| {
            let socket = sys::socket(address, Kind::Datagram).unwrap();
            if shares {
                sys::set_reuse_port(&socket).unwrap();
            }
            sys::bind(&socket, address).map(|()| socket)
        };
        let first = open(LOOPBACK.parse().unwrap(), true).unwrap();
        let address = sys::getsockname(&first).unwrap().ip().unwrap();
        let second = open(address, true).unwrap();
        assert_eq!(errno(open(address, false)), libc::EADDRINUSE);
        // Each sender's datagrams go to one of them; of many senders, some to each.
        let both = [first, second];
        let count = |socket| {
            sys::set_nonblocking(socket, true).unwrap();
            std::iter::from_fn(|| sys::recvfrom(socket, &mut [0; 8]).ok()).count()
        };
        let senders: Vec<_> = (0..64).map(|_| udp().0).collect();
        for sender in &senders {
            sys::sendto(sender, b"spread", &address.into()).unwrap();
        }
        let counts = both.each_ref().map(count);
        assert!(counts[0] > 0 && counts[1] > 0 && counts[0] + counts[1] == 64, "{counts:?}");
    });
}

#[test]
fn a_dual_stack_socket_has_clients_of_both_families() {
    watchdog(PATIENCE, || {
        let any: SocketAddr = "[::]:0".parse().unwrap();
        if std::net::UdpSocket::bind("[::1]:0").is_err() {
            return skip("no IPv6 loopback here");
        }
        let socket = sys::socket(any, Kind::Datagram).unwrap();
        sys::set_dual_stack(&socket).unwrap();
        sys::bind(&socket, any).unwrap();
        let port = sys::getsockname(&socket).unwrap().ip().unwrap().port();
        let (near, sender) = udp();
        let there: SocketAddr = ([127, 0, 0, 1], port).into();
        sys::sendto(&near, b"four", &there.into()).unwrap();
        let packet = sys::recvfrom(&socket, &mut [0; 8]).unwrap();
        // Shown as what it is; answered as the kernel gave it.
        assert_eq!(packet.from.to_string(), sender.to_string());
        assert!(packet.from.ip().unwrap().is_ipv6());
        sys::sendto(&socket, b"back", &packet.from).unwrap();
        assert_eq!(sys::recvfrom(&near, &mut [0; 8]).unwrap().len, 4);
        assert!(sys::set_dual_stack(udp().0).is_err(), "not for an IPv4 socket");
    });
}

#[test]
fn the_kernel_counts_what_a_full_queue_drops() {
    let (near, _) = udp();
    let (far, address) = udp();
    sys::set_receive_buffer(&far, 4096).unwrap();
    assert_eq!(sys::socket_memory(&far).unwrap(), sys::SocketMemory::default());
    const SENT: usize = 1000;
    (0..SENT).for_each(|_| assert_eq!(sys::sendto(&near, &[0; 100], &address).unwrap(), 100));
    let memory = sys::socket_memory(&far).unwrap();
    sys::set_nonblocking(&far, true).unwrap();
    let kept = std::iter::from_fn(|| sys::recvfrom(&far, &mut [0; 100]).ok()).count();
    assert!(kept > 0 && memory.received as usize >= 100 * kept, "{memory:?}, {kept} kept");
    assert_eq!(memory.dropped as usize + kept, SENT);
    // It remembers for its life.
    assert_eq!(sys::socket_memory(&far).unwrap().dropped, memory.dropped);
}

#[test]
fn an_event_counter_is_read_once() {
    let counter = sys::eventfd().unwrap();
    assert_eq!(errno(sys::eventfd_read(&counter)), libc::EAGAIN);
    (0..3).for_each(|_| sys::eventfd_write(&counter).unwrap());
    assert_eq!(sys::eventfd_read(&counter).unwrap(), 3);
    assert_eq!(errno(sys::eventfd_read(&counter)), libc::EAGAIN);
}

/// How long nothing has to happen before it is taken for granted that nothing does.
const NOTHING: Duration = Duration::from_millis(100);

#[test]
fn two_holders_of_a_lock_exclude_each_other() {
    watchdog(PATIENCE, || {
        let file = scratch("locked");
        fs::create_dir_all(&file).unwrap();
        let first = File::open(&file).unwrap();
        sys::flock(&first).unwrap();
        let (to, has) = mpsc::channel();
        let second = thread::spawn(move || {
            let second = File::open(&file).unwrap();
            to.send("begins").unwrap();
            sys::flock(&second).unwrap();
            to.send("has it").unwrap();
        });
        assert_eq!(has.recv().unwrap(), "begins");
        // Also a copy of the descriptor holds it.
        let copy = first.try_clone().unwrap();
        drop(first);
        has.recv_timeout(NOTHING).unwrap_err();
        drop(copy);
        assert_eq!(has.recv().unwrap(), "has it");
        second.join().unwrap();
    });
}

/// Only a process of one thread may fork. Under the watchdog there are two at least: it says how many.
#[test]
fn a_process_with_threads_is_no_single_threaded_one() {
    alone("a_process_with_threads_is_no_single_threaded_one", || {
        let threads = fs::read_dir("/proc/self/task").unwrap().count();
        assert!(threads >= 2);
        assert_eq!(sys::threads().unwrap(), threads);
        let (go, wait) = mpsc::channel::<()>();
        let more = thread::spawn(move || wait.recv());
        assert_eq!(sys::threads().unwrap(), threads + 1);
        drop(go);
        more.join().unwrap().unwrap_err();
    });
}

static ARRIVED: AtomicU32 = AtomicU32::new(0);

fn arrive(_: sys::Signal) {
    ARRIVED.fetch_add(1, SeqCst);
}

/// Held back, they wait; let through, one or all, they arrive.
#[test]
fn blocked_signals_arrive_when_they_are_let_through() {
    alone("blocked_signals_arrive_when_they_are_let_through", || {
        sys::on_signal(sys::SIGUSR1, arrive).unwrap();
        sys::raise(sys::SIGUSR1).unwrap();
        assert_eq!(ARRIVED.load(SeqCst), 1);
        let before = sys::block_signals().unwrap();
        sys::raise(sys::SIGUSR1).unwrap();
        assert_eq!(ARRIVED.load(SeqCst), 1, "held back");
        // What is blocked now: everything. Without one signal, that one comes through.
        let all = sys::block_signals().unwrap();
        sys::restore_signals(&all.without(sys::SIGTERM)).unwrap();
        assert_eq!(ARRIVED.load(SeqCst), 1, "another one than that");
        sys::restore_signals(&all.without(sys::SIGUSR1)).unwrap();
        assert_eq!(ARRIVED.load(SeqCst), 2);
        sys::restore_signals(&before).unwrap();
        sys::raise(sys::SIGUSR1).unwrap();
        assert_eq!(ARRIVED.load(SeqCst), 3);
        // Not what cannot be held back, and no number that is no signal.
        let _ = before.without(0).without(9999);
    });
}
