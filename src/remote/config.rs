//! The settings of OpenSSH's configuration: `ssh -G` reads its files, `Match` and `Include` among it, and we read what it says.

use super::target::Target;
use crate::sys;
use expand::Tokens;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod expand;
mod query;
#[cfg(test)]
mod tests;

/// Why there are no settings: a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// `StrictHostKeyChecking`. A changed key is refused whatever it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrictHostKeyChecking {
    /// An unknown host is refused.
    Yes,
    /// An unknown host is written down, without a question.
    AcceptNew,
    /// An unknown host is shown to the user, who decides.
    Ask,
    /// OpenSSH asks nothing and goes on.
    No,
}

/// `AddressFamily`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFamily {
    /// In the resolver's order.
    Any,
    /// IPv4 only.
    Inet,
    /// IPv6 only.
    Inet6,
}

/// `IdentityAgent`: where the agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityAgent {
    /// No agent is asked.
    Off,
    /// The socket is the value of this environment variable, `SSH_AUTH_SOCK` if nothing was said.
    Variable(String),
    /// This socket.
    Socket(PathBuf),
}

impl IdentityAgent {
    /// The path of the socket; `None` where no agent is to be asked, or the variable is unset or empty.
    #[must_use]
    pub fn socket(&self) -> Option<PathBuf> {
        match self {
            Self::Off => None,
            Self::Variable(name) => {
                std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from)
            }
            Self::Socket(path) => Some(path.clone()),
        }
    }
}

/// Who runs this program.
///
/// As OpenSSH has it, `~` is the home directory of the password database and not `$HOME`: `ssh -G` itself goes by it, and a
/// `$HOME` that sudo or a service left standing would mix two users' keys. Only a user without an entry, as in some
/// containers, is taken from the environment.
#[derive(Clone, Debug)]
pub struct Local {
    /// The login name.
    pub name: String,
    /// The home directory.
    pub home: PathBuf,
    /// The number.
    pub uid: u32,
    /// How an environment variable is looked up.
    pub variable: fn(&str) -> Option<OsString>,
}

impl Local {
    /// The user of this process.
    ///
    /// # Errors
    /// The password database does not know the user, and `$USER` or `$HOME` is not set.
    pub fn current() -> Result<Self, ConfigError> {
        let uid = sys::getuid();
        let entry = sys::getpwuid(uid).ok().flatten();
        let entry = entry.map(|entry| (entry.name, entry.home));
        let environment = || Some((std::env::var_os("USER")?, std::env::var_os("HOME")?));
        let (name, home) = entry.or_else(environment).ok_or_else(|| {
            ConfigError(format!("no user has the number {uid}; set USER and HOME, or name a user"))
        })?;
        let name = name.to_string_lossy().into_owned();
        Ok(Self { name, home: home.into(), uid, variable: |name| std::env::var_os(name) })
    }
}

/// What ssh_config(5) says of one target. The fields bear its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The name or address to connect to.
    pub host_name: String,
    /// Whom to log in as.
    pub user: String,
    /// The TCP port.
    pub port: u16,
    /// Private key files in their order, expanded; some may not exist.
    pub identity_files: Vec<PathBuf>,
    /// Only the keys of `identity_files`, even if the agent holds more.
    pub identities_only: bool,
    /// Where the agent is.
    pub identity_agent: IdentityAgent,
    /// The user's known_hosts files, expanded. The first one gets new hosts. Empty for `none`.
    pub user_known_hosts: Vec<PathBuf>,
    /// The machine's known_hosts files.
    pub global_known_hosts: Vec<PathBuf>,
    /// What happens to unknown hosts.
    pub strict_host_key_checking: StrictHostKeyChecking,
    /// The name to look up in known_hosts instead of the host's.
    pub host_key_alias: Option<String>,
    /// New names are hashed in known_hosts.
    pub hash_known_hosts: bool,
    /// How long a connection may take to be made; `None` leaves it to the kernel.
    pub connect_timeout: Option<Duration>,
    /// `ProxyJump`, as it was written.
    pub proxy_jump: Option<String>,
    /// `ProxyCommand`, as it was written.
    pub proxy_command: Option<String>,
    /// The order of authentication methods; empty if nothing was said.
    pub preferred_authentications: Vec<String>,
    /// Nobody may be asked anything.
    pub batch_mode: bool,
    /// Compress.
    pub compression: bool,
    /// The kernel watches over the connection.
    pub tcp_keep_alive: bool,
    /// Ask after so long a silence; `None`: nothing was said.
    pub server_alive_interval: Option<Duration>,
    /// How often to ask in vain.
    pub server_alive_count_max: u8,
    /// Algorithms of host keys in their order, certificates among them; empty if nothing was said.
    pub host_key_algorithms: Vec<String>,
    /// Log in with keys.
    pub pubkey_authentication: bool,
    /// Log in with a password.
    pub password_authentication: bool,
    /// Log in by the server's questions.
    pub kbd_interactive_authentication: bool,
    /// Which addresses are taken.
    pub address_family: AddressFamily,
    /// The address to connect from.
    pub bind_address: Option<String>,
}

