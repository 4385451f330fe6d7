//! Host keys and client keys by ssh-keygen(1), each made when it is first asked for and once per process.

use super::StartError;
use crate::failure::During;
use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// An algorithm and its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// `ssh-ed25519`.
    #[default]
    Ed25519,
    /// `ecdsa-sha2-nistp256`.
    Ecdsa256,
    /// `ecdsa-sha2-nistp384`.
    Ecdsa384,
    /// `ecdsa-sha2-nistp521`.
    Ecdsa521,
    /// `ssh-rsa` of 3072 bits. Making one takes up to a second.
    Rsa3072,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Ed25519, Self::Ecdsa256, Self::Ecdsa384, Self::Ecdsa521, Self::Rsa3072];

    /// ssh-keygen's words for it: `-t` and `-b`. The size of an Ed25519 key is fixed, and the number ignored.
    fn type_and_bits(self) -> (&'static str, &'static str) {
        match self {
            Self::Ed25519 => ("ed25519", "256"),
            Self::Ecdsa256 => ("ecdsa", "256"),
            Self::Ecdsa384 => ("ecdsa", "384"),
            Self::Ecdsa521 => ("ecdsa", "521"),
            Self::Rsa3072 => ("rsa", "3072"),
        }
    }
}

/// A client key as its file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyFile {
    /// The algorithm.
    pub kind: KeyKind,
    /// The file is encrypted with this.
    pub passphrase: Option<&'static str>,
    /// PEM instead of OpenSSH's own format. ssh-keygen has no PEM for Ed25519 and ignores it there.
    pub pem: bool,
}

impl From<KeyKind> for KeyFile {
    fn from(kind: KeyKind) -> Self {
        Self { kind, ..Self::default() }
    }
}

/// Whose key: each of these is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// The server's; the number counts its replacements.
    Host(u32),
    /// A client's that may log in.
    Client,
    /// A client's that may not.
    Stranger,
}

/// A key's two files.
#[derive(Clone, Debug)]
struct Key {
    private: Vec<u8>,
    /// `ssh-ed25519 AAAA... comment`, with its line end.
    public: String,
}

type Cell = Arc<OnceLock<Key>>;

/// The keys of this process. A cell each, so that nobody waits for another's RSA key.
fn cell(owner: Owner, file: KeyFile) -> Cell {
    static MADE: OnceLock<Mutex<HashMap<(Owner, KeyFile), Cell>>> = OnceLock::new();
    let mut made = MADE.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(made.entry((owner, file)).or_default())
}

/// Writes a key and its `.pub` into a folder, if it is not there yet; the path of the private half and the line of the
/// public one.
pub(super) fn write(
    folder: &Path,
    owner: Owner,
    file: KeyFile,
) -> Result<(PathBuf, String), StartError> {
    let path = folder.join(name(owner, file));
    let cell = cell(owner, file);
    if let Some(key) = cell.get() {
        if !path.exists() {
            store(&path, key).during("write", path.display())?;
        }
        return Ok((path, key.public.clone()));
    }
    generate(&path, file)?;
    let read = || {
        let public = fs::read_to_string(path.with_extension("pub"))?;
        Ok(Key { private: fs::read(&path)?, public })
    };
    let ours = read().during("read", path.display())?;
    // Two tests may have made it at once; the first one holds, and this folder gets that one.
    let key = cell.get_or_init(|| ours.clone());
    if key.public != ours.public {
        fs::remove_file(&path).during("unlink", path.display())?;
        store(&path, key).during("write", path.display())?;
    }
    Ok((path, key.public.clone()))
}

fn name(owner: Owner, KeyFile { kind, passphrase, pem }: KeyFile) -> String {
    let (algorithm, bits) = kind.type_and_bits();
    let owner = match owner {
        Owner::Host(n) => format!("host{n}"),
        Owner::Client => "client".to_owned(),
        Owner::Stranger => "stranger".to_owned(),
    };
    let form = if pem { "_pem" } else { "" };
    // The passphrase itself could not stand in every file name.
    let words: String =
        passphrase.unwrap_or("").bytes().map(|byte| format!("{byte:02x}")).collect();
    let sealed = if passphrase.is_some() { format!("_sealed{words}") } else { String::new() };
    format!("{owner}_{algorithm}{bits}{form}{sealed}")
}

fn generate(path: &Path, file: KeyFile) -> Result<(), StartError> {
    let (algorithm, bits) = file.kind.type_and_bits();
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", algorithm, "-b", bits, "-C", "waitcopy"]);
    keygen.args(["-N", file.passphrase.unwrap_or("")]);
    if file.pem {
        keygen.args(["-m", "PEM"]);
    }
    run(keygen.arg("-f").arg(path))
}

fn store(path: &Path, key: &Key) -> std::io::Result<()> {
    let mut private = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    private.write_all(&key.private)?;
    fs::write(path.with_extension("pub"), &key.public)
}

/// Runs a program that must succeed; what it says goes into the error.
pub(super) fn run(command: &mut Command) -> Result<(), StartError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().during("spawn", &program)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(StartError::Failed(format!("{program}: {}: {}", output.status, said.trim())))
}
