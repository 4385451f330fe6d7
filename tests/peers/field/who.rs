//! Who is measured: models of ours, and what others serve with.

use crate::common::{Server, WAITCOPY};
use std::path::Path;
use std::process::{Command, Stdio};
use waitcopy::model;

/// Ours that may be the best of a cell. Those that the catalogue does not have are left out.
const OURS: [&str; 4] = ["epoll", "epoll-et", "io-uring", "async"];
/// With one connection it can wait in its receive, which is one call less.
const OURS_ALONE: &str = "blocking";

const ASYNCIO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/servers/asyncio_server.py");

/// What somebody's I/O stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ours,
    /// Somebody else's, on epoll.
    Epoll,
    /// Somebody else's, on io_uring.
    Uring,
}

/// One server.
#[derive(Debug)]
pub struct Entrant {
    pub name: &'static str,
    pub kind: Kind,
    /// The words of its command; the address and the bytes of the buffer follow, for ours as flags.
    words: Vec<String>,
}

impl Entrant {
    /// Its command, with a receive buffer of so many bytes.
    pub fn command(&self, buffer: usize) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]);
        let buffer = buffer.to_string();
        match self.kind {
            Kind::Ours => command.args(["--listen", "127.0.0.1:0", "--buffer", &buffer]),
            _ => command.args(["127.0.0.1:0", &buffer]),
        };
        if self.name == "uvloop" {
            command.arg("uvloop");
        }
        // Go's runtime makes a thread per core otherwise, and they would take turns on the one that all have.
        command.env("GOMAXPROCS", "1");
        command
    }

    pub fn start(&self, buffer: usize, core: usize) -> Result<Server, String> {
        Server::start(&mut self.command(buffer), core)
    }
}

/// All that are there, and a line for each that is not. `built` is where `tests/peers/servers/build` has put its work.
pub fn all(built: &Path) -> (Vec<Entrant>, Vec<String>) {
    let ours = OURS.into_iter().chain([OURS_ALONE]).map(|name| {
        let words = [WAITCOPY, "serve", name].map(str::to_owned).into();
        Entrant { name, kind: Kind::Ours, words }
    });
    let python = built.join("../venv/bin/python").display().to_string();
    let binary = |name: &str| vec![built.join(name).display().to_string()];
    let others = [
        ("mio", Kind::Epoll, binary("peer-mio")),
        ("tokio", Kind::Epoll, binary("peer-tokio")),
        ("monoio", Kind::Uring, binary("peer-monoio")),
        ("libuv", Kind::Epoll, binary("peer-uv")),
        ("Go", Kind::Epoll, binary("peer-go")),
        ("asyncio", Kind::Epoll, vec![python.clone(), ASYNCIO.to_owned()]),
        ("uvloop", Kind::Epoll, vec![python, ASYNCIO.to_owned()]),
        ("C", Kind::Epoll, binary("peer-epoll")),
    ];
    let others = others.into_iter().map(|(name, kind, words)| Entrant { name, kind, words });
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for entrant in ours.chain(others) {
        if entrant.kind == Kind::Ours && model::find(entrant.name).is_none() {
            missing.push(format!("{}: not in the catalogue", entrant.name));
            continue;
        }
        // Whether it starts is the only way to know it all: a missing library, an io_uring that is refused.
        match entrant.start(1024, 0) {
            Ok(_) => there.push(entrant),
            Err(why) => missing.push(format!("{}: {why}", entrant.name)),
        }
    }
    (there, missing)
}

/// Versions of what the peers are made with, a line each.
pub fn versions(built: &Path) -> Vec<String> {
    let first_line = |program: &str, words: &[&str]| {
        let said = Command::new(program).args(words).stderr(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        said.status.success().then(|| text.lines().next().unwrap_or_default().to_owned())
    };
    let python = built.join("../venv/bin/python").display().to_string();
    let uvloop = "import sys, uvloop; print('Python', sys.version.split()[0] + ', uvloop', uvloop.__version__)";
    let lock = include_str!("../servers/Cargo.lock");
    let crates = ["mio", "tokio", "monoio"].map(|name| newest(lock, name));
    let lines = [
        first_line("rustc", &["--version"]),
        Some(crates.join(", ")),
        first_line("cc", &["--version"]),
        first_line("pkg-config", &["--modversion", "libuv"])
            .map(|version| format!("libuv {version}")),
        first_line("go", &["version"]),
        first_line(&python, &["-c", uvloop]),
    ];
    lines.into_iter().flatten().collect()
}

/// The last version of a package that a lock file names: monoio brings an older mio of its own.
fn newest(lock: &str, name: &str) -> String {
    let after = lock.split(&format!("name = \"{name}\"\nversion = \"")).last().unwrap_or_default();
    format!("{name} {}", after.split('"').next().unwrap_or("?"))
}
