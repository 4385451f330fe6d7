//! Faults that every model survives, injected without strace: `faults.md` rows 1, 5, 6, 7, 9, 10, 13, 15,
//! 18, 19, 24. The server is a process of its own, the faults are real.

mod support;

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use support::{PATIENCE, Server, WAITCOPY, assert_refused, exchange, many_descriptors, pattern};
use support::{serve, until, watchdog, who, wrapped};
use waitcopy::model::Who;
use waitcopy::{model, sys};

/// Far more than all socket buffers between client and server hold: a server that takes so much from a
/// client who reads nothing has kept it in its own memory.
const BOTTOMLESS: usize = 256 << 20;

/// A model that has one client at a time cannot meet what is said about a neighbour.
fn alone(model: &str) -> bool {
    model::find(model).unwrap().is_exempt("neighbour")
}

fn exchanges(client: &mut TcpStream, times: usize) {
    (0..times).for_each(|i| exchange(client, format!("exchange {i}").as_bytes()));
}

fn connect(server: &Server, clients: usize) -> Vec<TcpStream> {
    (0..clients).map(|_| server.connect()).collect()
}

/// Closes with a reset.
fn reset(client: TcpStream) {
    sys::set_linger(&client, 0).unwrap();
    drop(client);
}

/// Waits for the server to close this connection; not for a time-out.
fn assert_turned_away(client: &mut TcpStream) {
    match client.read(&mut [0]) {
        Ok(0) => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        other => panic!("not turned away: {other:?}"),
    }
}

/// Share of one core that the server uses for a second. The pause is what is measured, it waits for nothing.
fn load(server: &Server) -> f64 {
    let (before, start) = (server.cpu(), Instant::now());
    thread::sleep(Duration::from_secs(1));
    (server.cpu() - before).as_secs_f64() / start.elapsed().as_secs_f64()
}

/// Descriptors of the process that accepts, below a limit; what a test runner leaves open in its children may lie above.
fn descriptors_below(server: &Server, limit: usize) -> BTreeSet<usize> {
    let names = std::fs::read_dir(format!("/proc/{}/fd", server.accepting_pid())).unwrap();
    let numbers = names.map(|name| name.unwrap().file_name().to_str().unwrap().parse().unwrap());
    numbers.filter(|&number| number < limit).collect()
}

for_each_model! {
    /// Row 1.
    fn a_full_descriptor_table_is_sat_out(model: &str) {
        // `blocking` has one client, and a worker of prefork too; the next tests are for it and for fork.
        if alone(model) || [Who::Prefork, Who::Fork].contains(&who(model)) { return }
        let server = wrapped(&["prlimit", "--nofile=32:32"], model).one_reuseport().start();
        server.settled();
        let room = 32 - descriptors_below(&server, 32).len();
        let mut clients = connect(&server, 60);
        until("the table is full", || descriptors_below(&server, 32).len() == 32);
        clients[..room].iter_mut().for_each(|old| exchange(old, b"still answered"));
        let load = load(&server);
        let polls = model::find(model).unwrap().is_exempt("cpu");
        assert!(polls || load < 0.2, "{load} of a core while full");
        clients[..room].iter_mut().for_each(|old| exchange(old, b"and after it"));
        let waiting = clients.split_off(40);
        drop(clients);
        for mut client in waiting { exchange(&mut client, b"served at last") }
        let ended = server.stop().clean();
        assert!(ended.count("accept rested") > 0, "{}", ended.stderr);
        assert!(ended.stderr.contains("(EMFILE)"), "{}", ended.stderr);
    }
}

/// Row 1 for fork, whose parent has a descriptor for each child: who comes then is served later or turned away and counted.
#[test]
fn fork_sits_out_a_full_descriptor_table() {
    watchdog(PATIENCE, || {
        let server = wrapped(&["prlimit", "--nofile=32:32"], "fork").start();
        let base = server.settled();
        let mut clients = connect(&server, 60);
        // One for the client that is being accepted, one for its child to be.
        let room = 32 - base - 2;
        clients[..room].iter_mut().for_each(|old| exchange(old, b"still answered"));
        let load = load(&server);
        assert!(load < 0.2, "{load} of a core while full");
        clients[..room].iter_mut().for_each(|old| exchange(old, b"and after it"));
        clients.drain(..room).for_each(drop);
        let mut lost = 0;
        for mut client in clients {
            let answered = client.write_all(b"x").and_then(|()| client.read(&mut [0]));
            lost += u64::from(!matches!(answered, Ok(1)));
        }
        until("all children are waited for", || server.children().is_empty());
        exchange(&mut server.connect(), b"served again");
        let ended = server.stop().clean();
        assert_eq!(ended.count("not started"), lost, "{}", ended.stderr);
        assert!(lost + ended.count("accept rested") > 0, "{}", ended.stderr);
        assert!(ended.stderr.contains("(EMFILE)"), "{}", ended.stderr);
    });
}

