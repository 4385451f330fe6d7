//! Our terminal while a remote one is shown on it: raw, and whatever happens put back as it was.
//!
//! It is raw from the moment on at which the one there has begun: until then ^C is ours, and what is said is shown as ever. Whatever
//! happens is: the end, a failure, a panic (the guard's drop); a signal that would end us, which breaks off what is under way
//! and so comes to the drop as well; a second one, or one that kills, which does it in its handler; and a stop, which lends the terminal to
//! the shell here until we go on. SIGKILL and SIGSTOP ask nobody.
//!
//! While another job has the terminal it is not touched: its modes are that job's, and who sets them from the background is stopped
//! (SIGTTOU), so that what ends us there would never come to its end.

use crate::cli::Exit;
use crate::failure::{During, Failure};
use crate::reactor::{Handle, Interest, Source};
use crate::remote::Window;
use crate::sys::{self, Signal, Termios};
use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// The terminal, and both of its states.
struct Modes {
    terminal: OwnedFd,
    before: Termios,
    raw: Termios,
    /// Readable once its size may have changed.
    resized: OwnedFd,
}

static MODES: OnceLock<Modes> = OnceLock::new();
/// It is raw now, or should be as soon as we go on.
static RAW: AtomicBool = AtomicBool::new(false);
/// Another job may have had it since we put it back: it is to be made raw again.
static LENT: AtomicBool = AtomicBool::new(false);

/// A terminal that may be made raw, and is put back when this goes.
pub(super) struct Raw {
    resized: Source<Resized>,
    failed: Cell<Option<Failure>>,
}

/// The event counter that the handlers write to.
struct Resized(&'static OwnedFd);

impl AsFd for Resized {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// How our terminal is, for one there that is to be like it.
pub(super) struct Like {
    pub(super) term: String,
    pub(super) window: Window,
    /// Its modes as SSH writes them (RFC 4254 section 8).
    pub(super) modes: Vec<u8>,
}

/// Our terminal as it is; `None`: standard input is none.
pub(super) fn like_ours() -> Option<Like> {
    let modes = sys::tcgetattr(io::stdin()).ok()?.ssh_modes();
    let (columns, rows) = size();
    let term = std::env::var("TERM").unwrap_or_else(|_| "dumb".into());
    Some(Like { term, window: Window::new(columns, rows), modes })
}

/// Columns and rows; a terminal that does not know has the size of the oldest.
fn size() -> (u16, u16) {
    match sys::window_size(io::stdin()) {
        Ok((columns, rows)) if columns > 0 && rows > 0 => (columns, rows),
        _ => (80, 24),
    }
}

impl Raw {
    /// From here on each change of standard input's size is heard, and no signal leaves it raw. It is not raw yet.
    pub(super) fn prepare(reactor: &Handle) -> Result<Self, Exit> {
        let before = sys::tcgetattr(io::stdin()).during("tcgetattr", "standard input")?;
        let made = Modes {
            terminal: sys::fcntl_dupfd(0).during("fcntl", "standard input")?,
            before,
            raw: before.raw(),
            resized: sys::eventfd().during("eventfd", "")?,
        };
        let modes = MODES.get_or_init(|| made);
        for (signals, handler) in [
            (&sys::KILLING_SIGNALS[..], on_killing as fn(Signal)),
            (&sys::STOPPING_SIGNALS, on_stop),
            (&[sys::SIGCONT], on_continue),
            (&[sys::SIGWINCH], on_resize),
        ] {
            for &signal in signals {
                // Whoever has started us with it ignored means it, but for those that only tell.
                let tells = matches!(signal, sys::SIGCONT | sys::SIGWINCH);
                if tells || !sys::is_ignored(signal).during("sigaction", signal)? {
                    sys::on_signal(signal, handler).during("sigaction", signal)?;
                }
            }
        }
        let resized = Source::new(reactor, Resized(&modes.resized)).map_err(Exit::from)?;
        Ok(Self { resized, failed: Cell::new(None) })
    }

    /// Makes it raw, at once or as soon as it is ours; [`follow`](Self::follow) tells of a failure.
    pub(super) fn begin(&self) {
        LENT.store(true, Ordering::SeqCst);
        RAW.store(true, Ordering::SeqCst);
        if let Err(error) = taken_back() {
            RAW.store(false, Ordering::SeqCst);
            self.failed.set(Some(Failure::new("tcsetattr", "standard input", error)));
            // Rung, for want of another bell.
            on_resize(sys::SIGWINCH);
        }
    }

    /// Passes each change of size on; ends only when the terminal could not be made raw.
    pub(super) async fn follow(&self, window: &Window) -> Exit {
        loop {
            self.resized.ready(Interest::Read).await;
            // EAGAIN: heard already.
            let _ = sys::eventfd_read(self.resized.get_ref());
            if let Some(failure) = self.failed.take() {
                return failure.into();
            }
            let (columns, rows) = size();
            window.resize(columns, rows);
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
        if RAW.swap(false, Ordering::SeqCst) {
            // A SIGCONT between the two has made it raw once more.
            let ours = MODES.get().filter(|modes| sys::in_foreground(&modes.terminal));
            // EIO: as in `restore`.
            let _ = ours.map(|modes| sys::tcsetattr_now(&modes.terminal, &modes.before));
        }
    }
}

/// The terminal, if it is to be raw and we are whom it belongs to now. `lent`: whether it was put back, or may have been.
fn ours(lent: bool) -> Option<&'static Modes> {
    let so = RAW.load(Ordering::SeqCst) && LENT.load(Ordering::SeqCst) == lent;
    MODES.get().filter(|modes| so && sys::in_foreground(&modes.terminal))
}

/// Puts the terminal back, if it is raw and ours. Async-signal-safe, as tcsetattr(3) is.
pub(super) fn restore() {
    if let Some(modes) = ours(false) {
        // EIO: the terminal is gone, and its modes with it.
        let _ = sys::tcsetattr_now(&modes.terminal, &modes.before);
    }
}

/// Makes the terminal raw again, if it was lent and is ours again: to be asked when a key has come, too, since a shell need not tell who
/// runs already that he is in the foreground. Async-signal-safe.
pub(super) fn take_back() {
    // EIO: the terminal is gone, and the next read says so.
    let _ = taken_back();
}

fn taken_back() -> io::Result<()> {
    match ours(true) {
        Some(modes) => {
            LENT.store(false, Ordering::SeqCst);
            sys::tcsetattr_now(&modes.terminal, &modes.raw)
        }
        None => Ok(()),
    }
}

/// Stops us as ^Z does: here and now, with the terminal as it was.
pub(super) fn suspend() {
    // It has a handler, so that it cannot fail.
    let _ = sys::raise(sys::SIGTSTP);
}

fn on_killing(signal: Signal) {
    restore();
    // Whatever it kills by, it kills by again, and now for good.
    let _ = sys::default_signal(signal);
    let _ = sys::raise(signal);
}

fn on_stop(_: Signal) {
    restore();
    LENT.store(true, Ordering::SeqCst);
    let _ = sys::raise(sys::SIGSTOP);
    // We go on: SIGCONT has a handler of its own.
}

fn on_continue(signal: Signal) {
    // Also after a SIGSTOP, which nobody hears of before.
    LENT.store(true, Ordering::SeqCst);
    take_back();
    on_resize(signal);
}

fn on_resize(_: Signal) {
    if let Some(modes) = MODES.get() {
        // EAGAIN: it is readable already.
        let _ = sys::eventfd_write(&modes.resized);
    }
}
