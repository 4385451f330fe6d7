//! The observer behind a pointer.

use crate::phase::{Call, End, Id, Observer};
use crate::sys::Address;
use std::cell::RefCell;
use std::io;

/// An [`Observer`], as much of it as a flow of futures needs, without its type: many futures share one.
///
/// A virtual call per observation costs some nanoseconds; what is observed here is a wait, or a piece of a decrypted
/// stream. No closure may reach for the observer again.
pub trait Told {
    /// A readiness call: pure wait.
    ///
    /// # Errors
    /// Those of the call.
    fn wait(&self, call: Call, wait: &mut dyn FnMut() -> io::Result<usize>) -> io::Result<usize>;

    /// A call that takes what has come, and does not wait: the copy.
    ///
    /// # Errors
    /// Those of the call.
    fn receive(&self, id: Id, copy: &mut dyn FnMut() -> io::Result<usize>) -> io::Result<usize>;

    /// A call that gives `bytes` away, and does not wait.
    ///
    /// # Errors
    /// Those of the call.
    fn send(
        &self,
        id: Id,
        bytes: usize,
        call: &mut dyn FnMut() -> io::Result<usize>,
    ) -> io::Result<usize>;

    /// A connection is there.
    fn opened(&self, id: Id, peer: &Address);

    /// It is closed.
    fn closed(&self, id: Id, end: End);
}

impl<O: Observer> Told for RefCell<O> {
    fn wait(&self, call: Call, wait: &mut dyn FnMut() -> io::Result<usize>) -> io::Result<usize> {
        self.borrow_mut().wait(call, wait)
    }

    fn receive(&self, id: Id, copy: &mut dyn FnMut() -> io::Result<usize>) -> io::Result<usize> {
        self.borrow_mut().receive(id, false, copy)
    }

    fn send(
        &self,
        id: Id,
        bytes: usize,
        call: &mut dyn FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.borrow_mut().send(id, bytes, call)
    }

    fn opened(&self, id: Id, peer: &Address) {
        self.borrow_mut().opened(id, peer);
    }

    fn closed(&self, id: Id, end: End) {
        self.borrow_mut().closed(id, end);
    }
}
