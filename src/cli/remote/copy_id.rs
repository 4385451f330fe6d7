//! `remote copy-id`: the notes' ssh-copy-id. Our public key goes into `~/.ssh/authorized_keys`, once, and the file changes at once or
//! not at all.

use super::show;
use super::{Done, Trouble};
use crate::cli::flags::Parsed;
use crate::cli::{Exit, print};
use crate::json::Value;
use crate::reactor::Deadline;
use crate::remote::base64::{self, Padding};
use crate::remote::config::Local;
use crate::remote::host_key::HostKey;
use crate::remote::sftp::{Attributes, Extension, OpenFlags, Sftp, StatusCode, Transfer};
use crate::remote::{Error, Reason, Session};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const FOLDER: &str = ".ssh";
const FILE: &str = ".ssh/authorized_keys";
/// There while one of us changes the file: two at a time would lose the key of the first.
const LOCK: &str = ".ssh/authorized_keys.copy-id";
/// How long another one is waited for, and how often it is asked.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// A public key, as a line of a `.pub` file.
struct Public {
    key: HostKey,
    comment: String,
}

impl Public {
    fn read(path: &Path) -> Result<Self, Exit> {
        let failed = |what: &str| Exit::failed(format!("{}: {what}", path.display()));
        let text =
            fs::read_to_string(path).map_err(|error| failed(&crate::sys::describe(&error)))?;
        let line = text.lines().next().unwrap_or_default();
        Self::of(line).ok_or_else(|| {
            failed("this is no public key (ssh-keygen -y makes one from the private key)")
        })
    }

    fn of(line: &str) -> Option<Self> {
        let mut words = line.trim().splitn(3, [' ', '\t']);
        let (algorithm, blob) = (words.next()?, words.next()?);
        let key = HostKey::from_blob(base64::decode(blob.as_bytes(), Padding::With)?).ok()?;
        let comment =
            words.next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
        (key.algorithm() == algorithm).then_some(Self { key, comment })
    }

    fn line(&self) -> String {
        let Self { key, comment } = self;
        format!("{key}{}{comment}\n", if comment.is_empty() { "" } else { " " })
    }

    /// Whether a line of authorized_keys lets this key in: perhaps behind options (sshd(8)).
    fn is_in(&self, text: &[u8]) -> bool {
        let wanted = self.key.to_string();
        let wanted: Vec<&[u8]> = wanted.as_bytes().split(|byte| *byte == b' ').collect();
        let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        lines.filter(|line| !line.starts_with(b"#")).any(|line| {
            let words: Vec<&[u8]> =
                line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
            words.windows(2).any(|pair| pair == wanted)
        })
    }
}

/// The key to install.
pub(super) struct Plan {
    public: Public,
    from: PathBuf,
    json: bool,
}

impl Plan {
    pub(super) fn of(parsed: &Parsed) -> Result<Self, Exit> {
        if parsed.operands.len() > 1 {
            return Err(Exit::usage("remote copy-id: one host; a key is named with --identity"));
        }
        let named = parsed.values("identity").last();
        let from = match named {
            Some(name) if name.ends_with(".pub") => PathBuf::from(name),
            Some(name) => PathBuf::from(format!("{name}.pub")),
            None => newest()?,
        };
        Ok(Self { public: Public::read(&from)?, from, json: parsed.has("json") })
    }

    /// The public half of this key file, and nothing is printed.
    pub(super) fn for_key(key: &Path) -> Result<Self, Exit> {
        let from = PathBuf::from(format!("{}.pub", key.display()));
        Ok(Self { public: Public::read(&from)?, from, json: true })
    }

    pub(super) async fn run(&self, ssh: &Session) -> Result<Done, Trouble> {
        let sftp = ssh.sftp().await?;
        let added = self.install(ssh, &sftp).await?;
        sftp.close().await?;
        let (fingerprint, from) = (self.public.key.fingerprint(), self.from.display().to_string());
        if !self.json {
            let about = ssh.about();
            let what = if added { "added to" } else { "is already in" };
            let from = show::Shown(&from);
            print(format_args!(
                "{fingerprint} ({from}) {what} ~/{FILE} of {}@{}\n",
                about.user, about.host
            ))?;
        }
        Ok(Done::well(Value::object([
            ("added", added.into()),
            ("key", fingerprint.into()),
            ("from", from.into()),
            ("file", FILE.into()),
        ])))
    }

