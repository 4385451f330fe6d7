//! Threads and children behind one address: faults.md rows 16, 19, 28, 29, 31, 33, 34; how a family begins, counts
//! together and ends together.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use support::streams::{Endless, Library};
use support::{
    PATIENCE, Server, exchange, many_descriptors, pattern, proc_status, report, scratch, serve,
    state, until, watchdog,
};
use waitcopy::json::Value;
use waitcopy::service::Upper;
use waitcopy::stop::Stop;
use waitcopy::sys::{self, SIGTERM, SIGUSR1};

const SIGKILL: i32 = 9;
const SIGCHLD: i32 = 17;

/// The ways that fork.
const FORKING: [&str; 3] = ["fork", "prefork", "reuseport"];

/// The client's last word, the server's end of file, in this order.
fn leave(mut client: TcpStream) {
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

/// Waits for the server to close this connection without an answer.
fn assert_turned_away(client: &mut TcpStream) {
    match client.read(&mut [0]) {
        Ok(n) => assert_eq!(n, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

/// Whether a process has ended; one whose parent is gone as well may stay a zombie where nobody reaps.
fn gone(process: u32) -> bool {
    matches!(state(process), 'X' | 'Z')
}

#[test]
fn a_host_with_threads_may_not_fork() {
    watchdog(PATIENCE, || {
        for model in FORKING {
            let stop = Stop::new(Duration::from_secs(10)).unwrap();
            let failure = Library::start(model, Upper, stop).refused().to_string();
            let why = "threads, and a lock that another one holds would stay locked in the child; \
                       fork before the first thread, or serve by threads";
            assert!(failure.starts_with("fork") && failure.contains(why), "{model}: {failure}");
        }
    });
}

/// How often a process went to sleep, so was woken: the kernel's count of voluntary switches.
fn sleeps(process: u32) -> u64 {
    proc_status(process, "voluntary_ctxt_switches:")
}

/// Row 16. Eight children wait for one listener: each client wakes one of them, and the events tell their shares.
#[test]
fn a_client_wakes_one_of_eight_workers_and_not_the_herd() {
    watchdog(PATIENCE, || {
        const CLIENTS: u64 = 200;
        let path = scratch("herd.json");
        let flags = ["--workers", "8", "--events", "10000", "--report", path.to_str().unwrap()];
        let server = serve("prefork").args(&flags).start();
        until("all workers are there", || server.children().len() == 8);
        let workers = server.children();
        until("all workers sleep", || workers.iter().all(|&worker| state(worker) == 'S'));
        let before: Vec<_> = workers.iter().map(|&worker| sleeps(worker)).collect();
        for _ in 0..CLIENTS {
            let mut client = server.connect();
            exchange(&mut client, b"whose?");
            leave(client);
        }
        until("all workers sleep again", || workers.iter().all(|&worker| state(worker) == 'S'));
        let after = workers.iter().map(|&worker| sleeps(worker));
        let woken: Vec<_> = after.zip(before).map(|(after, before)| after - before).collect();
        server.stop().clean();
        let report = report(&path);
        let Some(Value::List(events)) = report.get("events") else { panic!("{report}") };
        let accepts = events.iter().filter(|e| e.get("what") == Some(&Value::from("accept")));
        let mut shares = vec![0; workers.len()];
        for accept in accepts {
            let process = accept.count("process").unwrap();
            shares[workers.iter().position(|&w| u64::from(w) == process).unwrap()] += 1;
        }
        println!("clients of each worker {shares:?}, its wake-ups {woken:?}");
        assert_eq!(shares.iter().sum::<u64>(), CLIENTS);
        // For its coming, its message and its end a client wakes a worker. Each time the herd of the other seven: 1,400 more.
        let all: u64 = woken.iter().sum();
        assert!(all <= 3 * CLIENTS, "clients {shares:?}, wake-ups {woken:?}");
    });
}

/// Row 28. A zombie would be a child in state Z that nobody waits for.
#[test]
fn a_thousand_children_that_end_at_once_leave_no_zombie() {
    watchdog(PATIENCE, || {
        const CHILDREN: usize = 1000;
        let Some(_alone) = many_descriptors(2300) else { return };
        let server = serve("fork").start();
        let mut clients: Vec<_> = (0..CHILDREN).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| exchange(client, b"a child of its own"));
        assert_eq!(server.children().len(), CHILDREN);
        // All have the end of file to read when they go on.
        let start = server.while_stopped(|| {
            drop(clients);
            Instant::now()
        });
        until("nobody is left, dead or alive", || server.children().is_empty());
        let took = start.elapsed();
        assert!(took < Duration::from_secs(10), "{took:?}");
        exchange(&mut server.connect(), b"next");
        let ended = server.stop().clean();
        assert_eq!((ended.count("connections"), ended.count("child failed")), (1001, 0));
    });
}

/// The child that serves a client.
fn child_of(server: &Server, client: &TcpStream) -> u32 {
    let port = client.local_addr().unwrap().port();
    server.children().into_iter().find(|&child| holds(child, server, port)).unwrap()
}

/// Row 29: kills the worker of one client among many.
fn a_killed_worker_is_replaced(model: &'static str, workers: usize) {
    watchdog(PATIENCE, move || {
        let server = serve(model).args(&["--workers", &workers.to_string()]).start();
        let mut victim = server.connect();
        exchange(&mut victim, b"mine");
        let whole = || server.children().iter().filter(|&&child| !gone(child)).count() == workers;
        until("all are there", whole);
        let killed = child_of(&server, &victim);
        // Those that are elsewhere must not notice; with the same worker (reuseport) they are its clients as well.
        let mut others: Vec<TcpStream> = Vec::new();
        while others.len() < 3 {
            let mut other = server.connect();
            exchange(&mut other, b"elsewhere?");
            if child_of(&server, &other) != killed {
                others.push(other);
            }
        }
        // Alive for a second: a worker that dies younger is replaced after a pause.
        thread::sleep(Duration::from_secs(1));
        let start = Instant::now();
        sys::kill(killed, SIGKILL).unwrap();
        until("the pool is whole again", || !server.children().contains(&killed) && whole());
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        assert_turned_away(&mut victim);
        others.iter_mut().for_each(|other| exchange(other, b"unharmed"));
        for _ in 0..workers {
            exchange(&mut server.connect(), b"and the next");
        }
        let ended = server.stop().clean();
        let counts = ["respawned", "child failed"].map(|name| ended.count(name));
        assert_eq!(counts, [1, 1], "{}", ended.stderr);
        let said = format!("child {killed} was killed by signal 9");
        assert!(ended.stderr.contains(&said), "{}", ended.stderr);
    });
}

/// Whether a process has the server's end of the connection from this port, by inode.
fn holds(process: u32, server: &Server, port: u16) -> bool {
    let (local, remote) = (format!(":{:04X}", server.address.port()), format!(":{port:04X}"));
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let inode = table.lines().find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        (words[1].ends_with(&local) && words[2].ends_with(&remote)).then(|| words[9].to_owned())
    });
    let socket = format!("socket:[{}]", inode.expect("a connection"));
    let mut fds = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().flatten();
    fds.any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy() == socket))
}

