//! A tree from the server to here.

use super::get_file::GetFile;
use super::here::{directory, dress, failed, make_directory, make_link};
use super::node::{Identity, Node, checked, stays_below};
use super::{Links, OPEN, PATH_MAX, Run, Summary, Tree};
use crate::remote::error::{Error, Reason, Step};
use crate::remote::sftp::files::{DOTS, bytes, unfit};
use crate::remote::sftp::session::{Sftp, failed as status};
use crate::remote::sftp::{Attributes, File, FileKind, Name, Reply, Request, StatusCode};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// Names at hand below which the next are asked for.
const AHEAD: usize = 64;

/// A directory whose entries are copied.
struct Listing {
    node: Rc<Node>,
    there: File,
    dir: Arc<OwnedFd>,
    /// Nothing was in it here.
    fresh: bool,
    entries: RefCell<VecDeque<Name>>,
    /// More may come.
    more: Cell<bool>,
    /// They are asked for.
    asked: Cell<bool>,
    /// So often it has named itself or the one above it.
    dots: Cell<u64>,
}

/// One thing to do.
enum Job {
    Directory(Waiting),
    More(Rc<Listing>),
    File(Rc<Listing>, Name),
    Link(Rc<Listing>, Vec<u8>),
    Finish(Vec<u8>, Attributes),
}

/// A directory that is not open yet.
struct Waiting {
    parent: Rc<Node>,
    name: Vec<u8>,
    attributes: Attributes,
    /// It is reached through a link.
    link: bool,
}

struct Get<'a> {
    run: Run<'a>,
    from: Vec<u8>,
    root: OwnedFd,
    open: RefCell<Vec<Rc<Listing>>>,
    waiting: RefCell<Vec<Waiting>>,
    /// Directories being opened.
    opening: Cell<usize>,
}

impl Sftp {
    /// Copies a directory and all that is in it from the server, as the directory `to`, which may be there. What cannot be
    /// copied is in the [`Summary`].
    ///
    /// # Errors
    /// `from` is no directory or cannot be read; `to` cannot be made; the connection is gone.
    pub async fn get_tree(
        &self,
        from: impl AsRef<OsStr>,
        to: impl AsRef<Path>,
        how: Tree<'_>,
    ) -> Result<Summary, Error> {
        let (from, to) = (bytes(&from).to_vec(), to.as_ref());
        let attributes = self.line.stat(&from).await?;
        if attributes.kind() != FileKind::Directory {
            let shown = String::from_utf8_lossy(&from);
            let message = format!("{} is no directory", shown.escape_debug());
            return Err(Error::new(Step::Sftp, Reason::Usage, message));
        }
        let run = Run::new(&self.line, how);
        let identity = match run.links {
            Links::Follow => Identity::There(self.line.realpath(&from).await?),
            _ => Identity::Unknown,
        };
        // Opened before anything is made here.
        let there = open(&run, &from).await?;
        let name = to.as_os_str().as_bytes();
        // As each directory in it: to be filled, whatever its permissions will be.
        let mode = attributes.mode().unwrap_or(0o777) & 0o777;
        let fresh = match fs::DirBuilder::new().mode(mode | 0o700).create(to) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(failed("mkdir", name)(error)),
        };
        // As a directory, so that a FIFO's writer is not waited for.
        let mut options = fs::OpenOptions::new();
        let root = options.read(true).custom_flags(libc::O_DIRECTORY).open(to);
        let dir: Arc<OwnedFd> = Arc::new(root.map_err(failed("open", name))?.into());
        let root = dir.try_clone().map_err(failed("fcntl", name))?;
        let node = Rc::new(Node::root(identity, &run.finishing));
        let (open, waiting, opening) = (RefCell::default(), RefCell::default(), Cell::new(0));
        let from = run.everywhere(from).await?;
        let get = Get { run, from, root, open, waiting, opening };
        get.listed(node, there, dir, fresh, &attributes);
        get.run.all(|| get.next(), |job| get.job(job)).await?;
        Ok(get.run.summary.take())
    }
}

async fn open(run: &Run<'_>, path: &[u8]) -> Result<File, Error> {
    let handle = run.line.handle("opendir", path, Request::Opendir(path)).await?;
    Ok(File::new(Rc::clone(run.line), path, handle))
}

