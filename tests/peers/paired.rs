//! Paired measurements: two servers in turn, round after round, under the same load, on the same core.
//!
//!     cargo bench --bench paired [-- CASE...]        (make bench)
//!
//! A case is one pair; a round measures one, then the other, and the next round begins with the other. What counts is the
//! ratio within each round: its median, and the smallest and largest. Servers run on the second core, the generator on the
//! first. Everything is printed, raw figures too.

mod common;

use common::{Server, WAITCOPY, kib, middle, sorted};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};
use waitcopy::client::load::{self, Load};
use waitcopy::lab::Family;
use waitcopy::net::Endpoint;
use waitcopy::sys;

const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/threading_tcp_server.py");
const ROUNDS: usize = 8;
const TIME: Duration = Duration::from_secs(1);

/// A server, by the words of its command.
type Words = &'static [&'static str];

const PY: Words = &["python3", PYTHON];
const POOL: Words = &[WAITCOPY, "serve", "thread-pool", "--workers", "1100"];
const THREADS: Words = &[WAITCOPY, "serve", "threads"];
const FORK: Words = &[WAITCOPY, "serve", "fork"];
const ONE: Words = &[WAITCOPY, "serve", "reuseport", "--workers", "1"];
const TWO: Words = &[WAITCOPY, "serve", "reuseport", "--workers", "2"];

fn start(words: Words, core: usize) -> Server {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    if words[0] == WAITCOPY {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    Server::start(&mut command, core).expect("a server")
}

/// CPU time so far, of the children that it has waited for too: fields 14 to 17 of proc(5)'s stat, in ticks of 10 ms.
fn cpu_of(server: &Server) -> Duration {
    let of = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        fields.skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>()
    };
    Duration::from_millis(10 * server.family().iter().map(of).sum::<u64>())
}

/// What one measurement brings, by name; larger or smaller is better by its unit.
type Figures = Vec<(&'static str, f64)>;

/// Requests of 64 bytes, one in flight per connection.
fn requests(words: Words, connections: usize, core: usize) -> Figures {
    let server = start(words, core);
    let load = Load { connections, duration: TIME, ..Load::new(Endpoint::Tcp(server.address)) };
    let mut family = Family::of(server.process());
    let outcome = load::run(&load, &mut family).expect("a load");
    assert!(outcome.sound() && outcome.unserved == 0, "{words:?}: {outcome:?}");
    let cpu = family.cpu().expect("a server").as_secs_f64();
    vec![
        ("requests/s", outcome.rate()),
        ("p50 us", outcome.latency.quantile(0.5) as f64 / 1e3),
        ("p99 us", outcome.latency.quantile(0.99) as f64 / 1e3),
        ("CPU us/request", cpu * 1e6 / outcome.requests as f64),
        ("requests per CPU second", outcome.requests as f64 / cpu),
    ]
}

/// Connect, one request, close; one after the other.
fn connections(words: Words, core: usize) -> Figures {
    let server = start(words, core);
    let (before, start, mut made) = (cpu_of(&server), Instant::now(), 0_u32);
    while start.elapsed() < 2 * TIME {
        let mut client = TcpStream::connect(server.address).unwrap();
        client.write_all(b"one request").unwrap();
        let mut reply = [0; 11];
        client.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"ONE REQUEST");
        made += 1;
    }
    let wall = start.elapsed().as_secs_f64();
    drop(TcpStream::connect(server.address));
    let cpu = (cpu_of(&server) - before).as_secs_f64();
    vec![
        ("connections/s", f64::from(made) / wall),
        ("CPU us/connection", cpu * 1e6 / f64::from(made)),
    ]
}

/// What 1,000 connections cost that have had one answer and are silent.
fn idle(words: Words, core: usize) -> Figures {
    const IDLE: usize = 1000;
    let server = start(words, core);
    let talk = |client: &mut TcpStream| {
        client.write_all(b"hello").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
    };
    let mut first = TcpStream::connect(server.address).unwrap();
    talk(&mut first);
    let kernel = || {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        kib(&text, "KernelStack:") + kib(&text, "PageTables:")
    };
    let (before, kernel_before) = (server.memory("Pss:"), kernel());
    let mut clients: Vec<_> =
        (0..IDLE).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    clients.iter_mut().for_each(talk);
    let per = |after: u64, before: u64| (after as f64 - before as f64) / IDLE as f64;
    vec![
        ("KiB/connection, user", per(server.memory("Pss:"), before)),
        ("KiB/connection, kernel stacks and page tables", per(kernel(), kernel_before)),
    ]
}

