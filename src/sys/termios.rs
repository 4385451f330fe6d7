//! termios(3): a terminal that does not show what is typed, one that takes nothing for itself, and how wide it is.

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

    /// The same, each byte as it comes and goes, none of them a command to the terminal (cfmakeraw(3)); a read waits for one byte.
    #[cfg(feature = "remote")]
    #[must_use]
    pub fn raw(mut self) -> Self {
        // SAFETY: cfmakeraw only changes the modes that the pointer leads to.
        unsafe { libc::cfmakeraw(&raw mut self.0) };
        (self.0.c_cc[libc::VMIN], self.0.c_cc[libc::VTIME]) = (1, 0);
        self
    }

    /// The modes as SSH writes them: an opcode and a number each, and an end (RFC 4254 section 8).
    #[cfg(feature = "remote")]
    #[must_use]
    pub fn ssh_modes(&self) -> Vec<u8> {
        let Self(modes) = self;
        // A key that is switched off is 255 there.
        let key = |at: usize| match modes.c_cc[at] {
            libc::_POSIX_VDISABLE => 255,
            key => u32::from(key),
        };
        let keys = SSH_KEYS.iter().map(|&(code, at)| (code, key(at)));
        let flags =
            [(SSH_INPUT, modes.c_iflag), (SSH_LOCAL, modes.c_lflag), (SSH_OUTPUT, modes.c_oflag)];
        let flags = flags.into_iter().flat_map(|(list, set)| {
            list.iter().map(move |&(code, flag)| (code, u32::from(set & flag != 0)))
        });
        let bits = [(91, u32::from(modes.c_cflag & libc::CSIZE == libc::CS8))];
        let mut text = Vec::new();
        for (code, value) in keys.chain(flags).chain(bits) {
            text.push(code);
            text.extend_from_slice(&value.to_be_bytes());
        }
        text.push(0);
        text
    }
}

impl std::fmt::Debug for Termios {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Termios(lflag {:#o})", self.0.c_lflag)
    }
}

/// Opcodes of RFC 4254 section 8 (42: RFC 8160), and where their values are. What a pseudo-terminal has no use for is left out.
#[cfg(feature = "remote")]
const SSH_KEYS: &[(u8, usize)] = &[
    (1, libc::VINTR),
    (2, libc::VQUIT),
    (3, libc::VERASE),
    (4, libc::VKILL),
    (5, libc::VEOF),
    (6, libc::VEOL),
    (7, libc::VEOL2),
    (8, libc::VSTART),
    (9, libc::VSTOP),
    (10, libc::VSUSP),
    (12, libc::VREPRINT),
    (13, libc::VWERASE),
    (14, libc::VLNEXT),
    (18, libc::VDISCARD),
];
#[cfg(feature = "remote")]
const SSH_INPUT: &[(u8, libc::tcflag_t)] = &[
    (34, libc::INLCR),
    (35, libc::IGNCR),
    (36, libc::ICRNL),
    (38, libc::IXON),
    (39, libc::IXANY),
    (40, libc::IXOFF),
    (41, libc::IMAXBEL),
    (42, libc::IUTF8),
];
#[cfg(feature = "remote")]
const SSH_LOCAL: &[(u8, libc::tcflag_t)] = &[
    (50, libc::ISIG),
    (51, libc::ICANON),
    (53, libc::ECHO),
    (54, libc::ECHOE),
    (55, libc::ECHOK),
    (56, libc::ECHONL),
    (57, libc::NOFLSH),
    (58, libc::TOSTOP),
    (59, libc::IEXTEN),
    (60, libc::ECHOCTL),
    (61, libc::ECHOKE),
];
#[cfg(feature = "remote")]
const SSH_OUTPUT: &[(u8, libc::tcflag_t)] = &[
    (70, libc::OPOST),
    (72, libc::ONLCR),
    (73, libc::OCRNL),
    (74, libc::ONOCR),
    (75, libc::ONLRET),
];

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

/// Sets them at once, and leaves what was typed (tcsetattr(3), `TCSANOW`). Async-signal-safe.
///
/// # Errors
/// As [`tcsetattr`].
#[cfg(feature = "remote")]
pub fn tcsetattr_now(terminal: impl AsFd, modes: &Termios) -> io::Result<()> {
    // SAFETY: tcsetattr only reads the modes, during the call.
    check(unsafe {
        libc::tcsetattr(terminal.as_fd().as_raw_fd(), libc::TCSANOW, &raw const modes.0)
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

/// Whether we are the job that the terminal belongs to (tcgetpgrp(3), getpgrp(2)); so is everybody on one that controls no jobs.
/// Async-signal-safe.
#[cfg(feature = "remote")]
#[must_use]
pub fn in_foreground(terminal: impl AsFd) -> bool {
    // SAFETY: the call touches no memory of ours.
    let job = unsafe { libc::tcgetpgrp(terminal.as_fd().as_raw_fd()) };
    // SAFETY: the call takes nothing, touches no memory of ours and cannot fail.
    let ours = unsafe { libc::getpgrp() };
    // ENOTTY: it is not our controlling terminal.
    job == -1 || job == ours
}
