//! The verbs that take names on the host: `ls`, `cat`, `rm`, `mkdir`, `mv`, `stat`, `df`.

use super::copy::mode;
use super::each::Each;
use super::show::{self, Size, permissions, time};
use super::{Done, Trouble, is_closed_pipe};
use crate::cli::flags::Parsed;
use crate::cli::{Exit, print};
use crate::json::Value;
use crate::remote::sftp::{
    Attributes, Extension, FileKind, Name, Sftp, StatusCode, Statvfs, Transfer,
};
use crate::remote::{Descriptor, Error, Reason, Session};
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A verb, its flags and its names.
pub(super) struct Plan<'a> {
    verb: Verb,
    parsed: &'a Parsed,
    names: Vec<OsString>,
    mode: Option<u32>,
    json: bool,
}

#[derive(Clone, Copy)]
enum Verb {
    Ls,
    Cat,
    Rm,
    Mkdir,
    Mv,
    Stat,
    Df,
}

impl<'a> Plan<'a> {
    pub(super) fn of(verb: &str, parsed: &'a Parsed) -> Result<Self, Exit> {
        // The verb, and how many names it needs.
        let (of, least) = match verb {
            "ls" => (Verb::Ls, 0),
            "cat" => (Verb::Cat, 1),
            "rm" => (Verb::Rm, 1),
            "mkdir" => (Verb::Mkdir, 1),
            "mv" => (Verb::Mv, 2),
            "stat" => (Verb::Stat, 1),
            "df" => (Verb::Df, 0),
            other => unreachable!("the table has a verb '{other}' that nobody runs"),
        };
        let mut names = parsed.operands.get(1..).unwrap_or_default().to_vec();
        if names.len() < least {
            let which = if least == 1 { "which path?" } else { "from where to where?" };
            return Err(Exit::usage(format!("remote {verb}: {which}")));
        }
        if names.is_empty() {
            names.push(".".into());
        }
        let json = parsed.has("json");
        if json && matches!(of, Verb::Cat) {
            return Err(Exit::usage(
                "remote cat: standard output cannot take both the file and the JSON",
            ));
        }
        Ok(Self { verb: of, parsed, names, mode: mode(parsed)?, json })
    }

    pub(super) async fn run(&self, ssh: &Session) -> Result<Done, Trouble> {
        let sftp = ssh.sftp().await?;
        let each = match self.verb {
            Verb::Ls => self.ls(&sftp).await,
            Verb::Cat => self.cat(ssh, &sftp).await,
            Verb::Rm => self.rm(&sftp).await,
            Verb::Mkdir => self.mkdir(&sftp).await,
            Verb::Mv => self.mv(&sftp).await,
            Verb::Stat => self.stat(&sftp).await,
            Verb::Df => self.df(&sftp).await,
        }?;
        sftp.close().await?;
        Ok(each.done())
    }

    async fn ls(&self, sftp: &Sftp) -> Result<Each, Trouble> {
        let mut each = Each::new("ls");
        let several = self.names.len() > 1;
        for (place, path) in self.names.iter().enumerate() {
            let listed = listing(sftp, path, self.parsed.has("all")).await;
            if let (Ok(entries), false) = (&listed, self.json) {
                if several {
                    let gap = if place > 0 { "\n" } else { "" };
                    print(format_args!("{gap}{}:\n", show::name(path.as_bytes())))?;
                }
                self.print_entries(entries)?;
            }
            each.note(listed.map(|entries| {
                let entries = entries.iter().map(|entry| {
                    let mut members = vec![("name", show::json(&entry.name))];
                    members.extend(show::attributes(&entry.attributes));
                    Value::object(members)
                });
                let entries = Value::List(entries.collect());
                Value::object([("path", show::json(path.as_bytes())), ("entries", entries)])
            }))?;
        }
        Ok(each)
    }

    /// To a terminal names are escaped; to a pipe they go as they are, for the next program.
    fn print_entries(&self, entries: &[Name]) -> Result<(), Exit> {
        let terminal = io::stdout().is_terminal();
        let mut out = io::stdout().lock();
        for entry in entries {
            if self.parsed.has("long") {
                out.write_all(long(&entry.attributes).as_bytes())?;
            }
            if terminal {
                out.write_all(show::name(&entry.name).as_bytes())?;
            } else {
                out.write_all(&entry.name)?;
            }
            out.write_all(b"\n")?;
        }
        out.flush()?;
        Ok(())
    }

