//! The load generator and datagrams: lost, late, doubled, spoilt and unreachable ones are told apart.

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;
use support::{PATIENCE, watchdog};
use waitcopy::client::load::{self, Load, Mode, Outcome, Watch};
use waitcopy::net::Endpoint;

fn run(load: &Load) -> Outcome {
    load::run(load, &mut ()).unwrap()
}

/// A datagram server in this process: `answer` says for the n-th datagram what is sent back.
fn post(answer: impl Fn(usize, &[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut bytes = vec![0; 1 << 16];
        for number in 1.. {
            let (n, peer) = socket.recv_from(&mut bytes).unwrap();
            for reply in answer(number, &bytes[..n].to_ascii_uppercase()) {
                let _ = socket.send_to(&reply, peer);
            }
        }
    });
    address
}

fn datagrams(server: SocketAddr, count: u64, timeout: u64) -> Load {
    Load {
        count: Some(count),
        timeout: Duration::from_millis(timeout),
        ..Load::new(Endpoint::Udp(server))
    }
}

#[test]
fn lost_datagrams_are_counted_and_not_waited_for() {
    watchdog(PATIENCE, || {
        let dropping = || post(|n, reply| if n % 10 == 0 { vec![] } else { vec![reply.to_vec()] });
        let outcome = run(&datagrams(dropping(), 100, 100));
        assert_eq!((outcome.lost, outcome.requests, outcome.wrong), (10, 90, 0), "{outcome:?}");
        assert!(!outcome.sound());
        // Several in flight: each is known by its own number.
        let load =
            Load { connections: 2, mode: Mode::Pipeline(4), ..datagrams(dropping(), 200, 300) };
        let outcome = run(&load);
        assert_eq!((outcome.lost, outcome.requests, outcome.wrong), (20, 180, 0), "{outcome:?}");
        assert_eq!(outcome.unanswered, 0);
    });
}

/// The next datagram leaves when the time of a lost one is over, and no turn of the loop later.
#[test]
fn a_loss_holds_its_socket_up_for_its_time_and_no_longer() {
    watchdog(PATIENCE, || {
        let timeout = Duration::from_millis(500);
        for mode in [Mode::Closed, Mode::Open(1_000.0)] {
            let load = Load { mode, ..datagrams(post(|_, _| vec![]), 3, 500) };
            let outcome = run(&load);
            assert_eq!((outcome.lost, outcome.requests), (3, 0), "{outcome:?}");
            assert!((3 * timeout..9 * timeout / 2).contains(&outcome.wall), "{outcome:?}");
        }
    });
}

/// A datagram that was sent before the measured time began, and has no answer in all of it, is lost as any other.
#[test]
fn a_loss_is_told_however_short_the_measured_time_is() {
    watchdog(PATIENCE, || {
        let load = Load {
            count: None,
            duration: Duration::from_millis(100),
            warm_up: Some(Duration::from_millis(50)),
            ..datagrams(post(|_, _| vec![]), 1, 300)
        };
        let outcome = run(&load);
        assert_eq!((outcome.lost, outcome.requests), (1, 0), "{outcome:?}");
    });
}

#[test]
fn late_doubled_and_spoilt_datagrams_are_told_apart() {
    watchdog(PATIENCE, || {
        // The fifth comes with the sixth: after its time.
        let kept = Mutex::new(Vec::new());
        let late = post(move |n, reply| {
            if n == 5 {
                kept.lock().unwrap().extend_from_slice(reply);
                return vec![];
            }
            if n == 6 {
                vec![kept.lock().unwrap().clone(), reply.to_vec()]
            } else {
                vec![reply.to_vec()]
            }
        });
        let outcome = run(&datagrams(late, 50, 100));
        assert_eq!((outcome.lost, outcome.late, outcome.wrong), (1, 1, 0), "{outcome:?}");
        assert_eq!(outcome.requests, 49);
        let doubled = post(|n, reply| vec![reply.to_vec(); if n == 7 { 2 } else { 1 }]);
        let outcome = run(&datagrams(doubled, 50, 5_000));
        assert_eq!((outcome.lost, outcome.late, outcome.requests), (0, 1, 50), "{outcome:?}");
        assert!(outcome.sound());
        for spoil in
            [|reply: &mut Vec<u8>| reply[40] ^= 1, |reply: &mut Vec<u8>| reply.truncate(63)]
        {
            let spoilt = post(move |n, reply| {
                let mut reply = reply.to_vec();
                if n == 9 {
                    spoil(&mut reply);
                }
                vec![reply]
            });
            let outcome = run(&datagrams(spoilt, 50, 100));
            assert_eq!((outcome.wrong, outcome.lost, outcome.requests), (1, 1, 49), "{outcome:?}");
        }
    });
}

#[test]
fn an_unreachable_port_is_told_and_harms_no_other_datagram() {
    watchdog(PATIENCE, || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (again, gone) = std::sync::mpsc::channel::<()>();
        thread::spawn(move || {
            let answer = |socket: &UdpSocket| {
                let mut bytes = [0; 64];
                let (n, peer) = socket.recv_from(&mut bytes).unwrap();
                socket.send_to(&bytes[..n].to_ascii_uppercase(), peer).unwrap();
            };
            (0..20).for_each(|_| answer(&socket));
            drop(socket);
            // Not before one has met the closed port: the load tells.
            let _ = gone.recv();
            let socket = UdpSocket::bind(address).unwrap();
            loop {
                answer(&socket);
            }
        });
        struct Reopen(std::sync::mpsc::Sender<()>);
        impl Watch for Reopen {
            fn tick(&mut self, _: &load::Progress) {
                let _ = self.0.send(());
            }
        }
        let load = datagrams(address, 60, 200);
        let outcome = load::run(&load, &mut Reopen(again)).unwrap();
        assert!(outcome.unreachable >= 1 && outcome.lost >= 1, "{outcome:?}");
        assert_eq!(outcome.requests + outcome.lost, 60, "{outcome:?}");
        assert!(outcome.requests > 20 && outcome.wrong == 0 && outcome.dead == 0, "{outcome:?}");
    });
}
