//! The socket wrappers of `sys` against the kernel: errno, addresses, options, data, stamps, shutdown.

mod support;

use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use support::{PATIENCE, alone, connected, errno, listening, pattern, skip, until, watchdog};
use waitcopy::phase::Primed;
use waitcopy::sys::{self, AcceptFailure, Clock, Shutdown};

/// A stopped reader's peer: all that the kernel takes, on a socket that does not wait.
fn fill(fd: &OwnedFd) -> usize {
    let block = pattern(64 * 1024, 1);
    sys::set_nonblocking(fd, true).unwrap();
    let mut sent = 0;
    loop {
        match sys::send(fd, &block) {
            Ok(n) => sent += n,
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
                return sent;
            }
        }
    }
}

/// Reads until `bytes` have come.
fn read_exactly(fd: &OwnedFd, bytes: usize) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    while all.len() < bytes {
        let n = sys::recv(fd, &mut buffer).unwrap();
        assert!(n > 0, "end of file after {} of {bytes} bytes", all.len());
        all.extend_from_slice(&buffer[..n]);
    }
    all
}

#[test]
fn errors_carry_the_errno_and_its_name() {
    let (listener, address) = listening();
    let second = sys::socket(address, sys::Kind::Stream).unwrap();
    let taken = sys::bind(&second, address).unwrap_err();
    assert_eq!(taken.raw_os_error(), Some(libc::EADDRINUSE));
    assert_eq!(sys::errno_name(&taken), Some("EADDRINUSE"));
    assert_eq!(sys::describe(&taken), "address already in use (EADDRINUSE)");

    assert_eq!(errno(sys::getpeername(&listener)), libc::ENOTCONN);
    assert_eq!(errno(sys::fionread(&listener)), libc::EINVAL);
    assert_eq!(errno(sys::siocoutq(&listener)), libc::EINVAL);
    let elsewhere: SocketAddr = "192.0.2.1:0".parse().unwrap();
    assert_eq!(errno(sys::bind(&second, elsewhere)), libc::EADDRNOTAVAIL);
    let (unix, _) = sys::socketpair().unwrap();
    assert_eq!(errno(sys::set_nodelay(&unix)), libc::EOPNOTSUPP);
    assert_eq!(errno(sys::set_quickack(&unix)), libc::EOPNOTSUPP);
    sys::set_quickack(&connected().0).unwrap();
}

#[test]
fn a_port_where_nobody_listens_refuses() {
    // Bound, not listening: nobody else can get the port meanwhile.
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let silent = sys::socket(any, sys::Kind::Stream).unwrap();
    sys::bind(&silent, any).unwrap();
    let address = sys::getsockname(&silent).unwrap().ip().unwrap();
    assert_ne!(address.port(), 0);

    let client = sys::socket(address, sys::Kind::Stream).unwrap();
    assert_eq!(errno(sys::connect(&client, address)), libc::ECONNREFUSED);

    // Without waiting: the refusal is the socket's pending error, and is told once.
    let client = sys::socket(address, sys::Kind::Stream).unwrap();
    sys::set_nonblocking(&client, true).unwrap();
    assert_eq!(errno(sys::connect(&client, address)), libc::EINPROGRESS);
    sys::poll(&mut [sys::PollFd::new(&client, false, true)], Some(PATIENCE)).unwrap();
    assert_eq!(errno(sys::take_error(&client)), libc::ECONNREFUSED);
    sys::take_error(&client).unwrap();
}

#[test]
fn accept_failures_fall_into_their_classes() {
    use AcceptFailure::{Again, Broken, Interrupted, NoResources, OneClient, Shut};
    let one_client = [
        libc::ECONNABORTED,
        libc::EPROTO,
        libc::EPERM,
        libc::ENETDOWN,
        libc::ENOPROTOOPT,
        libc::EHOSTDOWN,
        libc::ENONET,
        libc::EHOSTUNREACH,
        libc::EOPNOTSUPP,
        libc::ENETUNREACH,
        libc::ETIMEDOUT,
    ];
    let no_resources = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    let classes: [(AcceptFailure, &[i32]); 6] = [
        (Again, &[libc::EAGAIN, libc::EWOULDBLOCK]),
        (Interrupted, &[libc::EINTR]),
        (OneClient, &one_client),
        (NoResources, &no_resources),
        (Shut, &[libc::EINVAL]),
        (Broken, &[libc::EBADF, libc::ENOTSOCK, libc::EFAULT]),
    ];
    for (class, codes) in classes {
        for &code in codes {
            let error = std::io::Error::from_raw_os_error(code);
            assert_eq!(sys::accept_failure(&error), class, "{error}");
        }
    }
}

