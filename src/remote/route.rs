//! The way to a host: straight by TCP, through other hosts (`ProxyJump`), or over a command (`ProxyCommand`).
//!
//! A jump host is a client of its own, with its own name, keys, deadlines and way: a connection through the session with it is then
//! a socket like any other, and the host behind it is checked just as strictly. A jump host sees encrypted bytes only.

use super::client::{Client, refused};
use super::config::{AddressFamily, Settings};
use super::connect::{connect, resolve};
use super::error::{Error, Reason, Step};
use super::session::Session;
use super::target::Target;
use super::tunnel;
use crate::failure::Failure;
use crate::reactor::{Deadline, Handle};
use crate::sys;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// Longer chains of jump hosts are a circle of the configuration's.
const LONGEST: usize = 8;

/// How a host is to be reached.
#[derive(Clone, Default)]
pub(super) enum Route {
    #[default]
    Direct,
    Jump(Box<Client>),
    Command(String),
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("direct"),
            Self::Jump(host) => write!(f, "through {host:?}"),
            Self::Command(_) => f.write_str("over a command"),
        }
    }
}

/// What is done once, however often the connection is tried: names are looked up, the jump host is logged in to.
pub(super) enum Prepared {
    Addresses(Vec<SocketAddr>),
    Jump { session: Box<Session>, whom: String },
    Command(OsString),
}

/// What carries a session's bytes, and lives as long.
pub(super) enum Carrier {
    Tcp,
    Jump(Box<Session>),
    Command { _ends: ProxyCommand },
}

impl Route {
    pub(super) async fn prepare(
        &self,
        reactor: &Handle,
        client: &Client,
    ) -> Result<Prepared, Error> {
        let Client { settings, timeouts, .. } = client;
        match self {
            Self::Direct => {
                let Settings { host_name, port, .. } = settings;
                let mut addresses = resolve(reactor, host_name, *port, timeouts.resolve).await?;
                addresses.retain(|address| match settings.address_family {
                    AddressFamily::Any => true,
                    AddressFamily::Inet => address.is_ipv4(),
                    AddressFamily::Inet6 => address.is_ipv6(),
                });
                if addresses.is_empty() {
                    let message =
                        format!("{host_name}: it has no address of the AddressFamily asked for");
                    return Err(Error::new(Step::Resolve, Reason::Io(None), message));
                }
                Ok(Prepared::Addresses(addresses))
            }
            Self::Jump(host) => {
                let whom = format!("jump host {}", host.whom());
                // A future that holds itself must lie elsewhere.
                let session = Box::pin(host.connect_on(reactor)).await;
                Ok(Prepared::Jump { session: Box::new(session.map_err(|e| e.of(&whom))?), whom })
            }
            Self::Command(command) => Ok(Prepared::Command(command.into())),
        }
    }
}

impl Client {
    /// Reaches the host through another one, which is logged in to first: paramiko's `sock`, OpenSSH's `ProxyJump`. That client has
    /// a way of its own, so jump hosts come in any number.
    #[must_use]
    pub fn through(mut self, jump: Self) -> Self {
        self.route = Route::Jump(Box::new(jump));
        self
    }

    /// Reaches the host through those of a list, the nearest first, as `ProxyJump` has it: `[user@]host[:port],...`, each with its own
    /// settings of OpenSSH's configuration (`file` as in [`from_config_file`](Self::from_config_file)). `none`: straight.
    ///
    /// # Errors
    /// As [`from_config_file`](Self::from_config_file); more than eight hosts.
    pub fn jumps(mut self, list: &str, file: Option<&Path>) -> Result<Self, Error> {
        self.route = Route::jumps(list, file, 0)?;
        Ok(self)
    }

