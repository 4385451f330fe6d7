//! The wrappers of io_uring: rings without a server.

mod support;

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use support::{PATIENCE, connected, listening, pattern, skip, watchdog};
use waitcopy::sys::{self, Completion, Rest, Sent, Shutdown, Taken, Uring, Wait};

/// A ring with provided buffers and what it has done so far.
struct Rig {
    ring: Uring,
    sent: Vec<Sent>,
    completions: VecDeque<Completion>,
}

impl Rig {
    /// `None`, aloud, where this machine has no rings.
    fn new(entries: u32, completions: u32, buffers: u32, size: u32) -> Option<Self> {
        let mut ring = match Uring::setup(entries, completions) {
            Ok(ring) => ring,
            Err(error) => {
                skip(&format!("io_uring_setup: {}", sys::describe(&error)));
                return None;
            }
        };
        ring.provide(buffers, size).unwrap();
        Some(Self { ring, sent: Vec::new(), completions: VecDeque::new() })
    }

    /// Waits for a completion, and takes what there is.
    fn turn(&mut self) {
        self.ring.enter(Wait::For(Some(PATIENCE / 2))).unwrap();
        self.ring.collect(&mut self.sent, &mut self.completions);
    }

    /// Hands over, and takes what there is.
    fn hand_over(&mut self) {
        self.ring.enter(Wait::Not).unwrap();
        self.ring.collect(&mut self.sent, &mut self.completions);
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < PATIENCE / 2, "not yet: {what}");
            self.turn();
        }
    }
}

/// The next completion is a receive.
fn received(rig: &mut Rig) -> (u64, io::Result<Option<Taken>>, bool) {
    rig.until("a receive", |rig| !rig.completions.is_empty());
    match rig.completions.pop_front().unwrap() {
        Completion::Received { token, input, more } => (token, input, more),
        other => panic!("{other:?}"),
    }
}

fn write_all(socket: &OwnedFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let n = sys::send(socket, bytes).unwrap();
        bytes = &bytes[n..];
    }
}

fn read_exact(socket: &OwnedFd, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    let mut got = 0;
    while got < n {
        match sys::recv(socket, &mut bytes[got..]).unwrap() {
            0 => panic!("the end after {got} of {n} bytes"),
            more => got += more,
        }
    }
    bytes
}

/// Runs a test under the watchdog.
fn test(body: impl FnOnce() + Send + 'static) {
    watchdog(PATIENCE, body);
}

#[test]
fn a_client_is_accepted_received_from_and_answered() {
    test(|| {
        let Some(mut rig) = Rig::new(8, 16, 8, 1024) else { return };
        let (listener, address) = listening();
        rig.ring.accept(&listener, true);
        let mut clients = Vec::new();
        for token in 0..3_u64 {
            let near = sys::socket(address, sys::Kind::Stream).unwrap();
            sys::connect(&near, address).unwrap();
            rig.until("an accept", |rig| !rig.completions.is_empty());
            let Completion::Accepted { client, more } = rig.completions.pop_front().unwrap() else {
                panic!()
            };
            assert!(more, "one operation accepts them all");
            let far = client.unwrap();
            assert!(!sys::nonblocking(&far).unwrap());
            rig.ring.receive(&far, token);
            clients.push((near, far));
        }
        for round in 0..3 {
            for (token, (near, far)) in clients.iter().enumerate() {
                write_all(near, format!("round {round}").as_bytes());
                let (whose, input, more) = received(&mut rig);
                let mut taken = input.unwrap().unwrap();
                assert_eq!((whose, taken.len(), more), (token as u64, 7, true));
                rig.ring.bytes(&mut taken).make_ascii_uppercase();
                rig.ring.send_buffer(far, whose, taken, 7);
                rig.hand_over();
                let Sent { token: whose, len, result, waited, rest, .. } = rig.sent.remove(0);
                assert_eq!((whose, len, result.unwrap()), (token as u64, 7, 7));
                assert!(!waited && rest.unsent().is_empty());
                assert_eq!(read_exact(near, 7), format!("ROUND {round}").as_bytes());
            }
        }
        // A whole send said nothing: there is nothing to collect, and the time passes.
        let waits = rig.ring.enter(Wait::For(Some(Duration::from_millis(5))));
        assert_eq!(support::errno(waits), 62, "ETIME");
        rig.ring.collect(&mut rig.sent, &mut rig.completions);
        assert!(rig.completions.is_empty() && rig.sent.is_empty());
        assert_eq!(rig.ring.flights(), 4, "an accept and three receives");
        sys::shutdown(&clients[1].0, Shutdown::Write).unwrap();
        let (whose, input, more) = received(&mut rig);
        assert!((whose, more) == (1, false) && input.unwrap().is_none(), "the end of file");
        assert_eq!(rig.ring.flights(), 3);
    });
}

