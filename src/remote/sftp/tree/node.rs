//! A directory of a tree: its place below the root, and what is still to be done once everything in it is.

use crate::remote::error::{Error, Reason, Step};
use crate::remote::sftp::Attributes;
use crate::remote::sftp::files::named;
use crate::remote::sftp::place::NAME_MAX;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// Directories in which everything is done, and what they are to get: the innermost first, since each holds the one that it is
/// in, and has to be reached through it.
pub(super) type Finishing = Rc<RefCell<VecDeque<(Vec<u8>, Attributes)>>>;

/// Who one directory is, so that a link that leads back up is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// Device and inode.
    Here(u64, u64),
    /// Its path without links.
    There(Vec<u8>),
    /// Nobody asks.
    Unknown,
}

/// A directory. Whatever is under way in it holds it; when it goes, its attributes are due.
pub(super) struct Node {
    /// Below the root, whose own is empty.
    pub(super) path: Vec<u8>,
    pub(super) depth: usize,
    pub(super) identity: Identity,
    parent: Option<Rc<Node>>,
    finish: Cell<Option<Attributes>>,
    finishing: Finishing,
}

impl Node {
    pub(super) fn root(identity: Identity, finishing: &Finishing) -> Self {
        let (finish, finishing) = (Cell::new(None), Rc::clone(finishing));
        Self { path: Vec::new(), depth: 0, identity, parent: None, finish, finishing }
    }

    pub(super) fn child(self: &Rc<Self>, name: &[u8], identity: Identity) -> Self {
        Self {
            path: self.below(name),
            depth: self.depth + 1,
            identity,
            parent: Some(Rc::clone(self)),
            finish: Cell::new(None),
            finishing: Rc::clone(&self.finishing),
        }
    }

    /// The path of a name in it.
    pub(super) fn below(&self, name: &[u8]) -> Vec<u8> {
        if self.path.is_empty() { name.to_vec() } else { [&self.path, &b"/"[..], name].concat() }
    }

    /// What it is to get once everything in it is done.
    pub(super) fn finish_with(&self, attributes: Attributes) {
        self.finish.set(Some(attributes));
    }

    /// Whether a directory is this one or one above it.
    pub(super) fn is_within(&self, identity: &Identity) -> bool {
        let mut node = Some(self);
        while let Some(at) = node {
            if at.identity == *identity {
                return true;
            }
            node = at.parent.as_deref();
        }
        false
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(attributes) = self.finish.take() {
            self.finishing.borrow_mut().push_back((std::mem::take(&mut self.path), attributes));
        }
    }
}

/// A name from a server, as a name of a file here. `None`: the directory itself or the one above it.
///
/// # Errors
/// Whatever would lead elsewhere, and what no file system here has.
pub(super) fn checked(name: &[u8]) -> Result<Option<&[u8]>, Error> {
    if name.len() > NAME_MAX {
        let message = format!("the server names an entry of {} bytes, too long", name.len());
        return Err(Error::new(Step::Sftp, Reason::Protocol, message));
    }
    named(name)
}

/// Whether a link `depth` directories below the root leads to below the root whatever other such links there are: its `..` come
/// first, where they climb through directories, which are no links; a later one could climb out of what a link leads to.
pub(super) fn stays_below(target: &[u8], depth: usize) -> bool {
    if target.is_empty() || target.starts_with(b"/") || target.contains(&0) {
        return false;
    }
    let steps = || target.split(|byte| *byte == b'/').filter(|step| !matches!(*step, b"" | b"."));
    let up = steps().take_while(|step| *step == b"..").count();
    up <= depth && steps().skip(up).all(|step| step != b"..")
}

#[cfg(test)]
mod tests {
    use super::{checked, stays_below};

    #[test]
    fn links_that_stay_below() {
        for (target, depth, stays) in [
            (&b"a"[..], 0, true),
            (b"a/b", 0, true),
            (b"./a//b", 0, true),
            (b".", 0, true),
            (b"../a", 1, true),
            (b"../../a", 2, true),
            (b"../a", 0, false),
            (b"../../a", 1, false),
            (b"./../a", 0, false),
            // Of "d", a link to ".", this would be the directory above the root.
            (b"d/..", 0, false),
            (b"d/../x", 5, false),
            (b"/etc/passwd", 9, false),
            (b"", 3, false),
            (b"a\0b", 0, false),
        ] {
            assert_eq!(stays_below(target, depth), stays, "{}", target.escape_ascii());
        }
    }

    #[test]
    fn names_that_are_one_name() {
        assert_eq!(checked(b"a b\xff\x1b"), Ok(Some(&b"a b\xff\x1b"[..])));
        assert_eq!((checked(b"."), checked(b"..")), (Ok(None), Ok(None)));
        assert!(checked(&[b'x'; 255]).is_ok());
        for name in [&b""[..], b"a/b", b"/", b"../x", b"a\0", &[b'x'; 256]] {
            checked(name).unwrap_err();
        }
    }
}