#[test]
fn o_nonblock_is_set_cleared_and_not_inherited() {
    let (listener, address) = listening();
    assert!(!sys::nonblocking(&listener).unwrap());
    sys::set_nonblocking(&listener, true).unwrap();
    assert!(sys::nonblocking(&listener).unwrap());
    assert_eq!(sys::fcntl_getfl(&listener).unwrap(), libc::O_RDWR | libc::O_NONBLOCK);
    let empty = sys::accept4(&listener).unwrap_err();
    assert_eq!(sys::accept_failure(&empty), AcceptFailure::Again);

    let client = TcpStream::connect(address).unwrap();
    let (accepted, peer) = sys::accept4(&listener).unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    assert!(!sys::nonblocking(&accepted).unwrap(), "accepted sockets are blocking");
    sys::set_nonblocking(&accepted, true).unwrap();
    assert_eq!(errno(sys::recv(&accepted, &mut [0])), libc::EAGAIN);
    sys::set_nonblocking(&accepted, false).unwrap();
    assert_eq!(sys::fcntl_getfl(&accepted).unwrap(), libc::O_RDWR);
}

#[test]
fn accepted_sockets_inherit_nodelay() {
    let (listener, address) = listening();
    let accepted_nodelay = || {
        let _client = TcpStream::connect(address).unwrap();
        let (socket, _) = sys::accept4(&listener).unwrap();
        TcpStream::from(socket).nodelay().unwrap()
    };
    assert!(!accepted_nodelay());
    sys::set_nodelay(&listener).unwrap();
    assert!(accepted_nodelay());
}

#[test]
fn a_port_with_connections_in_time_wait_needs_reuse_address() {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let listener = sys::socket(any, sys::Kind::Stream).unwrap();
    // Both sides must agree: the kernel asks the old socket as well.
    sys::set_reuse_address(&listener).unwrap();
    sys::bind(&listener, any).unwrap();
    sys::listen(&listener, 1).unwrap();
    let address = sys::getsockname(&listener).unwrap().ip().unwrap();
    let client = TcpStream::connect(address).unwrap();
    // Who closes first keeps the port in TIME_WAIT.
    drop(sys::accept4(&listener).unwrap());
    drop(listener);
    drop(client);
    let next = sys::socket(address, sys::Kind::Stream).unwrap();
    assert_eq!(errno(sys::bind(&next, address)), libc::EADDRINUSE);
    sys::set_reuse_address(&next).unwrap();
    sys::bind(&next, address).unwrap();
}

#[test]
fn addresses_make_the_round_trip_on_ipv6() {
    let any: SocketAddr = "[::1]:0".parse().unwrap();
    let listener = sys::socket(any, sys::Kind::Stream).unwrap();
    if let Err(error) = sys::bind(&listener, any) {
        return skip(&format!("no IPv6 on loopback: {error}"));
    }
    sys::listen(&listener, 1).unwrap();
    let address = sys::getsockname(&listener).unwrap().ip().unwrap();
    assert_eq!((address.ip(), address.port() != 0), (any.ip(), true));
    let client = sys::socket(address, sys::Kind::Stream).unwrap();
    sys::connect(&client, address).unwrap();
    let (accepted, peer) = sys::accept4(&listener).unwrap();
    assert_eq!(sys::getpeername(&client).unwrap(), address);
    assert_eq!(sys::getsockname(&client).unwrap(), peer);
    assert_eq!(sys::getpeername(&accepted).unwrap(), peer);
}

