//! Ours beside what others serve with: the same upper-case server with mio, tokio, monoio, libuv, Go, asyncio, uvloop and in plain C.
//!
//!     cargo bench --bench field -- [--quick] [--only CELL]... [--rounds N] [--record FILE]       (make bench-peers)
//!
//! All servers of a cell run on one core, the generator on another; only one is asked at a time, in turn, round after round. Figures are
//! compared within a round. A CELL is one of `cell::CELLS`, or `memory`, `calls`, `instructions`. Every answer's bytes are compared.

#![expect(unreachable_pub, reason = "its modules are nobody else's")]

#[path = "../common/mod.rs"]
mod common;

mod cell;
mod counts;
mod goals;
mod who;

use cell::{CELLS, Line};
use goals::Goals;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use waitcopy::client::load::{self, Load};
use waitcopy::lab::machine;
use waitcopy::net::Endpoint;
use waitcopy::sys;
use who::Entrant;

/// What is counted, beside the cells.
const COUNTED: [&str; 3] = ["memory", "calls", "instructions"];

/// What is printed, kept for the record.
#[derive(Default)]
struct Record(String);

impl Record {
    fn say(&mut self, text: impl AsRef<str>) {
        println!("{}", text.as_ref());
        let _ = writeln!(self.0, "{}", text.as_ref());
    }
}

/// What was asked for.
struct Asked {
    quick: bool,
    only: Vec<String>,
    rounds: usize,
    time: Duration,
    record: Option<PathBuf>,
    built: PathBuf,
}

impl Asked {
    fn of(words: &[String]) -> Self {
        let values = |flag: &str| {
            let pairs = words.windows(2).filter(move |pair| pair[0] == flag);
            pairs.map(|pair| pair[1].clone()).collect::<Vec<_>>()
        };
        let quick = words.iter().any(|word| word == "--quick");
        let only = values("--only");
        let known = |name: &String| {
            CELLS.iter().any(|cell| cell.name == name) || COUNTED.contains(&name.as_str())
        };
        if let Some(stranger) = only.iter().find(|name| !known(name)) {
            let names: Vec<_> = CELLS.iter().map(|cell| cell.name).chain(COUNTED).collect();
            panic!("--only {stranger}: there are {}", names.join(", "));
        }
        let rounds = values("--rounds").last().map(|n| n.parse().expect("--rounds: a number"));
        let built = values("--peers").pop().map_or_else(beside, PathBuf::from);
        Self {
            quick,
            only,
            rounds: rounds.unwrap_or(if quick { 2 } else { 12 }),
            time: Duration::from_millis(if quick { 100 } else { 500 }),
            record: values("--record").pop().map(PathBuf::from),
            built,
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|one| one == name)
    }
}

/// `peers/` in the target directory, which holds this program at release/deps.
fn beside() -> PathBuf {
    let program = std::env::current_exe().expect("this program");
    program.ancestors().nth(3).expect("a target directory").join("peers")
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let asked = Asked::of(&words);
    let cores = sys::sched_getaffinity().expect("cores");
    let (generator, core) = (cores[0], cores[cores.len() - 1]);
    // For us, and inherited by the servers.
    let most = Load { idle: 10_000, connections: 1000, ..Load::new(nowhere()) };
    if let Err(few) = load::make_room(&most) {
        eprintln!("field: {few}");
    }
    let (entrants, missing) = who::all(&asked.built);
    let mut record = Record::default();
    let begun = Instant::now();
    // Before the pin: after it the machine has one core.
    head(&mut record, &asked, [generator, core], &entrants, &missing);
    sys::sched_setaffinity(0, generator).expect("a core for the generator");
    let mut goals = Goals::default();
    for cell in CELLS.iter().filter(|cell| asked.wants(cell.name)) {
        // Ten thousand connections are made for each visit.
        let rounds =
            if cell.name == "idle" { asked.rounds.div_ceil(2).max(6) } else { asked.rounds };
        let rounds = if asked.quick { asked.rounds } else { rounds };
        let idle = if asked.quick { cell.idle / 10 } else { cell.idle };
        let (lines, faults) = cell.measure(&entrants, rounds, asked.time, idle, core);
        record.say(format!("\n## {}: {}, {rounds} rounds\n", cell.name, cell.what));
        if idle < cell.idle {
            record.say(format!("--quick: of the silent ones, {idle}.\n"));
        }
        faults.iter().for_each(|fault| record.say(format!("left out, {fault}\n")));
        table(&mut record, &lines);
        goals.cell(cell.name, &lines);
    }
    if asked.wants("memory") {
        memory(&mut record, &asked, &entrants, core, &mut goals);
    }
    if asked.wants("calls") {
        let title = "system calls per request, 100 connections x 64 bytes (perf stat)";
        let many = entrants.iter().filter(|entrant| entrant.name != "blocking");
        let calls = counted(&mut record, title, many, |e| counts::calls(e, core));
        goals.calls(&calls);
    }
    if asked.wants("instructions") {
        // Those that run on the machine itself; an interpreter's or a collector's are not the server's.
        let lean = |e: &&Entrant| ["epoll", "epoll-et", "mio", "C"].contains(&e.name);
        for connections in if asked.quick { vec![1] } else { vec![1, 100] } {
            let title = format!(
                "user-space instructions per request, {connections} x 64 bytes (callgrind)"
            );
            let count = |e: &Entrant| counts::instructions(e, connections, core);
            let found = counted(&mut record, &title, entrants.iter().filter(lean), count);
            goals.instructions(connections, &found);
        }
    }
    record.say("\n## Goals\n");
    goals.lines().iter().for_each(|line| record.say(line));
    record.say(format!("\n{} s in all", begun.elapsed().as_secs()));
    if let Some(path) = &asked.record {
        std::fs::write(path, &record.0).expect("the record");
    }
}

