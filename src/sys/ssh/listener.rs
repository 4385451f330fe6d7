//! A port on the server whose connections come here (`tcpip-forward`, RFC 4254 section 7.1).

use super::{Channel, SshError, with};
use libc::c_int;
use libssh2_sys as raw;
use ssh2::Session;
use std::ffi::CStr;
use std::ptr::NonNull;

/// A port that the server listens on for us. It keeps its session alive.
///
/// Dropping it makes no call: [`cancel`](Self::cancel) is to be driven to its end first. What is left of it is freed with its session.
pub struct Listener {
    listener: NonNull<raw::LIBSSH2_LISTENER>,
    session: Session,
    port: u16,
}

/// Asks the server to listen on `host` (empty: all its addresses, `localhost`: loopback) and `port` (0: any). Of connections that nobody
/// has taken yet it keeps `queue`, and refuses more.
///
/// # Errors
/// [`SshError::again`]: no other listener may be asked for on this session until this one is there, and the next call is to be the
/// same; `LIBSSH2_ERROR_REQUEST_DENIED` when the server refuses.
pub fn forward_listen(
    session: &Session,
    host: &CStr,
    port: u16,
    queue: u16,
) -> Result<Listener, SshError> {
    let mut bound: c_int = 0;
    let listening = with(session, |raw| {
        // SAFETY: libssh2 reads the host to its NUL and writes one int, both during the call only.
        let listener = unsafe {
            raw::libssh2_channel_forward_listen_ex(
                raw,
                host.as_ptr(),
                port.into(),
                &raw mut bound,
                queue.into(),
            )
        };
        // SAFETY: the session is alive and locked.
        NonNull::new(listener).ok_or_else(|| unsafe { raw::libssh2_session_last_errno(raw) })
    });
    let listener = listening.map_err(|code| SshError::of(session, code))?;
    // A server that names no port, or one that cannot be, is believed to have taken ours.
    let port = u16::try_from(bound).unwrap_or(port);
    Ok(Listener { listener, session: session.clone(), port })
}

impl Listener {
    /// The port there.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Takes a connection that has come.
    ///
    /// # Errors
    /// [`SshError::again`]; a connection to the server that is gone.
    pub fn accept(&self) -> Result<Channel, SshError> {
        let accepted = with(&self.session, |raw| {
            // SAFETY: the listener is alive and its session locked.
            let channel = unsafe { raw::libssh2_channel_forward_accept(self.listener.as_ptr()) };
            // SAFETY: as above.
            NonNull::new(channel).ok_or_else(|| unsafe { raw::libssh2_session_last_errno(raw) })
        });
        match accepted {
            Ok(channel) => Ok(Channel::taken(channel, &self.session)),
            // It says so whatever kept it from reading on: nothing but the end of the connection does.
            Err(raw::LIBSSH2_ERROR_CHANNEL_UNKNOWN) => {
                Err(SshError::of(&self.session, raw::LIBSSH2_ERROR_SOCKET_DISCONNECT))
            }
            Err(code) => Err(SshError::of(&self.session, code)),
        }
    }

    /// Tells the server to listen no more, and frees the listener and what nobody has taken; to be called again after
    /// [`SshError::again`], with what it gives back.
    ///
    /// # Errors
    /// The listener, and [`SshError::again`]. Any other failure frees it as well.
    pub fn cancel(self) -> Result<(), (Self, SshError)> {
        let done = with(&self.session, |_| {
            // SAFETY: the listener is alive and its session locked. Unless EAGAIN is returned it is gone, and so is `self`.
            unsafe { raw::libssh2_channel_forward_cancel(self.listener.as_ptr()) }
        });
        if done == raw::LIBSSH2_ERROR_EAGAIN {
            let error = SshError::of(&self.session, done);
            return Err((self, error));
        }
        Ok(())
    }
}