/// OpenSSH's default key files in its order. FIDO keys are among them: with `IdentitiesOnly` their public halves say which
/// of the agent's keys may be used.
const DEFAULT_KEYS: [&str; 5] =
    ["id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk"];
/// Those which this and newer versions of OpenSSH can do nothing with.
const UNUSED_KEYS: [&str; 2] = ["id_xmss", "id_dsa"];

impl Settings {
    /// What OpenSSH would say of a target with empty configuration files.
    #[must_use]
    pub fn defaults(target: &Target, local: &Local) -> Self {
        let ssh = local.home.join(".ssh");
        let both = |start: PathBuf| vec![start.clone(), PathBuf::from(with_two(start))];
        Self {
            host_name: target.host().to_owned(),
            user: target.user().unwrap_or(&local.name).to_owned(),
            port: target.port().unwrap_or(22),
            identity_files: DEFAULT_KEYS.iter().map(|name| ssh.join(name)).collect(),
            identities_only: false,
            identity_agent: IdentityAgent::Variable(String::from("SSH_AUTH_SOCK")),
            user_known_hosts: both(ssh.join("known_hosts")),
            global_known_hosts: both(PathBuf::from("/etc/ssh/ssh_known_hosts")),
            strict_host_key_checking: StrictHostKeyChecking::Ask,
            host_key_alias: None,
            hash_known_hosts: false,
            connect_timeout: None,
            proxy_jump: None,
            proxy_command: None,
            preferred_authentications: Vec::new(),
            batch_mode: false,
            compression: false,
            tcp_keep_alive: true,
            server_alive_interval: None,
            server_alive_count_max: 3,
            host_key_algorithms: Vec::new(),
            pubkey_authentication: true,
            password_authentication: true,
            kbd_interactive_authentication: true,
            address_family: AddressFamily::Any,
            bind_address: None,
        }
    }

    /// What the installed ssh says of a target: `ssh -G`, by its arguments and without a shell. `file` is read instead of
    /// the user's and the machine's configuration (`ssh -F`). `None` where no ssh is installed: take [`Settings::defaults`].
    ///
    /// # Errors
    /// ssh refuses its configuration, does not answer within ten seconds, or cannot be understood.
    pub fn query(
        target: &Target,
        file: Option<&Path>,
        local: &Local,
    ) -> Result<Option<Self>, ConfigError> {
        let text = query::ssh_g("ssh".as_ref(), target, file, query::PATIENCE)?;
        text.map(|text| Self::parse(&text, target, local)).transpose()
    }

    /// Reads what `ssh -G` printed. Keys that are not known here are passed over; what is not said is as in
    /// [`Settings::defaults`].
    ///
    /// # Errors
    /// A value that cannot be understood, or a path that cannot be expanded: none is guessed.
    pub fn parse(text: &str, target: &Target, local: &Local) -> Result<Self, ConfigError> {
        let mut settings = Self::defaults(target, local);
        let mut files = Vec::new();
        for line in text.lines() {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            if key == "identityfile" {
                files.push(value);
            } else if value != "unset" {
                settings.take(key, value, local).map_err(|what| {
                    ConfigError(format!("ssh -G: {key} '{}': {what}", value.escape_debug()))
                })?;
            }
        }
        // Last, since the paths may name what other lines say.
        if !files.is_empty() {
            let files = files.into_iter().filter(|file| !file.eq_ignore_ascii_case("none"));
            let (files, tokens) = (files.filter(usable), Tokens::new(&settings, target, local));
            settings.identity_files = files
                .map(|file| tokens.path(file).map(PathBuf::from))
                .collect::<Result<_, _>>()
                .map_err(|what| ConfigError(format!("ssh -G: identityfile {what}")))?;
        }
        Ok(settings)
    }