#[test]
fn a_killed_prefork_worker_is_replaced() {
    a_killed_worker_is_replaced("prefork", 4);
}

#[test]
fn a_killed_reuseport_worker_is_replaced() {
    a_killed_worker_is_replaced("reuseport", 4);
}

/// Two clients that hold both workers of a pool, and do nothing.
fn starved(args: &[&str]) -> (Server, [TcpStream; 2]) {
    let server = serve("thread-pool").args(&["--workers", "2", "--queue", "1"]).args(args).start();
    // One after the other: the next test is about those who come together.
    let idle = [(); 2].map(|()| {
        let mut client = server.connect();
        exchange(&mut client, b"idle from now on");
        client
    });
    (server, idle)
}

/// Two for the workers and one for the queue: also of the first clients, while the threads begin, nobody is refused.
#[test]
fn the_first_clients_of_a_pool_find_it_empty() {
    watchdog(PATIENCE, || {
        for _ in 0..20 {
            let (args, refuse) = (["--workers", "2", "--queue", "1"], ["--when-full", "refuse"]);
            let server = serve("thread-pool").args(&args).args(&refuse).start();
            let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
            clients.iter_mut().for_each(|client| client.write_all(b"x").unwrap());
            for mut client in clients {
                let mut answer = [0];
                client.read_exact(&mut answer).expect("refused by a pool with free workers");
                leave(client);
            }
            assert_eq!(server.stop().clean().count("pool full"), 0);
        }
    });
}

