//! A real SSH server of one's own, on a port of loopback: sshd(8) or dropbear(8) with keys, accounts and a home that
//! live in one folder and go with it.
//!
//! It does not touch the system. Its keys and its configuration are its own. As root it runs in a mount namespace in which
//! a throw-away account exists and logins are not recorded; an ordinary user's server lets that user in, by key alone. It
//! does not outlive the process that started it, however that ends; nor does anything that ran in its sessions.
//!
//! ```no_run
//! use waitcopy::lab::sshd::{KeyKind, Options, Sshd};
//!
//! # fn main() -> Result<(), waitcopy::lab::sshd::StartError> {
//! let sshd = Sshd::start(Options { rekey_limit: Some("256K".into()), ..Options::default() })?;
//! let key = sshd.client_key(KeyKind::Ed25519)?;
//! println!("ssh -i {} -p {} {}@127.0.0.1", key.display(), sshd.addr().port(), sshd.user());
//! # Ok(())
//! # }
//! ```

mod accounts;
mod config;
mod dropbear;
mod guard;
mod keys;
mod session;

pub use accounts::Accounts;
pub use config::{Options, Sftp, sftp_server};
pub use dropbear::Dropbear;
pub use keys::{KeyFile, KeyKind};
pub use session::Session;

use crate::failure::{During, Failure};
use crate::sys;
use accounts::Account;
use guard::Guard;
use keys::Owner;
use std::fmt;
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Why there is no server.
#[derive(Debug)]
pub enum StartError {
    /// Not on this machine, or not for this user: a program is missing, a right is. A test is skipped.
    Unavailable(String),
    /// It should have worked.
    Failed(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Unavailable(why) | Self::Failed(why)) = self;
        f.write_str(why)
    }
}

impl std::error::Error for StartError {}

impl From<Failure> for StartError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.to_string())
    }
}

/// Which server, and how it is set up.
#[derive(Debug)]
enum Program {
    OpenSsh(Box<Options>),
    Dropbear { extra: Vec<String> },
}

impl Program {
    fn host_keys(&self) -> &[KeyKind] {
        match self {
            Self::OpenSsh(options) => &options.host_keys,
            Self::Dropbear { .. } => &[KeyKind::Ed25519],
        }
    }

    /// The file of the program and its arguments.
    fn command(&self, folder: &Path, addr: SocketAddr) -> Result<Vec<String>, StartError> {
        let path = |name: &str| folder.join(name).display().to_string();
        let words = match self {
            // By its whole path: it starts itself anew for each connection.
            Self::OpenSsh(_) => {
                vec![find("sshd")?, "-D".into(), "-e".into(), "-f".into(), path("config")]
            }
            Self::Dropbear { extra } => {
                // In the foreground, log on standard error, its environment for its sessions, no message of the day.
                let mut words = vec![find("dropbear")?];
                words.extend(["-F", "-E", "-e", "-m", "-p"].map(str::to_owned));
                words.extend([
                    addr.to_string(),
                    "-P".into(),
                    path("pid"),
                    "-r".into(),
                    path("host_dropbear"),
                ]);
                words.extend(extra.iter().cloned());
                words
            }
        };
        Ok([accounts::enter(folder)?, words].concat())
    }

    /// What it says once it listens.
    fn ready(&self) -> &'static str {
        match self {
            Self::OpenSsh(_) => "Server listening on ",
            Self::Dropbear { .. } => "Not backgrounding",
        }
    }
}

/// A private SSH server, up to its drop.
#[derive(Debug)]
pub struct Sshd {
    program: Program,
    folder: PathBuf,
    guard: Guard,
    account: Account,
    addr: SocketAddr,
    /// Bound and never listening: the server may bind the port beside it, since both say SO_REUSEADDR, and the kernel
    /// gives it to nobody who asks for any port. So it is ours before, between and after two starts.
    _port: OwnedFd,
    listener: u32,
    /// How often the host keys were replaced.
    replaced: u32,
    host_keys: Vec<(KeyKind, PathBuf, String)>,
}