/// Row 1 for the model of one client: not even that one fits, until the limit is raised again.
#[test]
fn blocking_sits_out_a_full_descriptor_table() {
    watchdog(PATIENCE, || {
        let server = serve("blocking").start();
        let limit = |soft: usize| {
            let (pid, limit) = (format!("--pid={}", server.pid()), format!("--nofile={soft}:"));
            assert!(Command::new("prlimit").args([pid, limit]).status().unwrap().success());
        };
        let mut first = server.connect();
        exchange(&mut first, b"first");
        // It has the highest of the numbers without a gap: the first that the limit now forbids.
        let taken = descriptors_below(&server, usize::MAX);
        limit((0..).find(|number| !taken.contains(number)).unwrap() - 1);
        drop(first);
        let mut client = server.connect();
        client.write_all(b"second").unwrap();
        let load = load(&server);
        assert!(load < 0.2, "{load} of a core while full");
        limit(64);
        let mut reply = [0; 6];
        client.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"SECOND");
        assert!(server.stop().clean().count("accept rested") > 0);
    });
}

for_each_model! {
    /// Row 5. Linux still hands such a connection out; its first receive fails.
    fn a_client_gone_before_its_accept_holds_nobody_up(model: &str) {
        let server = serve(model).start();
        server.while_stopped(|| connect(&server, 3).into_iter().for_each(reset));
        exchange(&mut server.connect(), b"next, please");
        let ended = server.stop().clean();
        assert_eq!(ended.count("reset") + ended.count("accept retried"), 3, "{}", ended.stderr);
    }
}

for_each_model! {
    /// Row 6. Who has one client at a time never holds more than one: nobody is refused.
    fn clients_beyond_the_limit_are_refused(model: &str) {
        // Its limit is the number of its workers; --max-connections is refused (tests/cli.rs).
        if who(model) == Who::Prefork {
            return;
        }
        let server = serve(model).args(&["--max-connections", "4"]).one_reuseport().start();
        let base = server.settled();
        let mut clients = connect(&server, 14);
        if alone(model) {
            for mut client in clients { exchange(&mut client, b"in turn") }
            assert_eq!(server.stop().clean().count("refused"), 0);
            return;
        }
        clients[4..].iter_mut().for_each(assert_turned_away);
        clients[..4].iter_mut().for_each(|client| exchange(client, b"unharmed"));
        clients.remove(0);
        let fork = who(model) == Who::Fork;
        until("its place is free", || {
            if fork { server.children().len() == 3 } else { server.descriptors() == base + 3 }
        });
        exchange(&mut server.connect(), b"room again");
        assert_eq!(server.stop().clean().count("refused"), 10);
    }
}

for_each_model! {
    /// Row 7.
    fn a_limit_beyond_the_descriptors_is_lowered_aloud(model: &str) {
        // Its limit is the number of its workers; --max-connections is refused (tests/cli.rs).
        if who(model) == Who::Prefork {
            return;
        }
        let server = wrapped(&["prlimit", "--nofile=40:40"], model);
        let server = server.args(&["--max-connections", "1000"]).one_reuseport().start();
        let mut clients = connect(&server, if alone(model) { 1 } else { 45 });
        let served = clients.len().min(30);
        clients[served..].iter_mut().for_each(assert_turned_away);
        clients[..served].iter_mut().for_each(|client| exchange(client, b"works"));
        let ended = server.stop().clean();
        let said = "waitcopy: --max-connections 1000 lowered to 30: ";
        assert!(ended.stderr.starts_with(said), "{}", ended.stderr);
        assert_eq!(ended.count("accept rested"), 0, "refused in time: {}", ended.stderr);
    }
}

/// Row 7, where nothing is left to lower to.
#[test]
fn a_limit_that_leaves_no_client_is_a_configuration_error() {
    let command = ["--nofile=10:10", WAITCOPY, "serve", "epoll", "--max-connections", "1000"];
    let said = "--max-connections 1000: 10 descriptors (RLIMIT_NOFILE) leave none for clients";
    assert_refused(Command::new("prlimit").args(command), 78, said);
}

for_each_model! {
    /// Row 9.
    fn an_address_in_use_is_a_clear_error(model: &str) {
        let first = serve(model).start();
        let address = first.address.to_string();
        let said = format!("bind tcp {address}: address already in use (EADDRINUSE)");
        let mut second = Command::new(WAITCOPY);
        assert_refused(second.args(["serve", model, "--listen", &address]), 1, &said);
        exchange(&mut first.connect(), b"the first serves on");
    }
}

