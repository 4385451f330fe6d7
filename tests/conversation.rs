//! One script for every model, on a real server over real sockets.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::streams::{Endless, Library};
use support::{Server, exchange, forks, long, pattern, serve, until, who};
use waitcopy::model::Who;
use waitcopy::service::{Answer, Service};
use waitcopy::stop::Stop;
use waitcopy::sys::{self, Shutdown};

/// Whether the model serves a second client while the first is there.
fn has_neighbours(model: &str) -> bool {
    !waitcopy::model::find(model).unwrap().is_exempt("neighbour")
}

/// The stream is over, in order or by a reset, and brought nothing more.
fn assert_over(stream: &mut TcpStream) {
    match stream.read(&mut [0; 16]) {
        Ok(n) => assert_eq!(n, 0, "bytes where the end was due"),
        Err(e) => assert_eq!(e.kind(), ErrorKind::ConnectionReset),
    }
}

for_each_model! {
    /// The notes' conversation.
    fn answers_in_upper_case(model: &str) {
        let server = serve(model).start();
        let mut client = server.connect();
        exchange(&mut client, b"hello");
        drop(client);
        let ended = server.stop().clean();
        assert_eq!(ended.count("requests"), 1);
    }
}

/// One client's bytes in segments of each of these sizes, answered one by one, then glued together.
fn talks_in_segments(server: &Server, sizes: &[usize]) -> usize {
    let mut client = server.connect();
    let every_value: Vec<u8> = (0..=255).collect();
    exchange(&mut client, &every_value);
    for byte in pattern(300, 1) {
        exchange(&mut client, &[byte]);
    }
    let messages: Vec<_> = sizes.iter().map(|&size| pattern(size, size as u64)).collect();
    for message in &messages {
        exchange(&mut client, message);
    }
    // TCP_NODELAY: each write may leave as a segment of its own, and nobody waits for an answer.
    let glued = messages.concat();
    messages.iter().for_each(|message| client.write_all(message).unwrap());
    glued[..300].iter().for_each(|byte| client.write_all(&[*byte]).unwrap());
    let expected = [&glued, &glued[..300]].concat().to_ascii_uppercase();
    let mut reply = vec![0; expected.len()];
    client.read_exact(&mut reply).unwrap();
    assert!(reply == expected, "segments of {sizes:?}");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0; 16]).unwrap(), 0, "nothing behind the last answer");
    256 + 300 + glued.len() + expected.len()
}

for_each_model! {
    /// Fault 20: segment borders mean nothing, neither the client's nor those of the receive buffer.
    fn segments_of_any_size_are_answered_byte_for_byte(model: &str) {
        let odd = [1, 2, 3, 1022, 1023, 1024, 1025, 1026, 2047, 2048, 2049, 4099, 9973];
        for (buffer, sizes) in [("1024", &odd[..]), ("7", &[1, 6, 7, 8, 13, 14, 15, 699])] {
            let server = serve(model).args(&["--buffer", buffer]).start();
            let bytes = talks_in_segments(&server, sizes);
            let ended = server.stop().clean();
            assert_eq!((ended.count("bytes in"), ended.count("out")), (bytes as u64, bytes as u64));
            let least = bytes.div_ceil(buffer.parse().unwrap()) as u64;
            assert!(ended.count("requests") >= least, "a receive took more than {buffer} bytes");
        }
    }
}

for_each_model! {
    /// 200 at once; each gets its own bytes. Where only one is served at a time, the others wait for their turn.
    fn two_hundred_clients_get_their_own_bytes(model: &str) {
        let server = serve(model).room_for(200).start();
        let mut clients: Vec<_> = (0..200).map(|seed| (server.connect(), pattern(3000, seed))).collect();
        clients.iter_mut().for_each(|(client, own)| client.write_all(own).unwrap());
        if has_neighbours(model) {
            // A second message from each behind the first, before anybody reads.
            clients.iter_mut().rev().for_each(|(client, own)| client.write_all(own).unwrap());
            for (client, own) in &mut clients {
                let mut reply = vec![0; own.len()];
                client.read_exact(&mut reply).unwrap();
                assert!(reply == own.to_ascii_uppercase());
            }
        }
        for (mut client, own) in clients {
            let mut reply = vec![0; own.len()];
            client.read_exact(&mut reply).unwrap();
            assert!(reply == own.to_ascii_uppercase());
            exchange(&mut client, &own);
        }
        assert_eq!(server.stop().clean().count("connections"), 200);
    }
}