/// Measures a pair in alternating rounds and prints it.
fn pair(name: &str, [a, b]: [&str; 2], measure: impl Fn(usize) -> Figures) {
    println!("\n## {name}\n\n{a} against {b}, {ROUNDS} rounds\n");
    let mut rounds: Vec<[Figures; 2]> = Vec::new();
    for round in 0..ROUNDS {
        let mut both = [Vec::new(), Vec::new()];
        for place in [round % 2, 1 - round % 2] {
            both[place] = measure(place);
        }
        rounds.push(both);
    }
    println!("| figure | {a}, median | {b}, median | ratio, median | smallest | largest |");
    println!("|---|---|---|---|---|---|");
    for (at, (figure, _)) in rounds[0][0].iter().enumerate() {
        let of = |place: usize| sorted(rounds.iter().map(|round| round[place][at].1).collect());
        let ratio = sorted(rounds.iter().map(|round| round[0][at].1 / round[1][at].1).collect());
        println!(
            "| {figure} | {:.1} | {:.1} | {:.2} | {:.2} | {:.2} |",
            middle(&of(0)),
            middle(&of(1)),
            middle(&ratio),
            ratio[0],
            ratio[ratio.len() - 1]
        );
    }
    for (at, (figure, _)) in rounds[0][0].iter().enumerate() {
        let raw = rounds.iter().map(|[a, b]| format!("{:.1}/{:.1}", a[at].1, b[at].1));
        println!("\nraw, {figure}: {}", raw.collect::<Vec<_>>().join(" "));
    }
}

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let want = |name: &str| wanted.is_empty() || wanted.iter().any(|word| word == name);
    let cores = sys::sched_getaffinity().expect("cores");
    let (generator, core) = (cores[0], cores[cores.len() - 1]);
    sys::sched_setaffinity(0, generator).expect("a core for the generator");
    let python = Command::new("python3").arg("--version").output();
    let python = python
        .map_or("no python3".into(), |said| String::from_utf8_lossy(&said.stdout).into_owned());
    println!(
        "Linux {}; generator on core {generator}, servers on core {core}; {}",
        sys::uname_release(),
        python.trim()
    );
    for (name, ours, label) in [("pool", POOL, "thread-pool"), ("threads", THREADS, "threads")] {
        for clients in [1, 100] {
            if want(name) {
                let case = format!(
                    "{label} and Python's ThreadingTCPServer, {clients} connections x 64 bytes"
                );
                pair(&case, [label, "Python"], |place| requests([ours, PY][place], clients, core));
            }
        }
    }
    if want("reuseport") {
        let case = "reuseport, two workers and one, 100 connections x 64 bytes";
        pair(case, ["2 workers", "1 worker"], |place| requests([TWO, ONE][place], 100, core));
    }
    if want("fork") {
        let case = "fork and threads: connect, one request, close";
        pair(case, ["fork", "threads"], |place| connections([FORK, THREADS][place], core));
        let case = "threads and Python's ThreadingTCPServer: connect, one request, close";
        pair(case, ["threads", "Python"], |place| connections([THREADS, PY][place], core));
    }
    if want("idle") {
        println!(
            "\n## 1,000 silent connections\n\n| server | KiB each, user (PSS) | KiB each, kernel stacks and page tables |\n|---|---|---|"
        );
        let names = waitcopy::model::CATALOGUE.iter().map(|model| model.name);
        for name in names.filter(|name| *name != "blocking" && *name != "select") {
            let words: Vec<&'static str> = match name {
                "thread-pool" | "prefork" => vec![WAITCOPY, "serve", name, "--workers", "1100"],
                _ => vec![WAITCOPY, "serve", name],
            };
            row(name, words.leak(), core);
        }
        row("Python ThreadingTCPServer", PY, core);
    }
}

/// The median of three.
fn row(name: &str, words: Words, core: usize) {
    let runs: Vec<Figures> = (0..3).map(|_| idle(words, core)).collect();
    let middle = |at: usize| sorted(runs.iter().map(|run| run[at].1).collect())[1];
    println!("| {name} | {:.2} | {:.2} |", middle(0), middle(1));
}