    async fn cat(&self, ssh: &Session, sftp: &Sftp) -> Result<Each, Trouble> {
        let mut each = Each::new("cat");
        let mut stdout = Descriptor::new(ssh.reactor(), io::stdout()).map_err(Exit::from)?;
        for path in &self.names {
            match sftp.get_to(path, &mut stdout, Transfer::new()).await {
                // Nobody reads it: that is the end, and no failure.
                Err(error) if is_closed_pipe(&error) => break,
                copied => each.note(copied.map(Value::from))?,
            }
        }
        Ok(each)
    }

    async fn rm(&self, sftp: &Sftp) -> Result<Each, Trouble> {
        let mut each = Each::new("rm");
        for path in &self.names {
            let mut removed = sftp.remove(path).await;
            // A directory is EISDIR or EPERM for unlink(2), and "failure" or "permission denied" here.
            if removed.is_err() && self.parsed.has("dir") && is_directory(sftp, path).await {
                removed = sftp.rmdir(path).await;
            } else if removed.is_err() && is_directory(sftp, path).await {
                removed = removed.map_err(|error| {
                    error.hint("it is a directory; --dir removes it when it is empty")
                });
            }
            if self.parsed.has("force") && removed.as_ref().is_err_and(is_missing) {
                removed = Ok(());
            }
            each.note(removed.map(|()| show::json(path.as_bytes())))?;
        }
        Ok(each)
    }

    async fn mkdir(&self, sftp: &Sftp) -> Result<Each, Trouble> {
        let mut each = Each::new("mkdir");
        for path in &self.names {
            let made = if self.parsed.has("parents") {
                self.with_parents(sftp, Path::new(path)).await
            } else {
                sftp.mkdir(path, self.mode).await
            };
            each.note(made.map(|()| show::json(path.as_bytes())))?;
        }
        Ok(each)
    }

    async fn with_parents(&self, sftp: &Sftp, path: &Path) -> Result<(), Error> {
        // From the longest that is there, so that a folder that may not be listed is no failure.
        let mut missing = Vec::new();
        for place in path.ancestors().filter(|place| !place.as_os_str().is_empty()) {
            if sftp.is_dir(place).await? {
                break;
            }
            missing.push(place);
        }
        let own = missing.first().copied();
        for place in missing.into_iter().rev() {
            // As mkdir(1): the mode is for the last one only.
            let mode = self.mode.filter(|_| own == Some(place));
            match sftp.mkdir(place, mode).await {
                // Somebody else was faster.
                Err(_) if sftp.is_dir(place).await? => {}
                made => made?,
            }
        }
        Ok(())
    }

    async fn mv(&self, sftp: &Sftp) -> Result<Each, Trouble> {
        let Some((to, from)) = self.names.split_last() else { return Ok(Each::new("mv")) };
        let directory = sftp.is_dir(to).await?;
        if !directory && from.len() > 1 {
            return Err(
                Exit::failed(format!("{} is not a directory", show::name(to.as_bytes()))).into()
            );
        }
        let mut each = Each::new("mv");
        for from in from {
            let target = match Path::new(from).file_name() {
                Some(name) if directory => Path::new(to).join(name).into_os_string(),
                None if directory => {
                    return Err(Exit::usage(format!(
                        "'{}' has no name of its own",
                        show::name(from.as_bytes())
                    ))
                    .into());
                }
                _ => to.clone(),
            };
            let replaces = !self.parsed.has("no-clobber") && sftp.offers(Extension::PosixRename);
            let moved = if replaces {
                sftp.posix_rename(from, &target).await
            } else {
                // Version 3 fails where there is something.
                sftp.rename(from, &target).await
            };
            each.note(moved.map(|()| {
                let pair =
                    [("from", show::json(from.as_bytes())), ("to", show::json(target.as_bytes()))];
                Value::object(pair)
            }))?;
        }
        Ok(each)
    }

    async fn stat(&self, sftp: &Sftp) -> Result<Each, Trouble> {
        let mut each = Each::new("stat");
        for path in &self.names {
            let known = if self.parsed.has("no-follow") {
                sftp.lstat(path).await
            } else {
                sftp.stat(path).await
            };
            let link = match &known {
                Ok(known) if known.kind() == FileKind::Symlink => sftp.read_link(path).await.ok(),
                _ => None,
            };
            if let (Ok(known), false) = (&known, self.json) {
                print(stat_text(path, known, link.as_deref()))?;
            }
            each.note(known.map(|known| {
                let mut members = vec![("path", show::json(path.as_bytes()))];
                members.extend(show::attributes(&known));
                members.push(("target", link.map_or(Value::Null, |target| show::json(&target))));
                Value::object(members)
            }))?;
        }
        Ok(each)
    }

