//! A channel (RFC 4254 section 5), without the traps of the safe crate's: it never throws unread output away, and it tells
//! "status 0" from "no status".

use super::{SshError, check, with};
use libc::{c_char, c_int, c_uint};
use libssh2_sys as raw;
use ssh2::Session;
use std::ffi::CStr;
use std::ptr::{NonNull, null, null_mut};

/// An open channel. It keeps its session alive.
///
/// Dropping it makes no call: [`free`](Self::free) is to be driven to its end first. What is left of a channel is freed with its session.
pub struct Channel {
    channel: NonNull<raw::LIBSSH2_CHANNEL>,
    session: Session,
}

/// The signal that ended a remote command (RFC 4254 section 6.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitSignal {
    /// Its name without `SIG`. From the server: escape it before printing.
    pub name: String,
}

// Exported by the bundled libssh2 (LIBSSH2_API), not declared by libssh2-sys 0.3.4.
unsafe extern "C" {
    fn libssh2_channel_has_exit_status(channel: *mut raw::LIBSSH2_CHANNEL) -> c_int;
}

/// Opens a channel of a kind (`session`, `direct-tcpip`) with a receive window of `window` bytes and packets of at most
/// `packet`. `message` is what the kind wants to know (RFC 4254 section 7.2).
///
/// # Errors
/// [`SshError::again`]: no other channel may be opened on this session until this one is, and the next call is to bring the same
/// message; `LIBSSH2_ERROR_CHANNEL_FAILURE` when the server refuses.
pub fn channel_open(
    session: &Session,
    kind: &str,
    window: u32,
    packet: u32,
    message: &[u8],
) -> Result<Channel, SshError> {
    let len = c_uint::try_from(message.len())
        .map_err(|_| SshError::of(session, raw::LIBSSH2_ERROR_INVAL))?;
    let message = if message.is_empty() { null() } else { message.as_ptr().cast() };
    let opened = with(session, |raw| {
        // SAFETY: libssh2 reads kind and message by their lengths, during the call only.
        let channel = unsafe {
            raw::libssh2_channel_open_ex(
                raw,
                kind.as_ptr().cast(),
                kind.len() as c_uint,
                window,
                packet,
                message,
                len,
            )
        };
        // SAFETY: the session is alive and locked.
        NonNull::new(channel).ok_or_else(|| unsafe { raw::libssh2_session_last_errno(raw) })
    });
    match opened {
        Ok(channel) => Ok(Channel { channel, session: session.clone() }),
        Err(code) => Err(SshError::of(session, code)),
    }
}

impl Channel {
    /// A channel that libssh2 has just handed over.
    pub(super) fn taken(channel: NonNull<raw::LIBSSH2_CHANNEL>, session: &Session) -> Self {
        Self { channel, session: session.clone() }
    }

    /// One call, with the session locked.
    fn call(&self, call: impl FnOnce(*mut raw::LIBSSH2_CHANNEL) -> i64) -> Result<usize, SshError> {
        let result = with(&self.session, |_| call(self.channel.as_ptr()));
        check(&self.session, result)
    }

    /// Starts what the channel is for (`shell`, `exec` with its command, `subsystem` with its name).
    ///
    /// # Errors
    /// [`SshError::again`]; `LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED` when the server refuses.
    pub fn process_startup(&self, request: &str, message: Option<&[u8]>) -> Result<(), SshError> {
        let (text, len) = message.map_or((null(), 0), |m| (m.as_ptr().cast::<c_char>(), m.len()));
        let len = c_uint::try_from(len)
            .map_err(|_| SshError::of(&self.session, raw::LIBSSH2_ERROR_INVAL))?;
        let (name, name_len) = (request.as_ptr().cast(), request.len() as c_uint);
        self.call(|channel| {
            // SAFETY: libssh2 reads both texts by their lengths, during the call only.
            unsafe { raw::libssh2_channel_process_startup(channel, name, name_len, text, len) }
                .into()
        })
        .map(drop)
    }

    /// Sets a variable of the remote environment, if the server allows it.
    ///
    /// # Errors
    /// [`SshError::again`]; `LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED` when the server refuses (`AcceptEnv` of sshd_config(5)).
    pub fn setenv(&self, name: &str, value: &[u8]) -> Result<(), SshError> {
        let (name, name_len) = (name.as_ptr().cast(), name.len() as c_uint);
        let (value, value_len) = (value.as_ptr().cast(), value.len() as c_uint);
        self.call(|channel| {
            // SAFETY: libssh2 reads both texts by their lengths, during the call only.
            unsafe { raw::libssh2_channel_setenv_ex(channel, name, name_len, value, value_len) }
                .into()
        })
        .map(drop)
    }

    /// Asks for a terminal of that many columns and rows, in the modes that are written as RFC 4254 section 8 has it, or none.
    ///
    /// # Errors
    /// [`SshError::again`]; `LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED` when the server refuses.
    pub fn request_pty(
        &self,
        term: &str,
        columns: u16,
        rows: u16,
        modes: &[u8],
    ) -> Result<(), SshError> {
        let (term, len) = (term.as_ptr().cast(), term.len() as c_uint);
        let (text, modes_len) = (modes.as_ptr().cast(), modes.len() as c_uint);
        let modes = if modes.is_empty() { null() } else { text };
        self.call(|channel| {
            // SAFETY: libssh2 reads the terminal's name and the modes by their lengths, during the call only.
            unsafe {
                raw::libssh2_channel_request_pty_ex(
                    channel,
                    term,
                    len,
                    modes,
                    modes_len,
                    columns.into(),
                    rows.into(),
                    0,
                    0,
                )
            }
            .into()
        })
        .map(drop)
    }

