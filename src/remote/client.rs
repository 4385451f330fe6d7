//! From a host's name to a session that is logged in.

use super::config::{IdentityAgent, Local, Settings, StrictHostKeyChecking};
use super::credentials::{Ask, Credentials, Key};
use super::error::{Error, Reason, Step};
use super::host_key::HostKey;
use super::key_file::KeyFile;
use super::route::Route;
use super::secret::Secret;
use super::session::{About, Session, Steps};
use super::target::Target;
use super::timeouts::{Keepalive, Timeouts};
use super::transport::Transport;
use super::verify::{Policy, Trust, Verifier};
use super::{auth, blocking, methods};
use crate::reactor::{Deadline, Handle, Reactor};
use crate::sys;
use ssh2::MethodType;
use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How often a connection that the server drops before its banner is made again: sshd does that at random once its
/// MaxStartups are under way.
const TRIES: u32 = 4;

/// Whom to connect to, and how. The counterpart of paramiko's `SSHClient`, before `connect`.
#[derive(Clone)]
pub struct Client {
    /// The host as it was asked for.
    name: String,
    pub(super) settings: Settings,
    credentials: Credentials,
    trust: Trust,
    pub(super) timeouts: Timeouts,
    pub(super) keepalive: Option<Keepalive>,
    pub(super) route: Route,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing of the credentials.
        let Settings { host_name, user, port, .. } = &self.settings;
        write!(f, "Client({user}@{host_name} port {port})")
    }
}

pub(super) fn refused(error: impl fmt::Display) -> Error {
    Error::new(Step::Settings, Reason::Usage, error.to_string())
}

impl Client {
    /// A client for `[user@]host[:port]`: as OpenSSH with empty configuration files, but that an unknown host is refused
    /// ([`Policy::Reject`]).
    ///
    /// # Errors
    /// [`Reason::Usage`]: a host or user that begins with `-`, or holds what a terminal or a shell would take for more than a name.
    pub fn new(target: &str) -> Result<Self, Error> {
        let target: Target = target.parse().map_err(refused)?;
        let local = Local::current().map_err(refused)?;
        Ok(Self::of(&target, Settings::defaults(&target, &local)))
    }

    /// The same, with the settings of OpenSSH's configuration where OpenSSH is installed: `ssh -G -- HOST` is run, for 10 s at
    /// most.
    ///
    /// # Errors
    /// [`Reason::Usage`]; a configuration that ssh refuses.
    pub fn from_config(target: &str) -> Result<Self, Error> {
        Self::from_config_file(target, None)
    }

    /// The same, from this file only; `none` is no file (`ssh -F`).
    ///
    /// # Errors
    /// As [`from_config`](Self::from_config).
    pub fn from_config_file(target: &str, file: Option<&Path>) -> Result<Self, Error> {
        let mut client = Self::configured(target, file)?;
        client.route = Route::configured(&client, file, 0)?;
        Ok(client)
    }

    /// The same without its way there.
    pub(super) fn configured(target: &str, file: Option<&Path>) -> Result<Self, Error> {
        let target: Target = target.parse().map_err(refused)?;
        let local = Local::current().map_err(refused)?;
        let settings = Settings::query(&target, file, &local).map_err(refused)?;
        Ok(Self::of(&target, settings.unwrap_or_else(|| Settings::defaults(&target, &local))))
    }