for_each_model! {
    /// Fault 22: a client that has said everything still gets the whole answer, and then the end.
    fn a_half_closed_client_gets_the_full_reply(model: &str) {
        let server = serve(model).start();
        let mut client = server.connect();
        let bytes = Arc::new(Endless::new(22));
        let sender = bytes.feed(&client, 1_000_001);
        assert_eq!(bytes.receive_all(&mut client, 0, 1 << 16), 1_000_001);
        sender.join().unwrap();
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0, "an orderly end, no reset");
        server.stop().clean();
    }
}

for_each_model! {
    /// Fault 23: a reset in mid-stream ends one connection and frees its descriptor.
    fn a_reset_ends_one_connection(model: &str) {
        const RESETS: u64 = 5;
        let server = serve(model).start();
        let base = server.settled();
        for _ in 0..RESETS {
            let mut client = server.connect();
            exchange(&mut client, b"before");
            client.write_all(&pattern(50_000, 23)).unwrap();
            sys::set_linger(&client, 0).unwrap();
            drop(client);
        }
        exchange(&mut server.connect(), b"next");
        until("all descriptors are free again", || server.descriptors() == base);
        assert_eq!(server.stop().clean().count("reset"), RESETS);
    }
}

for_each_model! {
    /// Fault 18: who stops reading is stopped by back-pressure, bothers nobody, and loses nothing.
    fn a_stopped_reader_holds_up_nobody_else(model: &str) {
        if !has_neighbours(model) {
            return;
        }
        let server = serve(model).start();
        let mut stopped = server.connect();
        sys::set_receive_buffer(&stopped, 4096).unwrap();
        let bytes = Endless::new(18);
        let sent = bytes.fill(&stopped);
        let mut neighbour = server.connect();
        for round in 0..1000_u32 {
            exchange(&mut neighbour, format!("neighbour {round}").as_bytes());
        }
        assert!(server.rss_kib() < 64 << 10, "{} KiB for a stopped reader", server.rss_kib());
        // Wide again: a window below one segment of the loopback would trickle by timers.
        sys::set_receive_buffer(&stopped, 1 << 20).unwrap();
        stopped.shutdown(Shutdown::Write).unwrap();
        assert_eq!(bytes.receive_all(&mut stopped, 0, 1 << 16), sent);
        server.stop().clean();
    }
}

for_each_model! {
    /// Fault 21: a flood is answered byte for byte, and the server's memory stays small.
    fn a_flood_is_answered_in_bounded_memory(model: &str) {
        let len = if long() { 100_000_000 } else { 20_000_000 };
        let server = serve(model).start();
        let mut client = server.connect();
        let bytes = Arc::new(Endless::new(21));
        let sender = bytes.feed(&client, len);
        let (mut received, mut most) = (0, 0);
        while received < len {
            let until = received + 1_000_000;
            while received < until.min(len) {
                match bytes.receive(&mut client, received, 1 << 16) {
                    0 => panic!("the end after {received} bytes"),
                    n => received += n,
                }
            }
            most = server.rss_kib().max(most);
        }
        sender.join().unwrap();
        assert_over(&mut client);
        assert!(most < 64 << 10, "{most} KiB resident");
        assert_eq!(server.stop().clean().count("out"), len as u64);
    }
}

/// Upper, but says when it was entered and waits to be let on.
struct Gated {
    entered: Sender<()>,
    open: Mutex<Receiver<()>>,
}

impl Service for Gated {
    fn stream(&self, bytes: &mut [u8]) -> Answer {
        self.entered.send(()).unwrap();
        self.open.lock().unwrap().recv().unwrap();
        Answer::Send(bytes.len())
    }
}

/// Not among the program's signals: Rust's runtime ignores it in every program of its own, which
/// is why only a handler can show that it was raised.
const SIGPIPE: sys::Signal = 13;
static BROKEN_PIPES: AtomicUsize = AtomicUsize::new(0);