/// Row 31: the third one waits in the queue, the fourth is turned away.
#[test]
fn beyond_a_full_queue_clients_are_refused() {
    watchdog(PATIENCE, || {
        let (server, idle) = starved(&["--when-full", "refuse"]);
        let mut third = server.connect();
        third.write_all(b"in line").unwrap();
        for _ in 0..3 {
            assert_turned_away(&mut server.connect());
        }
        let [first, _second] = idle;
        leave(first);
        let mut reply = [0; 7];
        third.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"IN LINE");
        let ended = server.stop().clean();
        assert_eq!((ended.count("pool full"), ended.count("connections")), (3, 3));
        let said = "turned away: all workers are taken, and the queue is full";
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    });
}

/// Row 31: nobody is turned away; who is served late shows it in the report.
#[test]
fn beyond_a_full_queue_clients_wait() {
    watchdog(PATIENCE, || {
        const HELD: Duration = Duration::from_millis(200);
        let file = scratch("pool-queue.json");
        let (server, idle) = starved(&["--report", file.to_str().unwrap()]);
        let mut waiting: Vec<_> = (0..5).map(|_| server.connect()).collect();
        waiting.iter_mut().for_each(|client| client.write_all(b"patient").unwrap());
        // The pause is what is measured; and nobody is served in it.
        waiting[0].set_read_timeout(Some(HELD)).unwrap();
        assert_eq!(waiting[0].read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        waiting[0].set_read_timeout(Some(PATIENCE)).unwrap();
        idle.into_iter().for_each(leave);
        for mut client in waiting {
            let mut reply = [0; 7];
            client.read_exact(&mut reply).unwrap();
            assert_eq!(&reply, b"PATIENT");
            leave(client);
        }
        let ended = server.stop().clean();
        assert_eq!((ended.count("pool full"), ended.count("connections")), (0, 7));
        let report = report(&file);
        assert_eq!(report.count("phases.pool_queue.count"), Some(7));
        let longest = report.count("phases.pool_queue.max_ns").unwrap();
        assert!(Duration::from_nanos(longest) >= HELD * 9 / 10, "{longest} ns in the queue");
    });
}

/// Row 31: the queue is left by a deadline, not before it.
#[test]
fn who_stands_in_the_queue_for_too_long_is_turned_away() {
    watchdog(PATIENCE, || {
        let (server, mut idle) = starved(&["--queue-timeout", "300ms"]);
        let start = Instant::now();
        let mut third = server.connect();
        assert_turned_away(&mut third);
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(300), "turned away after {took:?}");
        assert!(took < Duration::from_secs(5), "turned away after {took:?}");
        idle.iter_mut().for_each(|client| exchange(client, b"unharmed"));
        let [first, _second] = idle;
        leave(first);
        exchange(&mut server.connect(), b"a worker is free");
        let ended = server.stop().clean();
        assert_eq!(ended.count("pool full"), 1, "{}", ended.stderr);
    });
}