fn nowhere() -> Endpoint {
    Endpoint::Tcp(([127, 0, 0, 1], 1).into())
}

fn head(
    record: &mut Record,
    asked: &Asked,
    [generator, core]: [usize; 2],
    entrants: &[Entrant],
    missing: &[String],
) {
    let date = Command::new("date").args(["-u", "+%F %H:%M UTC"]).output();
    let date =
        date.map_or_else(|_| String::new(), |said| String::from_utf8_lossy(&said.stdout).into());
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    record.say("# Ours beside what others serve with\n");
    record.say(format!("    make bench-peers ARGS='-- {}'\n", words.join(" ")));
    record.say(format!(
        "{} on {}; load before {}",
        date.trim(),
        machine::described(&machine::environment()),
        load.trim()
    ));
    record.say(format!(
        "\nGenerator on core {generator}, servers on core {core}; {} rounds, {:?} a visit; medians, ratios within a round with \
         their 95 % interval (of fewer than 6 rounds: the extremes, which are less sure).\n",
        asked.rounds, asked.time
    ));
    who::versions(&asked.built).iter().for_each(|line| record.say(format!("- {line}")));
    let names: Vec<_> = entrants.iter().map(|entrant| entrant.name).collect();
    record.say(format!("\nTaking part: {}.", names.join(", ")));
    missing.iter().for_each(|line| record.say(format!("\nNot there, {line}")));
}

/// A line per server, and the raw samples.
fn table(record: &mut Record, lines: &[Line<'_>]) {
    let best = |of| cell::best(lines, of, |entrant| !cell::ours(entrant));
    let (fastest, leanest) = (best(cell::rate), best(cell::per_cpu));
    let named = |line: Option<&Line<'_>>| line.map_or("peer", |line| line.entrant.name).to_owned();
    record.say(format!(
        "| server | requests/s | p99 us | server CPU us/request | rate / {}'s | requests per CPU second / {}'s |",
        named(fastest),
        named(leanest)
    ));
    record.say("|---|---|---|---|---|---|");
    for line in lines {
        let ratio = |peer: Option<&Line<'_>>, of| {
            peer.map_or_else(String::new, |peer| goals::ranged(line.against(peer, of)))
        };
        record.say(format!(
            "| {} | {:.0} | {:.0} | {:.3} | {} | {} |",
            line.entrant.name,
            line.median(cell::rate),
            line.median(|sample| sample.p99_us),
            line.median(|sample| sample.cpu_us),
            ratio(fastest, cell::rate),
            ratio(leanest, cell::per_cpu)
        ));
    }
    let bound = lines.iter().filter(|line| line.median(|sample| sample.generator) > 0.85);
    let bound: Vec<_> = bound.map(|line| line.entrant.name).collect();
    if !bound.is_empty() {
        record.say(format!("\nGENERATOR-BOUND (its core over 85 % busy): {}.", bound.join(", ")));
    }
    record.say("\nraw, requests/s, p99 us and CPU us/request:\n");
    for line in lines {
        let each = line.samples.iter();
        let each = each.map(|s| format!("{:.0}/{:.0}/{:.3}", s.rate, s.p99_us, s.cpu_us));
        record.say(format!("- {}: {}", line.entrant.name, each.collect::<Vec<_>>().join(" ")));
    }
}

fn memory(
    record: &mut Record,
    asked: &Asked,
    entrants: &[Entrant],
    core: usize,
    goals: &mut Goals,
) {
    let (idle, times) = if asked.quick { (1000, 1) } else { (10_000, 3) };
    let title = format!("user memory of an idle connection, bytes, of {idle} (PSS)");
    let many = entrants.iter().filter(|entrant| entrant.name != "blocking");
    let found =
        counted(record, &title, many, |entrant| counts::idle_memory(entrant, idle, times, core));
    goals.memory(&found);
}

/// A table of one figure for each of some servers.
fn counted<'a>(
    record: &mut Record,
    title: &str,
    entrants: impl IntoIterator<Item = &'a Entrant>,
    count: impl Fn(&Entrant) -> Result<f64, String>,
) -> Vec<(&'static str, f64)> {
    record.say(format!("\n## {title}\n\n| server | |\n|---|---|"));
    let mut found = Vec::new();
    for entrant in entrants {
        match count(entrant) {
            Ok(figure) => {
                record.say(format!("| {} | {figure:.2} |", entrant.name));
                found.push((entrant.name, figure));
            }
            Err(why) => record.say(format!("| {} | not measured: {why} |", entrant.name)),
        }
    }
    found
}