impl Get<'_> {
    fn next(&self) -> Option<Job> {
        loop {
            if let Some((path, attributes)) = self.run.finished(&self.waiting) {
                return Some(Job::Finish(path, attributes));
            }
            let (at, listing) = {
                let open = self.open.borrow();
                // From the innermost one on, whichever has something; a listing under way is not waited for.
                let busy =
                    |listing: &Listing| listing.asked.get() && listing.entries.borrow().is_empty();
                let found = open.iter().enumerate().rev().find(|(_, listing)| !busy(listing));
                match found {
                    Some((at, listing)) => (at, Rc::clone(listing)),
                    None => break,
                }
            };
            if self.run.full() {
                listing.more.set(false);
                listing.entries.borrow_mut().clear();
            }
            let left = listing.entries.borrow().len();
            if left < AHEAD && listing.more.get() && !listing.asked.replace(true) {
                return Some(Job::More(listing));
            }
            let entry = listing.entries.borrow_mut().pop_front();
            match entry {
                Some(name) => {
                    if let Some(job) = self.entry(&listing, name) {
                        return Some(job);
                    }
                }
                None => drop(self.open.borrow_mut().remove(at)),
            }
        }
        if self.opening.get() + self.open.borrow().len() >= OPEN {
            return None;
        }
        let waiting = self.waiting.borrow_mut().pop()?;
        self.opening.set(self.opening.get() + 1);
        Some(Job::Directory(waiting))
    }

    /// What is to be done with an entry: its name is the server's word, and not believed.
    fn entry(&self, listing: &Rc<Listing>, entry: Name) -> Option<Job> {
        let path = listing.node.below(&entry.name);
        match checked(&entry.name) {
            Ok(None) => {
                listing.dots.set(listing.dots.get() + 1);
                // Each once; what is more counts, or it could go on for ever.
                if listing.dots.get() > DOTS {
                    self.run.enter(&path);
                }
                return None;
            }
            Ok(Some(_)) => {}
            Err(error) => {
                self.run.enter(&path);
                self.run.failed(path, error);
                return None;
            }
        }
        if !self.run.enter(&path) {
            return None;
        }
        match (entry.attributes.kind(), self.run.links) {
            (FileKind::Regular | FileKind::Unknown, _) => {
                return Some(Job::File(Rc::clone(listing), entry));
            }
            (FileKind::Directory, _) => {
                self.descend(&listing.node, entry.name, entry.attributes, false);
            }
            (FileKind::Symlink, Links::Skip) => self.run.skipped(&path, "a symbolic link"),
            (FileKind::Symlink, _) => return Some(Job::Link(Rc::clone(listing), entry.name)),
            (FileKind::Other, _) => self.run.skipped(&path, "neither file nor directory"),
        }
        None
    }

    fn descend(&self, parent: &Rc<Node>, name: Vec<u8>, attributes: Attributes, link: bool) {
        if parent.depth >= self.run.depth {
            return self.run.failed(parent.below(&name), super::too_deep(self.run.depth));
        }
        let parent = Rc::clone(parent);
        self.waiting.borrow_mut().push(Waiting { parent, name, attributes, link });
    }

    async fn job(&self, job: Job) {
        let (path, done) = match job {
            Job::Directory(waiting) => {
                let done = self.directory(&waiting).await;
                self.opening.set(self.opening.get() - 1);
                (waiting.parent.below(&waiting.name), done)
            }
            Job::More(listing) => {
                let done = self.more(&listing).await;
                listing.asked.set(false);
                listing.more.set(listing.more.get() && done.is_ok());
                (listing.node.path.clone(), done)
            }
            Job::File(listing, name) => {
                (listing.node.below(&name.name), self.file(listing, name).await)
            }
            Job::Link(listing, name) => {
                (listing.node.below(&name), self.link(&listing, &name).await)
            }
            Job::Finish(path, attributes) => {
                let dir = directory(&self.root, &path);
                let done = dir.and_then(|dir| dress(&dir.into(), attributes, &path));
                (path, done)
            }
        };
        self.run.ended(path, done);
    }

    /// A path on the server.
    fn there(&self, path: &[u8]) -> Vec<u8> {
        match self.from.as_slice() {
            from if from.ends_with(b"/") => [from, path].concat(),
            from => [from, b"/", path].concat(),
        }
    }

    async fn directory(&self, waiting: &Waiting) -> Result<(), Error> {
        let Waiting { parent, name, attributes, link } = waiting;
        let path = self.there(&parent.below(name));
        let identity = match &parent.identity {
            Identity::There(_) if *link => Identity::There(self.run.line.realpath(&path).await?),
            Identity::There(real) => Identity::There([real, &b"/"[..], name].concat()),
            _ => Identity::Unknown,
        };
        if *link && parent.is_within(&identity) {
            return Err(super::leads_back(name));
        }
        let there = open(&self.run, &path).await?;
        let mode = attributes.mode().unwrap_or(0o777) & 0o777;
        let (dir, fresh) = make_directory(&self.root, &parent.path, name, mode)?;
        let node = Rc::new(parent.child(name, identity));
        self.listed(node, there, Arc::new(dir), fresh, attributes);
        Ok(())
    }

    /// A directory is there and here, and its entries come.
    fn listed(&self, node: Rc<Node>, there: File, dir: Arc<OwnedFd>, fresh: bool, of: &Attributes) {
        let mode = of.mode().map(|mode| mode & 0o777);
        let permissions = Attributes { permissions: mode, ..Attributes::default() };
        if self.run.how.preserve {
            node.finish_with(Attributes { times: of.times, ..permissions });
        } else if fresh && mode.is_some_and(|mode| mode & 0o700 != 0o700) {
            node.finish_with(permissions);
        }
        self.run.count(|summary| summary.directories += 1);
        let (entries, more, asked) = (RefCell::default(), Cell::new(true), Cell::new(false));
        let dots = Cell::new(0);
        let listing = Listing { node, there, dir, fresh, entries, more, asked, dots };
        self.open.borrow_mut().push(Rc::new(listing));
    }

    /// Asks for the next names.
    async fn more(&self, listing: &Listing) -> Result<(), Error> {
        let Some(handle) = listing.there.handle() else { return Err(unfit()) };
        match self.run.line.call(Request::Readdir(handle)).await? {
            Reply::Names(names) => {
                listing.entries.borrow_mut().extend(names.into_iter().map(|name| {
                    // A line for people, which nobody sees here.
                    Name { long: Vec::new(), ..name }
                }))
            }
            Reply::Status(end) if end.code == StatusCode::Eof => listing.more.set(false),
            Reply::Status(other) => {
                return Err(status("readdir", &self.there(&listing.node.path), &other));
            }
            _ => return Err(unfit()),
        }
        Ok(())
    }

    async fn file(&self, listing: Rc<Listing>, entry: Name) -> Result<(), Error> {
        let Name { name, attributes, .. } = entry;
        let path = self.there(&listing.node.below(&name));
        let (how, dir, fresh) = (self.run.how, Arc::clone(&listing.dir), listing.fresh);
        // The node is held until the file is here; the directory's handle there is not.
        let _node = Rc::clone(&listing.node);
        drop(listing);
        self.run.carry(GetFile { how, path, attributes, dir, name, fresh }).await
    }

    async fn link(&self, listing: &Rc<Listing>, name: &[u8]) -> Result<(), Error> {
        let (node, line) = (&listing.node, self.run.line);
        let path = self.there(&node.below(name));
        if self.run.links == Links::Follow {
            let attributes = line.stat(&path).await?;
            match attributes.kind() {
                FileKind::Directory => self.descend(node, name.to_vec(), attributes, true),
                FileKind::Regular => {
                    let (name, long) = (name.to_vec(), Vec::new());
                    return self.file(Rc::clone(listing), Name { name, long, attributes }).await;
                }
                _ => self.run.skipped(&node.below(name), "neither file nor directory"),
            }
            return Ok(());
        }
        let target = line.one_name("readlink", &path, Request::Readlink(&path)).await?;
        // With its NUL a path has PATH_MAX bytes.
        if target.len() >= PATH_MAX {
            let message = format!("it leads to a target of {} bytes, too long", target.len());
            return Err(Error::new(Step::Sftp, Reason::Usage, message));
        }
        if !stays_below(&target, node.depth) {
            let target = target.escape_ascii();
            let message = format!("it leads to '{target}', out of the tree: not made");
            return Err(Error::new(Step::Sftp, Reason::Usage, message));
        }
        make_link(&listing.dir, name, &target)?;
        self.run.count(|summary| summary.links += 1);
        Ok(())
    }
}
