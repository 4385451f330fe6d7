//! A parent and its children as one server: they count together, begin together, and end together.

mod support;

use std::io::Read;
use std::process::Command;
use std::time::{Duration, Instant};
use support::streams::Endless;
use support::{
    PATIENCE, Server, exchange, pattern, proc_status, report, scratch, serve, state, until,
    watchdog,
};
use waitcopy::json::Value;
use waitcopy::sys::{self, SIGTERM};

const SIGKILL: i32 = 9;

/// Whether a process has ended; one whose parent is gone as well may stay a zombie where nobody reaps.
fn gone(process: &u32) -> bool {
    matches!(state(*process), 'X' | 'Z')
}

/// Every test here, for each of the ways that fork.
fn for_each_family(test: fn(&str)) {
    for model in ["fork", "prefork", "reuseport"] {
        watchdog(PATIENCE, move || test(model));
    }
}

#[test]
fn the_summary_is_what_the_clients_counted() {
    for_each_family(|model| {
        const CLIENTS: u64 = 20;
        const EACH: u64 = 15;
        let file = scratch(&format!("family-{model}.json"));
        let server = serve(model).room_for(20).args(&["--report", file.to_str().unwrap()]).start();
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
        let mut bytes = 0;
        for round in 1..=EACH {
            for client in &mut clients {
                let message = pattern(10 * round as usize, round);
                exchange(client, &message);
                bytes += message.len() as u64;
            }
        }
        for mut client in clients {
            client.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        }
        let workers = server.children().len() as u64;
        let ended = server.stop().clean();
        let counted = ["connections", "requests", "bytes in", "out"].map(|name| ended.count(name));
        assert_eq!(counted, [CLIENTS, CLIENTS * EACH, bytes, bytes], "{model}");
        // In one histogram, whoever served.
        let report = report(&file);
        let figure = |path: &str| report.count(path).unwrap_or_else(|| panic!("no {path}"));
        for metric in ["wait", "copy", "send"] {
            assert_eq!(
                figure(&format!("phases.{metric}.count")),
                CLIENTS * EACH,
                "{model} {metric}"
            );
            let Some(Value::List(buckets)) = report.get(&format!("phases.{metric}.buckets")) else {
                panic!("no buckets of {metric}")
            };
            let filled = buckets.iter().map(|bucket| match bucket {
                Value::List(pair) => {
                    if let Value::Count(n) = pair[1] {
                        n
                    } else {
                        0
                    }
                }
                _ => 0,
            });
            assert_eq!(filled.sum::<u64>(), CLIENTS * EACH, "{model} {metric}");
        }
        assert_eq!(figure("phases.accept.count"), CLIENTS, "{model}");
        // What it cost to begin, once for each child.
        let children = if model == "fork" { CLIENTS } else { workers };
        assert_eq!(figure("phases.start.count"), children, "{model}");
        assert!(figure("phases.start.max_ns") > 0, "{model}");
    });
}

#[test]
fn threads_tell_what_their_start_cost() {
    watchdog(PATIENCE, || {
        for (model, starts) in [("threads", 3), ("thread-pool", 5)] {
            let file = scratch(&format!("start-{model}.json"));
            let server = serve(model).args(&["--report", file.to_str().unwrap()]);
            let pool = model == "thread-pool";
            let server = if pool { server.args(&["--workers", "5"]) } else { server }.start();
            for _ in 0..3 {
                exchange(&mut server.connect(), b"hello");
            }
            server.stop().clean();
            assert_eq!(report(&file).count("phases.start.count"), Some(starts), "{model}");
        }
    });
}

#[test]
fn prefork_makes_64_and_reuseport_one_for_each_core() {
    watchdog(PATIENCE, || {
        let cores = sys::sched_getaffinity().unwrap().len();
        for (model, workers) in [("prefork", 64), ("reuseport", cores)] {
            let server = support::bare(model).start();
            until("all are there", || server.children().len() == workers);
            exchange(&mut server.connect(), b"hello");
            server.stop().clean();
        }
    });
}

/// Clients of several children who do not read: nothing but the drain's end, or the second signal, ends those.
fn stuck(model: &str) -> (Server, Vec<std::net::TcpStream>, Vec<u32>) {
    let server = serve(model).args(&["--drain", "5m"]).start();
    let clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    clients.iter().for_each(|client| _ = Endless::new(1).fill(client));
    let children = server.children();
    assert!(children.len() >= 2, "{children:?}");
    (server, clients, children)
}

#[test]
fn a_second_signal_ends_parent_and_children_at_once() {
    for_each_family(|model| {
        let (mut server, _clients, children) = stuck(model);
        server.signal(SIGTERM);
        // The first has arrived when nobody is taken in any more; each child has been told then, or is about to be.
        until("the end at the second signal", || {
            server.signal(SIGTERM);
            !server.alive()
        });
        let start = Instant::now();
        until("the children are gone", || children.iter().all(gone));
        assert!(start.elapsed() < Duration::from_secs(2), "{model}: {:?}", start.elapsed());
        assert_eq!(server.wait().status.code(), Some(143), "{model}");
    });
}

#[test]
fn children_do_not_outlive_a_killed_parent() {
    for_each_family(|model| {
        let (server, clients, children) = stuck(model);
        server.signal(SIGKILL);
        // Nobody reads: a child that only drained would stay for five minutes.
        let start = Instant::now();
        until("the children are gone", || children.iter().all(gone));
        assert!(start.elapsed() < Duration::from_secs(10), "{model}: {:?}", start.elapsed());
        drop(clients);
        assert_eq!(server.wait().status.code(), None, "{model}");
    });
}

/// Fault 12: a child holds a connection that its parent has closed. What comes on it wakes the child and never the parent.
#[test]
fn what_a_child_holds_wakes_no_parent() {
    watchdog(PATIENCE, || {
        let server = serve("fork").start();
        let mut client = server.connect();
        exchange(&mut client, b"served by a child");
        let parent = server.server_pid();
        let woken = || proc_status(parent, "voluntary_ctxt_switches:");
        until("the parent sleeps", || state(parent) == 'S');
        let before = woken();
        (0..200).for_each(|n: u32| exchange(&mut client, &n.to_be_bytes()));
        assert_eq!(woken(), before, "wake-ups of the parent");
        // It was asleep, and not gone.
        exchange(&mut server.connect(), b"another");
        until("it has woken up for this one", || woken() > before);
        drop(client);
        server.stop().clean();
    });
}

#[test]
fn an_interrupt_of_the_whole_group_drains() {
    for_each_family(|model| {
        let server = serve(model).own_group().start();
        let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| exchange(client, b"hello"));
        // All at once behind the interrupt: what is received before it must be answered.
        let group = format!("-{}", server.pid());
        server.while_stopped(|| {
            for client in &mut clients {
                std::io::Write::write_all(client, &[b'x'; 5000]).unwrap();
            }
            let mut kill = Command::new("kill");
            assert!(kill.args(["-INT", "--", &group]).status().unwrap().success());
        });
        for client in &mut clients {
            let mut reply = Vec::new();
            client.read_to_end(&mut reply).unwrap();
            assert!(reply == [b'X'; 5000], "{model}: {} bytes", reply.len());
        }
        let ended = server.wait().clean();
        assert_eq!((ended.count("cut"), ended.count("child failed")), (0, 0), "{}", ended.stderr);
    });
}
