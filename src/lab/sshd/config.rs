//! What a private sshd is told: sshd_config(5).

use super::accounts::Accounts;
use super::keys::KeyKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The SFTP subsystem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sftp {
    /// Inside sshd.
    #[default]
    Internal,
    /// A command of one's own, or [`sftp_server`]. It is run by the account's shell.
    Command(String),
    /// There is none.
    Absent,
}

/// The program of the package openssh-sftp-server, where it is installed.
#[must_use]
pub fn sftp_server() -> Option<PathBuf> {
    let places = ["/usr/lib/openssh", "/usr/libexec/openssh", "/usr/lib/ssh", "/usr/libexec"];
    places.into_iter().map(|place| Path::new(place).join("sftp-server")).find(|path| path.exists())
}

/// How a private sshd differs from a plain one. Each `None` leaves sshd's own value.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who may log in.
    pub accounts: Accounts,
    /// Its host keys, at least one.
    pub host_keys: Vec<KeyKind>,
    /// Bytes between two key exchanges, such as `256K` (`RekeyLimit`).
    pub rekey_limit: Option<String>,
    /// `MaxStartups`, a number or `start:rate:full`; 500 by itself.
    pub max_startups: String,
    /// Sessions per connection (`MaxSessions`).
    pub max_sessions: Option<u32>,
    /// Seconds of silence before the server asks, and how often it asks in vain (`ClientAliveInterval`, `ClientAliveCountMax`).
    pub client_alive: Option<(u32, u32)>,
    /// `Ciphers`.
    pub ciphers: Option<String>,
    /// Such as `publickey,keyboard-interactive` (`AuthenticationMethods`).
    pub authentication_methods: Option<String>,
    /// What the server says before it authenticates (`Banner`).
    pub banner: Option<String>,
    /// SFTP.
    pub sftp: Sftp,
    /// More lines of sshd_config. They come first, and of most keywords sshd takes the first. `SetEnv` is taken: by it
    /// a session finds its home and is found when the server ends.
    pub extra: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            accounts: Accounts::default(),
            host_keys: vec![KeyKind::Ed25519],
            rekey_limit: None,
            max_startups: "500".to_owned(),
            max_sessions: None,
            client_alive: None,
            ciphers: None,
            authentication_methods: None,
            banner: None,
            sftp: Sftp::default(),
            extra: Vec::new(),
        }
    }
}

impl Options {
    /// The text of sshd_config for a server in `folder`.
    pub(super) fn config(&self, folder: &Path, addr: SocketAddr, host_keys: &[PathBuf]) -> String {
        let place = folder.display();
        let yes = |condition: bool| if condition { "yes" } else { "no" };
        let pam = matches!(self.accounts, Accounts::Pam | Accounts::PamWithCode);
        let mut lines = self.extra.clone();
        lines.push(format!("ListenAddress {}\nPort {}", addr.ip(), addr.port()));
        lines.extend(host_keys.iter().map(|path| format!("HostKey \"{}\"", path.display())));
        lines.push(format!("AuthorizedKeysFile \"{place}/authorized_keys\""));
        lines.push(format!("PasswordAuthentication {}", yes(self.accounts != Accounts::Own)));
        lines.push(format!("UsePAM {0}\nKbdInteractiveAuthentication {0}", yes(pam)));
        lines.push(format!("SetEnv \"HOME={place}/home\" \"WAITCOPY_SSHD={place}\""));
        lines.push(format!("MaxStartups {}", self.max_startups));
        // The account's real ~/.ssh is nobody's business here, and an interactive login leaves no trace.
        lines.push("PermitUserRC no\nPermitRootLogin yes\nStrictModes no\nPidFile none".to_owned());
        lines.push("LogLevel VERBOSE\nPrintMotd no\nPrintLastLog no\nUseDNS no".to_owned());
        lines.push("AcceptEnv LANG LC_* WAITCOPY_*".to_owned());
        match &self.sftp {
            Sftp::Internal => {
                lines.push(format!("Subsystem sftp internal-sftp -d \"{place}/home\""))
            }
            Sftp::Command(command) => lines.push(format!("Subsystem sftp {command}")),
            Sftp::Absent => {}
        }
        if self.banner.is_some() {
            lines.push(format!("Banner \"{place}/banner\""));
        }
        let mut set = |keyword: &str, value: Option<String>| {
            lines.extend(value.map(|value| format!("{keyword} {value}")));
        };
        set("RekeyLimit", self.rekey_limit.clone());
        set("MaxSessions", self.max_sessions.map(|n| n.to_string()));
        set("ClientAliveInterval", self.client_alive.map(|(seconds, _)| seconds.to_string()));
        set("ClientAliveCountMax", self.client_alive.map(|(_, times)| times.to_string()));
        set("Ciphers", self.ciphers.clone());
        set("AuthenticationMethods", self.authentication_methods.clone());
        lines.join("\n") + "\n"
    }
}