    async fn df(&self, sftp: &Sftp) -> Result<Each, Trouble> {
        if !sftp.offers(Extension::Statvfs) {
            let why = "the server cannot tell by SFTP (statvfs@openssh.com): try exec HOST -- df";
            return Err(Exit::failed(why).into());
        }
        let mut each = Each::new("df");
        if !self.json {
            print(format_args!(
                "{:<30} {:>9} {:>9} {:>9} {:>4}\n",
                "Path", "Size", "Used", "Avail", "Use%"
            ))?;
        }
        for path in &self.names {
            let known = sftp.statvfs(path).await;
            if let (Ok(known), false) = (&known, self.json) {
                let Space { size, used, available, share } = Space::of(known);
                let share = share.map_or("-".into(), |share| format!("{share}%"));
                let [size, used, available] = [size, used, available].map(Size);
                print(format_args!(
                    "{:<30} {size:>9} {used:>9} {available:>9} {share:>4}\n",
                    show::name(path.as_bytes())
                ))?;
            }
            each.note(known.map(|known| {
                let Space { size, used, available, .. } = Space::of(&known);
                Value::object([
                    ("path", show::json(path.as_bytes())),
                    ("size", size.into()),
                    ("used", used.into()),
                    ("available", available.into()),
                    ("inodes", known.files.into()),
                    ("inodes_available", Value::from(known.files_available)),
                ])
            }))?;
        }
        Ok(each)
    }
}

/// The entries of a directory by name, or the file itself where it is none.
async fn listing(sftp: &Sftp, path: &OsStr, all: bool) -> Result<Vec<Name>, Error> {
    let attributes = sftp.stat(path).await?;
    if attributes.kind() != FileKind::Directory {
        return Ok(vec![Name { name: path.as_bytes().to_vec(), long: Vec::new(), attributes }]);
    }
    let mut entries = sftp.read_dir(path).await?;
    entries.retain(|entry| all || !entry.name.starts_with(b"."));
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// All of a line of `ls -l` but its name.
fn long(of: &Attributes) -> String {
    let (user, group) = of.owner.unzip();
    let number = |n: Option<u32>| n.map_or("?".to_owned(), |n| n.to_string());
    let size = of.size.map_or("?".to_owned(), |size| size.to_string());
    let modified = of.times.map_or("?".to_owned(), |(_, modification)| time(modification));
    format!(
        "{} {:>6} {:>6} {size:>12} {modified:>17} ",
        permissions(of),
        number(user),
        number(group)
    )
}

fn stat_text(path: &OsStr, of: &Attributes, link: Option<&[u8]>) -> String {
    let mut text = show::name(path.as_bytes());
    // Writing to a String cannot fail.
    if let Some(link) = link {
        let _ = write!(text, " -> {}", show::name(link));
    }
    let _ = write!(text, "\n  {}  {}", show::kind(of), permissions(of));
    if let Some(mode) = of.mode() {
        let _ = write!(text, "  mode {mode:04o}");
    }
    if let Some(size) = of.size {
        let _ = write!(text, "  {size} bytes");
    }
    if let Some((user, group)) = of.owner {
        let _ = write!(text, "  user {user}  group {group}");
    }
    if let Some((access, modification)) = of.times {
        let _ = write!(text, "\n  modified {}  accessed {}", time(modification), time(access));
    }
    text.push('\n');
    text
}

/// A file system in bytes.
struct Space {
    size: u64,
    used: u64,
    available: u64,
    /// Per cent, rounded up, of what others than root can use.
    share: Option<u128>,
}

impl Space {
    fn of(known: &Statvfs) -> Self {
        let bytes = |units: u64| units.saturating_mul(known.fragment_size);
        let used = bytes(known.blocks.saturating_sub(known.blocks_free));
        let available = bytes(known.blocks_available);
        let usable = u128::from(used) + u128::from(available);
        let share = (usable > 0).then(|| (u128::from(used) * 100).div_ceil(usable));
        Self { size: bytes(known.blocks), used, available, share }
    }
}

async fn is_directory(sftp: &Sftp, path: &OsStr) -> bool {
    sftp.lstat(path).await.is_ok_and(|known| known.kind() == FileKind::Directory)
}

fn is_missing(error: &Error) -> bool {
    error.reason() == Reason::Status(StatusCode::NoSuchFile.number())
}
