//! Authentication (RFC 4252), one call per method. Secrets are passed as they lie: no copy of ours is left behind.

use super::{SshError, check, with};
use libc::{c_char, c_int, c_uchar, c_uint, c_void, size_t};
use libssh2_sys as raw;
use ssh2::Session;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null;

/// One question of the server in keyboard-interactive authentication (RFC 4256).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// What to show. From the server: escape it before printing.
    pub text: String,
    /// Whether the answer may be seen as it is typed.
    pub echo: bool,
}

/// What a signer says.
#[derive(Debug)]
pub enum Signing {
    /// The signature itself, without its algorithm's name.
    Signed(Vec<u8>),
    /// Not yet: the same call is to be made again.
    Again,
    /// It signs with its key's own algorithm only (ssh-rsa), not the one that was asked for.
    OtherAlgorithm,
    /// It will not sign.
    Refused,
}

/// The lengths of libssh2's interface are 32 bits.
fn len32(session: &Session, bytes: &[u8]) -> Result<c_uint, SshError> {
    c_uint::try_from(bytes.len()).map_err(|_| SshError::of(session, raw::LIBSSH2_ERROR_INVAL))
}

/// Asks which methods the server would take (`none`, RFC 4252 section 5.2), comma separated. `None`: it has let the user in.
///
/// # Errors
/// [`SshError::again`]; a connection that is gone.
pub fn userauth_list(session: &Session, user: &str) -> Result<Option<Vec<u8>>, SshError> {
    let len = len32(session, user.as_bytes())?;
    with(session, |raw| {
        // SAFETY: libssh2 reads `len` bytes of the name during the call and returns a string of its own, or null.
        let list = unsafe { raw::libssh2_userauth_list(raw, user.as_ptr().cast(), len) };
        if !list.is_null() {
            // SAFETY: a C string in the session's memory, valid until the next call on it; we copy it at once.
            return Ok(Some(unsafe { std::ffi::CStr::from_ptr(list) }.to_bytes().to_vec()));
        }
        // SAFETY: the session is alive and locked.
        if unsafe { raw::libssh2_userauth_authenticated(raw) } != 0 {
            return Ok(None);
        }
        // SAFETY: as above.
        Err(unsafe { raw::libssh2_session_last_errno(raw) })
    })
    .map_err(|code| SshError::of(session, code))
}

/// By password (RFC 4252 section 8). A server that wants the password changed refuses.
///
/// # Errors
/// [`SshError::again`]; [`SshError::denied`]; a connection that is gone.
pub fn userauth_password(session: &Session, user: &str, password: &[u8]) -> Result<(), SshError> {
    let (user_len, password_len) = (len32(session, user.as_bytes())?, len32(session, password)?);
    let (user, password) = (user.as_ptr().cast(), password.as_ptr().cast());
    let done = with(session, |raw| {
        // SAFETY: libssh2 reads both texts, by their lengths, during the call only.
        unsafe {
            raw::libssh2_userauth_password_ex(raw, user, user_len, password, password_len, None)
        }
    });
    check(session, done).map(drop)
}

/// By a private key in memory, in any format that OpenSSL or libssh2 reads; the public half comes out of it.
///
/// # Errors
/// [`SshError::again`]; [`SshError::denied`]; a key that cannot be read, or not with this passphrase
/// (`LIBSSH2_ERROR_FILE`); a connection that is gone.
pub fn userauth_publickey_frommemory(
    session: &Session,
    user: &str,
    private: &[u8],
    passphrase: Option<&std::ffi::CStr>,
) -> Result<(), SshError> {
    let passphrase = passphrase.map_or(null(), std::ffi::CStr::as_ptr);
    let done = with(session, |raw| {
        // SAFETY: libssh2 reads the texts by their lengths, and the passphrase to its NUL, during the call only.
        unsafe {
            raw::libssh2_userauth_publickey_frommemory(
                raw,
                user.as_ptr().cast(),
                user.len(),
                null(),
                0,
                private.as_ptr().cast(),
                private.len(),
                passphrase,
            )
        }
    });
    check(session, done).map(drop)
}

