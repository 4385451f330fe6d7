//! Whole trees: many files under way on one channel, in bounded memory, and a list of what did not work.
//!
//! A tree is walked depth first, so that few directories are open at a time; their files are copied side by side, each as
//! [`Sftp::put`](super::Sftp::put) and [`get`](super::Sftp::get) copy one: hidden and under another name until it is whole. A file that cannot be copied holds up none of the
//! others. What the server says of a tree is not believed: a name is one name, a link leads to below the tree or is refused, and
//! every file here is opened below the directory's descriptor, never through a symbolic link.

mod crowd;
mod get;
mod get_file;
mod here;
mod node;
mod put;
mod put_file;
mod sharing;

use super::Attributes;
use super::further::Others;
use super::session::Line;
use crate::remote::Client;
use crate::remote::error::{Error, Reason, Step};
use crowd::Crowd;
pub(super) use here::{attributes_of, dress};
use node::Finishing;
use sharing::{Carried, Carry, Sharing};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;

/// Files under way at a time on one session, where the server lets as many be open, and on all sessions: each is a descriptor here, and
/// holds that of its directory.
const MOST: usize = 128;
const OF_ALL: usize = 256;
/// Directories open at a time.
const OPEN: usize = 32;
/// Files of which a part is worth keeping, in bytes.
const LARGE: u64 = 4 << 20;
/// Failures that a [`Summary`] holds; all are counted, and told.
const KEPT: usize = 1000;
/// The longest path, in bytes: of a failure's no more is kept.
const PATH_MAX: usize = libc::PATH_MAX as usize;
/// Bytes of a failure's reason that are kept: a server's words may be many, and there are a thousand.
const REASON: usize = 8 << 10;

/// What becomes of symbolic links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// They are left out, and counted.
    #[default]
    Skip,
    /// They are made anew, leading where they led. From a server only those that stay below the tree: a relative target whose
    /// `..` all come first and climb no further than the tree's root.
    Keep,
    /// What they lead to is copied in their place.
    Follow,
}

/// Who hears of it.
type Told<'a> = Box<dyn FnMut(Event<'_>) + 'a>;

/// How a tree is copied, and who hears of it.
pub struct Tree<'a> {
    links: Links,
    preserve: bool,
    resume: bool,
    sync: bool,
    depth: usize,
    entries: u64,
    others: Option<Others>,
    told: Option<Told<'a>>,
}

impl Default for Tree<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// What is told of a copy under way.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// So many bytes of files are copied by now.
    Bytes(u64),
    /// One did not work.
    Failed(&'a Failed),
    /// One is left out: its path below the tree, and why.
    Skipped(&'a [u8], &'static str),
}

/// What did not work, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Its path below the tree, in bytes of whatever encoding; the first 4 KiB of it.
    pub path: Vec<u8>,
    /// Why, in 8 KiB at most.
    pub error: Error,
}

/// What became of a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files that were copied.
    pub files: u64,
    /// Directories, the tree's own included.
    pub directories: u64,
    /// Links that were made.
    pub links: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Files that were there already: [`Tree::resume`].
    pub unchanged: u64,
    /// What was left out: links, unless they are asked for, and what is neither file, directory nor link.
    pub skipped: u64,
    /// What did not work.
    pub failed: u64,
    /// The first thousand of it.
    pub failures: Vec<Failed>,
}

impl<'a> Tree<'a> {
    /// Links are left out; new files get their source's permissions, less the receiving side's umask.
    #[must_use]
    pub fn new() -> Self {
        let (links, told) = (Links::default(), None);
        Self {
            links,
            preserve: false,
            resume: false,
            sync: false,
            depth: 128,
            entries: 10_000_000,
            others: None,
            told,
        }
    }

    /// What becomes of symbolic links.
    #[must_use]
    pub fn links(mut self, links: Links) -> Self {
        self.links = links;
        self
    }

    /// Files and directories get their source's permissions, whatever the umask, and its times, in whole seconds.
    #[must_use]
    pub fn preserve(mut self, preserve: bool) -> Self {
        self.preserve = preserve;
        self
    }

    /// Goes on where a copy was cut, which needs [`preserve`](Self::preserve) and switches it on: a file that is there with its
    /// source's size and time is taken for its copy, and of large ones partials stay, as [`Transfer::resume`](super::Transfer::resume) has it.
    #[must_use]
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// Each file is on the receiving side's disk before it gets its name.
    #[must_use]
    pub fn sync(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }

    /// Directories within each other at most (128).
    #[must_use]
    pub fn depth(mut self, depth: usize) -> Self {
        self.depth = depth;
        self
    }

    /// Entries in all at most (10 million): a server may name some for ever.
    #[must_use]
    pub fn entries(mut self, entries: u64) -> Self {
        self.entries = entries;
        self
    }

    /// So many further sessions copy files, too, once the first one has its hands full; each is on a thread of its own and logged in by its own
    /// client, which `client` makes there. Each must meet the host key that the first one has met. A file is one session's. A session that fails
    /// ends the copy.
    #[must_use]
    pub fn parallel(
        mut self,
        further: usize,
        client: impl Fn() -> Result<Client, Error> + Send + Sync + 'static,
    ) -> Self {
        self.others = Others::new(further, client);
        self
    }