    fn of(target: &Target, settings: Settings) -> Self {
        let mut credentials =
            Credentials { agent: settings.identity_agent.clone(), ..Credentials::default() };
        let key = |path: &PathBuf| Key::File { path: path.clone(), named: false };
        credentials.keys = settings.identity_files.iter().map(key).collect();
        credentials.identities_only = settings.identities_only;
        if !settings.preferred_authentications.is_empty() {
            credentials.methods.clone_from(&settings.preferred_authentications);
        }
        credentials.methods.retain(|method| match method.as_str() {
            "publickey" => settings.pubkey_authentication,
            "keyboard-interactive" => settings.kbd_interactive_authentication,
            "password" => settings.password_authentication,
            _ => false,
        });
        let policy = match settings.strict_host_key_checking {
            // "no" also lets changed keys pass, in OpenSSH; nothing does here.
            StrictHostKeyChecking::AcceptNew | StrictHostKeyChecking::No => Policy::AcceptNew,
            StrictHostKeyChecking::Yes | StrictHostKeyChecking::Ask => Policy::Reject,
        };
        let files = settings.user_known_hosts.iter().chain(&settings.global_known_hosts);
        let trust = Trust {
            policy,
            files: files.cloned().collect(),
            hash: settings.hash_known_hosts,
            alias: settings.host_key_alias.clone(),
            only: None,
        };
        let mut timeouts = Timeouts::default();
        timeouts.connect = settings.connect_timeout.unwrap_or(timeouts.connect);
        let (name, route) = (target.host().to_owned(), Route::default());
        let usual = Keepalive::default().interval;
        // Whoever sets ServerAliveInterval wants dead hosts found out, and often says TCPKeepAlive no beside it, since OpenSSH then asks
        // within the encryption. Here TCP asks for both: without it nobody would.
        let asks = settings.tcp_keep_alive || settings.server_alive_interval.is_some();
        let keepalive = asks.then_some(Keepalive {
            interval: settings.server_alive_interval.unwrap_or(usual),
            probes: settings.server_alive_count_max,
        });
        Self { name, settings, credentials, trust, timeouts, keepalive, route }
    }

    /// Logs in by this password, where the server takes passwords, or asks one hidden question.
    #[must_use]
    pub fn password(mut self, password: Secret) -> Self {
        self.credentials.password = Some(Rc::new(password));
        self
    }

    /// Logs in by the key in this file, and not by the usual ones. To be called again for further keys.
    #[must_use]
    pub fn identity(mut self, path: impl AsRef<Path>) -> Self {
        let keys = &mut self.credentials.keys;
        keys.retain(|key| !matches!(key, Key::File { named: false, .. }));
        keys.push(Key::File { path: path.as_ref().to_owned(), named: true });
        self
    }

    /// Logs in by this key.
    #[must_use]
    pub fn key(mut self, key: KeyFile) -> Self {
        self.credentials.keys.insert(0, Key::Memory(Rc::new(key)));
        self
    }

    /// Opens encrypted keys with this passphrase.
    #[must_use]
    pub fn passphrase(mut self, passphrase: Secret) -> Self {
        self.credentials.passphrase = Some(Rc::new(passphrase));
        self
    }

    /// Which agent to ask.
    #[must_use]
    pub fn agent(mut self, agent: IdentityAgent) -> Self {
        self.credentials.agent = agent;
        self
    }

    /// Of the agent's keys, use only those that are named as files too (`IdentitiesOnly`).
    #[must_use]
    pub fn identities_only(mut self, only: bool) -> Self {
        self.credentials.identities_only = only;
        self
    }

    /// Logs in by these methods only, in this order (`PreferredAuthentications`): `publickey`, `keyboard-interactive`, `password`.
    #[must_use]
    pub fn methods(mut self, methods: &[&str]) -> Self {
        self.credentials.methods = methods.iter().map(|&method| method.to_owned()).collect();
        self
    }

    /// Asks a person for what is missing, unless the configuration says that there is none (`BatchMode`).
    #[must_use]
    pub fn ask(mut self, ask: impl Ask + 'static) -> Self {
        if !self.settings.batch_mode {
            self.credentials.ask = Some(Rc::new(RefCell::new(ask)));
        }
        self
    }

    /// What to do about an unknown host.
    #[must_use]
    pub fn host_key(mut self, policy: Policy) -> Self {
        self.trust.policy = policy;
        self
    }