    /// Reaches the host over a command's standard input and output, OpenSSH's `ProxyCommand`: `%h` is the host, `%p` its port, `%r` the
    /// user there, `%n` the host as it was asked for. The user's shell reads it.
    ///
    /// # Errors
    /// Another `%` than these; a host or user that a shell would take for more than a name.
    pub fn proxy_command(mut self, command: &str) -> Result<Self, Error> {
        self.route = Route::Command(expanded(command, &self)?);
        Ok(self)
    }

    /// Changes each jump host on the way.
    #[must_use]
    pub fn hops(mut self, change: &mut dyn FnMut(Self) -> Self) -> Self {
        if let Route::Jump(host) = self.route {
            let host = host.hops(change);
            self.route = Route::Jump(Box::new(change(host)));
        }
        self
    }
}

impl Route {
    /// What the configuration says of a client. `depth` counts the jump hosts before it.
    pub(super) fn configured(
        client: &Client,
        file: Option<&Path>,
        depth: usize,
    ) -> Result<Self, Error> {
        // ssh says one of them, whichever came first.
        match (&client.settings.proxy_jump, &client.settings.proxy_command) {
            (Some(list), _) => Self::jumps(list, file, depth),
            (None, Some(command)) => Ok(Self::Command(expanded(command, client)?)),
            (None, None) => Ok(Self::Direct),
        }
    }

    /// The first host of a list keeps the way that the configuration has for it, the others are reached through the one before.
    fn jumps(list: &str, file: Option<&Path>, depth: usize) -> Result<Self, Error> {
        if list.eq_ignore_ascii_case("none") {
            return Ok(Self::Direct);
        }
        let mut way = None;
        for (before, host) in list.split(',').enumerate() {
            if depth + before >= LONGEST {
                let message =
                    format!("{list}: more than {LONGEST} jump hosts: do they go in a circle?");
                return Err(Error::new(Step::Settings, Reason::Usage, message));
            }
            let of = |error: Error| error.of(format_args!("jump host {}", host.escape_debug()));
            let mut client = Client::configured(host, file).map_err(of)?;
            client.route = match way {
                Some(jump) => Self::Jump(Box::new(jump)),
                None => Self::configured(&client, file, depth + 1)?,
            };
            way = Some(client);
        }
        Ok(way.map_or(Self::Direct, |client| Self::Jump(Box::new(client))))
    }
}

/// A command with what its percent signs stand for (ssh_config(5), "TOKENS").
fn expanded(command: &str, client: &Client) -> Result<String, Error> {
    let Settings { host_name, user, port, .. } = &client.settings;
    // They may come out of a configuration that nobody checked, and a shell reads them.
    Target::new(Some(user), host_name, Some(*port)).map_err(refused)?;
    let mut whole = String::new();
    let mut rest = command;
    while let Some((before, found)) = rest.split_once('%') {
        whole.push_str(before);
        match found.chars().next() {
            Some('%') => whole.push('%'),
            Some('h') => whole.push_str(host_name),
            Some('n') => whole.push_str(client.host()),
            Some('p') => whole.push_str(&port.to_string()),
            Some('r') => whole.push_str(user),
            _ => {
                return Err(refused(format!(
                    "ProxyCommand '{}': %%, %h, %n, %p and %r are known",
                    command.escape_debug()
                )));
            }
        }
        rest = &found[1..];
    }
    whole.push_str(rest);
    Ok(whole)
}