    /// Whether the key was not there before.
    async fn install(&self, ssh: &Session, sftp: &Sftp) -> Result<bool, Trouble> {
        let mode = |mode| Attributes { permissions: Some(mode), ..Attributes::default() };
        if !sftp.is_dir(FOLDER).await? {
            match sftp.mkdir(FOLDER, Some(0o700)).await {
                // Another one was faster.
                Err(_) if sftp.is_dir(FOLDER).await? => {}
                made => made?,
            }
        }
        // sshd ignores keys that others could write; the umask may have taken from the mode.
        if sftp.stat(FOLDER).await?.mode() != Some(0o700) {
            sftp.set_stat(FOLDER, mode(0o700)).await?;
        }
        let _lock = Lock::take(ssh, sftp).await?;
        let mut text = Vec::new();
        let there = match sftp.get_to(FILE, &mut text, Transfer::new()).await {
            Ok(_) => true,
            Err(error) if error.reason() == Reason::Status(StatusCode::NoSuchFile.number()) => {
                false
            }
            Err(error) => return Err(error.into()),
        };
        if self.public.is_in(&text) {
            if sftp.stat(FILE).await?.mode() != Some(0o600) {
                sftp.set_stat(FILE, mode(0o600)).await?;
            }
            return Ok(false);
        }
        if there && text.last().is_some_and(|last| *last != b'\n') {
            text.push(b'\n');
        }
        text.extend_from_slice(self.public.line().as_bytes());
        let how = Transfer::new().mode(0o600).sync(sftp.offers(Extension::Fsync));
        sftp.put_from(&mut text.as_slice(), None, FILE, how).await?;
        Ok(true)
    }
}

/// The newest of the usual public keys, as ssh-copy-id takes it.
fn newest() -> Result<PathBuf, Exit> {
    let folder = Local::current().map_err(Exit::config)?.home.join(".ssh");
    let mut keys: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("id") && name.ends_with(".pub") && !name.ends_with("-cert.pub") {
            // A key whose age cannot be read cannot be read itself.
            keys.extend(
                entry.metadata().and_then(|meta| meta.modified()).map(|age| (age, entry.path())),
            );
        }
    }
    keys.sort();
    keys.pop().map(|(_, path)| path).ok_or_else(|| {
        let folder = folder.display();
        Exit::failed(format!(
            "no key in {folder} (id*.pub): make one with ssh-keygen, or name one with --identity"
        ))
    })
}

/// A file that is there while one of us changes the keys, and goes when it is dropped.
struct Lock<'a>(&'a Sftp);

impl<'a> Lock<'a> {
    async fn take(ssh: &Session, sftp: &'a Sftp) -> Result<Self, Error> {
        let deadline = Deadline::after(PATIENCE);
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        loop {
            match sftp.open_file(LOCK, flags, Some(0o600)).await {
                Ok(file) => {
                    let lock = Self(sftp);
                    file.close().await?;
                    return Ok(lock);
                }
                // Version 3 has no status for "it is there": "failure" may mean that.
                Err(error) if error.reason() == Reason::Status(StatusCode::Failure.number()) => {
                    if deadline.passed() {
                        return Err(match sftp.lstat(LOCK).await {
                            Ok(_) => error.hint(format!(
                                "another copy-id is at work there, or one was killed and left ~/{LOCK}: remove it then"
                            )),
                            Err(_) => error,
                        });
                    }
                    ssh.reactor().sleep(Deadline::after(PAUSE)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        self.0.remove_unheard(LOCK);
    }
}

#[cfg(test)]
mod tests {
    use super::Public;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1gRAqUAVgsBVlyRiRjcxKp9TvcyrJNSTLpK2aZR1Rj";

    #[test]
    fn a_key_is_found_behind_options_and_not_in_comments() {
        let key = Public::of(&format!("{KEY} me@here")).unwrap();
        assert_eq!(key.line(), format!("{KEY} me@here\n"));
        for there in [
            format!("{KEY}\n"),
            format!("ssh-rsa AAAA other\n  {KEY} another comment"),
            format!("from=\"10.0.0.0/8\",command=\"a b\" {KEY} x\r\n"),
        ] {
            assert!(key.is_in(there.as_bytes()), "{there}");
        }
        for absent in [format!("# {KEY}\n"), String::new(), KEY[..60].to_owned()] {
            assert!(!key.is_in(absent.as_bytes()), "{absent}");
        }
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        let other = KEY.replace("ssh-ed25519 ", "ssh-rsa ");
        for wrong in
            ["", "ssh-ed25519", "ssh-ed25519 ????", &other, "-----BEGIN OPENSSH PRIVATE KEY-----"]
        {
            assert!(Public::of(wrong).is_none(), "{wrong}");
        }
        assert_eq!(Public::of(KEY).unwrap().line(), format!("{KEY}\n"));
    }
}
