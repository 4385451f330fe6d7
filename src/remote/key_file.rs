//! Private key files: what is in them, as far as it shows without a passphrase, and whether they may be used.

use super::base64::{self, Padding};
use super::secret::Secret;
use super::wire::string;
use crate::failure::{During, Failure};
use crate::sys;
use std::ffi::OsString;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

mod der;
mod openssh;
#[cfg(test)]
mod tests;

/// The longest file that is read, in bytes: OpenSSH's `MAX_KEY_FILE_SIZE`.
pub const LONGEST: usize = 1 << 20;
/// The same for the public half beside it.
const LONGEST_PUBLIC: u64 = 64 << 10;

/// The keys that this crate can log in with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519 (RFC 8709).
    Ed25519,
    /// ECDSA on the curve P-256 (RFC 5656).
    EcdsaNistp256,
    /// ECDSA on the curve P-384 (RFC 5656).
    EcdsaNistp384,
    /// ECDSA on the curve P-521 (RFC 5656).
    EcdsaNistp521,
    /// RSA. Signs with SHA-256 or SHA-512 (RFC 8332), whatever the key is called.
    Rsa,
}

impl Algorithm {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Ed25519, "ssh-ed25519"),
        (Self::EcdsaNistp256, "ecdsa-sha2-nistp256"),
        (Self::EcdsaNistp384, "ecdsa-sha2-nistp384"),
        (Self::EcdsaNistp521, "ecdsa-sha2-nistp521"),
        (Self::Rsa, "ssh-rsa"),
    ];

    /// The name at the head of its public keys: `ssh-ed25519`.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The algorithm of a public key as servers are offered it; `None` for one of which no use is made here.
    #[must_use]
    pub fn of(blob: &[u8]) -> Option<Self> {
        let name = string(&mut &*blob)?;
        Self::ALL.into_iter().find(|(_, known)| known.as_bytes() == name).map(|(found, _)| found)
    }
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenSSH's own (its PROTOCOL.key).
    OpenSsh,
    /// PEM with an RSA key (PKCS#1, RFC 8017).
    Pkcs1,
    /// PEM with an ECDSA key (SEC 1, RFC 5915).
    Sec1,
    /// PEM with any key (PKCS#8, RFC 5958).
    Pkcs8,
}

/// Why a file is not taken.
#[derive(Debug)]
pub enum KeyError {
    /// It cannot be opened or read.
    Failed(Failure),
    /// Others may read it: its path and mode.
    TooOpen(PathBuf, u32),
    /// It is none, or a broken one: a sentence.
    Malformed(String),
    /// It is a private key, and one that cannot be used here: a sentence with the way out.
    Unsupported(String),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => write!(f, "{failure}"),
            Self::TooOpen(path, mode) => {
                let path = path.display();
                write!(f, "permissions {mode:04o} for '{path}' are too open; ")?;
                write!(f, "run: chmod 600 '{path}'")
            }
            Self::Malformed(text) | Self::Unsupported(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for KeyError {}

/// What the parts of a file say, before they are put together.
#[derive(Debug, Default)]
struct Parts {
    encrypted: bool,
    algorithm: Option<Algorithm>,
    public: Option<Vec<u8>>,
    comment: Option<String>,
}

/// Why bytes are no key of ours, without the name of their file.
#[derive(Debug)]
enum Refusal {
    Malformed(&'static str),
    Unsupported(&'static str),
}

/// A private key, perhaps encrypted, as it was written.
pub struct KeyFile {
    text: Secret,
    format: Format,
    parts: Parts,
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("KeyFile");
        shown.field("format", &self.format).field("encrypted", &self.parts.encrypted);
        shown.field("algorithm", &self.parts.algorithm).finish_non_exhaustive()
    }
}

impl KeyFile {
    /// Reads a private key, and what `PATH.pub` says of it where it does not say so itself.
    ///
    /// # Errors
    /// [`KeyError::TooOpen`] when the file is ours and others have any right to it, as OpenSSH has it: a file of another
    /// owner is that one's business. The others as [`KeyFile::from_memory`].
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let shown = path.display();
        let mut file = opened(path).during("open", &shown).map_err(KeyError::Failed)?;
        let meta = file.metadata().during("fstat", &shown).map_err(KeyError::Failed)?;
        if !meta.is_file() {
            return Err(KeyError::Malformed(format!("key '{shown}': not a regular file")));
        }
        // Of the open file: it cannot be exchanged between the check and the read.
        if meta.uid() == sys::getuid() && meta.mode() & 0o077 != 0 {
            return Err(KeyError::TooOpen(path.to_owned(), meta.mode() & 0o777));
        }
        let room = usize::try_from(meta.len()).unwrap_or(LONGEST).min(LONGEST);
        let text = Secret::read_from(&mut file, room).map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => {
                KeyError::Malformed(format!("key '{shown}': {TOO_LONG}"))
            }
            _ => KeyError::Failed(Failure::new("read", &shown, error)),
        })?;
        let mut key = Self::parse(text).map_err(|refusal| refusal.of(&format!("key '{shown}'")))?;
        key.take_public(path);
        Ok(key)
    }