impl Sshd {
    /// Starts sshd and returns once it listens, on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// [`StartError::Unavailable`]: no sshd here; an account without being root; root without mounts of its own (in most
    /// containers). [`StartError::Failed`]: it ended, and what it said; it does not listen after 10 s; a file.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let accounts = options.accounts;
        Self::launch(Program::OpenSsh(Box::new(options)), accounts)
    }

    fn launch(program: Program, accounts: Accounts) -> Result<Self, StartError> {
        find("ssh-keygen")?;
        accounts::check(accounts)?;
        let (port, addr) = reserve()?;
        let folder =
            std::env::temp_dir().join(format!("waitcopy-sshd-{}", accounts::random_hex()?));
        let command = program.command(&folder, addr)?;
        fs::create_dir(&folder).during("mkdir", folder.display())?;
        // From here on the folder goes, whatever happens.
        let guard = Guard::over(&folder, &command)?;
        // The throw-away account passes through to its home, and lists nothing.
        fs::set_permissions(&folder, Permissions::from_mode(0o711))
            .during("chmod", folder.display())?;
        let account = accounts::furnish(&folder, accounts)?;
        let host_keys = Vec::new();
        let (listener, replaced) = (0, 0);
        let mut sshd = Self {
            program,
            folder,
            guard,
            account,
            addr,
            _port: port,
            listener,
            replaced,
            host_keys,
        };
        sshd.furnish()?;
        sshd.configure()?;
        sshd.run()?;
        Ok(sshd)
    }

    /// What is written once.
    fn furnish(&self) -> Result<(), StartError> {
        let keys = self.keys();
        fs::create_dir(&keys).during("mkdir", keys.display())?;
        fs::set_permissions(&keys, Permissions::from_mode(0o700))
            .during("chmod", keys.display())?;
        let Program::OpenSsh(options) = &self.program else {
            // Dropbear looks nowhere else.
            let place = self.home().join(".ssh");
            fs::create_dir(&place).during("mkdir", place.display())?;
            fs::set_permissions(&place, Permissions::from_mode(0o755))
                .during("chmod", place.display())?;
            return accounts::write(&self.authorized_keys(), "", 0o644);
        };
        if let Some(banner) = &options.banner {
            accounts::write(&self.folder.join("banner"), banner, 0o644)?;
        }
        accounts::write(&self.authorized_keys(), "", 0o644)
    }

    /// What is written again when the host keys are replaced.
    fn configure(&mut self) -> Result<(), StartError> {
        self.host_keys.clear();
        for &kind in self.program.host_keys() {
            let owner = Owner::Host(self.replaced);
            let (path, line) = keys::write(&self.keys(), owner, kind.into())?;
            self.host_keys.push((kind, path, line));
        }
        let paths: Vec<PathBuf> = self.host_keys.iter().map(|(_, path, _)| path.clone()).collect();
        match &self.program {
            Program::OpenSsh(options) => {
                let path = self.folder.join("config");
                let text = options.config(&self.folder, self.addr, &paths);
                Ok(fs::write(&path, text).during("write", path.display())?)
            }
            Program::Dropbear { .. } => {
                let mut convert = Command::new(find("dropbearconvert")?);
                convert.args(["openssh", "dropbear"]).args(&paths);
                keys::run(convert.arg(self.folder.join("host_dropbear")))
            }
        }
    }

    fn run(&mut self) -> Result<(), StartError> {
        self.listener = self.guard.start(self.program.ready())?;
        Ok(())
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Who may log in: the account that runs this, or the throw-away one.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.account.user
    }

    /// The throw-away account's password, random; empty for [`Accounts::Own`].
    #[must_use]
    pub fn password(&self) -> &str {
        &self.account.password
    }

    /// The second answer that [`Accounts::PamWithCode`] asks for: six digits. Its prompt is `STRESS Password: `.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.account.code
    }

    /// The sessions' home: `HOME` and where SFTP begins. Their commands begin there too, except for an ordinary user's:
    /// those begin in the real home, as sshd does.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// The folder that holds all of it, gone after drop. Files put there go with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A line of known_hosts for each host key: `[127.0.0.1]:PORT TYPE KEY`.
    #[must_use]
    pub fn known_hosts(&self) -> String {
        let lines = self.host_keys.iter().map(|(_, _, line)| self.known(line));
        lines.collect()
    }

    /// The line for the host key of one kind, if the server has one.
    #[must_use]
    pub fn known_hosts_line(&self, kind: KeyKind) -> Option<String> {
        let (_, _, line) = self.host_keys.iter().find(|(has, _, _)| *has == kind)?;
        Some(self.known(line))
    }

    fn known(&self, line: &str) -> String {
        format!("[{}]:{} {line}", self.addr.ip(), self.addr.port())
    }

    /// The private host key of one kind; its public half is beside it, with `.pub`.
    #[must_use]
    pub fn host_key_path(&self, kind: KeyKind) -> Option<&Path> {
        self.host_keys.iter().find(|(has, _, _)| *has == kind).map(|(_, path, _)| path.as_path())
    }

    /// The private key of a client that may log in from now on; its public half is beside it, with `.pub`. Made when it is
    /// first asked for, once per process.
    ///
    /// # Errors
    /// ssh-keygen fails; a file.
    pub fn client_key(&self, file: impl Into<KeyFile>) -> Result<PathBuf, StartError> {
        let (path, line) = keys::write(&self.keys(), Owner::Client, file.into())?;
        let authorized = self.authorized_keys();
        let known = fs::read_to_string(&authorized).during("read", authorized.display())?;
        if !known.contains(&line) {
            let opened = OpenOptions::new().append(true).open(&authorized);
            let written = opened.and_then(|mut file| file.write_all(line.as_bytes()));
            written.during("write", authorized.display())?;
        }
        Ok(path)
    }

    /// The same of a client that the server does not know.
    ///
    /// # Errors
    /// ssh-keygen fails; a file.
    pub fn stranger_key(&self, file: impl Into<KeyFile>) -> Result<PathBuf, StartError> {
        Ok(keys::write(&self.keys(), Owner::Stranger, file.into())?.0)
    }

    /// What the server has written to standard error so far, all its starts together.
    #[must_use]
    pub fn log(&self) -> String {
        self.guard.log()
    }

    /// Waits until it has written this, at most so long; whether it has.
    #[must_use]
    pub fn await_log(&self, words: &str, limit: Duration) -> bool {
        self.guard.await_log(words, limit)
    }

    /// The process that listens; of no use after [`stop`](Self::stop).
    #[must_use]
    pub fn process(&self) -> u32 {
        self.listener
    }

    /// The connections that it has now, oldest first. One is there from its accept on, before any login.
    #[must_use]
    pub fn sessions(&self) -> Vec<Session> {
        Session::all(self.listener)
    }

    /// Kills every connection's processes; the server goes on.
    pub fn kill_sessions(&self) {
        self.sessions().into_iter().for_each(Session::kill);
    }

    /// Ends the server and its sessions: who connects now is refused (ECONNREFUSED). The port stays reserved.
    ///
    /// # Errors
    /// It has not ended within 10 s.
    pub fn stop(&mut self) -> Result<(), StartError> {
        self.guard.stop()
    }

    /// Ends it and starts it again on the same port.
    ///
    /// # Errors
    /// As of [`start`](Self::start).
    pub fn restart(&mut self) -> Result<(), StartError> {
        self.stop()?;
        self.run()
    }

    /// The same with other host keys of the same kinds.
    ///
    /// # Errors
    /// As of [`start`](Self::start).
    pub fn replace_host_keys(&mut self) -> Result<(), StartError> {
        self.stop()?;
        self.replaced += 1;
        self.configure()?;
        self.run()
    }

    fn keys(&self) -> PathBuf {
        self.folder.join("keys")
    }

    fn authorized_keys(&self) -> PathBuf {
        match self.program {
            Program::OpenSsh(_) => self.folder.join("authorized_keys"),
            Program::Dropbear { .. } => self.home().join(".ssh/authorized_keys"),
        }
    }
}

/// Where sshd is, if one can be started here.
///
/// # Errors
/// [`StartError::Unavailable`] says what is missing.
pub fn available() -> Result<String, StartError> {
    accounts::check(Accounts::Own)?;
    find("ssh-keygen")?;
    find("sshd")
}

/// A port of loopback that stays ours as long as the socket is open.
fn reserve() -> Result<(OwnedFd, SocketAddr), StartError> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let socket = sys::socket(any, sys::Kind::Stream).during("socket", "tcp")?;
    sys::set_reuse_address(&socket).during("setsockopt", "SO_REUSEADDR")?;
    sys::bind(&socket, any).during("bind", any)?;
    let name = sys::getsockname(&socket).during("getsockname", "tcp")?;
    Ok((socket, name.ip().unwrap_or(any)))
}

/// The path of a program.
fn find(program: &str) -> Result<String, StartError> {
    let path = guard::search_path();
    let mut files = path.split(':').map(|place| Path::new(place).join(program));
    let found = files.find(|file| file.is_absolute() && file.is_file());
    found
        .map(|file| file.display().to_string())
        .ok_or_else(|| StartError::Unavailable(format!("{program} is not installed")))
}