    /// One line.
    fn take(&mut self, key: &str, value: &str, local: &Local) -> Result<(), &'static str> {
        let some = || (!value.eq_ignore_ascii_case("none")).then(|| value.to_owned());
        match key {
            "hostname" => value.clone_into(&mut self.host_name),
            "user" => value.clone_into(&mut self.user),
            "port" => {
                let port = value.parse().ok().filter(|&port| port != 0);
                self.port = port.ok_or("no port")?;
            }
            "identitiesonly" => self.identities_only = flag(value)?,
            "identityagent" => self.identity_agent = identity_agent(value, local)?,
            "userknownhostsfile" => self.user_known_hosts = expand::known_hosts(value, local)?,
            "globalknownhostsfile" => self.global_known_hosts = expand::known_hosts(value, local)?,
            "stricthostkeychecking" => self.strict_host_key_checking = strict(value)?,
            "hostkeyalias" => self.host_key_alias = Some(value.to_owned()),
            "hashknownhosts" => self.hash_known_hosts = flag(value)?,
            "connecttimeout" => self.connect_timeout = seconds(value)?,
            "proxyjump" => self.proxy_jump = some(),
            "proxycommand" => self.proxy_command = some(),
            "preferredauthentications" => self.preferred_authentications = list(value),
            "batchmode" => self.batch_mode = flag(value)?,
            "compression" => self.compression = flag(value)?,
            "tcpkeepalive" => self.tcp_keep_alive = flag(value)?,
            "serveraliveinterval" => self.server_alive_interval = seconds(value)?,
            "serveralivecountmax" => {
                let count: u32 = value.parse().map_err(|_| "a number expected")?;
                // TCP_KEEPCNT takes as many at most.
                self.server_alive_count_max = count.clamp(1, 127) as u8;
            }
            "hostkeyalgorithms" => self.host_key_algorithms = list(value),
            // Bound to the host key or not: it is a login with keys.
            "pubkeyauthentication" => {
                self.pubkey_authentication =
                    matches!(value, "unbound" | "host-bound") || flag(value)?;
            }
            "passwordauthentication" => self.password_authentication = flag(value)?,
            "kbdinteractiveauthentication" | "challengeresponseauthentication" => {
                self.kbd_interactive_authentication = flag(value)?;
            }
            "addressfamily" => self.address_family = family(value)?,
            "bindaddress" => self.bind_address = Some(value.to_owned()),
            _ => {}
        }
        Ok(())
    }
}

/// `known_hosts` and `known_hosts2`.
fn with_two(path: PathBuf) -> OsString {
    let mut path = path.into_os_string();
    path.push("2");
    path
}

/// Not one of the defaults of which no use is made here, whoever has named it.
fn usable(file: &&str) -> bool {
    file.strip_prefix("~/.ssh/").is_none_or(|name| !UNUSED_KEYS.contains(&name))
}

fn flag(value: &str) -> Result<bool, &'static str> {
    match value {
        "yes" | "true" => Ok(true),
        "no" | "false" => Ok(false),
        _ => Err("yes or no expected"),
    }
}

fn strict(value: &str) -> Result<StrictHostKeyChecking, &'static str> {
    match value {
        "yes" | "true" => Ok(StrictHostKeyChecking::Yes),
        "accept-new" => Ok(StrictHostKeyChecking::AcceptNew),
        "ask" => Ok(StrictHostKeyChecking::Ask),
        "no" | "false" | "off" => Ok(StrictHostKeyChecking::No),
        _ => Err("yes, accept-new, ask or no expected"),
    }
}

fn family(value: &str) -> Result<AddressFamily, &'static str> {
    match value {
        "any" => Ok(AddressFamily::Any),
        "inet" => Ok(AddressFamily::Inet),
        "inet6" => Ok(AddressFamily::Inet6),
        _ => Err("any, inet or inet6 expected"),
    }
}

/// `none`, or seconds; 0 is none too (OpenSSH's `timeout_connect`).
fn seconds(value: &str) -> Result<Option<Duration>, &'static str> {
    if value == "none" {
        return Ok(None);
    }
    let seconds: u32 = value.parse().map_err(|_| "seconds or none expected")?;
    Ok((seconds > 0).then(|| Duration::from_secs(seconds.into())))
}

fn list(value: &str) -> Vec<String> {
    value.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// `none`, `SSH_AUTH_SOCK`, `$NAME`, or a path.
fn identity_agent(value: &str, local: &Local) -> Result<IdentityAgent, &'static str> {
    let name = match value {
        "none" => return Ok(IdentityAgent::Off),
        "SSH_AUTH_SOCK" => value,
        _ => match value.strip_prefix('$') {
            Some(name) if !name.starts_with('{') => name,
            _ => return expand::tilde(value, local).map(|path| IdentityAgent::Socket(path.into())),
        },
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let valid = !name.is_empty() && name.bytes().all(plain);
    valid.then(|| IdentityAgent::Variable(name.to_owned())).ok_or("no name of a variable")
}
