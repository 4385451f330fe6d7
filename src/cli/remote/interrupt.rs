//! Signals that ask the program to end: the first one breaks off what is under way, so that no temporary file stays
//! behind; the second one ends at once.

use super::terminal;
use crate::failure::{During, Failure};
use crate::reactor::{Handle, Interest, Source};
use crate::sys::{self, PollFd, Signal};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

/// Readable once a signal has come.
static EVENT: OnceLock<OwnedFd> = OnceLock::new();
/// The signal that came; 0: none.
static CAME: AtomicI32 = AtomicI32::new(0);

pub(super) fn on_signal(signal: Signal) {
    if CAME.swap(signal, Ordering::SeqCst) != 0 {
        terminal::restore();
        sys::exit_at_once(128 + signal);
    }
    if let Some(event) = EVENT.get() {
        // EAGAIN: it is readable already.
        let _ = sys::eventfd_write(event);
    }
}

/// The signal that has come, if one has.
pub(super) fn came() -> Option<Signal> {
    Some(CAME.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
}

/// Waits until a descriptor has something to read, for who cannot wait on a reactor. A flag alone would not do: a signal that comes
/// between the look at it and the read would be slept through. The event stays readable.
///
/// # Errors
/// `Interrupted` when a signal asks us to end.
pub(super) fn readable(fd: impl AsFd) -> io::Result<()> {
    loop {
        if came().is_some() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut ask = vec![PollFd::new(&fd, true, false)];
        ask.extend(EVENT.get().map(|event| PollFd::new(event, true, false)));
        match sys::poll(&mut ask, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(_) if came().is_none() => return Ok(()),
            Ok(_) => {}
        }
    }
}

/// The event counter that the handler writes to.
struct Event(&'static OwnedFd);

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// From here on every signal that would end us is a reason to break off: a file is half there, or a password is being typed. Not those
/// that kill at once ([`sys::KILLING_SIGNALS`]).
pub(super) struct Interrupt(Source<Event>);

impl Interrupt {
    pub(super) fn new(reactor: &Handle) -> Result<Self, Failure> {
        let made = sys::eventfd().during("eventfd", "")?;
        let event = EVENT.get_or_init(|| made);
        for signal in sys::ending_signals() {
            // Whoever has started us with it ignored, as nohup(1) does, means it.
            if !sys::is_ignored(signal).during("sigaction", signal)? {
                sys::on_signal(signal, on_signal).during("sigaction", signal)?;
            }
        }
        Source::new(reactor, Event(event)).map(Self)
    }

    /// Ends when a signal has come.
    pub(super) async fn comes(&self) {
        while came().is_none() {
            self.0.ready(Interest::Read).await;
        }
    }
}