for_each_model! {
    /// Fault 24: answering a peer that has closed raises no SIGPIPE in the host and ends one connection.
    fn a_closed_peer_raises_no_signal(model: &str) {
        // The service talks to the test, which only a thread can; who forks refuses that (tests/workers.rs).
        if forks(model) {
            return;
        }
        sys::on_signal(SIGPIPE, |_| { BROKEN_PIPES.fetch_add(1, Ordering::SeqCst); }).unwrap();
        let (entered, enters) = mpsc::channel();
        let (opens, open) = mpsc::channel();
        let gated = Gated { entered, open: Mutex::new(open) };
        let server = Library::start(model, gated, Stop::new(Duration::from_secs(10)).unwrap());
        let mut client = TcpStream::connect(server.address).unwrap();
        client.write_all(b"one").unwrap();
        opens.send(()).unwrap();
        enters.recv().unwrap();
        assert_eq!(client.peek(&mut [0; 3]).unwrap(), 3);
        client.write_all(b"two").unwrap();
        enters.recv().unwrap();
        // The end, and then, since the first answer was not read, a reset: the second one meets EPIPE.
        client.shutdown(Shutdown::Write).unwrap();
        let ports = [server.address.port(), client.local_addr().unwrap().port()];
        let [own, peers] = ports.map(|port| format!(":{port:04X} "));
        drop(client);
        // A socket that was reset is in no table any more; on a busy machine the reset may take a while.
        until("the reset has arrived", || {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            // The server's end: local address first.
            !table.lines().any(|line| {
                line.find(&own).zip(line.find(&peers)).is_some_and(|(own, peers)| own < peers)
            })
        });
        opens.send(()).unwrap();
        // The next client is served.
        opens.send(()).unwrap();
        exchange(&mut TcpStream::connect(server.address).unwrap(), b"NEXT");
        let tally = server.stop();
        assert_eq!(tally.get(waitcopy::phase::Count::Reset), 1, "the answer met a closed peer");
        assert_eq!(BROKEN_PIPES.load(Ordering::SeqCst), 0);
    }
}

for_each_model! {
    /// Fault 6: beyond the limit clients are turned away and counted; those inside do not notice.
    fn clients_beyond_the_limit_are_refused(model: &str) {
        if !has_neighbours(model) {
            return;
        }
        // Where every worker accepts, the limit is each worker's; prefork's have one client at a time and refuse nobody.
        if who(model) == Who::Prefork {
            return;
        }
        let server = serve(model).args(&["--max-connections", "3"]).one_reuseport().start();
        let mut inside: Vec<_> = (0..3).map(|_| server.connect()).collect();
        inside.iter_mut().for_each(|client| exchange(client, b"inside"));
        let (full, children) = (server.descriptors(), server.children().len());
        for _ in 0..13 {
            assert_over(&mut server.connect());
            inside.iter_mut().for_each(|client| exchange(client, b"unharmed"));
        }
        inside.pop();
        // A child keeps its place until its parent has waited for it.
        let fewer = || who(model) != Who::Fork || server.children().len() < children;
        until("a place is free", || server.descriptors() < full && fewer());
        exchange(&mut server.connect(), b"a place for the next one");
        inside.iter_mut().for_each(|client| exchange(client, b"still here"));
        let ended = server.stop().clean();
        assert_eq!((ended.count("refused"), ended.count("connections")), (13, 4));
    }
}

for_each_model! {
    /// Silence ends a connection, half a message and silence too, traffic does not.
    fn idle_clients_are_closed(model: &str) {
        const LIMIT: Duration = Duration::from_millis(600);
        let server = serve(model).args(&["--idle-timeout", "600ms"]).start();
        let start = Instant::now();
        let mut silent = server.connect();
        let mut dribbling = server.connect();
        dribbling.write_all(b"hel").unwrap();
        let mut active = has_neighbours(model).then(|| server.connect());
        silent.set_nonblocking(true).unwrap();
        // The neighbour's exchanges are the clock: they go on until the silent one is out.
        until("the silent client is closed", || {
            active.iter_mut().for_each(|active| exchange(active, b"active"));
            silent.read(&mut [0; 1]).is_ok()
        });
        // A time-out of the socket may be a tick of the kernel early.
        assert!(start.elapsed() > LIMIT * 9 / 10, "after {:?}", start.elapsed());
        let mut half = Vec::new();
        dribbling.read_to_end(&mut half).unwrap();
        assert_eq!(half, b"HEL");
        active.iter_mut().for_each(|active| exchange(active, b"still here"));
        assert_eq!(server.stop().clean().count("timed out"), 2);
    }
}