#[test]
fn stamps_lie_between_the_senders_clock_before_and_after() {
    watchdog(PATIENCE, || {
        // Keeps the host stamping for the length of the test.
        let primed = Primed::new().unwrap();
        assert!(primed.works, "no stamps on loopback");
        let (listener, address) = listening();
        sys::set_timestamps(&listener).unwrap();
        let client = sys::socket(address, sys::Kind::Stream).unwrap();
        sys::connect(&client, address).unwrap();
        let (accepted, _) = sys::accept4(&listener).unwrap();

        let message = pattern(4096, 2);
        let before = sys::clock_gettime(Clock::Realtime);
        assert_eq!(sys::send(&client, &message).unwrap(), message.len());
        let after = sys::clock_gettime(Clock::Realtime);
        // All of it is there, as one segment: each receive finds the same stamp.
        until("4096 bytes received", || sys::fionread(&accepted).unwrap() == message.len());
        let mut buffer = [0; 1024];
        for part in message.chunks(buffer.len()) {
            let received = sys::recvmsg(&accepted, &mut buffer).unwrap();
            assert_eq!((received.bytes, &buffer[..]), (part.len(), part));
            let stamp = received.stamp.expect("each receive brings a stamp");
            assert!(before <= stamp && stamp <= after, "{before:?} <= {stamp:?} <= {after:?}");
        }
        drop(client);
        assert_eq!(sys::recvmsg(&accepted, &mut buffer).unwrap().bytes, 0);
    });
}

#[test]
fn without_the_option_there_is_no_stamp() {
    let _primed = Primed::new().unwrap();
    for (near, far) in [connected(), sys::socketpair().unwrap()] {
        sys::send(&near, b"abc").unwrap();
        let received = sys::recvmsg(&far, &mut [0; 8]).unwrap();
        assert_eq!(received, sys::Received { bytes: 3, stamp: None });
    }
}

static BROKEN_PIPES: AtomicUsize = AtomicUsize::new(0);

#[test]
fn sending_to_a_closed_peer_is_an_error_and_no_signal() {
    alone("sending_to_a_closed_peer_is_an_error_and_no_signal", || {
        // std ignores SIGPIPE: only a handler of our own tells whether one comes.
        let count = |_| _ = BROKEN_PIPES.fetch_add(1, SeqCst);
        sys::on_signal(libc::SIGPIPE, count).unwrap();
        let (near, far) = connected();
        drop(far);
        // The kernel takes the first, and the reset that it provokes fails a later one.
        let mut last = sys::send(&near, b"x");
        until("the reset has come", || {
            last = sys::send(&near, b"x");
            last.is_err()
        });
        let code = errno(last);
        assert!([libc::EPIPE, libc::ECONNRESET].contains(&code), "errno {code}");
        assert_eq!(errno(sys::send(&near, b"x")), libc::EPIPE);
        assert_eq!(BROKEN_PIPES.load(SeqCst), 0);
    });
}

#[test]
fn linger_0_resets_the_peer() {
    let (near, far) = connected();
    sys::set_linger(&near, 0).unwrap();
    drop(near);
    assert_eq!(errno(sys::recv(&far, &mut [0])), libc::ECONNRESET);
}

#[test]
fn the_two_queues_are_counted_in_bytes() {
    watchdog(PATIENCE, || {
        let (near, far) = connected();
        assert_eq!((sys::fionread(&far).unwrap(), sys::siocoutq(&near).unwrap()), (0, 0));
        sys::send(&near, b"12345").unwrap();
        until("5 bytes received", || sys::fionread(&far).unwrap() == 5);
        sys::recv(&far, &mut [0; 3]).unwrap();
        assert_eq!(sys::fionread(&far).unwrap(), 2);
        until("all acknowledged", || sys::siocoutq(&near).unwrap() == 0);

        let sent = 5 + fill(&near);
        until("the window is closed", || sys::fionread(&far).unwrap() > 0);
        let unacknowledged = sys::siocoutq(&near).unwrap();
        assert!(unacknowledged > 0 && unacknowledged < sent, "{unacknowledged} of {sent}");
        sys::shutdown(&near, Shutdown::Write).unwrap();
        read_exactly(&far, sent - 3);
        assert_eq!(sys::recv(&far, &mut [0]).unwrap(), 0);
        until("the FIN too is acknowledged", || sys::siocoutq(&near).unwrap() == 0);
    });
}