/// `LIBSSH2_USERAUTH_PUBLICKEY_SIGN_FUNC` of libssh2.h.
type SignFunction = unsafe extern "C" fn(
    *mut raw::LIBSSH2_SESSION,
    *mut *mut c_uchar,
    *mut size_t,
    *const c_uchar,
    size_t,
    *mut *mut c_void,
) -> c_int;

// Exported by the bundled libssh2 (LIBSSH2_API), not declared by libssh2-sys 0.3.4.
unsafe extern "C" {
    fn libssh2_userauth_publickey(
        session: *mut raw::LIBSSH2_SESSION,
        user: *const c_char,
        public: *const c_uchar,
        public_len: size_t,
        sign: SignFunction,
        context: *mut *mut c_void,
    ) -> c_int;
}

/// libssh2.h: the signer cannot sign by the algorithm that was chosen.
const ALGO_UNSUPPORTED: c_int = -51;

/// By a key whose private half is elsewhere: `sign` gets the bytes to sign (RFC 4252 section 7; they name the
/// algorithm) once the server has said that it takes the key.
///
/// # Errors
/// [`SshError::again`], also when the signer said so; [`SshError::denied`]; a connection that is gone.
pub fn userauth_publickey(
    session: &Session,
    user: &std::ffi::CStr,
    public: &[u8],
    sign: &mut dyn FnMut(&[u8]) -> Signing,
) -> Result<(), SshError> {
    let mut sign = sign;
    let mut context: *mut c_void = (&raw mut sign).cast();
    let done = with(session, |raw| {
        // SAFETY: libssh2 reads the name to its NUL and the key by its length, and hands `context` to the callback, which
        // takes it for the reference that it is; all during the call only.
        unsafe {
            libssh2_userauth_publickey(
                raw,
                user.as_ptr(),
                public.as_ptr(),
                public.len(),
                signed,
                &raw mut context,
            )
        }
    });
    check(session, done).map(drop)
}

/// Hands the bytes to the signer, and its signature to libssh2.
///
/// # Safety
/// Only as the callback of [`userauth_publickey`].
unsafe extern "C" fn signed(
    _: *mut raw::LIBSSH2_SESSION,
    signature: *mut *mut c_uchar,
    signature_len: *mut size_t,
    message: *const c_uchar,
    message_len: size_t,
    context: *mut *mut c_void,
) -> c_int {
    // SAFETY: libssh2 passes the message that it has just built, alive until the callback returns.
    let message = unsafe { std::slice::from_raw_parts(message, message_len) };
    // SAFETY: libssh2 passes the pointer that userauth_publickey gave it.
    let sign = unsafe { *context }.cast::<&mut dyn FnMut(&[u8]) -> Signing>();
    // SAFETY: behind it is that call's reference, which outlives the call.
    let sign = unsafe { &mut *sign };
    // Nothing may unwind into C.
    match catch_unwind(AssertUnwindSafe(|| sign(message))) {
        Ok(Signing::Signed(bytes)) => {
            let copy = malloced(&bytes);
            if copy.is_null() {
                return raw::LIBSSH2_ERROR_ALLOC;
            }
            // SAFETY: libssh2 passes a place of its own for just this.
            unsafe { *signature = copy };
            // SAFETY: and one for its length.
            unsafe { *signature_len = bytes.len() };
            0
        }
        Ok(Signing::Again) => raw::LIBSSH2_ERROR_EAGAIN,
        Ok(Signing::OtherAlgorithm) => ALGO_UNSUPPORTED,
        Ok(Signing::Refused) | Err(_) => raw::LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED,
    }
}

/// A copy that libssh2 releases with free(3): sessions of `ssh2` have the C library's allocator.
fn malloced(bytes: &[u8]) -> *mut c_uchar {
    // SAFETY: one byte at least, so that null means no memory.
    let copy = unsafe { libc::malloc(bytes.len().max(1)) }.cast::<c_uchar>();
    if !copy.is_null() {
        // SAFETY: both are that long, and the copy is new.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), copy, bytes.len()) };
    }
    copy
}

/// What answers the questions: name and instruction of the server, its prompts; one answer each.
type Answer<'a> = &'a mut dyn FnMut(&str, &str, &[Prompt]) -> Vec<Vec<u8>>;