    /// Tells what happens.
    #[must_use]
    pub fn told(mut self, told: impl FnMut(Event<'_>) + 'a) -> Self {
        self.told = Some(Box::new(told));
        self
    }
}

/// How each of its files is copied.
#[derive(Clone, Copy)]
struct How {
    preserve: bool,
    resume: bool,
    sync: bool,
}

/// A copy under way: what its files have in common.
struct Run<'a> {
    line: &'a Rc<Line>,
    links: Links,
    how: How,
    depth: usize,
    /// Jobs under way at most.
    most: usize,
    sharing: Sharing,
    /// Entries that may still come, and one more.
    entries: Cell<u64>,
    told: RefCell<Option<Told<'a>>>,
    summary: RefCell<Summary>,
    finishing: Finishing,
}

impl<'a> Run<'a> {
    fn new(line: &'a Rc<Line>, how: Tree<'a>) -> Self {
        let Tree { preserve, resume, sync, .. } = how;
        let sessions = how.others.as_ref().map_or(1, |others| others.count + 1);
        // Half of what the server has room for: directories are open too, and others may share the session.
        let most = MOST.min(line.handles() / 2).min(OF_ALL / sessions).max(1);
        Self {
            line,
            links: how.links,
            how: How { preserve: preserve || resume, resume, sync },
            depth: how.depth,
            most: most * sessions,
            sharing: Sharing::new(how.others, most),
            entries: Cell::new(how.entries.saturating_add(1)),
            told: RefCell::new(how.told),
            summary: RefCell::default(),
            finishing: Finishing::default(),
        }
    }

    fn tell(&self, event: Event<'_>) {
        if let Some(told) = &mut *self.told.borrow_mut() {
            told(event);
        }
    }

    fn count(&self, count: impl FnOnce(&mut Summary)) {
        count(&mut self.summary.borrow_mut());
    }

    /// So many more bytes are copied.
    fn copied(&self, bytes: u64) {
        self.count(|summary| summary.bytes += bytes);
        let bytes = self.summary.borrow().bytes;
        self.tell(Event::Bytes(bytes));
    }

    /// Has a file copied by whichever session.
    async fn carry(&self, file: impl Carry) -> Result<(), Error> {
        match self.sharing.carry(self.line, file, |bytes| self.copied(bytes)).await? {
            Carried::Copied => self.count(|summary| summary.files += 1),
            Carried::Unchanged => self.count(|summary| summary.unchanged += 1),
        }
        Ok(())
    }

    /// A path as the other sessions know it, too: they begin in the login's directory, wherever this one is.
    async fn everywhere(&self, path: Vec<u8>) -> Result<Vec<u8>, Error> {
        if self.sharing.alone() { Ok(path) } else { self.line.realpath(&path).await }
    }

    fn failed(&self, mut path: Vec<u8>, error: Error) {
        path.truncate(PATH_MAX);
        path.shrink_to_fit();
        let failed = Failed { path, error: error.cut(REASON) };
        self.tell(Event::Failed(&failed));
        self.count(|summary| {
            summary.failed += 1;
            if summary.failures.len() < KEPT {
                summary.failures.push(failed);
            }
        });
    }

    fn skipped(&self, path: &[u8], why: &'static str) {
        self.count(|summary| summary.skipped += 1);
        self.tell(Event::Skipped(path, why));
    }

    /// One more entry has come. False: there are too many, which is told once.
    fn enter(&self, path: &[u8]) -> bool {
        let left = self.entries.get();
        self.entries.set(left.saturating_sub(1));
        if left == 1 {
            self.failed(path.to_vec(), too_many());
        }
        left > 1
    }

    /// Nothing more is taken.
    fn full(&self) -> bool {
        self.entries.get() == 0
    }

    /// Does what there is to do, so much of it at a time.
    async fn all<Job, Doing: Future<Output = ()>>(
        &self,
        next: impl Fn() -> Option<Job>,
        job: impl Fn(Job) -> Doing,
    ) -> Result<(), Error> {
        let walk = async {
            let mut crowd = Crowd::new();
            loop {
                while crowd.len() < self.most {
                    let Some(next) = next() else { break };
                    crowd.push(job(next));
                }
                if crowd.len() == 0 {
                    return Ok(());
                }
                crowd.one().await;
                self.line.check()?;
            }
        };
        self.sharing.beside(walk).await
    }

    /// What a job came to. Once the connection is gone nothing else is of interest.
    fn ended(&self, path: Vec<u8>, done: Result<(), Error>) {
        if let Err(error) = done {
            if !self.line.has_ended() {
                self.failed(path, error);
            }
        }
    }

    /// The next directory in which everything is done. Where nothing more is taken those that wait are left out first: they hold
    /// the one that they are in.
    fn finished<T>(&self, waiting: &RefCell<Vec<T>>) -> Option<(Vec<u8>, Attributes)> {
        if self.full() {
            waiting.borrow_mut().clear();
        }
        self.finishing.borrow_mut().pop_front()
    }
}

fn refused(message: String) -> Error {
    Error::new(Step::Sftp, Reason::Usage, message)
}

fn too_deep(depth: usize) -> Error {
    refused(format!("more than {depth} directories within each other: left out"))
}

fn too_many() -> Error {
    refused("more entries than are allowed: the rest is left out".into())
}

fn leads_back(path: &[u8]) -> Error {
    let path = String::from_utf8_lossy(path);
    refused(format!("{} leads back to a directory that it is in", path.escape_debug()))
}