for_each_model! {
    /// The time runs from the last byte, also where the end of a send is seen with the next wait only.
    fn the_idle_time_begins_with_the_last_byte(model: &str) {
        const LIMIT: Duration = Duration::from_secs(2);
        let server = serve(model).args(&["--idle-timeout", "2s"]).start();
        let mut client = server.connect();
        let start = Instant::now();
        exchange(&mut client, b"hello");
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        // A sixteenth late at most, and whatever a busy machine adds.
        assert!(start.elapsed() < LIMIT * 3 / 2, "after {:?}", start.elapsed());
        assert_eq!(server.stop().clean().count("timed out"), 1);
    }
}

for_each_model! {
    /// Signals interrupt the wait again and again; the time-out is measured over all of it.
    fn signals_do_not_put_off_the_idle_time_out(model: &str) {
        let server = serve(model).args(&["--idle-timeout", "1s"]).start();
        let mut silent = server.connect();
        exchange(&mut silent, b"hello");
        let start = Instant::now();
        // The client's own time-out is the clock of the signals.
        silent.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        while silent.read(&mut [0]).is_err() {
            server.signal_family(waitcopy::sys::SIGUSR1);
            assert!(start.elapsed() < Duration::from_secs(10), "signals put it off");
        }
        assert!(start.elapsed() > Duration::from_millis(900), "after {:?}", start.elapsed());
        assert_eq!(server.stop().clean().count("timed out"), 1);
    }
}

for_each_model! {
    /// A reader that is slow but reads is not idle, though its connection is stalled all the time.
    fn a_slow_reader_is_not_idle(model: &str) {
        let server = serve(model).args(&["--idle-timeout", "600ms", "--buffer", "16777216"]).start();
        // Before the client comes: an idle client would be closed meanwhile, on a busy machine.
        let message = pattern(8 << 20, 77);
        let expected = message.to_ascii_uppercase();
        let client = server.connect();
        waitcopy::sys::set_receive_buffer(&client, 64 << 10).unwrap();
        let mut writer = client.try_clone().unwrap();
        let sender = std::thread::spawn(move || writer.write_all(&message));
        let mut reader = client;
        let start = Instant::now();
        let (mut reply, mut part) = (Vec::new(), vec![0; 64 << 10]);
        // For twice the time-out a small piece at a time, paced by a wait for what never comes.
        let (_hold, never) = std::sync::mpsc::channel::<()>();
        while start.elapsed() < Duration::from_millis(1300) {
            let n = reader.read(&mut part).unwrap();
            assert_ne!(n, 0, "closed after {:?}", start.elapsed());
            reply.extend_from_slice(&part[..n]);
            let _ = never.recv_timeout(Duration::from_millis(40));
        }
        while reply.len() < expected.len() {
            let n = reader.read(&mut part).unwrap();
            assert_ne!(n, 0, "closed after {} bytes", reply.len());
            reply.extend_from_slice(&part[..n]);
        }
        assert!(reply == expected);
        sender.join().unwrap().unwrap();
        drop(reader);
        assert_eq!(server.stop().clean().count("timed out"), 0);
    }
}

for_each_model! {
    /// The other two services: the same bytes, and none.
    fn echo_and_discard_answer_as_they_say(model: &str) {
        let mixed = b"MiXeD \x00\xff";
        let server = serve(model).args(&["--service", "echo"]).start();
        let mut client = server.connect();
        client.write_all(mixed).unwrap();
        let mut reply = [0; 8];
        client.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, mixed);
        drop(client);
        server.stop().clean();

        let server = serve(model).args(&["--service", "discard"]).start();
        let mut client = server.connect();
        client.write_all(&pattern(100_000, 9)).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.read(&mut reply).unwrap(), 0);
        let ended = server.stop().clean();
        assert_eq!((ended.count("bytes in"), ended.count("out")), (100_000, 0));
    }
}