    /// A private key from elsewhere than a file: the same without permissions and without `PATH.pub`.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] for a public key, for another thing, for a broken key and for more than [`LONGEST`] bytes;
    /// [`KeyError::Unsupported`] for DSA, FIDO and the rarer ones.
    pub fn from_memory(text: Secret) -> Result<Self, KeyError> {
        Self::parse(text).map_err(|refusal| refusal.of("key"))
    }

    fn parse(text: Secret) -> Result<Self, Refusal> {
        if text.len() > LONGEST {
            return Err(Refusal::Malformed(TOO_LONG));
        }
        let armour = Armour::find(text.expose())?;
        let (format, parts) = match armour.label {
            b"OPENSSH PRIVATE KEY" => (Format::OpenSsh, openssh::parts(&armour)?),
            b"RSA PRIVATE KEY" => (Format::Pkcs1, der::pkcs1(&armour)?),
            b"EC PRIVATE KEY" => (Format::Sec1, der::sec1(&armour)?),
            b"PRIVATE KEY" => (Format::Pkcs8, der::pkcs8(&armour)?),
            b"ENCRYPTED PRIVATE KEY" => {
                armour.decoded()?;
                (Format::Pkcs8, Parts { encrypted: true, ..Parts::default() })
            }
            b"DSA PRIVATE KEY" => return Err(Refusal::Unsupported(DSA)),
            label if label.ends_with(b"PUBLIC KEY") => return Err(Refusal::Malformed(PUBLIC)),
            _ => return Err(Refusal::Malformed("not a private key (another kind of PEM file)")),
        };
        Ok(Self { text, format, parts })
    }

    /// What `PATH.pub` adds. It is a convenience: one that is missing, broken or of another key is passed over.
    fn take_public(&mut self, path: &Path) {
        let Some((blob, comment)) = read_public(&beside(path)) else { return };
        let algorithm = Algorithm::of(&blob);
        let parts = &mut self.parts;
        let fits = match &parts.public {
            Some(public) => *public == blob,
            None => {
                algorithm.is_some() && (parts.algorithm.is_none() || parts.algorithm == algorithm)
            }
        };
        if fits {
            parts.algorithm = algorithm;
            parts.public = Some(blob);
            parts.comment = parts.comment.take().or(comment);
        }
    }

    /// How it is written.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether a passphrase is needed.
    #[must_use]
    pub fn encrypted(&self) -> bool {
        self.parts.encrypted
    }

    /// The public key as servers are offered it (RFC 4253, section 6.6): from OpenSSH's format, or from `PATH.pub`.
    #[must_use]
    pub fn public(&self) -> Option<&[u8]> {
        self.parts.public.as_deref()
    }

    /// What kind of key it is; `None` for an encrypted PKCS#8 file without a `PATH.pub`.
    #[must_use]
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.parts.algorithm
    }

    /// What its owner called it; foreign text, not to be printed as it is.
    #[must_use]
    pub fn comment(&self) -> Option<&str> {
        self.parts.comment.as_deref()
    }

    /// The file's own bytes, for whoever decrypts and signs.
    #[must_use]
    pub fn text(&self) -> &Secret {
        &self.text
    }
}

/// The public key that an `IdentityFile` stands for, of any kind and without its private half: from `PATH.pub`, or from PATH
/// where that is a public key itself. What an agent's keys are held against with `IdentitiesOnly`.
#[must_use]
pub fn public_half(path: &Path) -> Option<Vec<u8>> {
    read_public(&beside(path)).or_else(|| read_public(path)).map(|(blob, _)| blob)
}

