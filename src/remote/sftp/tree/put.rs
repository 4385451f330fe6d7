//! A tree from here to the server.

use super::here::failed;
use super::node::{Identity, Node};
use super::put_file::PutFile;
use super::{Links, OPEN, Run, Summary, Tree, attributes_of};
use crate::remote::error::{Error, Reason, Step};
use crate::remote::sftp::files::{bytes, is_missing};
use crate::remote::sftp::place::Place;
use crate::remote::sftp::session::Sftp;
use crate::remote::sftp::{Attributes, FileKind, Request};
use crate::sys::{self, Entry, Open};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Bytes of one getdents64(2).
const ENTRIES: usize = 32 * 1024;

/// A directory whose entries are copied.
struct Listing {
    node: Rc<Node>,
    dir: OwnedFd,
    /// Nothing was in it there.
    fresh: bool,
    entries: RefCell<VecDeque<Entry>>,
    /// It is read to its end.
    end: Cell<bool>,
}

/// One thing to do.
enum Job {
    Directory(Waiting),
    File(Rc<Listing>, Vec<u8>),
    Link(Rc<Listing>, Vec<u8>),
    Finish(Vec<u8>, Attributes),
}

/// A directory that is not open yet.
struct Waiting {
    parent: Rc<Node>,
    name: Vec<u8>,
}

struct Put<'a> {
    run: Run<'a>,
    from: &'a Path,
    root: OwnedFd,
    to: Vec<u8>,
    open: RefCell<Vec<Rc<Listing>>>,
    waiting: RefCell<Vec<Waiting>>,
    /// Directories being opened.
    opening: Cell<usize>,
}

impl Sftp {
    /// Copies a directory and all that is in it to the server, as the directory `to`, which may be there. What cannot be copied
    /// is in the [`Summary`].
    ///
    /// # Errors
    /// `from` is no directory or cannot be opened; `to` cannot be made; the connection is gone.
    pub async fn put_tree(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<OsStr>,
        how: Tree<'_>,
    ) -> Result<Summary, Error> {
        let (from, to) = (from.as_ref(), bytes(&to).to_vec());
        let name = from.as_os_str().as_bytes();
        let root = fs::File::open(from).map_err(failed("open", name))?;
        let meta = root.metadata().map_err(failed("fstat", name))?;
        if !meta.is_dir() {
            let message = format!("{} is no directory", from.display());
            return Err(Error::new(Step::Sftp, Reason::Usage, message));
        }
        let run = Run::new(&self.line, how);
        let identity = Identity::Here(meta.dev(), meta.ino());
        let node = Rc::new(Node::root(identity, &run.finishing));
        let root = OwnedFd::from(root);
        let (open, waiting, opening) = (RefCell::default(), RefCell::default(), Cell::new(0));
        let mut put = Put { run, from, root, to, open, waiting, opening };
        put.enter(node, &meta).await?;
        put.to = put.run.everywhere(std::mem::take(&mut put.to)).await?;
        put.run.all(|| put.next(), |job| put.job(job)).await?;
        Ok(put.run.summary.take())
    }
}

