//! How every model ends: what was received is answered, then everything is closed, soon and without a race.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use support::streams::{Endless, Library};
use support::{Ended, Server, exchange, forks, long, pattern, proc_status, serve, state};
use waitcopy::model::{Model, find};
use waitcopy::phase::{Count, Waits};
use waitcopy::service::Upper;
use waitcopy::stop::Stop;
use waitcopy::sys::{self, SIGINT, SIGTERM, SIGUSR1, Signal};

/// Well below the 10 s of the drain: who needs longer was freed by the deadline, not by the stop.
const SOON: Duration = Duration::from_secs(5);

fn entry(model: &str) -> &'static Model {
    find(model).unwrap()
}

/// Nothing that the server took was lost on the way back.
fn assert_all_answered(ended: &Ended, received: usize) {
    let counted = (ended.count("bytes in"), ended.count("out"), ended.count("cut"));
    assert_eq!(counted, (received as u64, received as u64, 0), "(in, out, cut), (received, ..)");
}

/// Stops a server whose client sends without pause, after `before` bytes of its answer; the client
/// reads on in pieces of `piece` bytes and holds each byte against the answer.
fn stopped_in_mid_stream(model: &str, signal: Signal, before: usize, piece: usize) {
    let server = serve(model).start();
    let mut client = server.connect();
    let bytes = Arc::new(Endless::new(before as u64));
    let sender = bytes.feed(&client, usize::MAX);
    let mut received = 0;
    while received < before {
        match bytes.receive(&mut client, received, piece) {
            0 => panic!("the end before the stop, after {received} bytes"),
            n => received += n,
        }
    }
    server.signal(signal);
    received = bytes.receive_all(&mut client, received, piece);
    sender.join().unwrap();
    assert_all_answered(&server.wait().clean(), received);
}

for_each_model! {
    /// Replies in flight to a client that reads slowly: all of them arrive.
    fn replies_in_flight_arrive(model: &str) {
        stopped_in_mid_stream(model, SIGTERM, 2000, 2000);
    }
}

for_each_model! {
    /// A client that pipelines on and on: exactly what was received at the stop is answered.
    fn a_pipelining_client_loses_nothing(model: &str) {
        stopped_in_mid_stream(model, SIGTERM, 3_000_000, 1 << 16);
    }
}

for_each_model! {
    /// ^C once is the same as SIGTERM.
    fn the_first_interrupt_drains(model: &str) {
        stopped_in_mid_stream(model, SIGINT, 100_000, 1 << 16);
    }
}

/// A server and its client that has stopped reading: nothing but the drain's end can end the two.
fn with_a_stopped_reader(model: &str, drain: &str) -> (Server, TcpStream) {
    let server = serve(model).args(&["--drain", drain]).start();
    let client = server.connect();
    Endless::new(1).fill(&client);
    (server, client)
}

for_each_model! {
    /// Who does not read is cut at the drain's end, not before, and the exit is a good one.
    fn a_stopped_reader_is_cut_at_the_deadline(model: &str) {
        let (server, _client) = with_a_stopped_reader(model, "1s");
        let start = Instant::now();
        let ended = server.stop().clean();
        let took = start.elapsed();
        assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(10), "{took:?}");
        assert_eq!(ended.count("cut"), 1, "{}", ended.stderr);
    }
}

/// A client that the server has answered at length, and that has read nothing of it: the answers fill the
/// client's small buffer, the rest lies with the server's kernel. All is answered when nothing is left to receive.
fn answered_but_unread(model: &str, len: usize) -> (Server, TcpStream, Vec<u8>) {
    let server = serve(model).start();
    // Before the handshake, so that the window is small from the start.
    let address = server.address;
    let socket = sys::socket(address, sys::Kind::Stream).unwrap();
    sys::set_receive_buffer(&socket, 4096).unwrap();
    sys::connect(&socket, address).unwrap();
    let mut client = TcpStream::from(socket);
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let message = pattern(len, 5);
    client.write_all(&message).unwrap();
    support::until("all is received", || sys::siocoutq(&client).unwrap() == 0);
    (server, client, message.to_ascii_uppercase())
}

