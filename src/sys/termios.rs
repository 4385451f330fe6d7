//! termios(3): a terminal that does not show what is typed, and how wide it is.

use super::check;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

/// The modes of a terminal.
#[derive(Clone, Copy)]
pub struct Termios(libc::termios);

impl Termios {
    /// The same, line by line and without showing what is typed, but for the newline at its end (`ECHO`, `ECHONL`,
    /// `ICANON`).
    #[must_use]
    pub fn hidden(mut self) -> Self {
        self.0.c_lflag &= !(libc::ECHO | libc::ECHOE | libc::ECHOK);
        self.0.c_lflag |= libc::ECHONL | libc::ICANON | libc::ISIG;
        self
    }
}

impl std::fmt::Debug for Termios {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Termios(lflag {:#o})", self.0.c_lflag)
    }
}

/// The modes of a terminal (tcgetattr(3)).
///
/// # Errors
/// `ENOTTY`: it is none.
pub fn tcgetattr(terminal: impl AsFd) -> io::Result<Termios> {
    let mut modes = MaybeUninit::<libc::termios>::zeroed();
    // SAFETY: tcgetattr writes one termios to the pointer, or fails.
    check(unsafe { libc::tcgetattr(terminal.as_fd().as_raw_fd(), modes.as_mut_ptr()) })?;
    // SAFETY: zeroed at first, which is a valid termios, and written since.
    Ok(Termios(unsafe { modes.assume_init() }))
}

/// Sets them once all output is written, and throws away what was typed and not read yet: it was meant for
/// other modes (tcsetattr(3), `TCSAFLUSH`).
///
/// # Errors
/// `ENOTTY`; `EINTR`; `EIO` in a background process whose parent is gone.
pub fn tcsetattr(terminal: impl AsFd, modes: &Termios) -> io::Result<()> {
    // SAFETY: tcsetattr only reads the modes, during the call.
    check(unsafe {
        libc::tcsetattr(terminal.as_fd().as_raw_fd(), libc::TCSAFLUSH, &raw const modes.0)
    })
    .map(drop)
}

/// Columns and rows of a terminal (ioctl_tty(2), `TIOCGWINSZ`); 0 where it does not know.
///
/// # Errors
/// `ENOTTY`: it is none.
pub fn window_size(terminal: impl AsFd) -> io::Result<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the request writes one winsize to the pointer and nothing else.
    check(unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) })?;
    Ok((size.ws_col, size.ws_row))
}
