//! Accounts of a private server: files that stand over the system's in the mount namespace of the server, and nowhere else.

use super::StartError;
use super::guard::search_path;
use super::keys::run;
use crate::failure::{During, Failure};
use crate::sys;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

/// Who may log in, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accounts {
    /// The account that runs this, by key.
    #[default]
    Own,
    /// The throw-away account, by key or password; sshd checks the password itself. Needs root.
    Password,
    /// The same, and by keyboard-interactive with one prompt, through PAM: sshd without PAM has none on Linux. Needs root.
    Pam,
    /// The same with two prompts, the password and then a code. Needs root.
    PamWithCode,
}

/// The throw-away account.
pub(super) const WALTER: &str = "walter";

/// From here on a free number is looked for: Debian gives these to nobody.
const FIRST_ID: u32 = 60_600;

/// One account of a private server.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) user: String,
    /// Of the throw-away account, random. Empty for our own.
    pub(super) password: String,
    /// The second answer of [`Accounts::PamWithCode`], random digits.
    pub(super) code: String,
}

/// Whether this process is root's.
pub(super) fn root() -> Result<bool, StartError> {
    Ok(fs::metadata("/proc/self").during("stat", "/proc/self")?.uid() == 0)
}

/// Refuses what cannot work here, before anything is made.
pub(super) fn check(accounts: Accounts) -> Result<(), StartError> {
    if !root()? {
        return match accounts {
            Accounts::Own => Ok(()),
            _ => Err(StartError::Unavailable(
                "only root can give a private SSH server an account of its own".to_owned(),
            )),
        };
    }
    // Not only unshare(2) may be forbidden in a container, mount(2) as well.
    let mut probe = Command::new("unshare");
    probe.args(["--mount", "mount", "--bind", "/etc/passwd", "/etc/passwd"]);
    run(probe.env("PATH", search_path())).map_err(|why| {
        StartError::Unavailable(format!(
            "a private SSH server of root needs mounts of its own: {why}"
        ))
    })
}

/// Writes the account's files and makes its home.
pub(super) fn furnish(folder: &Path, accounts: Accounts) -> Result<Account, StartError> {
    let home = folder.join("home");
    fs::create_dir(&home).during("mkdir", home.display())?;
    let mut account = Account { user: own_name()?, password: String::new(), code: String::new() };
    if !root()? {
        return Ok(account);
    }
    let [passwd, group] =
        ["/etc/passwd", "/etc/group"].map(|path| fs::read_to_string(path).during("read", path));
    let (passwd, group) = (passwd?, group?);
    let id = free_id(&[&passwd, &group]);
    // No hash of the system's is copied: nobody else logs in by password here. A star is no password, and not a lock.
    let mut shadow = format!("{}:*:20000:0:99999:7:::\n", account.user);
    let mut known = rehomed(&passwd, &account.user, &home);
    if accounts != Accounts::Own {
        WALTER.clone_into(&mut account.user);
        account.password = random_hex()?;
        account.code = digits(&random_hex()?);
        known = format!("{WALTER}:x:{id}:{id}::{}:/bin/sh\n{known}", home.display());
        shadow += &format!("{WALTER}:{}:20000:0:99999:7:::\n", hash(&account.password)?);
        chown(&home, Some(id), Some(id)).during("chown", home.display())?;
    }
    let group = format!("{WALTER}:x:{id}:\n{group}");
    write(&folder.join("passwd"), &known, 0o644)?;
    write(&folder.join("group"), &group, 0o644)?;
    write(&folder.join("shadow"), &shadow, 0o600)?;
    if matches!(accounts, Accounts::Pam | Accounts::PamWithCode) {
        write_pam(folder, accounts, &account.code)?;
    }
    Ok(account)
}

