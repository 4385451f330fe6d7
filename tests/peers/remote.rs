//! Paired measurements of the remote: one private sshd, and clients in turn, round after round.
//!
//!     cargo bench --bench remote [-- CASE... --rounds N --size BYTES --record FILE]        (make bench-remote)
//!
//! A case is `put`, `get`, `put-tree`, `get-tree`, `connect` or `exec`. Each client is a process of its own, ours too: this program starts itself. Wall time is
//! from its start to its end, login and all; CPU time and peak memory are what wait4(2) tells of it and of the children that it waited
//! for (the ssh below sftp; of memory the larger of the two). What counts is the ratio within each round. Everything is printed, raw
//! figures too.

#[path = "remote/trees.rs"]
mod trees;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use waitcopy::lab::sshd::{KeyKind, Options, Sshd};
use waitcopy::remote::config::IdentityAgent;
use waitcopy::remote::sftp::Tree;
use waitcopy::remote::{Client, Error, blocking};
use waitcopy::sys;

const PARAMIKO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/paramiko_client.py");
/// Logins of one measurement of `connect`, and commands of one of `exec`.
const LOGINS: u32 = 10;
const COMMANDS: u32 = 200;

/// What one measurement brings, by name.
type Figures = Vec<(&'static str, f64)>;

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Ours,
    /// The same, a tree shared by two sessions.
    OursTwice,
    /// OpenSSH's sftp or ssh, with the ciphers that it likes best.
    OpenSsh,
    /// The same, with another cipher: it costs less where the processor knows AES.
    OpenSshGcm,
    /// The same, without the post-quantum key exchange that it likes best and libssh2 has only with OpenSSL 3.5.
    OpenSshCurve,
    Paramiko,
    /// rsync -a over OpenSSH's ssh.
    Rsync,
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::OursTwice => "ours, two sessions",
            Self::OpenSsh => "OpenSSH",
            Self::OpenSshGcm => "OpenSSH, aes128-gcm",
            Self::OpenSshCurve => "OpenSSH, curve25519",
            Self::Paramiko => "paramiko",
            Self::Rsync => "rsync -a",
        }
    }
}