impl Put<'_> {
    fn next(&self) -> Option<Job> {
        loop {
            if let Some((path, attributes)) = self.run.finished(&self.waiting) {
                return Some(Job::Finish(path, attributes));
            }
            let top = self.open.borrow().last().cloned();
            let Some(listing) = top else { break };
            match self.entry(&listing) {
                Some(Some(job)) => return Some(job),
                Some(None) => {}
                // That may have been all there was in it.
                None => drop(self.open.borrow_mut().pop()),
            }
        }
        if self.opening.get() >= OPEN {
            return None;
        }
        let waiting = self.waiting.borrow_mut().pop()?;
        self.opening.set(self.opening.get() + 1);
        Some(Job::Directory(waiting))
    }

    /// What is to be done with the next entry of a directory; the outer `None`: there is none.
    fn entry(&self, listing: &Rc<Listing>) -> Option<Option<Job>> {
        let Entry { name, kind } = self.next_entry(listing)?;
        if name == b"." || name == b".." {
            return Some(None);
        }
        let path = listing.node.below(&name);
        if !self.run.enter(&path) {
            return None;
        }
        let kind = match kind {
            Some(kind) => kind,
            None => match sys::fstatat(&listing.dir, &name, false) {
                Ok(stat) => stat.mode,
                Err(error) => {
                    self.run.failed(path, failed("fstatat", &name)(error));
                    return Some(None);
                }
            },
        };
        let kind = Attributes { permissions: Some(kind), ..Attributes::default() }.kind();
        Some(match (kind, self.run.links) {
            (FileKind::Regular, _) => Some(Job::File(Rc::clone(listing), name)),
            (FileKind::Directory, _) => {
                self.descend(&listing.node, name);
                None
            }
            (FileKind::Symlink, Links::Skip) => {
                self.run.skipped(&path, "a symbolic link");
                None
            }
            (FileKind::Symlink, _) => Some(Job::Link(Rc::clone(listing), name)),
            _ => {
                self.run.skipped(&path, "neither file nor directory");
                None
            }
        })
    }

    fn next_entry(&self, listing: &Listing) -> Option<Entry> {
        let mut entries = listing.entries.borrow_mut();
        if entries.is_empty() && !listing.end.get() {
            let mut buffer = vec![0; ENTRIES];
            match sys::getdents64(&listing.dir, &mut buffer) {
                Ok(more) => entries.extend(more),
                Err(error) => {
                    let path = listing.node.path.clone();
                    let error = failed("getdents64", &path)(error);
                    self.run.failed(path, error);
                }
            }
            listing.end.set(entries.is_empty());
        }
        entries.pop_front()
    }

    fn descend(&self, parent: &Rc<Node>, name: Vec<u8>) {
        if parent.depth >= self.run.depth {
            return self.run.failed(parent.below(&name), super::too_deep(self.run.depth));
        }
        self.waiting.borrow_mut().push(Waiting { parent: Rc::clone(parent), name });
    }

    async fn job(&self, job: Job) {
        let (path, done) = match job {
            Job::Directory(Waiting { parent, name }) => {
                let done = self.directory(&parent, &name).await;
                self.opening.set(self.opening.get() - 1);
                (parent.below(&name), done)
            }
            Job::File(listing, name) => {
                (listing.node.below(&name), self.file(listing, &name).await)
            }
            Job::Link(listing, name) => {
                (listing.node.below(&name), self.link(listing, &name).await)
            }
            Job::Finish(path, attributes) => {
                let there = self.there(&path);
                let set = Request::Setstat { path: &there, attributes };
                let done = self.run.line.do_it("setstat", &there, set).await;
                (path, done)
            }
        };
        self.run.ended(path, done);
    }

    /// A path on the server.
    fn there(&self, path: &[u8]) -> Vec<u8> {
        match path {
            b"" => self.to.clone(),
            _ if self.to.ends_with(b"/") => [&self.to, path].concat(),
            _ => [&self.to, &b"/"[..], path].concat(),
        }
    }

    /// A path here, for what is reached through links.
    fn here(&self, path: &[u8]) -> PathBuf {
        self.from.join(OsStr::from_bytes(path))
    }

    async fn directory(&self, parent: &Rc<Node>, name: &[u8]) -> Result<(), Error> {
        let path = parent.below(name);
        let dir = match self.run.links {
            Links::Follow => fs::File::open(self.here(&path)).map_err(failed("open", &path))?,
            _ => sys::openat2(&self.root, &path, Open::Directory)
                .map_err(failed("openat2", &path))?
                .into(),
        };
        let meta = dir.metadata().map_err(failed("fstat", &path))?;
        let identity = Identity::Here(meta.dev(), meta.ino());
        if parent.is_within(&identity) {
            return Err(super::leads_back(&path));
        }
        let node = Rc::new(parent.child(name, identity));
        self.listed(node, dir.into(), &meta).await
    }

    /// The root.
    async fn enter(&self, node: Rc<Node>, meta: &fs::Metadata) -> Result<(), Error> {
        let dir = sys::openat2(&self.root, b".", Open::Directory)
            .map_err(failed("openat2", self.from.as_os_str().as_bytes()))?;
        self.listed(node, dir, meta).await
    }

    /// Makes a directory there, and lets its entries come.
    async fn listed(&self, node: Rc<Node>, dir: OwnedFd, meta: &fs::Metadata) -> Result<(), Error> {
        let (line, there, mode) = (self.run.line, self.there(&node.path), meta.mode() & 0o777);
        // To be filled, whatever its permissions will be.
        let attributes = Attributes { permissions: Some(mode | 0o700), ..Attributes::default() };
        let made = line.do_it("mkdir", &there, Request::Mkdir { path: &there, attributes }).await;
        let fresh = made.is_ok();
        if let Err(error) = made {
            // It may be there; through a link, if somebody has made one.
            match line.stat(&there).await {
                Ok(known) if known.kind() == FileKind::Directory => {}
                Ok(_) => return Err(error.hint("something else is there")),
                Err(missing) if is_missing(&missing) => return Err(error),
                Err(other) => return Err(other),
            }
        }
        let set = if self.run.how.preserve {
            Some(attributes_of(meta))
        } else {
            let own = Attributes { permissions: Some(mode), ..Attributes::default() };
            Some(own).filter(|_| fresh && mode & 0o700 != 0o700)
        };
        if let Some(set) = set {
            node.finish_with(set);
        }
        self.run.count(|summary| summary.directories += 1);
        let (entries, end) = (RefCell::default(), Cell::new(false));
        self.open.borrow_mut().push(Rc::new(Listing { node, dir, fresh, entries, end }));
        Ok(())
    }

    async fn file(&self, listing: Rc<Listing>, name: &[u8]) -> Result<(), Error> {
        let file = sys::openat2(&listing.dir, name, Open::Read).map_err(failed("openat2", name))?;
        self.send(listing, name, file.into()).await
    }

    async fn send(&self, listing: Rc<Listing>, name: &[u8], file: fs::File) -> Result<(), Error> {
        let meta = file.metadata().map_err(failed("fstat", name))?;
        if !meta.is_file() {
            self.run.skipped(&listing.node.below(name), "neither file nor directory");
            return Ok(());
        }
        let (path, name) = (self.there(&listing.node.below(name)), name.to_vec());
        let (how, fresh) = (self.run.how, listing.fresh);
        // The node is held until the file is there; the directory's descriptor is not.
        let _node = Rc::clone(&listing.node);
        drop(listing);
        self.run.carry(PutFile { how, file, meta, path, name, fresh }).await
    }

    async fn link(&self, listing: Rc<Listing>, name: &[u8]) -> Result<(), Error> {
        if self.run.links == Links::Follow {
            return self.followed(listing, name).await;
        }
        let target = sys::readlinkat(&listing.dir, name).map_err(failed("readlinkat", name))?;
        let (line, path) = (self.run.line, self.there(&listing.node.below(name)));
        let link = |path| Request::Symlink { link: path, target: &target };
        if listing.fresh {
            line.do_it("symlink", &path, link(&path)).await?;
        } else {
            let known = line.there(&path).await?;
            let place = Place::below(line, path, known)?;
            line.do_it("symlink", place.written(), link(place.written())).await?;
            place.finish().await?;
        }
        self.run.count(|summary| summary.links += 1);
        Ok(())
    }

    /// What a link leads to, in its place.
    async fn followed(&self, listing: Rc<Listing>, name: &[u8]) -> Result<(), Error> {
        let stat = sys::fstatat(&listing.dir, name, true).map_err(failed("fstatat", name))?;
        let kind = Attributes { permissions: Some(stat.mode), ..Attributes::default() }.kind();
        match kind {
            FileKind::Directory => self.descend(&listing.node, name.to_vec()),
            FileKind::Regular => {
                let path = self.here(&listing.node.below(name));
                let file = fs::File::open(path).map_err(failed("open", name))?;
                return self.send(listing, name, file).await;
            }
            _ => self.run.skipped(&listing.node.below(name), "neither file nor directory"),
        }
        Ok(())
    }
}
