//! `remote put` and `remote get`.

use super::answers::Answers;
use super::parallel::Parallel;
use super::progress::Bar;
use super::show;
use super::{Done, Trouble, exit_of, is_closed_pipe, tree, warn};
use crate::cli::Exit;
use crate::cli::flags::Parsed;
use crate::json::Value;
use crate::remote::sftp::{Sftp, Transfer};
use crate::remote::{Descriptor, Session};
use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;

/// From here or to here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Put,
    Get,
}

/// What is to be copied, where to, and how.
pub(super) struct Plan {
    way: Way,
    from: Vec<OsString>,
    to: OsString,
    how: How,
    /// How directories are copied, if they are.
    tree: Option<tree::Plan>,
}

/// The flags of a copy.
pub(super) struct How {
    sync: bool,
    in_place: bool,
    preserve: bool,
    resume: bool,
    mode: Option<u32>,
    parallel: Option<Parallel>,
}

impl How {
    fn transfer<'a>(&self, bar: &'a RefCell<Option<Bar>>) -> Transfer<'a> {
        let mut transfer = Transfer::new().sync(self.sync).in_place(self.in_place);
        transfer = transfer.preserve(self.preserve).resume(self.resume);
        if let Some(mode) = self.mode {
            transfer = transfer.mode(mode);
        }
        if let Some(parallel) = &self.parallel {
            transfer = transfer.parallel(parallel.further, parallel.client());
        }
        let shown = bar.borrow().is_some();
        if shown {
            transfer = transfer.progress(|progress| {
                if let Some(bar) = &mut *bar.borrow_mut() {
                    bar.tell(progress);
                }
            });
        }
        transfer
    }
}

/// `--mode OCTAL`.
pub(super) fn mode(parsed: &Parsed) -> Result<Option<u32>, Exit> {
    let Some(text) = parsed.value("mode") else { return Ok(None) };
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.map(Some)
        .ok_or_else(|| Exit::usage(format!("--mode {text}: three octal digits are expected, 640")))
}

impl Plan {
    pub(super) fn of(verb: &str, parsed: &Parsed) -> Result<Self, Exit> {
        let way = if verb == "put" { Way::Put } else { Way::Get };
        let names = parsed.operands.get(1..).unwrap_or_default();
        let Some((to, from)) = names.split_last().filter(|(_, from)| !from.is_empty()) else {
            let usage = if way == Way::Put {
                "put HOST LOCAL... REMOTE"
            } else {
                "get HOST REMOTE... LOCAL"
            };
            return Err(Exit::usage(format!("remote {verb}: from where to where? {usage}")));
        };
        let to_stdout = way == Way::Get && to == "-";
        if to_stdout && parsed.has("json") {
            return Err(Exit::usage(
                "remote get: standard output cannot take both the file and the JSON",
            ));
        }
        let (sync, in_place) = (parsed.has("sync"), parsed.has("in-place"));
        let (preserve, resume) = (parsed.has("preserve"), parsed.has("resume"));
        if resume && in_place {
            return Err(Exit::usage("--resume: what is written in place has no partial"));
        }
        let (mode, parallel) = (mode(parsed)?, Parallel::of(parsed)?);
        let how = How { sync, in_place, preserve, resume, mode, parallel };
        let tree = tree::Plan::of(parsed)?;
        Ok(Self { way, from: from.to_vec(), to: to.clone(), how, tree })
    }

    /// Where answers go that the further sessions need as well.
    pub(super) fn answers(&self) -> Answers {
        self.how.parallel.as_ref().map(Parallel::answers).unwrap_or_default()
    }

    pub(super) async fn run(&self, ssh: &Session) -> Result<Done, Trouble> {
        let sftp = ssh.sftp().await?;
        let directory = self.to_directory(&sftp).await?;
        let mut copied = Vec::new();
        let (mut failures, mut below) = (0, 0);
        for from in &self.from {
            match self.copy(ssh, &sftp, from, directory).await {
                Ok((done, failed)) => {
                    copied.push(done);
                    below += failed;
                }
                // Nobody reads standard output: that is the end, and no failure. Any other place has to take the file.
                Err(Trouble::Remote(error)) if self.to_stdout() && is_closed_pipe(&error) => break,
                // One file of several that cannot be copied holds up none of the others.
                Err(Trouble::Remote(error)) if self.from.len() > 1 && exit_of(&error).code == 1 => {
                    warn(&error.to_string());
                    failures += 1;
                }
                Err(trouble) => return Err(trouble),
            }
        }
        sftp.close().await?;
        let message = match below {
            0 => format!("{failures} of {} files were not copied", self.from.len()),
            _ => format!("{} were not copied", below + failures),
        };
        let done = Done::well(Value::List(copied));
        Ok(if failures + below > 0 { Done { status: 1, message, ..done } } else { done })
    }