/// Row 19: a byte now and then keeps no worker for ever.
#[test]
fn a_dribbling_client_is_cut_at_its_deadline() {
    for model in ["thread-pool", "prefork", "threads", "fork"] {
        watchdog(PATIENCE, move || {
            let server = serve(model).args(&["--request-timeout", "500ms"]);
            let counted = !["threads", "fork"].contains(&model);
            let server = if counted { server.args(&["--workers", "1"]) } else { server }.start();
            let start = Instant::now();
            let mut slow = server.connect();
            let mut next = server.connect();
            next.write_all(b"next").unwrap();
            // Its own time-out is the clock of its bytes.
            slow.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let mut answered = 0;
            loop {
                // An error is its end as well; what it was answered before that is still there to be read.
                let _ = slow.write_all(b"x");
                match slow.read(&mut [0]) {
                    Ok(0) => break,
                    Ok(n) => answered += n,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
                assert!(start.elapsed() < Duration::from_secs(10), "{model}");
            }
            assert!(start.elapsed() >= Duration::from_millis(450), "{:?}", start.elapsed());
            assert!(answered > 3, "{model}: {answered} bytes answered until then");
            let mut reply = [0; 4];
            next.read_exact(&mut reply).unwrap_or_else(|error| panic!("{model}: {error}"));
            assert_eq!(&reply, b"NEXT");
            drop(next);
            assert!(server.stop().clean().count("timed out") >= 1);
        });
    }
}

/// Row 33: the parent's own signal, ten thousand times, while children come and go.
#[test]
fn a_storm_of_sigchld_changes_nothing() {
    for model in FORKING {
        watchdog(PATIENCE, move || {
            let server = serve(model).start();
            let calm = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    let mut sent = 0;
                    while sent < 10_000 || !calm.load(SeqCst) {
                        server.signal(SIGCHLD);
                        server.signal(SIGUSR1);
                        sent += 1;
                    }
                });
                for round in 0..100 {
                    let mut client = server.connect();
                    exchange(&mut client, &pattern(3000, round));
                    leave(client);
                }
                calm.store(true, SeqCst);
            });
            let ended = server.stop().clean();
            let counts = ["connections", "child failed", "respawned"].map(|name| ended.count(name));
            assert_eq!(counts, [100, 0, 0], "{model}");
        });
    }
}

/// Row 34: a worker that is asked to leave answers what it has received, and hurts nobody.
#[test]
fn a_reuseport_worker_leaves_in_order() {
    watchdog(PATIENCE, || {
        const CLIENTS: u64 = 24;
        let server = serve("reuseport").args(&["--workers", "4"]).start();
        let streams: Vec<_> = (0..CLIENTS)
            .map(|seed| {
                let mut stream = server.connect();
                let bytes = Arc::new(Endless::new(seed));
                let sender = bytes.feed(&stream, usize::MAX);
                let mut received = 0;
                while received < 10_000 {
                    received += bytes.receive(&mut stream, received, 5000);
                }
                (stream, bytes, sender, received)
            })
            .collect();
        let leaver = child_of(&server, &streams[0].0);
        let its = |stream: &TcpStream| child_of(&server, stream) == leaver;
        let its: Vec<_> = streams.iter().map(|(stream, ..)| its(stream)).collect();
        assert!(its.contains(&true) && its.contains(&false), "{its:?}");
        // Alive for a second, as above.
        thread::sleep(Duration::from_secs(1));
        sys::kill(leaver, SIGTERM).unwrap();
        let mut answered = 0;
        let mut stay = Vec::new();
        for ((mut stream, bytes, sender, mut received), its) in streams.into_iter().zip(its) {
            if its {
                // Every byte is held against the answer. The client sends on, so that in the end it is reset.
                received = bytes.receive_all(&mut stream, received, 1 << 16);
                sender.join().unwrap();
            } else {
                received += bytes.receive(&mut stream, received, 5000);
                stay.push((stream, bytes, sender, received));
                continue;
            }
            answered += received;
        }
        until("the pool is whole again", || {
            let children = server.children();
            !children.contains(&leaver) && children.len() == 4
        });
        for seed in 0..CLIENTS {
            exchange(&mut server.connect(), &pattern(100, seed));
        }
        server.signal(SIGTERM);
        for (mut stream, bytes, sender, received) in stay {
            answered += bytes.receive_all(&mut stream, received, 1 << 16);
            sender.join().unwrap();
        }
        let ended = server.wait().clean();
        let answered = answered as u64 + CLIENTS * 100;
        assert_eq!((ended.count("bytes in"), ended.count("out")), (answered, answered));
        let counts = ["respawned", "child failed", "cut"].map(|name| ended.count(name));
        assert_eq!(counts, [1, 0, 0], "{}", ended.stderr);
    });
}