/// By questions and answers (RFC 4256). `answer` is called within the call, as often as the server asks; the bytes that
/// it returns are overwritten once they are copied.
///
/// # Errors
/// [`SshError::again`]; [`SshError::denied`]; a connection that is gone.
pub fn userauth_keyboard_interactive(
    session: &Session,
    user: &str,
    answer: Answer<'_>,
) -> Result<(), SshError> {
    let len = len32(session, user.as_bytes())?;
    let mut answer = answer;
    let done = with(session, |raw| {
        // SAFETY: returns the address of the session's word for its user; the session is alive and locked.
        let word = unsafe { raw::libssh2_session_abstract(raw) };
        // SAFETY: that word is ours to set (`ssh2` uses it only within calls of its own).
        let before = unsafe { std::mem::replace(&mut *word, (&raw mut answer).cast()) };
        // SAFETY: libssh2 reads the name by its length; the callback takes the word for the reference that it is.
        let done = unsafe {
            raw::libssh2_userauth_keyboard_interactive_ex(
                raw,
                user.as_ptr().cast(),
                len,
                Some(questioned),
            )
        };
        // SAFETY: as above; nothing of ours is left in the session.
        unsafe { *word = before };
        done
    });
    check(session, done).map(drop)
}

/// Hands the questions on, and the answers back.
extern "C" fn questioned(
    name: *const c_char,
    name_len: c_int,
    instruction: *const c_char,
    instruction_len: c_int,
    count: c_int,
    prompts: *const raw::LIBSSH2_USERAUTH_KBDINT_PROMPT,
    responses: *mut raw::LIBSSH2_USERAUTH_KBDINT_RESPONSE,
    context: *mut *mut c_void,
) {
    let count = usize::try_from(count).unwrap_or(0);
    // A server that only has something to say asks nothing, and libssh2 passes null.
    let asks = count > 0 && !prompts.is_null() && !responses.is_null();
    // SAFETY: libssh2 passes `count` prompts, alive until the callback returns.
    let prompts = if asks { unsafe { std::slice::from_raw_parts(prompts, count) } } else { &[] };
    let responses = if asks {
        // SAFETY: and room for as many responses, which nobody else looks at meanwhile.
        unsafe { std::slice::from_raw_parts_mut(responses, count) }
    } else {
        &mut []
    };
    let question = |prompt: &raw::LIBSSH2_USERAUTH_KBDINT_PROMPT| {
        let len = c_int::try_from(prompt.length).unwrap_or(0);
        Prompt { text: text(prompt.text, len), echo: prompt.echo != 0 }
    };
    let questions: Vec<Prompt> = prompts.iter().map(question).collect();
    let (name, instruction) =
        (text(name.cast(), name_len), text(instruction.cast(), instruction_len));
    // SAFETY: libssh2 passes the session's word, which userauth_keyboard_interactive has set.
    let answer = unsafe { *context }.cast::<Answer<'_>>();
    // SAFETY: behind it is that call's reference, which outlives the call.
    let answer = unsafe { &mut *answer };
    // Nothing may unwind into C; a question without an answer is answered with nothing.
    let answers = catch_unwind(AssertUnwindSafe(|| answer(&name, &instruction, &questions)));
    let mut responses = responses.iter_mut();
    for mut bytes in answers.unwrap_or_default() {
        if let Some(response) = responses.next() {
            response.text = malloced(&bytes).cast();
            response.length = if response.text.is_null() { 0 } else { bytes.len() as c_uint };
        }
        // Also those that nobody has asked for.
        crate::sys::zero(&mut bytes);
    }
}

/// Text from the server: whatever is no UTF-8 is replaced.
fn text(bytes: *const c_uchar, len: c_int) -> String {
    let len = usize::try_from(len).unwrap_or(0);
    if bytes.is_null() || len == 0 {
        return String::new();
    }
    // SAFETY: libssh2 passes that many bytes, alive until the callback returns.
    String::from_utf8_lossy(unsafe { std::slice::from_raw_parts(bytes, len) }).into_owned()
}
