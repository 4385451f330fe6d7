//! Readiness told by signals: asked for on each descriptor, taken one at a time, given back at the end.

use crate::stop::Stop;
use crate::sys::{self, Mask, SIGIO, Signal, SignalSet};
use std::io;
use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::time::Duration;

/// What a signal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signalled {
    /// Something has happened on the descriptor of this number: the one that [`Signals::ask`] returned, or one before it.
    Number(usize),
    /// The kernel had no room to queue a signal: anything may have happened, on any descriptor. Also how a stop wakes the flow.
    Lost,
}

/// The signals of one flow of control. While this lives, its thread has them blocked, so that they are taken and not
/// delivered: a handler would interrupt whatever the flow is at, and could do nothing there.
#[derive(Debug)]
pub struct Signals {
    set: SignalSet,
    /// Sent when a descriptor is ready. A real-time signal: it queues, and carries the descriptor's number.
    signal: Signal,
    thread: u32,
    before: Mask,
    /// Of the thread that made it.
    _thread: PhantomData<*const ()>,
}

impl Signals {
    /// Blocks the signals for the calling thread.
    ///
    /// # Errors
    /// None that Linux knows.
    pub fn block() -> io::Result<Self> {
        let signal = sys::sigrtmin();
        let set = SignalSet::of(&[SIGIO, signal]);
        let before = set.block()?;
        Ok(Self { set, signal, thread: sys::gettid(), before, _thread: PhantomData })
    }

    /// From here on each event on a descriptor sends a signal to this thread. Returns the number by which that names it. What has
    /// happened already is not told.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn ask(&self, fd: impl AsFd) -> io::Result<usize> {
        let fd = fd.as_fd();
        sys::fcntl_setsig(fd, self.signal)?;
        sys::fcntl_setown(fd, self.thread)?;
        sys::set_async(fd, true)?;
        Ok(sys::number(fd))
    }

    /// No signals for this one any more; for a descriptor that others hold as well and that outlives this.
    pub fn ask_no_more(&self, fd: impl AsFd) {
        // Cannot fail on a descriptor that is open.
        let _ = sys::set_async(fd, false);
    }

    /// Takes the next signal, or waits for one, which the stop ends; `None`: none came in time.
    ///
    /// # Errors
    /// `EINTR`.
    pub fn wait(&self, timeout: Option<Duration>, stop: &Stop) -> io::Result<Option<Signalled>> {
        stop.signalled(self.thread, SIGIO, || self.take(timeout))
    }

    fn take(&self, timeout: Option<Duration>) -> io::Result<Option<Signalled>> {
        match sys::sigtimedwait(&self.set, timeout) {
            Ok(taken) => Ok(Some(taken.number.map_or(Signalled::Lost, Signalled::Number))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Unblocked, one that is left would end the process: nobody handles it. Then rather blocked.
        loop {
            match self.take(Some(Duration::ZERO)) {
                Ok(None) => break,
                Ok(Some(_)) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
        // A mask of the kernel's own making.
        let _ = sys::restore_signals(&self.before);
    }
}