    /// One of the names: what came of it, and how many things in it failed.
    async fn copy(
        &self,
        ssh: &Session,
        sftp: &Sftp,
        from: &OsStr,
        directory: bool,
    ) -> Result<(Value, u64), Trouble> {
        let begun = Instant::now();
        if let Some(tree) = &self.tree {
            let is_tree = match self.way {
                Way::Put => from != "-" && Path::new(from).is_dir(),
                Way::Get => sftp.is_dir(from).await?,
            };
            if is_tree {
                let to = self.target(from, directory && !is_content(from))?;
                return tree.copy(sftp, self.way, (from, &to), self.how.parallel.as_ref()).await;
            }
        }
        let to = self.target(from, directory)?;
        let bytes = self.one(ssh, sftp, from, &to).await?;
        let done = Value::object([
            ("from", show::json(from.as_bytes())),
            ("to", show::json(to.as_bytes())),
            ("bytes", bytes.into()),
            ("ns", (begun.elapsed().as_nanos() as u64).into()),
        ]);
        Ok((done, 0))
    }

    fn to_stdout(&self) -> bool {
        self.way == Way::Get && self.to == "-"
    }

    /// Whether the target is a directory, which several files need.
    async fn to_directory(&self, sftp: &Sftp) -> Result<bool, Trouble> {
        if self.to_stdout() {
            return Ok(false);
        }
        let slash = self.to.is_empty() || self.to.as_bytes().ends_with(b"/");
        let there = match self.way {
            Way::Put => {
                sftp.is_dir(if self.to.is_empty() { OsStr::new(".") } else { &self.to }).await?
            }
            Way::Get => {
                Path::new(if self.to.is_empty() { OsStr::new(".") } else { &self.to }).is_dir()
            }
        };
        // A tree may become the directory that is named.
        let slash = slash && self.tree.is_none();
        if !there && (slash || self.from.len() > 1) {
            let to = show::name(self.to.as_bytes());
            return Err(Exit::failed(format!("{to} is not a directory")).into());
        }
        Ok(there)
    }

    /// The name that one file gets.
    fn target(&self, from: &OsStr, directory: bool) -> Result<OsString, Trouble> {
        if !directory {
            let here = if self.to.is_empty() { OsStr::new(".") } else { &self.to };
            return Ok(here.to_owned());
        }
        // Of a name from the command line; a server's names do not come here.
        let name = Path::new(from).file_name().filter(|_| !(self.way == Way::Put && from == "-"));
        let name = name.ok_or_else(|| {
            let (from, to) = (show::name(from.as_bytes()), show::name(self.to.as_bytes()));
            Exit::usage(format!(
                "'{from}' has no name to get in the directory '{to}': name the file"
            ))
        })?;
        Ok(if self.to.is_empty() {
            name.to_owned()
        } else {
            Path::new(&self.to).join(name).into_os_string()
        })
    }

    async fn one(
        &self,
        ssh: &Session,
        sftp: &Sftp,
        from: &OsStr,
        to: &OsStr,
    ) -> Result<u64, Trouble> {
        let to_stdout = self.way == Way::Get && to == "-";
        // Both on one terminal would be written over each other.
        let bar = RefCell::new(if to_stdout { None } else { Bar::new(&from.to_string_lossy()) });
        let how = self.how.transfer(&bar);
        let bytes = match self.way {
            Way::Put if from == "-" => {
                let mut stdin = Descriptor::new(ssh.reactor(), io::stdin()).map_err(Exit::from)?;
                sftp.put_from(&mut stdin, None, to, how).await?
            }
            Way::Put => sftp.put_with(from, to, how).await?,
            Way::Get if to_stdout => {
                let mut stdout =
                    Descriptor::new(ssh.reactor(), io::stdout()).map_err(Exit::from)?;
                sftp.get_to(from, &mut stdout, how).await?
            }
            Way::Get => sftp.get_with(from, to, how).await?,
        };
        if let Some(bar) = bar.into_inner() {
            bar.finish(bytes);
        }
        Ok(bytes)
    }
}

/// Whether what is in a directory is meant, and not the directory by its name: `photos/.`, as for cp(1).
fn is_content(from: &OsStr) -> bool {
    let bytes = from.as_bytes();
    bytes == b"." || bytes.ends_with(b"/.") || Path::new(from).file_name().is_none()
}