/// Sends at once until there is no room at all, which is not waited for; what is left.
fn fill(rig: &mut Rig, socket: &OwnedFd, mut rest: Rest) -> Rest {
    loop {
        let (unsent, from) = (rest.unsent().len(), rest.from);
        rig.ring.send_bytes(socket, 5, rest, usize::MAX);
        rig.hand_over();
        let sent = rig.sent.remove(0);
        assert_eq!((sent.token, sent.len, sent.waited), (5, unsent, false));
        rest = sent.rest;
        match sent.result {
            // The loopback has delivered meanwhile.
            Ok(n) => assert!(n < unsent && rest.from == from + n, "{n} of {unsent}"),
            Err(error) => {
                assert_eq!((error.kind(), rest.from), (io::ErrorKind::WouldBlock, from));
                return rest;
            }
        }
    }
}

/// What a send at once does not take is told to the byte, and a waiting send takes the rest as room comes.
#[test]
fn a_short_send_leaves_its_rest() {
    test(|| {
        let Some(mut rig) = Rig::new(8, 16, 8, 1024) else { return };
        let (near, far) = connected();
        sys::set_send_buffer(&far, 4096).unwrap();
        let message = pattern(3_000_000, 7);
        rig.ring.send_bytes(&far, 5, Rest { bytes: message.clone(), from: 0 }, usize::MAX);
        rig.hand_over();
        let sent = rig.sent.remove(0);
        let first = sent.result.unwrap();
        assert!(0 < first && first < message.len(), "{first} of {}", message.len());
        assert_eq!(sent.rest.unsent(), &message[first..]);
        let mut rest = fill(&mut rig, &far, sent.rest);
        let full = rest.from;
        let mut read = Vec::new();
        while !rest.unsent().is_empty() {
            rig.ring.send_waiting(&far, 5, rest, usize::MAX);
            rig.hand_over();
            // Room comes when much of what was sent is read, not with the first bytes.
            while rig.sent.is_empty() {
                let mut some = [0; 4096];
                // What is on its way comes with the ring's next turn, and not before.
                let n = sys::recv_now(&near, &mut some).unwrap_or(0);
                read.extend_from_slice(&some[..n]);
                rig.ring.enter(Wait::Look).unwrap();
                rig.ring.collect(&mut rig.sent, &mut rig.completions);
            }
            let sent = rig.sent.remove(0);
            let n = sent.result.unwrap();
            assert!(sent.waited && n > 0 && sent.token == 5);
            rest = sent.rest;
            assert!(rest.bytes.is_empty() || rest.from > full);
        }
        read.extend(read_exact(&near, message.len() - read.len()));
        assert!(read == message);
    });
}

#[test]
fn a_send_that_fails_says_why() {
    test(|| {
        let Some(mut rig) = Rig::new(8, 16, 8, 1024) else { return };
        let (_near, far) = connected();
        sys::shutdown(&far, Shutdown::Write).unwrap();
        rig.ring.send_bytes(&far, 0, Rest { bytes: b"too late".to_vec(), from: 0 }, 64);
        rig.hand_over();
        let sent = rig.sent.remove(0);
        assert_eq!(sent.result.unwrap_err().kind(), io::ErrorKind::BrokenPipe, "and no signal");
        assert_eq!(sent.rest.unsent(), b"too late");
    });
}