    /// Knows hosts by this file only, and saves new ones there.
    #[must_use]
    pub fn known_hosts(mut self, path: impl AsRef<Path>) -> Self {
        self.trust.files = vec![path.as_ref().to_owned()];
        self
    }

    /// How a dead connection is found out; `None`: not at all, before the kernel's own patience ends. For a connection over TCP alone:
    /// behind a [jump host](Self::through) the jump host's own counts, and over a [command](Self::proxy_command) none does.
    #[must_use]
    pub fn keepalive(mut self, keepalive: Option<Keepalive>) -> Self {
        self.keepalive = keepalive;
        self
    }

    /// Compresses what goes both ways, where the server can (`Compression`): worth it on slow lines alone.
    #[must_use]
    pub fn compress(mut self, compress: bool) -> Self {
        self.settings.compression = compress;
        self
    }

    /// How long each step may take.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// The times that are set.
    #[must_use]
    pub fn get_timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// The host as it was asked for.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.name
    }

    /// The host has to prove that it has this key, whoever is known: it is another session's.
    pub(super) fn proving(mut self, key: &[u8]) -> Self {
        self.trust.only = Some(key.to_vec());
        self
    }

    /// The name or address that is connected to, and the port there.
    #[must_use]
    pub fn destination(&self) -> (&str, u16) {
        (&self.settings.host_name, self.settings.port)
    }

    /// Whom to log in as.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.settings.user
    }

    /// Whom to log in as, and where, as it was asked for.
    pub(super) fn whom(&self) -> String {
        format!("{}@{}", self.user(), self.name)
    }

    /// Connects and logs in, blocking: the same code as [`connect_on`](Self::connect_on), run to its end.
    ///
    /// # Errors
    /// [`Error`] says at which step, and what to do.
    pub fn connect(&self) -> Result<blocking::Session, Error> {
        let reactor = Reactor::new().map_err(|f| Error::failure(Step::Settings, &f))?;
        let session = reactor.run(self.connect_on(&reactor))?;
        Ok(blocking::Session::new(session, reactor))
    }

    /// Connects and logs in, on a reactor.
    ///
    /// # Errors
    /// [`Error`] says at which step, and what to do.
    pub async fn connect_on(&self, reactor: &Handle) -> Result<Session, Error> {
        let total = self.timeouts.total;
        let deadline = Deadline::after_or_never(total);
        let late = || {
            let whom = format!("{} port {}", self.settings.host_name, self.settings.port);
            Error::timed_out(Step::Connect, whom, total.unwrap_or_default())
        };
        reactor.within(deadline, self.connected(reactor)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn connected(&self, reactor: &Handle) -> Result<Session, Error> {
        self.supported()?;
        let Settings { host_name, user, port, .. } = &self.settings;
        let verifier = self.trust.read(host_name, *port)?;
        let mut steps = Steps::default();
        let mut clock = Instant::now();
        let mut lap = |step: &mut Duration| {
            *step += clock.elapsed();
            clock = Instant::now();
        };

        let prepared = self.route.prepare(reactor, self).await?;
        lap(if matches!(self.route, Route::Direct) {
            &mut steps.resolve
        } else {
            &mut steps.connect
        });

        let mut tries = 1;
        let (transport, peer, host_key, command) = loop {
            let opened = prepared.open(reactor, self).await?;
            let (socket, peer, mut command) = opened;
            lap(&mut steps.connect);
            let transport = Transport::new(reactor, socket)?;
            let mut error = match self.shake_hands(&transport, &verifier).await {
                Ok(host_key) => break (transport, peer, host_key, command),
                Err(error) => error,
            };
            drop(transport);
            if was_dropped(&error) && tries < TRIES && prepared.again() {
                reactor.sleep(Deadline::after(pause(tries))).await;
                tries += 1;
                continue;
            }
            if let Some(command) = &mut command {
                let ended = command.ended(reactor).await;
                error = ended.into_iter().fold(error, |error, ended| error.hint(ended));
            }
            return Err(error);
        };
        let carrier = prepared.carrier(command);
        let via = carrier.via();
        transport.carrier.replace(Some(carrier));
        let notices = verifier.check(&host_key)?.into_iter().collect();
        lap(&mut steps.handshake);

        let login =
            auth::log_in(&transport, &self.credentials, user, &self.name, self.timeouts.auth)
                .await?;
        lap(&mut steps.auth);
        transport.set_idle(self.timeouts.idle);
        transport.set_whom(self.whom());
        let session = transport.session();
        let about = About {
            host: self.name.clone(),
            user: user.clone(),
            peer,
            via,
            host_key,
            server: session.banner().unwrap_or("").to_owned(),
            banner: session.userauth_banner().ok().flatten().unwrap_or("").to_owned(),
            methods: METHODS
                .iter()
                .filter_map(|m| session.methods(*m))
                .map(str::to_owned)
                .collect(),
            login,
            notices,
            steps,
        };
        Ok(Session { transport, about })
    }

    /// What the configuration asks for and we cannot do is refused rather than left out.
    fn supported(&self) -> Result<(), Error> {
        match &self.settings.bind_address {
            Some(address) => Err(refused(format!(
                "the configuration of {} has BindAddress {address}, which is not supported yet",
                self.name
            ))),
            None => Ok(()),
        }
    }

    /// Banner and key exchange. The server's key has signed it, and is not checked yet.
    async fn shake_hands(
        &self,
        transport: &Rc<Transport>,
        verifier: &Verifier<'_>,
    ) -> Result<HostKey, Error> {
        let failed =
            |error| Error::ssh(Step::Handshake, "settings", &sys::ssh::SshError::from(error));
        let session = transport.session();
        session.method_pref(MethodType::HostKey, &verifier.preference()).map_err(failed)?;
        methods::prefer(session).map_err(failed)?;
        session.set_compress(self.settings.compression);
        let shake = |session: &ssh2::Session| Ok(session.clone().handshake()?);
        let shaken = transport.exclusively(shake);
        let within = self.timeouts.handshake;
        let shaken = transport.reactor().within(Deadline::after(within), shaken).await;
        let whom = || format!("{} port {}", self.settings.host_name, self.settings.port);
        let shaken = shaken.map_err(|_| {
            Error::timed_out(Step::Handshake, whom(), within)
                .hint("something listens there and does not speak SSH, or is overloaded")
        })?;
        shaken?.map_err(|error| {
            let error = Error::ssh(Step::Handshake, whom(), &error);
            if was_dropped(&error) {
                return error.hint("the server hung up before it said who it is: is it SSH, and are its MaxStartups used up?");
            }
            error
        })?;
        let (blob, _) = session.host_key().ok_or_else(|| {
            Error::new(Step::Handshake, Reason::Protocol, "the server showed no key")
        })?;
        HostKey::from_blob(blob.to_vec()).map_err(|e| {
            Error::new(Step::Handshake, Reason::Protocol, format!("the server's key: {e}"))
        })
    }
}

/// Key exchange, host key, ciphers and MACs, to the server and from it.
const METHODS: [MethodType; 6] = [
    MethodType::Kex,
    MethodType::HostKey,
    MethodType::CryptCs,
    MethodType::CryptSc,
    MethodType::MacCs,
    MethodType::MacSc,
];

/// Whether the server hung up on us before its banner, which is sshd's way of saying that it is busy.
fn was_dropped(error: &Error) -> bool {
    error.step() == Step::Handshake && error.reason() == Reason::Disconnected
}

/// A pause before another try, 50 to 100 ms and then doubling, at random so that clients that were dropped together
/// do not come back together.
fn pause(tries: u32) -> Duration {
    let mut random = [0];
    // Without randomness all wait the same time, which is no harm to one of them.
    let _ = sys::getrandom(&mut random);
    let base = Duration::from_millis(50) * 2_u32.saturating_pow(tries - 1);
    base + base * u32::from(random[0]) / 255
}
