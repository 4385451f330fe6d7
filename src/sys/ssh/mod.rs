//! libssh2 where the crate `ssh2` does not reach: channels, authentication without copies of secrets left behind, and
//! a count of what passes the socket.
//!
//! The session itself is `ssh2::Session`. Every call here is made with its lock held, and in non-blocking mode:
//! `LIBSSH2_ERROR_EAGAIN` is [`SshError::again`], and the same call is to be made again.

mod auth;
mod chachapoly;
mod channel;
mod listener;

pub use auth::{
    Prompt, Signing, userauth_keyboard_interactive, userauth_list, userauth_password,
    userauth_publickey, userauth_publickey_frommemory,
};
pub use chachapoly::chachapoly_packets;
pub use channel::{Channel, ExitSignal, channel_open};
pub use listener::{Listener, forward_listen};

use libc::{c_int, c_void, size_t, ssize_t};
use libssh2_sys as raw;
use ssh2::Session;
use std::cell::Cell;
use std::fmt;

/// What libssh2 says when a call fails: its code and its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshError {
    /// `LIBSSH2_ERROR_*`, negative.
    pub code: i32,
    /// The session's last message, where it belongs to this code.
    pub message: String,
    /// What the kernel said, where the connection is gone and it was not the peer's orderly end.
    pub errno: Option<c_int>,
}

impl SshError {
    /// Whether the call is to be made again once the socket is ready (`LIBSSH2_ERROR_EAGAIN`).
    #[must_use]
    pub fn again(&self) -> bool {
        self.code == raw::LIBSSH2_ERROR_EAGAIN
    }

    /// Whether the connection is gone.
    #[must_use]
    pub fn disconnected(&self) -> bool {
        matches!(
            self.code,
            raw::LIBSSH2_ERROR_SOCKET_DISCONNECT
                | raw::LIBSSH2_ERROR_SOCKET_SEND
                | raw::LIBSSH2_ERROR_SOCKET_RECV
        )
    }

    /// Whether the server refused a request on a channel (`LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED`), the channel
    /// itself (`LIBSSH2_ERROR_CHANNEL_FAILURE`) or a port (`LIBSSH2_ERROR_REQUEST_DENIED`).
    #[must_use]
    pub fn refused(&self) -> bool {
        matches!(
            self.code,
            raw::LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED
                | raw::LIBSSH2_ERROR_CHANNEL_FAILURE
                | raw::LIBSSH2_ERROR_REQUEST_DENIED
        )
    }

    /// Whether the server did not take the credentials.
    #[must_use]
    pub fn denied(&self) -> bool {
        matches!(
            self.code,
            raw::LIBSSH2_ERROR_AUTHENTICATION_FAILED | raw::LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED
        )
    }

    fn of(session: &Session, code: c_int) -> Self {
        ssh2::Error::from_session_error(session, code).into()
    }

    /// What the kernel said, where it was the socket: libssh2 says no more than that.
    fn with_errno(mut self) -> Self {
        let errno = FAILED.get();
        if self.disconnected() && errno != 0 {
            let error = std::io::Error::from_raw_os_error(errno);
            self.errno = Some(errno);
            self.message = format!("{}: {}", self.message, super::describe(&error));
        }
        self
    }
}

impl From<ssh2::Error> for SshError {
    fn from(error: ssh2::Error) -> Self {
        let (ssh2::ErrorCode::Session(code) | ssh2::ErrorCode::SFTP(code)) = error.code();
        Self { code, message: error.message().to_owned(), errno: None }.with_errno()
    }
}

impl fmt::Display for SshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (libssh2 {})", self.message, self.code)
    }
}

impl std::error::Error for SshError {}

/// The one converter for libssh2's calls that return 0 or more, or a negative code.
fn check(session: &Session, result: impl Into<i64>) -> Result<usize, SshError> {
    let result: i64 = result.into();
    usize::try_from(result)
        .map_err(|_| SshError::of(session, c_int::try_from(result).unwrap_or(c_int::MIN)))
}

/// The raw session, for one expression: the lock is held as long as the closure runs.
fn with<T>(session: &Session, call: impl FnOnce(*mut raw::LIBSSH2_SESSION) -> T) -> T {
    call(&raw mut *session.raw())
}

/// What has passed the sockets of this thread's sessions, and in how many calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// recv(2) calls that brought something, or the end.
    pub receives: u64,
    /// recv(2) calls that said `EAGAIN`.
    pub receives_again: u64,
    /// send(2) calls.
    pub sends: u64,
    /// Bytes received, encrypted.
    pub bytes_in: u64,
    /// Bytes sent, encrypted.
    pub bytes_out: u64,
}