/// The server, and what clients need to know of it. Goes with all its files.
struct Bench {
    sshd: Sshd,
    key: PathBuf,
    known_hosts: PathBuf,
    /// In memory where there is such a place: it is not the disk that is measured.
    folder: PathBuf,
    size: u64,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Bench {
    fn start(size: u64) -> Self {
        let sshd = Sshd::start(Options::default()).expect("a private sshd");
        let key = sshd.client_key(KeyKind::Ed25519).expect("a key");
        let known_hosts = sshd.folder().join("known_hosts_of_bench");
        fs::write(&known_hosts, sshd.known_hosts()).expect("known_hosts");
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = place.join(format!("waitcopy-bench-{}", std::process::id()));
        fs::create_dir(&folder).expect("a folder");
        Self { sshd, key, known_hosts, folder, size }
    }

    /// Random bytes, made when they are first asked for.
    fn source(&self) -> PathBuf {
        let path = self.folder.join("source");
        if !path.exists() {
            let mut random = File::open("/dev/urandom").expect("urandom").take(self.size);
            io::copy(&mut random, &mut File::create(&path).expect("a file")).expect("random bytes");
        }
        path
    }

    /// The client's process for a job (`put`, `get`, `exec`, `login`).
    fn client(&self, who: Who, job: &str, words: &[OsString]) -> Command {
        let addr = self.sshd.addr();
        let place = [addr.ip().to_string(), addr.port().to_string(), self.sshd.user().to_owned()];
        let mut command = match who {
            Who::Ours | Who::OursTwice | Who::Paramiko => {
                let program = std::env::current_exe().expect("this program");
                let mut command = match who {
                    Who::Paramiko => Command::new(python(&program)),
                    _ => Command::new(&program),
                };
                command.arg(if who == Who::Paramiko { PARAMIKO } else { "client" }).arg(job);
                command.args(&place).arg(&self.key).arg(&self.known_hosts).args(words);
                command
            }
            _ => {
                let (program, port) = if job == "login" { ("ssh", "-p") } else { ("sftp", "-P") };
                let mut command = Command::new(program);
                command.args(["-F", "none", port, &place[1], "-i"]).arg(&self.key);
                let known = format!("UserKnownHostsFile={}", self.known_hosts.display());
                let mut options = vec!["IdentitiesOnly=yes", "IdentityAgent=none", &known];
                match who {
                    Who::OpenSshGcm => options.push("Ciphers=aes128-gcm@openssh.com"),
                    Who::OpenSshCurve => options.push("KexAlgorithms=curve25519-sha256"),
                    _ => {}
                }
                for option in options {
                    command.args(["-o", option]);
                }
                if job != "login" {
                    command.args(["-q", "-b", "-"]);
                }
                command.arg(format!("{}@{}", place[2], place[0]));
                command.args((job == "login").then_some("true"));
                command
            }
        };
        sys::die_with_parent(&mut command).stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    /// One file to the server, or from it: both ends are here, and the bytes are compared.
    fn copy(&self, who: Who, job: &'static str) -> Figures {
        let (from, to) = (self.source(), self.folder.join("copy"));
        let mut command = self.client(who, job, &[from.clone().into(), to.clone().into()]);
        let start = Instant::now();
        let mut child = command.spawn().expect("a client");
        let line = format!("{job} {} {}\n", from.display(), to.display());
        let _ = child.stdin.take().map(|mut input| input.write_all(line.as_bytes()));
        let (status, used) = sys::wait4(child).expect("its end");
        let wall = start.elapsed().as_secs_f64();
        assert!(status.success() && same(&from, &to), "{}: {job}: {status}", who.name());
        fs::remove_file(&to).expect("the copy");
        vec![
            ("MB/s", self.size as f64 / 1e6 / wall),
            ("CPU seconds", (used.user + used.system).as_secs_f64()),
            ("peak memory, MiB", used.max_rss_kib as f64 / 1024.0),
        ]
    }

    /// Connect, log in by key, run `true`, say goodbye: one process after the other.
    fn connect(&self, who: Who) -> Figures {
        let mut cpu = 0.0;
        let start = Instant::now();
        for _ in 0..LOGINS {
            let child = self.client(who, "login", &[]).spawn().expect("a client");
            let (status, used) = sys::wait4(child).expect("its end");
            assert!(status.success(), "{}: {status}", who.name());
            cpu += (used.user + used.system).as_secs_f64();
        }
        let each = 1e3 / f64::from(LOGINS);
        vec![("ms each", start.elapsed().as_secs_f64() * each), ("CPU ms each", cpu * each)]
    }

    /// `true`, many times on one connection; the client itself says how long they took.
    fn exec(&self, who: Who) -> Figures {
        let child = self.client(who, "exec", &[COMMANDS.to_string().into()]).spawn();
        let mut child = child.expect("a client");
        let mut said = String::new();
        child.stdout.take().map(|mut output| output.read_to_string(&mut said));
        let (status, _) = sys::wait4(child).expect("its end");
        assert!(status.success(), "{}: {status}", who.name());
        let seconds: f64 = said.trim().parse().expect("seconds");
        vec![("ms each", seconds * 1e3 / f64::from(COMMANDS))]
    }
}

/// The Python that has paramiko, which `.ci/deps paramiko` makes in the target folder: target/PROFILE/deps/BENCH.
fn python(program: &Path) -> PathBuf {
    program.ancestors().nth(3).expect("a target folder").join("venv/bin/python")
}

/// Whether two files hold the same bytes.
fn same(a: &Path, b: &Path) -> bool {
    let (Ok(a), Ok(b)) = (File::open(a), File::open(b)) else { return false };
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0;
    loop {
        let n = a.read_at(&mut left, at).unwrap_or(0);
        let as_much = b.read_exact_at(&mut right[..n], at).is_ok();
        if n == 0 || !as_much || left[..n] != right[..n] {
            let ended = b.read_at(&mut right, at).is_ok_and(|n| n == 0);
            return n == 0 && ended;
        }
        at += n as u64;
    }
}

/// This program as the client that is measured.
fn client(words: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [job, host, port, user, key, known_hosts, rest @ ..] = words else {
        return Err("client JOB HOST PORT USER KEY KNOWN_HOSTS [WORD...]".into());
    };
    let (target, known_hosts, key) =
        (format!("{user}@{host}:{port}"), known_hosts.clone(), key.clone());
    let login = move || {
        let client = Client::new(&target)?.agent(IdentityAgent::Off);
        Ok::<_, Error>(client.known_hosts(&known_hosts).identity(&key))
    };
    let ssh = login()?.connect()?;
    let run =
        |ssh: &blocking::Session| ssh.exec("true").map(|output| assert!(output.exit.success()));
    match (job.as_str(), rest) {
        ("put", [from, to]) => drop(ssh.put(from, to)?),
        ("get", [from, to]) => drop(ssh.get(from, to)?),
        ("put-tree" | "get-tree", [from, to, further]) => {
            let how = Tree::new().parallel(further.parse()?, login);
            let done = ssh.files(async |sftp| match job.as_str() {
                "put-tree" => sftp.put_tree(from, to, how).await,
                _ => sftp.get_tree(from, to, how).await,
            })?;
            assert_eq!(done.failed, 0);
        }
        ("login", []) => run(&ssh)?,
        ("exec", [count]) => {
            run(&ssh)?;
            let start = Instant::now();
            (0..count.parse::<u32>()?).try_for_each(|_| run(&ssh))?;
            println!("{}", start.elapsed().as_secs_f64());
        }
        ("methods", []) => println!("{}", ssh.about().methods.join(", ")),
        _ => return Err(format!("what is {job}?").into()),
    }
    Ok(ssh.close()?)
}

/// What is printed, and kept for the record.
#[derive(Default)]
struct Report(String);

impl Report {
    fn say(&mut self, line: impl AsRef<str>) {
        println!("{}", line.as_ref());
        let _ = writeln!(self.0, "{}", line.as_ref());
    }

    /// Measures a case in alternating rounds and prints it. A round that is not counted comes first.
    fn case(&mut self, name: &str, who: &[Who], rounds: usize, measure: impl Fn(Who) -> Figures) {
        self.say(format!("\n## {name}\n"));
        who.iter().for_each(|who| drop(measure(*who)));
        let mut all: Vec<Vec<Figures>> = vec![Vec::new(); who.len()];
        for round in 0..rounds {
            // Each round begins with another one.
            for at in (0..who.len()).map(|at| (at + round) % who.len()) {
                all[at].push(measure(who[at]));
            }
        }
        self.say("| figure | client | median | smallest | largest | ours / it, median | smallest | largest |");
        self.say("|---|---|---|---|---|---|---|---|");
        let figures: Vec<&str> = all[0][0].iter().map(|(figure, _)| *figure).collect();
        let value = |client: usize, round: usize, figure: usize| all[client][round][figure].1;
        for (f, figure) in figures.iter().enumerate() {
            for (c, who) in who.iter().enumerate() {
                let own = spread((0..rounds).map(|r| value(c, r, f)));
                let ratio = spread((0..rounds).map(|r| value(0, r, f) / value(c, r, f)));
                let ratio = if c == 0 { "| |".to_owned() } else { ratio };
                self.say(format!("| {figure} | {} | {own} | {ratio} |", who.name()));
            }
        }
        for (f, figure) in figures.iter().enumerate() {
            let round = |r: usize| {
                let values: Vec<_> = (0..who.len()).map(|c| shown(value(c, r, f))).collect();
                values.join("/")
            };
            self.say(format!(
                "\nraw, {figure}: {}",
                (0..rounds).map(round).collect::<Vec<_>>().join(" ")
            ));
        }
    }
}

/// Three digits, about.
fn shown(value: f64) -> String {
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$}")
}

/// Median, smallest and largest, as cells of a table.
fn spread(values: impl Iterator<Item = f64>) -> String {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0;
    [middle, values[0], values[values.len() - 1]].map(shown).join(" | ")
}

/// The first line that a program says of itself.
fn version(program: &str, words: &[&str]) -> String {
    let said = Command::new(program).args(words).output();
    let said = said.map(|said| [said.stdout, said.stderr].concat()).unwrap_or_default();
    String::from_utf8_lossy(&said).lines().next().unwrap_or("unknown").to_owned()
}

struct Wanted {
    cases: Vec<String>,
    rounds: usize,
    size: u64,
    record: Option<PathBuf>,
}

fn wanted(words: &[String]) -> Result<Wanted, String> {
    let mut wanted = Wanted { cases: Vec::new(), rounds: 8, size: 512 << 20, record: None };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().cloned().ok_or(format!("{word} what?"));
        match word.as_str() {
            // cargo says so.
            "--bench" => {}
            "--rounds" => {
                wanted.rounds =
                    value()?.parse().ok().filter(|n| *n > 0).ok_or("--rounds: a number")?
            }
            "--size" => {
                let size = value()?;
                let mebibytes = size.strip_suffix('M').and_then(|n| n.parse::<u64>().ok());
                wanted.size = mebibytes.ok_or("--size: such as 512M")? << 20;
            }
            "--record" => wanted.record = Some(value()?.into()),
            "put" | "get" | "put-tree" | "get-tree" | "connect" | "exec" => {
                wanted.cases.push(word.clone())
            }
            _ => {
                return Err(format!(
                    "what is {word}? put, get, put-tree, get-tree, connect, exec, --rounds N, --size 512M, --record FILE"
                ));
            }
        }
    }
    Ok(wanted)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "client") {
        return client(&words[1..]);
    }
    let Wanted { cases, rounds, size, record } = wanted(&words)?;
    let want = |name: &str| cases.is_empty() || cases.iter().any(|case| case == name);
    let bench = Bench::start(size);
    let mut report = Report::default();
    let python = python(&std::env::current_exe()?).display().to_string();
    let ours = bench.client(Who::Ours, "methods", &[]).output()?;
    report.say(format!(
        "{} on {}; Linux {}; load before {}",
        version("date", &["-u", "+%F %R UTC"]),
        version("sed", &["-n", "s/^model name.*: //p;T;q", "/proc/cpuinfo"]),
        sys::uname_release(),
        fs::read_to_string("/proc/loadavg").unwrap_or_default().trim()
    ));
    report.say(format!("\n- {}", version("ssh", &["-V"])));
    let words = "import paramiko, sys; print(f'paramiko {paramiko.__version__}, Python {sys.version.split()[0]}')";
    report.say(format!("- {}", version(&python, &["-c", words])));
    report.say(format!("- ours: {}", String::from_utf8_lossy(&ours.stdout).trim()));
    let copying = [Who::Ours, Who::OpenSsh, Who::OpenSshGcm, Who::Paramiko];
    for job in ["put", "get"].into_iter().filter(|job| want(job)) {
        let name = format!("{job} of {} MiB of random bytes, {rounds} rounds", size >> 20);
        report.case(&name, &copying, rounds, |who| bench.copy(who, job));
    }
    let trees = [Who::Ours, Who::OursTwice, Who::OpenSsh, Who::Rsync];
    for job in ["put-tree", "get-tree"].into_iter().filter(|job| want(job)) {
        let name = format!("{job} of 10,000 files of 1 KiB in 100 directories, {rounds} rounds");
        report.case(&name, &trees, rounds, |who| bench.copy_tree(who, job));
    }
    if want("connect") {
        let name = format!(
            "connect, log in by ed25519 key, run true, close: {LOGINS} processes, {rounds} rounds"
        );
        let who = [Who::Ours, Who::OpenSsh, Who::OpenSshCurve];
        report.case(&name, &who, rounds, |who| bench.connect(who));
    }
    if want("exec") {
        let name = format!("{COMMANDS} times true on one connection, {rounds} rounds");
        report.case(&name, &[Who::Ours, Who::Paramiko], rounds, |who| bench.exec(who));
    }
    if let Some(path) = record {
        fs::write(path, report.0)?;
    }
    Ok(())
}