    /// Takes what has come on a stream (0: output, 1: error output). 0: the stream has ended.
    ///
    /// # Errors
    /// [`SshError::again`]; a connection that is gone.
    pub fn read(&self, stream: i32, buffer: &mut [u8]) -> Result<usize, SshError> {
        self.call(|channel| {
            // SAFETY: libssh2 writes at most `len` bytes from the start of the buffer.
            unsafe {
                raw::libssh2_channel_read_ex(
                    channel,
                    stream,
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                ) as i64
            }
        })
    }

    /// Gives bytes to the remote input, at most a packet of them, and returns how many. After [`SshError::again`] the
    /// same call is to be made again, with the same bytes.
    ///
    /// # Errors
    /// [`SshError::again`], also when the window is full; a channel that was closed; a connection that is gone.
    pub fn write(&self, bytes: &[u8]) -> Result<usize, SshError> {
        self.call(|channel| {
            // SAFETY: libssh2 reads at most `len` bytes, during the call only: what it could not send it has encrypted
            // into a buffer of its own.
            unsafe {
                raw::libssh2_channel_write_ex(channel, 0, bytes.as_ptr().cast(), bytes.len()) as i64
            }
        })
    }

    /// Whether something of its streams has come and is not read yet. Looks at what libssh2 holds, not at the socket.
    #[must_use]
    pub fn holds_some(&self) -> bool {
        let mut bytes = 0;
        with(&self.session, |_| {
            // SAFETY: the channel is alive and its session locked; libssh2 writes one number; null: what is not asked for.
            unsafe {
                raw::libssh2_channel_window_read_ex(
                    self.channel.as_ptr(),
                    &raw mut bytes,
                    null_mut(),
                )
            }
        });
        bytes > 0
    }

    /// Tells that the terminal has another size now.
    ///
    /// # Errors
    /// [`SshError::again`]: the same size is to be told again; a connection that is gone.
    pub fn request_pty_size(&self, columns: u16, rows: u16) -> Result<(), SshError> {
        self.call(|channel| {
            // SAFETY: the channel is alive and its session locked.
            unsafe {
                raw::libssh2_channel_request_pty_size_ex(channel, columns.into(), rows.into(), 0, 0)
            }
            .into()
        })
        .map(drop)
    }

    /// Whether the peer will send no more and everything is read.
    #[must_use]
    pub fn eof(&self) -> bool {
        // SAFETY: the channel is alive and its session locked.
        self.call(|channel| unsafe { raw::libssh2_channel_eof(channel) }.into()) == Ok(1)
    }

    /// Ends the remote input.
    ///
    /// # Errors
    /// [`SshError::again`]; a connection that is gone.
    pub fn send_eof(&self) -> Result<(), SshError> {
        // SAFETY: the channel is alive and its session locked.
        self.call(|channel| unsafe { raw::libssh2_channel_send_eof(channel) }.into()).map(drop)
    }

    /// Waits for the peer's close, which comes after its exit status; only once [`eof`](Self::eof) is true.
    ///
    /// # Errors
    /// [`SshError::again`]; a connection that is gone.
    pub fn wait_closed(&self) -> Result<(), SshError> {
        // SAFETY: the channel is alive and its session locked.
        self.call(|channel| unsafe { raw::libssh2_channel_wait_closed(channel) }.into()).map(drop)
    }

    /// Once the socket is shut: reads to its end, so that the session knows it and does not wait for a close.
    pub fn read_out(&self) {
        // SAFETY: the channel is alive and its session locked.
        let _ = self.call(|channel| unsafe { raw::libssh2_channel_wait_eof(channel) }.into());
        // It reads only until the channel's own end, and then that is known already.
        let _ = self.wait_closed();
    }

    /// The exit status, if the peer has sent one.
    #[must_use]
    pub fn exit_status(&self) -> Option<u32> {
        with(&self.session, |_| {
            // SAFETY: the channel is alive and its session locked.
            let sent = unsafe { libssh2_channel_has_exit_status(self.channel.as_ptr()) } != 0;
            // SAFETY: as above. The protocol's status has 32 bits without a sign.
            sent.then(
                || unsafe { raw::libssh2_channel_get_exit_status(self.channel.as_ptr()) } as u32
            )
        })
    }

    /// The signal that ended the command, if the peer has told of one.
    #[must_use]
    pub fn exit_signal(&self) -> Option<ExitSignal> {
        with(&self.session, |session| {
            let (mut name, mut len) = (null_mut(), 0);
            // SAFETY: libssh2 sets the pointer to a copy of its own and the length to its length; null: what is not asked for.
            let done = unsafe {
                raw::libssh2_channel_get_exit_signal(
                    self.channel.as_ptr(),
                    &raw mut name,
                    &raw mut len,
                    null_mut(),
                    null_mut(),
                    null_mut(),
                    null_mut(),
                )
            };
            if done != 0 || name.is_null() {
                return None;
            }
            // SAFETY: it ends with NUL, and is ours until we free it.
            let text = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
            // SAFETY: it was made by the session's allocator, and nobody keeps it.
            unsafe { raw::libssh2_free(session, name.cast()) };
            Some(ExitSignal { name: text })
        })
    }

    /// Closes and frees the channel; to be called again after [`SshError::again`], with what it gives back.
    ///
    /// # Errors
    /// The channel, and [`SshError::again`]. Any other failure frees it as well.
    pub fn free(self) -> Result<(), (Self, SshError)> {
        // SAFETY: the channel is alive and its session locked. Unless EAGAIN is returned it is gone, and so is `self`.
        let freed = self.call(|channel| unsafe { raw::libssh2_channel_free(channel) }.into());
        match freed {
            Err(error) if error.again() => Err((self, error)),
            _ => Ok(()),
        }
    }
}