thread_local! {
    static TRAFFIC: Cell<Traffic> = const {
        Cell::new(Traffic { receives: 0, receives_again: 0, sends: 0, bytes_in: 0, bytes_out: 0 })
    };
}

thread_local! {
    /// The errno of this thread's last call on a counted socket; 0: it went well, or would have had to wait.
    static FAILED: Cell<c_int> = const { Cell::new(0) };
}

/// The traffic of this thread's counted sessions so far.
#[must_use]
pub fn traffic() -> Traffic {
    TRAFFIC.get()
}

// Exported by the bundled libssh2 (LIBSSH2_API), not declared by libssh2-sys 0.3.4.
unsafe extern "C" {
    fn libssh2_session_callback_set2(
        session: *mut raw::LIBSSH2_SESSION,
        kind: c_int,
        callback: Option<unsafe extern "C" fn()>,
    ) -> Option<unsafe extern "C" fn()>;
}

/// `LIBSSH2_CALLBACK_SEND` and `LIBSSH2_CALLBACK_RECV` of libssh2.h.
const CALLBACK_SEND: c_int = 5;
const CALLBACK_RECV: c_int = 6;

type Recv = unsafe extern "C" fn(c_int, *mut c_void, size_t, c_int, *mut *mut c_void) -> ssize_t;
type Send = unsafe extern "C" fn(c_int, *const c_void, size_t, c_int, *mut *mut c_void) -> ssize_t;
type Generic = unsafe extern "C" fn();

/// Has libssh2 receive and send through calls of ours, which count. One session's data can then be told to have come
/// even when libssh2 was asked for another channel.
pub fn count_traffic(session: &Session) {
    // SAFETY: a function pointer stays one; libssh2 calls it by the kind that it is set as, with just the signature that
    // it had (LIBSSH2_RECV_FUNC in libssh2.h).
    let receive = unsafe { std::mem::transmute::<Recv, Generic>(counted_recv) };
    // SAFETY: the same (LIBSSH2_SEND_FUNC in libssh2.h).
    let send = unsafe { std::mem::transmute::<Send, Generic>(counted_send) };
    for (kind, callback) in [(CALLBACK_RECV, receive), (CALLBACK_SEND, send)] {
        // SAFETY: the session is alive and locked; the functions live as long as the program.
        with(session, |raw| unsafe { libssh2_session_callback_set2(raw, kind, Some(callback)) });
    }
}

/// recv(2) as libssh2 wants it: a length, or a negative errno.
///
/// # Safety
/// libssh2 passes its own socket and a buffer of `len` bytes.
unsafe extern "C" fn counted_recv(
    socket: c_int,
    buffer: *mut c_void,
    len: size_t,
    flags: c_int,
    _: *mut *mut c_void,
) -> ssize_t {
    // SAFETY: the kernel writes at most `len` bytes, which the caller promises to be there.
    let result = unsafe { libc::recv(socket, buffer, len, flags) };
    let mut traffic = TRAFFIC.get();
    let result = result_of(result);
    if result == -(libc::EAGAIN as ssize_t) {
        traffic.receives_again += 1;
    } else {
        traffic.receives += 1;
        traffic.bytes_in += u64::try_from(result).unwrap_or(0);
    }
    TRAFFIC.set(traffic);
    result
}

/// send(2) as libssh2 wants it: a length, or a negative errno.
///
/// # Safety
/// libssh2 passes its own socket and a buffer of `len` bytes.
unsafe extern "C" fn counted_send(
    socket: c_int,
    buffer: *const c_void,
    len: size_t,
    flags: c_int,
    _: *mut *mut c_void,
) -> ssize_t {
    // A peer that is gone is an error to report, never a signal.
    let flags = flags | libc::MSG_NOSIGNAL;
    // SAFETY: the kernel reads at most `len` bytes, which the caller promises to be there.
    let result = result_of(unsafe { libc::send(socket, buffer, len, flags) });
    let mut traffic = TRAFFIC.get();
    traffic.sends += 1;
    traffic.bytes_out += u64::try_from(result).unwrap_or(0);
    TRAFFIC.set(traffic);
    result
}

/// libssh2's own callbacks return the negative errno, and take EINTR and ENOENT for EAGAIN (ssh2_recv in misc.c).
fn result_of(result: ssize_t) -> ssize_t {
    FAILED.set(0);
    if result >= 0 {
        return result;
    }
    match std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO) {
        libc::EINTR | libc::EAGAIN => -(libc::EAGAIN as ssize_t),
        errno => {
            FAILED.set(errno);
            -(errno as ssize_t)
        }
    }
}