for_each_model! {
    /// What a client sends after the stop may not destroy the answers that are on their way.
    fn a_late_byte_costs_no_answer(model: &str) {
        let (server, mut client, expected) = answered_but_unread(model, 150_000);
        server.signal(SIGTERM);
        support::until("the listener is closed", || TcpStream::connect(server.address).is_err());
        client.write_all(b"!").unwrap();
        let mut reply = vec![0; expected.len()];
        client.read_exact(&mut reply).unwrap();
        assert!(reply == expected);
        drop(client);
        assert_eq!(server.wait().clean().count("cut"), 0);
    }
}

for_each_model! {
    /// A client that resets during the drain is gone: nobody waits for it until the deadline.
    fn a_reset_during_the_drain_ends_it(model: &str) {
        let (server, client, _) = answered_but_unread(model, 150_000);
        server.signal(SIGTERM);
        support::until("the listener is closed", || TcpStream::connect(server.address).is_err());
        let start = Instant::now();
        sys::set_linger(&client, 0).unwrap();
        drop(client);
        let ended = server.wait().clean();
        assert!(start.elapsed() < Duration::from_secs(8), "the drain's 10 s were waited for");
        assert_eq!((ended.count("reset"), ended.count("cut")), (1, 0), "{}", ended.stderr);
    }
}

for_each_model! {
    /// A second signal does not wait for the drain, and says by the status which it was.
    fn a_second_signal_ends_at_once(model: &str) {
        for (signal, status) in [(SIGTERM, 143), (SIGINT, 130)] {
            let (mut server, _client) = with_a_stopped_reader(model, "5m");
            // Two that come together are one, hence more until it is gone.
            support::until("the end at the second signal", || {
                server.signal(signal);
                !server.alive()
            });
            assert_eq!(server.wait().status.code(), Some(status));
        }
    }
}

for_each_model! {
    /// Idle clients hold up nothing: they see the end of the stream, long before the drain's.
    fn idle_clients_see_the_end_at_once(model: &str) {
        let server = serve(model).room_for(10).start();
        let mut clients: Vec<_> = (0..10).map(|_| server.connect()).collect();
        let served = if entry(model).is_exempt("neighbour") { 1 } else { 10 };
        clients[..served].iter_mut().for_each(|client| exchange(client, b"idle from now on"));
        let start = Instant::now();
        server.signal(SIGTERM);
        for client in &mut clients[..served] {
            assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
        }
        server.wait().clean();
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    }
}

for_each_model! {
    /// The pause between the check of the flag and the blocking call lets nearly every stop fall into it.
    fn no_stop_is_slept_through(model: &str) {
        for run in 0..if long() { 100 } else { 30 } {
            let server = serve(model).env("WAITCOPY_WIDEN_RACE_US", "1000").start();
            let mut client = None;
            // The offset of the stop, by events: none (nobody is there), or so many exchanges.
            for _ in 0..run % 4 {
                exchange(client.get_or_insert_with(|| server.connect()), b"one more");
            }
            let start = Instant::now();
            server.stop().clean();
            assert!(start.elapsed() < SOON, "run {run}: {:?}", start.elapsed());
        }
    }
}

for_each_model! {
    /// A library has no signals: a request from another thread wakes the flow, also in its race window.
    fn a_request_from_another_thread_ends_it(model: &str) {
        // Who forks refuses a host with threads, and every test has one (tests/workers.rs).
        if forks(model) {
            return;
        }
        for round in 0..12 {
            let stop = Stop::new(Duration::from_secs(300)).unwrap();
            stop.widen_race(Duration::from_millis(u64::from(round % 2 == 0)));
            let server = Library::start(model, Upper, stop);
            let mut client = TcpStream::connect(server.address).unwrap();
            for _ in 0..round % 3 {
                exchange(&mut client, b"in this process");
            }
            assert_eq!(server.stop().get(Count::Requests), round % 3);
        }
    }
}