impl Prepared {
    /// A connected, non-blocking socket to the host, and the address that it is connected to, if that is known here.
    pub(super) async fn open(
        &self,
        reactor: &Handle,
        client: &Client,
    ) -> Result<(OwnedFd, Option<SocketAddr>, Option<ProxyCommand>), Error> {
        let Client { settings, timeouts, .. } = client;
        match self {
            Self::Addresses(addresses) => {
                let (socket, peer) = connect(reactor, addresses, timeouts.connect).await?;
                if let Some(keepalive) = client.keepalive {
                    let set = keepalive.set(&socket);
                    let failed = |e| Failure::new("setsockopt", "TCP_KEEPIDLE", e);
                    set.map_err(|e| Error::failure(Step::Connect, &failed(e)))?;
                }
                Ok((socket, Some(peer), None))
            }
            Self::Jump { session, whom } => {
                let Settings { host_name, port, .. } = settings;
                let opened = tunnel::socket_to(&session.transport, (host_name, *port));
                let within = timeouts.connect;
                let opened = reactor.within(Deadline::after(within), opened).await;
                let opened = opened.unwrap_or_else(|_| {
                    let to = format!("{host_name} port {port}");
                    Err(Error::timed_out(Step::Connect, to, within))
                });
                Ok((opened.map_err(|e| e.at(Step::Connect).of(whom))?, None, None))
            }
            Self::Command(command) => {
                let (socket, command) = ProxyCommand::start(command)
                    .map_err(|failure| Error::failure(Step::Connect, &failure))?;
                Ok((socket, None, Some(command)))
            }
        }
    }

    /// Whether a connection that was dropped before it said anything is worth another try. A command that failed would fail again.
    pub(super) fn again(&self) -> bool {
        !matches!(self, Self::Command(_))
    }

    pub(super) fn carrier(self, command: Option<ProxyCommand>) -> Carrier {
        match (self, command) {
            (Self::Jump { session, .. }, _) => Carrier::Jump(session),
            (_, Some(command)) => Carrier::Command { _ends: command },
            (_, None) => Carrier::Tcp,
        }
    }
}

impl Carrier {
    /// Whom the bytes pass, the nearest first: `bob@gate`.
    pub(super) fn via(&self) -> Vec<String> {
        match self {
            Self::Tcp => Vec::new(),
            Self::Command { .. } => vec!["a proxy command".to_owned()],
            Self::Jump(session) => {
                let about = session.about();
                let mut via = about.via.clone();
                via.push(format!("{}@{}", about.user, about.host));
                via
            }
        }
    }
}

/// A command whose standard input and output are the connection. When it is dropped the command is told to end (SIGHUP, as OpenSSH
/// does), and reaped.
pub(super) struct ProxyCommand(Option<Child>);

impl ProxyCommand {
    fn start(command: &OsString) -> Result<(OwnedFd, Self), Failure> {
        let failed = |call| move |error| Failure::new(call, "", error);
        let (ours, theirs) = sys::socketpair().map_err(failed("socketpair"))?;
        sys::set_nonblocking(&ours, true).map_err(failed("fcntl"))?;
        let copy = theirs.try_clone().map_err(failed("fcntl"))?;
        let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
        let shell = shell.unwrap_or_else(|| "/bin/sh".into());
        let mut line = OsString::from("exec ");
        line.push(command);
        let mut program = Command::new(&shell);
        program
            .arg0(&shell)
            .arg("-c")
            .arg(line)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(copy));
        let child = program
            .spawn()
            .map_err(|error| Failure::new("execve", shell.to_string_lossy(), error))?;
        Ok((ours, Self(Some(child))))
    }

    /// How it ended, if it does so within a moment: its end of the connection is closed shortly before.
    pub(super) async fn ended(&mut self, reactor: &Handle) -> Option<String> {
        let child = self.0.as_mut()?;
        for _ in 0..20 {
            match child.try_wait() {
                Ok(Some(status)) => {
                    self.0 = None;
                    return Some(format!("the proxy command ended: {status}"));
                }
                Ok(None) => reactor.sleep(Deadline::after(Duration::from_millis(5))).await,
                Err(_) => return None,
            }
        }
        None
    }
}

impl Drop for ProxyCommand {
    fn drop(&mut self) {
        let Some(mut child) = self.0.take() else { return };
        if let Ok(Some(_)) = child.try_wait() {
            return;
        }
        // Not reaped yet, so the number is still its own.
        let _ = sys::kill(child.id(), sys::SIGHUP);
        // It may take its time, and a wait here would hold up everybody. Without a thread it stays until we end.
        let _ = thread::Builder::new().name("reaper".into()).spawn(move || child.wait());
    }
}