/// Opens without waiting: a named pipe without a writer would hold us for ever.
fn opened(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// `PATH.pub`.
fn beside(path: &Path) -> PathBuf {
    let mut path = OsString::from(path);
    path.push(".pub");
    path.into()
}

const TOO_LONG: &str = "longer than 1 MiB: not a private key";
const PUBLIC: &str = "this is a public key; name the private one, which has no .pub";
const DSA: &str =
    "DSA keys are not supported any more, by OpenSSH neither; make another (ssh-keygen -t ed25519)";
const FIDO: &str =
    "a FIDO key works through the agent only: its private half is in the token (run: ssh-add)";

impl Refusal {
    fn of(self, object: &str) -> KeyError {
        match self {
            Self::Malformed(what) => KeyError::Malformed(format!("{object}: {what}")),
            Self::Unsupported(what) => KeyError::Unsupported(format!("{object}: {what}")),
        }
    }
}

/// A PEM block (RFC 7468; with header lines, RFC 1421).
struct Armour<'a> {
    label: &'a [u8],
    /// The lines between BEGIN and END.
    body: &'a [u8],
}

impl<'a> Armour<'a> {
    /// The first block of a text.
    fn find(text: &'a [u8]) -> Result<Self, Refusal> {
        let mut lines = text.split_inclusive(|&byte| byte == b'\n');
        let mut at = 0;
        let label = loop {
            let Some(line) = lines.next() else { return Err(Refusal::Malformed(unarmoured(text))) };
            at += line.len();
            if let Some(label) = marker(line, b"-----BEGIN ") {
                break label;
            }
        };
        let start = at;
        for line in lines {
            if marker(line, b"-----END ") == Some(label) {
                return Ok(Self { label, body: &text[start..at] });
            }
            at += line.len();
        }
        Err(Refusal::Malformed("the private key has no end (the file is cut off)"))
    }

    /// The lines before an empty one, if there is any: `Proc-Type: 4,ENCRYPTED`.
    fn headers(&self) -> (&'a [u8], &'a [u8]) {
        let body = self.body;
        // A header has a colon, base64 never.
        let first = body.split(|&byte| byte == b'\n').next().unwrap_or_default();
        if !first.contains(&b':') {
            return (&[], body);
        }
        let end = [&b"\n\n"[..], b"\n\r\n"].into_iter().find_map(|gap| {
            body.windows(gap.len()).position(|window| window == gap).map(|at| at + gap.len())
        });
        body.split_at(end.unwrap_or(body.len()))
    }

    /// Whether the headers say that the rest is encrypted (RFC 1421, as OpenSSL writes it).
    fn encrypted(&self) -> bool {
        self.headers().0.windows(9).any(|window| window == b"ENCRYPTED")
    }

    /// The bytes that the lines stand for.
    fn decoded(&self) -> Result<Secret, Refusal> {
        let (_, lines) = self.headers();
        let mut letters = Secret::with_capacity(lines.len());
        for &letter in lines.iter().filter(|letter| !letter.is_ascii_whitespace()) {
            letters.push(letter).map_err(|_| Refusal::Malformed(TOO_LONG))?;
        }
        let bytes =
            base64::decode(letters.expose(), Padding::With).filter(|bytes| !bytes.is_empty());
        bytes
            .map(Secret::from)
            .ok_or(Refusal::Malformed("the private key is not base64 (damaged?)"))
    }
}

/// The label of a `-----BEGIN label-----` line.
fn marker<'a>(line: &'a [u8], kind: &[u8]) -> Option<&'a [u8]> {
    line.trim_ascii().strip_prefix(kind)?.strip_suffix(b"-----")
}

/// What a text without a PEM block is.
fn unarmoured(text: &[u8]) -> &'static str {
    let starts = |with: &[&[u8]]| with.iter().any(|start| text.starts_with(start));
    if starts(&[b"ssh-", b"ecdsa-sha2-", b"sk-ssh-", b"sk-ecdsa-", b"---- BEGIN SSH2 PUBLIC KEY"]) {
        return PUBLIC;
    }
    if starts(&[b"PuTTY-User-Key-File-"]) {
        return "a PuTTY key; convert it (puttygen KEY -O private-openssh-new -o NEW)";
    }
    "not a private key"
}

/// The first key of a `.pub` file and its comment; `None` for anything else.
fn read_public(path: &Path) -> Option<(Vec<u8>, Option<String>)> {
    let file = opened(path).ok().filter(|file| file.metadata().is_ok_and(|meta| meta.is_file()))?;
    let mut text = Vec::new();
    file.take(LONGEST_PUBLIC).read_to_end(&mut text).ok()?;
    let line = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let line = line.into_iter().find(|line| !line.is_empty() && !line.starts_with(b"#"))?;
    let mut words = line.splitn(3, |&byte| byte == b' ');
    let (name, letters) = (words.next()?, words.next()?);
    let blob = base64::decode(letters, Padding::With)?;
    let comment = words.next().map(|words| String::from_utf8_lossy(words).into_owned());
    (string(&mut &*blob)? == name).then_some((blob, comment.filter(|text| !text.is_empty())))
}