/// PAM's rules. Two prompts come from pam_stress, the one module of Debian's own set that asks again whatever has been
/// asked before, and takes any answer; pam_exec then has the answer checked.
fn write_pam(folder: &Path, accounts: Accounts, code: &str) -> Result<(), StartError> {
    let rules = folder.join("pam.d");
    fs::create_dir(&rules).during("mkdir", rules.display())?;
    let mut stack = "auth requisite pam_unix.so\n".to_owned();
    if accounts == Accounts::PamWithCode {
        let check = folder.join("check-code");
        // pam_exec ends the answer with a NUL and no line end: read fails, and has read it all the same.
        let script = format!("#!/bin/sh\nread -r answer\n[ \"$answer\" = {code} ]\n");
        write(&check, &script, 0o755)?;
        stack += "auth required pam_stress.so\n";
        stack +=
            &format!("auth requisite pam_exec.so expose_authtok quiet [{}]\n", check.display());
    }
    stack += "account required pam_permit.so\nsession required pam_permit.so\n";
    write(&rules.join("sshd"), &stack, 0o644)?;
    // su, sudo and their like find no way in.
    let deny = "auth required pam_deny.so\naccount required pam_deny.so\n";
    write(&rules.join("other"), deny, 0o644)
}

/// Mounts what stands over the system's files, then becomes the server. unshare(1) has made all mounts private first.
/// Records of logins (utmp, wtmp, btmp, lastlog) would be the system's: `/run` and `/var/log` are empty here, but for a lastlog,
/// whose absence sshd complains of on the terminal.
const ENTER: &str = r#"set -e
folder=$1
shift
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /var/log
mkdir /run/sshd
: >/var/log/lastlog
for file in passwd group shadow; do mount --bind "$folder/$file" "/etc/$file"; done
[ ! -e "$folder/pam.d" ] || mount --bind "$folder/pam.d" /etc/pam.d
exec "$@""#;

/// The words before the server's own that let it see these accounts.
pub(super) fn enter(folder: &Path) -> Result<Vec<String>, StartError> {
    if !root()? {
        return Ok(Vec::new());
    }
    let words = ["unshare", "--mount", "sh", "-c", ENTER, "enter"].map(str::to_owned);
    Ok(words.into_iter().chain([folder.display().to_string()]).collect())
}

/// Writes a new file whose mode does not depend on the umask.
pub(super) fn write(path: &Path, text: &str, mode: u32) -> Result<(), StartError> {
    let make = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())
    };
    Ok(make().during("write", path.display())?)
}

/// 128 random bits in hexadecimal: a password, the name of a folder.
pub(super) fn random_hex() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    sys::getrandom(&mut bytes).during("getrandom", "")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn digits(hex: &str) -> String {
    hex.chars().take(6).filter_map(|c| c.to_digit(16)).map(|n| (n % 10).to_string()).collect()
}

/// The name of the account that runs this; id(1) also asks directories that /etc/passwd does not know of.
fn own_name() -> Result<String, StartError> {
    let output = Command::new("id").arg("-un").output().during("spawn", "id")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// passwd(5) with another home for one account, and without one that would hide the throw-away one.
fn rehomed(passwd: &str, user: &str, home: &Path) -> String {
    let mut known = String::new();
    for line in passwd.lines() {
        let mut fields: Vec<&str> = line.split(':').collect();
        let home = home.display().to_string();
        if fields[0] == WALTER {
            continue;
        }
        if fields[0] == user && fields.len() == 7 {
            fields[5] = &home;
        }
        known += &fields.join(":");
        known.push('\n');
    }
    known
}

/// A number that no line of passwd(5) or group(5) uses: both have it in the third field.
fn free_id(tables: &[&str]) -> u32 {
    let lines = tables.iter().flat_map(|table| table.lines());
    let used: Vec<u32> = lines.filter_map(|line| line.split(':').nth(2)?.parse().ok()).collect();
    (FIRST_ID..).find(|id| !used.contains(id)).unwrap_or(FIRST_ID)
}

/// crypt(3)'s SHA-512 of a password, by openssl-passwd(1); on standard input, since all users can read arguments.
fn hash(password: &str) -> Result<String, StartError> {
    let mut openssl = Command::new("openssl");
    openssl.args(["passwd", "-6", "-stdin"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = openssl.spawn().during("spawn", "openssl")?;
    if let Some(mut input) = child.stdin.take() {
        writeln!(input, "{password}").during("write", "openssl")?;
    }
    let output = child.wait_with_output().during("wait", "openssl")?;
    let hash = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if hash.starts_with("$6$") {
        return Ok(hash);
    }
    Err(StartError::Failed(format!("openssl passwd: {}", output.status)))
}