for_each_model! {
    /// Fault 33: signals that only interrupt neither stop the server nor cost a byte.
    fn a_storm_of_signals_changes_nothing(model: &str) {
        let server = serve(model).start();
        let clients = if entry(model).is_exempt("neighbour") { 1 } else { 4 };
        let mut clients: Vec<_> = (0..clients).map(|_| server.connect()).collect();
        // On to the last round: on a busy machine ten thousand signals are sent within a few.
        let calm = AtomicBool::new(false);
        thread::scope(|scope| {
            let storm = scope.spawn(|| {
                let mut sent = 0;
                while sent < 10_000 || !calm.load(SeqCst) {
                    // Children are looked up now and then only: that takes longer than a signal.
                    let family = server.family();
                    for _ in 0..500 {
                        family.iter().for_each(|&process| _ = sys::kill(process, SIGUSR1));
                        sent += 1;
                    }
                }
            });
            for round in 0.. {
                let message = pattern(3000, round);
                clients.iter_mut().for_each(|client| exchange(client, &message));
                calm.store(round > 200, SeqCst);
                if storm.is_finished() {
                    break;
                }
            }
        });
        if entry(model).waits == Waits::Readiness {
            // On a busy machine each of those may have come while no call was waiting: one that cannot miss. It is over when they sleep
            // once more; before that a message could come beside it, and the call would return that.
            let sleeps = || server.family().iter().all(|&process| state(process) == 'S');
            support::until("the server sleeps", sleeps);
            let slept = |&process: &u32| proc_status(process, "voluntary_ctxt_switches:");
            let family = server.family();
            let before: Vec<_> = family.iter().map(slept).collect();
            server.signal_family(SIGUSR1);
            support::until("the server sleeps once more", || {
                family.iter().map(slept).zip(&before).all(|(now, before)| now > *before)
            });
        }
        clients.iter_mut().for_each(|client| exchange(client, b"calm again"));
        let start = Instant::now();
        let ended = server.stop().clean();
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
        if entry(model).waits == Waits::Readiness {
            assert!(ended.count("interrupted") > 0, "no signal met a call: {}", ended.stderr);
        }
    }
}

for_each_model! {
    /// Fault 32: whoever was in flight at the stop gets the whole answer, or, never accepted, none of it.
    fn two_hundred_in_flight_are_answered_in_full(model: &str) {
        const LEN: usize = 17_000;
        let server = serve(model).room_for(200).start();
        let mut clients: Vec<_> = (0..200).map(|_| server.connect()).collect();
        let served = if entry(model).is_exempt("neighbour") { 1 } else { clients.len() };
        clients[..served].iter_mut().for_each(|client| exchange(client, b"accepted"));
        // Asleep until the stop is there too; and more than one turn of any model, so that it must be drained.
        server.while_stopped(|| {
            for (seed, client) in clients.iter_mut().enumerate() {
                client.write_all(&pattern(LEN, seed as u64)).unwrap();
            }
            support::until("every message is with the server's kernel", || {
                clients.iter().all(|client| sys::siocoutq(client).unwrap() == 0)
            });
            server.signal(SIGTERM);
        });
        let start = Instant::now();
        for (seed, client) in clients.iter_mut().enumerate() {
            let mut reply = Vec::new();
            let end = client.read_to_end(&mut reply);
            let expected = if seed < served { pattern(LEN, seed as u64) } else { Vec::new() };
            assert!(reply == expected.to_ascii_uppercase(), "client {seed}: {} bytes", reply.len());
            assert!(seed >= served || end.is_ok(), "a reset after an answer: {end:?}");
        }
        let ended = server.wait().clean();
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
        assert_all_answered(&ended, served * (LEN + "accepted".len()));
    }
}