for_each_model! {
    /// Row 10.
    fn descriptors_beyond_a_set_end_at_most_those_clients(model: &str) {
        // A worker of prefork has one client.
        if alone(model) || who(model) == Who::Prefork { return }
        let Some(_alone) = many_descriptors(2300) else { return };
        let server = serve(model).room_for(1100).one_reuseport().start();
        let mut clients = connect(&server, 1100);
        // Its own few descriptors have the lowest numbers, so the first thousand fit for sure.
        clients[..1000].iter_mut().for_each(|client| exchange(client, b"fits"));
        let mut beyond = 0;
        for client in &mut clients[1000..] {
            let answered = client.write_all(b"x").and_then(|()| client.read(&mut [0]));
            if model == "select" && !matches!(answered, Ok(1)) {
                beyond += 1;
            } else {
                assert_eq!(answered.unwrap(), 1, "lost after {beyond} were closed");
                assert_eq!(beyond, 0, "a client after one that was beyond fits");
            }
        }
        clients[..1000].iter_mut().for_each(|client| exchange(client, b"unharmed"));
        let ended = server.stop().clean();
        assert_eq!(ended.count("beyond set"), beyond);
        assert_eq!(beyond > 0, model == "select");
        assert_eq!(ended.stderr.contains("client closed"), beyond > 0, "{}", ended.stderr);
    }
}

for_each_model! {
    /// Row 13: far more at once than one receive, or one turn, takes; and nobody starves meanwhile.
    fn a_burst_is_answered_without_starving_the_neighbour(model: &str) {
        let server = serve(model).args(&["--buffer", "1024"]).start();
        let mut neighbour = server.connect();
        let over = AtomicBool::new(alone(model));
        if alone(model) { drop(neighbour.shutdown(std::net::Shutdown::Both)) }
        thread::scope(|scope| {
            let bursts = scope.spawn(|| {
                let mut sizes = [64 << 10, 1 << 20].into_iter().cycle();
                let mut client = server.connect();
                burst(&mut client, sizes.next().unwrap());
                burst(&mut client, sizes.next().unwrap());
                while !over.load(SeqCst) { burst(&mut client, sizes.next().unwrap()) }
            });
            if !alone(model) {
                exchanges(&mut neighbour, 1000);
                over.store(true, SeqCst);
            }
            bursts.join().unwrap();
        });
        server.stop().clean();
    }
}

for_each_model! {
    /// Row 15.
    fn resets_right_after_connect_leave_nothing_open(model: &str) {
        let server = serve(model).start();
        let base = server.settled();
        (0..200).for_each(|_| reset(server.connect()));
        // Accepted in order: after this one all of them were.
        exchange(&mut server.connect(), b"after them");
        until("all are closed", || server.descriptors() == base);
        let ended = server.stop().clean();
        assert_eq!(ended.count("reset") + ended.count("accept retried"), 200, "{}", ended.stderr);
    }
}

for_each_model! {
    /// Row 18, the limit: `blocking` has it from its own call, the others from their clock.
    fn a_stopped_reader_is_cut_at_the_idle_timeout(model: &str) {
        let server = serve(model).args(&["--idle-timeout", "500ms"]).start();
        let mut client = server.connect();
        sys::set_receive_buffer(&client, 4096).unwrap();
        let mut sent = 0;
        let end = loop {
            match client.write(&[b'x'; 1 << 16]) {
                Ok(n) => sent += n,
                Err(error) => break error.kind(),
            }
            assert!(sent < BOTTOMLESS, "the server takes everything");
        };
        // Not WouldBlock, which would be the client's own time-out.
        let cut = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
        assert!(cut.contains(&end), "{end:?}");
        exchange(&mut server.connect(), b"next");
        assert_eq!(server.stop().clean().count("timed out"), 1);
    }
}

for_each_model! {
    /// Row 19.
    fn a_byte_at_a_time_is_served_beside_others(model: &str) {
        let server = serve(model).start();
        let mut slow = server.connect();
        let mut neighbour = (!alone(model)).then(|| server.connect());
        for byte in b"slowly" {
            slow.write_all(&[*byte]).unwrap();
            neighbour.iter_mut().for_each(|neighbour| exchanges(neighbour, 200));
        }
        let mut reply = [0; 6];
        slow.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"SLOWLY");
        server.stop().clean();
    }
}

for_each_model! {
    /// Row 24. The first write to a closed peer brings a reset, the second would be SIGPIPE.
    fn two_writes_to_a_closed_peer_end_one_connection(model: &str) {
        let server = serve(model).args(&["--buffer", "8"]).start();
        let base = server.settled();
        // Eight receives' worth, and gone.
        server.while_stopped(|| server.connect().write_all(&[b'x'; 64]).unwrap());
        exchange(&mut server.connect(), b"alive");
        until("closed", || server.descriptors() == base);
        let ended = server.stop().clean();
        assert_eq!(ended.count("reset"), 1, "{}", ended.stderr);
        assert!(ended.count("requests") >= 4, "it came to a second write: {}", ended.stderr);
    }
}

/// Sends all of it, reads all of it back.
fn burst(client: &mut TcpStream, size: usize) {
    let bytes = pattern(size, size as u64);
    let mut reply = vec![0; size];
    thread::scope(|scope| {
        let mut out = client.try_clone().unwrap();
        let bytes = &bytes;
        scope.spawn(move || out.write_all(bytes).unwrap());
        client.read_exact(&mut reply).unwrap();
    });
    assert!(reply == bytes.to_ascii_uppercase(), "{size} bytes came back changed");
}
