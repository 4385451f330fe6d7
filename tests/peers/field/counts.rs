//! What is counted and not timed: memory of idle connections, system calls and user-space instructions per request.

use crate::common::{Server, middle, sorted};
use crate::who::Entrant;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use waitcopy::client::load::{self, Load};
use waitcopy::net::Endpoint;
use waitcopy::sys;

/// User memory, in bytes, of one connection that has had an answer and is silent: the growth of the server's PSS by so many.
pub fn idle_memory(
    entrant: &Entrant,
    idle: usize,
    times: usize,
    core: usize,
) -> Result<f64, String> {
    let once = || {
        let server = entrant.start(1024, core)?;
        let talk = |client: &mut TcpStream| -> std::io::Result<()> {
            client.write_all(b"hello")?;
            client.read_exact(&mut [0; 5])
        };
        let mut first = connect(&server)?;
        talk(&mut first).map_err(told)?;
        let before = server.memory("Pss:");
        let mut clients = Vec::with_capacity(idle);
        for _ in 0..idle {
            let mut client = connect(&server)?;
            talk(&mut client).map_err(told)?;
            clients.push(client);
        }
        Ok((server.memory("Pss:") as f64 - before as f64) * 1024.0 / idle as f64)
    };
    let runs: Result<Vec<f64>, String> = (0..times).map(|_| once()).collect();
    runs.map(|runs| middle(&sorted(runs)))
}

fn connect(server: &Server) -> Result<TcpStream, String> {
    TcpStream::connect(server.address).map_err(told)
}

fn told(error: std::io::Error) -> String {
    error.to_string()
}

/// A load of so many requests of 64 bytes.
fn requests(server: &Server, connections: usize, count: u64) -> Result<(), String> {
    let timeout = Duration::from_secs(5);
    let load = Load {
        connections,
        count: Some(count),
        timeout,
        ..Load::new(Endpoint::Tcp(server.address))
    };
    let outcome = load::run(&load, &mut ()).map_err(|failure| failure.to_string())?;
    if outcome.sound() && outcome.requests >= count { Ok(()) } else { Err("not sound".into()) }
}

/// System calls per request with 100 connections x 64 bytes, as the kernel's own tracepoint counts them. Connecting is in it.
pub fn calls(entrant: &Entrant, core: usize) -> Result<f64, String> {
    const COUNT: u64 = 100_000;
    let server = entrant.start(4096, core)?;
    requests(&server, 100, 1000)?;
    let perf = Perf::start(server.process())?;
    requests(&server, 100, COUNT)?;
    Ok(perf.stop()? as f64 / COUNT as f64)
}

/// `perf stat` that counts one process' system calls, and says when it does.
struct Perf {
    child: Child,
    folder: PathBuf,
}

impl Perf {
    fn start(process: u32) -> Result<Self, String> {
        let folder = std::env::temp_dir().join(format!("waitcopy-field-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(told)?;
        let (control, answer) = (folder.join("control"), folder.join("answer"));
        for fifo in [&control, &answer] {
            let made = Command::new("mkfifo").arg(fifo).status().map_err(told)?;
            if !made.success() {
                return Err(format!("mkfifo {}: {made}", fifo.display()));
            }
        }
        // Both ends at once: opening a pipe with a name waits for the other side else, and perf may never come.
        let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path).map_err(told);
        let (mut order, mut answers) = (open(&control)?, open(&answer)?);
        let mut command = Command::new("perf");
        command.args(["stat", "-x,", "-e", "raw_syscalls:sys_enter", "-D", "-1", "--control"]);
        command.arg(format!("fifo:{},{}", control.display(), answer.display()));
        command.args(["-p", &process.to_string()]).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = sys::die_with_parent(&mut command).spawn().map_err(|e| format!("perf: {e}"))?;
        let perf = Self { child, folder };
        order.write_all(b"enable\n").map_err(told)?;
        acknowledged(&mut answers)?;
        Ok(perf)
    }

    fn stop(mut self) -> Result<u64, String> {
        let _ = sys::kill(self.child.id(), sys::SIGINT);
        let mut text = String::new();
        let stderr = self.child.stderr.take().expect("a pipe");
        BufReader::new(stderr).read_to_string(&mut text).map_err(told)?;
        let counted = text.lines().find(|line| line.contains("sys_enter"));
        let counted = counted.and_then(|line| line.split(',').next()?.parse().ok());
        counted.ok_or_else(|| format!("perf said {text:?}"))
    }
}

/// perf says `ack` for each order.
fn acknowledged(answers: &mut File) -> Result<(), String> {
    let mut ask = [sys::PollFd::new(&*answers, true, false)];
    if sys::poll(&mut ask, Some(Duration::from_secs(5))).map_err(told)? == 0 {
        return Err("perf did not begin (not allowed here, or no tracepoints)".into());
    }
    let mut line = String::new();
    BufReader::new(answers).read_line(&mut line).map(drop).map_err(told)
}

impl Drop for Perf {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// User-space instructions per request of 64 bytes by callgrind: the difference between a long and a short run.
pub fn instructions(entrant: &Entrant, connections: usize, core: usize) -> Result<f64, String> {
    const COUNTS: [u64; 2] = [5_000, 25_000];
    let once = |count: u64| {
        let inner = entrant.command(1024);
        let file = std::env::temp_dir().join(format!("waitcopy-callgrind-{}", std::process::id()));
        let mut command = Command::new("valgrind");
        command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", file.display()));
        command.arg(inner.get_program()).args(inner.get_args());
        let mut server = Server::start(&mut command, core)?;
        requests(&server, connections, count)?;
        server.stop();
        let text = fs::read_to_string(&file).map_err(told)?;
        let _ = fs::remove_file(&file);
        let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
        total.and_then(|total| total.trim().parse::<f64>().ok()).ok_or("no totals".to_owned())
    };
    let [short, long] = [once(COUNTS[0])?, once(COUNTS[1])?];
    Ok((long - short) / (COUNTS[1] - COUNTS[0]) as f64)
}