/// Buffers that are not given back are missing, and back again when they are.
#[test]
fn receives_end_without_buffers_and_go_on_with_them() {
    test(|| {
        let Some(mut rig) = Rig::new(8, 64, 4, 100) else { return };
        let (near, far) = connected();
        rig.ring.receive(&far, 9);
        let message = pattern(1000, 3);
        write_all(&near, &message);
        let (mut taken, mut read) = (Vec::new(), Vec::new());
        loop {
            match received(&mut rig) {
                (9, Ok(Some(mut buffer)), _) => {
                    read.extend_from_slice(rig.ring.bytes(&mut buffer));
                    taken.push(buffer);
                }
                (9, Err(error), more) => {
                    assert!(!more && sys::no_buffers(&error), "{error}");
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(taken.len(), 4);
        taken.drain(..).for_each(|buffer| rig.ring.give_back(buffer));
        rig.ring.receive(&far, 9);
        while read.len() < message.len() {
            match received(&mut rig) {
                (9, Ok(Some(mut buffer)), _) => {
                    read.extend_from_slice(rig.ring.bytes(&mut buffer));
                    rig.ring.give_back(buffer);
                }
                (9, Err(error), false) if sys::no_buffers(&error) => rig.ring.receive(&far, 9),
                other => panic!("{other:?}"),
            }
        }
        assert!(read == message);
    });
}

/// Far more at once than either ring has room for: operations wait in our backlog, completions in the kernel's.
#[test]
fn nothing_is_lost_where_the_rings_are_too_small() {
    test(|| {
        const PAIRS: usize = 64;
        let Some(mut rig) = Rig::new(2, 4, 256, 64) else { return };
        let pairs: Vec<_> = (0..PAIRS).map(|_| connected()).collect();
        for (token, (near, far)) in pairs.iter().enumerate() {
            write_all(near, &[token as u8; 10]);
            rig.ring.receive(far, token as u64);
        }
        let mut seen = [0; PAIRS];
        while seen.contains(&0) {
            let (token, input, more) = received(&mut rig);
            let mut taken = input.unwrap().unwrap();
            assert_eq!(rig.ring.bytes(&mut taken), &[token as u8; 10]);
            seen[token as usize] += 1;
            // A receive ends where the kernel had to keep its completion aside.
            if !more {
                rig.ring.receive(&pairs[token as usize].1, token);
            }
            rig.ring.send_buffer(&pairs[token as usize].1, token, taken, 10);
        }
        assert_eq!(seen, [1; PAIRS]);
        // Nothing tells of a send that was whole; as many calls as the small ring needs.
        while rig.sent.len() < PAIRS {
            rig.hand_over();
        }
        for (token, (near, _)) in pairs.iter().enumerate() {
            assert_eq!(read_exact(near, 10), [token as u8; 10]);
        }
    });
}

/// The kernel's word on a send that was not whole may stand behind others that it keeps aside: until it is seen the send is not over.
#[test]
fn a_failed_send_is_none_that_was_whole_where_completions_are_kept_aside() {
    test(|| {
        const PAIRS: usize = 64;
        let Some(mut rig) = Rig::new(2, 2, 256, 64) else { return };
        let pairs: Vec<_> = (0..PAIRS).map(|_| connected()).collect();
        write_all(&pairs[0].0, b"first");
        rig.ring.receive(&pairs[0].1, 0);
        let (_, input, _) = received(&mut rig);
        let taken = input.unwrap().unwrap();
        // No room for another byte.
        let full = &pairs[1].1;
        sys::set_nonblocking(full, true).unwrap();
        while sys::send(full, &[0; 65536]).is_ok() {}
        for (token, (_, far)) in pairs.iter().enumerate().skip(2) {
            rig.ring.receive(far, token as u64);
            rig.hand_over();
        }
        rig.hand_over();
        pairs.iter().skip(2).for_each(|(near, _)| write_all(near, b"more than there is room for"));
        rig.turn();
        assert!(rig.ring.aside(), "the ring has room for two");
        rig.ring.send_buffer(full, 1, taken, 5);
        rig.until("the send", |rig| !rig.sent.is_empty());
        let Sent { token, len, result, rest, .. } = rig.sent.remove(0);
        assert_eq!((token, len, rest.unsent()), (1, 5, &b"first"[..]));
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    });
}

#[test]
fn what_is_cancelled_comes_back() {
    test(|| {
        let Some(mut rig) = Rig::new(8, 16, 8, 1024) else { return };
        let (_near, far) = connected();
        rig.ring.receive(&far, 1);
        rig.hand_over();
        rig.ring.cancel_receive(1);
        let (token, input, more) = received(&mut rig);
        assert_eq!((token, more, input.unwrap_err().raw_os_error()), (1, false, Some(125)));
        assert_eq!(rig.ring.flights(), 0);

        sys::set_send_buffer(&far, 4096).unwrap();
        let bytes = vec![b'x'; 4_000_000];
        let rest = fill(&mut rig, &far, Rest { bytes, from: 0 });
        let unsent = rest.unsent().len();
        rig.ring.send_waiting(&far, 1, rest, usize::MAX);
        rig.hand_over();
        rig.ring.cancel_send(1);
        rig.until("the send", |rig| !rig.sent.is_empty());
        let sent = rig.sent.remove(0);
        assert_eq!(sent.result.unwrap_err().raw_os_error(), Some(125));
        assert_eq!(sent.rest.unsent().len(), unsent);

        let (listener, _) = listening();
        let bell = sys::eventfd().unwrap();
        rig.ring.accept(&listener, true);
        rig.ring.poll(&bell);
        rig.ring.receive(&far, 1);
        rig.hand_over();
        assert_eq!(rig.ring.flights(), 3);
        rig.ring.cancel_all();
        rig.until("all of it", |rig| rig.ring.flights() == 0);
        assert_eq!(rig.completions.len(), 3);
    });
}

#[test]
fn a_descriptor_that_becomes_readable_ends_the_wait() {
    test(|| {
        let Some(mut rig) = Rig::new(8, 16, 8, 1024) else { return };
        let bell = sys::eventfd().unwrap();
        rig.ring.poll(&bell);
        rig.hand_over();
        assert!(rig.completions.is_empty());
        sys::eventfd_write(&bell).unwrap();
        rig.turn();
        assert!(matches!(rig.completions.pop_front(), Some(Completion::Ready)));
    });
}

#[test]
#[should_panic(expected = "a buffer of another ring")]
fn a_buffer_of_another_ring_is_refused() {
    let Some(mut rig) = Rig::new(8, 16, 8, 1024) else { panic!("a buffer of another ring") };
    let Some(mut other) = Rig::new(8, 16, 8, 1024) else { panic!("a buffer of another ring") };
    let (near, far) = connected();
    rig.ring.receive(&far, 1);
    write_all(&near, b"mine");
    let (_, input, _) = received(&mut rig);
    other.ring.give_back(input.unwrap().unwrap());
}