#[test]
fn small_buffers_hold_less() {
    let (near, _far) = connected();
    let ordinary = fill(&near);
    let (listener, address) = listening();
    sys::set_receive_buffer(&listener, 4096).unwrap();
    let near = sys::socket(address, sys::Kind::Stream).unwrap();
    sys::set_send_buffer(&near, 4096).unwrap();
    sys::connect(&near, address).unwrap();
    let _far = sys::accept4(&listener).unwrap();
    let small = fill(&near);
    assert!(small * 4 < ordinary, "{small} against {ordinary} bytes");
}

#[test]
fn time_outs_of_a_socket_say_eagain_and_are_not_early() {
    watchdog(PATIENCE, || {
        let asked = Duration::from_micros(30_300);
        let elapsed_of = |call: &dyn Fn() -> i32| {
            let start = sys::clock_gettime(Clock::Monotonic);
            assert_eq!(call(), libc::EAGAIN);
            sys::clock_gettime(Clock::Monotonic) - start
        };
        let (near, far) = connected();
        sys::set_receive_timeout(&far, asked).unwrap();
        assert!(elapsed_of(&|| errno(sys::recv(&far, &mut [0]))) >= asked);
        fill(&near);
        sys::set_nonblocking(&near, false).unwrap();
        sys::set_send_timeout(&near, asked).unwrap();
        assert!(elapsed_of(&|| errno(sys::send(&near, b"x"))) >= asked);
        let (listener, _) = listening();
        sys::set_receive_timeout(&listener, asked).unwrap();
        assert!(elapsed_of(&|| errno(sys::accept4(&listener))) >= asked);
        // Zero is the shortest time, not for ever; the longest is taken.
        sys::set_receive_timeout(&listener, Duration::ZERO).unwrap();
        elapsed_of(&|| errno(sys::accept4(&listener)));
        sys::set_receive_timeout(&listener, Duration::MAX).unwrap();
    });
}

/// Runs a call on a thread, and returns once that thread sleeps in it.
fn asleep<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    let (tell, told) = mpsc::channel();
    let caller = thread::spawn(move || {
        tell.send(std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
        call()
    });
    let status = std::path::Path::new("/proc").join(told.recv().unwrap()).join("status");
    until("the caller sleeps", || std::fs::read_to_string(&status).unwrap().contains("State:\tS"));
    caller
}

#[test]
fn shutdown_wakes_a_blocked_accept() {
    watchdog(PATIENCE, || {
        let (listener, _) = listening();
        let waiter = listener.try_clone().unwrap();
        let caller = asleep(move || errno(sys::accept4(&waiter)));
        sys::shutdown(&listener, Shutdown::Read).unwrap();
        assert_eq!(caller.join().unwrap(), libc::EINVAL);
    });
}

#[test]
fn shutdown_wakes_a_blocked_receive_and_keeps_what_is_queued() {
    watchdog(PATIENCE, || {
        let (_near, far) = connected();
        let waiter = far.try_clone().unwrap();
        let caller = asleep(move || sys::recv(&waiter, &mut [0; 8]).unwrap());
        sys::shutdown(&far, Shutdown::Read).unwrap();
        assert_eq!(caller.join().unwrap(), 0);

        let (near, far) = connected();
        sys::send(&near, b"abc").unwrap();
        until("3 bytes queued", || sys::fionread(&far).unwrap() == 3);
        sys::shutdown(&far, Shutdown::Read).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(sys::recv(&far, &mut buffer).unwrap(), 3);
        assert_eq!(&buffer[..3], b"abc");
        assert_eq!(sys::recv(&far, &mut buffer).unwrap(), 0);
        // The other direction still works.
        sys::send(&far, b"d").unwrap();
        assert_eq!(sys::recv(&near, &mut buffer).unwrap(), 1);
    });
}
