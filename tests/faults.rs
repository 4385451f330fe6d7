//! Faults that every model survives, injected without strace: `faults.md` rows 1, 5, 6, 7, 9, 10, 13, 15,
//! 18, 19, 24; and what an idle connection costs. The server is a process of its own, the faults are real.

mod support;

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use support::{PATIENCE, Server, WAITCOPY, assert_refused, exchange, pattern};
use support::{serve, until, watchdog, wrapped};
use waitcopy::{model, sys};

/// x86, Arm and RISC-V agree on these two.
const SIGCONT: i32 = 18;
const SIGSTOP: i32 = 19;

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

/// Does something while the server is stopped: all of it is there at once when the server goes on.
fn while_stopped<T>(server: &Server, act: impl FnOnce() -> T) -> T {
    server.signal(SIGSTOP);
    let stat = format!("/proc/{}/stat", server.server_pid());
    until("stopped", || std::fs::read_to_string(&stat).unwrap().contains(") T "));
    let done = act();
    server.signal(SIGCONT);
    done
}

/// Share of one core that the server uses for a second. The pause is what is measured, it waits for nothing.
fn load(server: &Server) -> f64 {
    let (before, start) = (server.cpu(), Instant::now());
    thread::sleep(Duration::from_secs(1));
    (server.cpu() - before).as_secs_f64() / start.elapsed().as_secs_f64()
}

/// Memory of the server's own, in KiB. Unlike VmRSS, which the kernel estimates per CPU, this one is counted.
fn memory_kib(server: &Server) -> u64 {
    let path = format!("/proc/{}/smaps_rollup", server.server_pid());
    let text = std::fs::read_to_string(path).unwrap();
    let line = text.lines().find(|line| line.starts_with("Private_Dirty:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Descriptors of the server below a limit; what a test runner leaves open in its children may lie above.
fn descriptors_below(server: &Server, limit: usize) -> BTreeSet<usize> {
    let names = std::fs::read_dir(format!("/proc/{}/fd", server.server_pid())).unwrap();
    let numbers = names.map(|name| name.unwrap().file_name().to_str().unwrap().parse().unwrap());
    numbers.filter(|&number| number < limit).collect()
}

/// How many descriptors it has without clients. Only after an answer is it sure to have them all.
fn settled(server: &Server) -> usize {
    let mut first = server.connect();
    exchange(&mut first, b"settled");
    let base = server.descriptors() - 1;
    drop(first);
    until("settled", || server.descriptors() == base);
    base
}

/// Raises the limit for this process and the servers it starts. One test at a time, so that
/// together they stay below it.
fn many_descriptors(wanted: u64) -> Option<MutexGuard<'static, ()>> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let limit = sys::getrlimit().unwrap();
    if limit.hard < wanted {
        support::skip(&format!("needs {wanted} descriptors, ulimit -Hn allows {}", limit.hard));
        return None;
    }
    sys::setrlimit(sys::Limit { soft: limit.hard, ..limit }).unwrap();
    Some(guard)
}

for_each_model! {
    /// Row 1.
    fn a_full_descriptor_table_is_sat_out(model: &str) {
        // `blocking` has one client; the next test is its own.
        if alone(model) { return }
        let server = wrapped(&["prlimit", "--nofile=32:32"], model).start();
        settled(&server);
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
        while_stopped(&server, || connect(&server, 3).into_iter().for_each(reset));
        exchange(&mut server.connect(), b"next, please");
        let ended = server.stop().clean();
        assert_eq!(ended.count("reset") + ended.count("accept retried"), 3, "{}", ended.stderr);
    }
}

for_each_model! {
    /// Row 6. A model of one client at a time never holds more than one: nobody is refused.
    fn clients_beyond_the_limit_are_refused(model: &str) {
        let server = serve(model).args(&["--max-connections", "4"]).start();
        let base = settled(&server);
        let mut clients = connect(&server, 14);
        if alone(model) {
            for mut client in clients { exchange(&mut client, b"in turn") }
            assert_eq!(server.stop().clean().count("refused"), 0);
            return;
        }
        clients[4..].iter_mut().for_each(assert_turned_away);
        clients[..4].iter_mut().for_each(|client| exchange(client, b"unharmed"));
        clients.remove(0);
        until("its place is free", || server.descriptors() == base + 3);
        exchange(&mut server.connect(), b"room again");
        assert_eq!(server.stop().clean().count("refused"), 10);
    }
}

for_each_model! {
    /// Row 7.
    fn a_limit_beyond_the_descriptors_is_lowered_aloud(model: &str) {
        let server = wrapped(&["prlimit", "--nofile=40:40"], model);
        let server = server.args(&["--max-connections", "1000"]).start();
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
        if alone(model) { return }
        let Some(_alone) = many_descriptors(2300) else { return };
        let server = serve(model).start();
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
        let base = settled(&server);
        (0..200).for_each(|_| reset(server.connect()));
        // Accepted in order: after this one all of them were.
        exchange(&mut server.connect(), b"after them");
        until("all are closed", || server.descriptors() == base);
        let ended = server.stop().clean();
        assert_eq!(ended.count("reset") + ended.count("accept retried"), 200, "{}", ended.stderr);
    }
}

for_each_model! {
    /// Row 18: what a stopped reader sent stays in the kernel's buffers, and then with the sender.
    fn a_stopped_reader_costs_no_memory_and_no_neighbour(model: &str) {
        if alone(model) { return }
        let server = serve(model).start();
        let mut neighbour = server.connect();
        exchange(&mut neighbour, b"all memory that a request takes is taken");
        let before = memory_kib(&server);
        let _stuck = stuck_client(&server, || exchanges(&mut neighbour, 100));
        exchanges(&mut neighbour, 1000);
        let grown = memory_kib(&server).saturating_sub(before);
        assert!(grown < 1024, "{grown} KiB more for a client who reads nothing");
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
        let base = settled(&server);
        // Eight receives' worth, and gone.
        while_stopped(&server, || server.connect().write_all(&[b'x'; 64]).unwrap());
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

/// A client that has sent as much as it can and read nothing. It is stuck when three attempts in a
/// row, with something else served between them, found no room.
fn stuck_client(server: &Server, mut meanwhile: impl FnMut()) -> TcpStream {
    let mut client = server.connect();
    sys::set_receive_buffer(&client, 4096).unwrap();
    client.set_nonblocking(true).unwrap();
    let (mut sent, mut in_vain) = (0, 0);
    while in_vain < 3 {
        match client.write(&[b'x'; 1 << 16]) {
            Ok(n) => (sent, in_vain) = (sent + n, 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                in_vain += 1;
                meanwhile();
            }
            Err(error) => panic!("after {sent} bytes: {error}"),
        }
        assert!(sent < BOTTOMLESS, "the server takes everything");
    }
    client
}

/// Invariant 6: a place in a table and nothing else (`Clients::BYTES_PER_IDLE`), 94 KiB for 2,000.
#[test]
fn an_idle_connection_costs_a_place_in_a_table() {
    watchdog(PATIENCE, || {
        let Some(_alone) = many_descriptors(4200) else { return };
        let server = serve("epoll").start();
        let base = settled(&server);
        let before = memory_kib(&server);
        let _clients = connect(&server, 2000);
        until("all are in", || server.descriptors() >= base + 1999);
        let grown = memory_kib(&server).saturating_sub(before);
        assert!(grown < 400, "{grown} KiB more for 2,000 idle connections");
    });
}
