//! What `waitcopy load` costs beside the least that a generator can do: `epoll_load.c`, which compares nothing and takes no time.
//!
//!     cargo bench --bench load [-- --rounds N --requests N]        (make bench-load)
//!
//! Both drive the same `waitcopy serve epoll`, in turn, round after round; the next round begins with the other. Generators run on the
//! first core, the server on the last. The figure is CPU time per request, user and system, of the generator's process; what counts is the
//! ratio within each round: its median, the smallest and the largest.

use std::process::{Command, Stdio};
use waitcopy::json::Value;
use waitcopy::sys;

const WAITCOPY: &str = env!("CARGO_BIN_EXE_waitcopy");
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/epoll_load.c");
/// Connections and bytes a message.
const CASES: [(usize, usize); 4] = [(1, 64), (100, 64), (1000, 64), (100, 4096)];

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let flag = |name: &str, usual: usize| {
        let at = words.iter().position(|word| word == name);
        at.map_or(usual, |at| words[at + 1].parse().expect("a number"))
    };
    let (rounds, requests) = (flag("--rounds", 8), flag("--requests", 200_000));
    let cores = sys::sched_getaffinity().expect("cores");
    let (core, serving) = (cores[0], cores[cores.len() - 1]);
    let peer = std::env::temp_dir().join(format!("epoll_load-{}", std::process::id()));
    let built = Command::new("cc").args(["-O2", "-o"]).arg(&peer).arg(SOURCE).status();
    assert!(built.expect("cc").success(), "epoll_load.c does not build");
    println!(
        "Linux {}; generators on core {core}, server on core {serving}; {requests} requests, {rounds} rounds\n",
        sys::uname_release()
    );
    println!(
        "| connections x bytes | ours, ns/request | C, ns/request | ours / C, median | smallest | largest |"
    );
    println!("|---|---|---|---|---|---|");
    let mut raw = String::new();
    for (connections, size) in CASES {
        let (_server, port) = serve(serving);
        let measure = |ours: bool| {
            let cpu = if ours {
                ours_cpu(port, connections, size, requests, core)
            } else {
                let words = [port as usize, connections, size, requests].map(|n| n.to_string());
                let mut command = Command::new(&peer);
                text(sys::run_on(command.args(words), core)).trim().parse().expect("nanoseconds")
            };
            cpu as f64 / requests as f64
        };
        let mut pairs = Vec::new();
        for round in 0..rounds {
            let mut pair = [0.0; 2];
            for place in [round % 2, 1 - round % 2] {
                pair[place] = measure(place == 0);
            }
            pairs.push(pair);
        }
        let ratios = sorted(pairs.iter().map(|[ours, c]| ours / c).collect());
        let of = |place: usize| middle(&sorted(pairs.iter().map(|pair| pair[place]).collect()));
        println!(
            "| {connections} x {size} | {:.0} | {:.0} | {:.3} | {:.3} | {:.3} |",
            of(0),
            of(1),
            middle(&ratios),
            ratios[0],
            ratios[ratios.len() - 1]
        );
        let each = pairs.iter().map(|[ours, c]| format!("{ours:.0}/{c:.0}"));
        raw += &format!("\nraw, {connections} x {size}: {}\n", each.collect::<Vec<_>>().join(" "));
    }
    println!("{raw}");
    let _ = std::fs::remove_file(peer);
}

/// A server on a core, and its port; it ends with its owner.
fn serve(core: usize) -> (Guard, u16) {
    use std::io::{BufRead, BufReader};
    let mut command = Command::new(WAITCOPY);
    command.args(["serve", "epoll", "--listen", "127.0.0.1:0"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child =
        sys::run_on(sys::die_with_parent(&mut command), core).spawn().expect("a server");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port = line.trim_end().rsplit(':').next().and_then(|port| port.parse().ok());
    (Guard(child), port.expect("a port"))
}

struct Guard(std::process::Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CPU time in nanoseconds that the program itself tells.
fn ours_cpu(port: u16, connections: usize, size: usize, requests: usize, core: usize) -> u64 {
    let mut command = Command::new(WAITCOPY);
    command.args(["load", &format!("127.0.0.1:{port}"), "--json", "--warm-up", "100ms"]);
    for (flag, n) in [("-c", connections), ("-s", size), ("-n", requests)] {
        command.arg(flag).arg(n.to_string());
    }
    let report = Value::parse(&text(sys::run_on(&mut command, core))).expect("JSON");
    report.count("result.generator_cpu_ns").expect("CPU time")
}

fn text(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().expect("a generator");
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

fn middle(values: &[f64]) -> f64 {
    (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
}
