//! getuid(2), geteuid(2) and getpwuid(3): who runs this process.

use std::ffi::{CStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStringExt;
use std::ptr;

/// What the password database says of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passwd {
    /// The login name.
    pub name: OsString,
    /// The home directory.
    pub home: OsString,
}

/// An entry of more bytes than this is refused.
const MOST: usize = 1 << 20;

/// The real user of this process (getuid(2)).
#[must_use]
pub fn getuid() -> u32 {
    // SAFETY: the call touches no memory of ours and cannot fail.
    unsafe { libc::getuid() }
}

/// Who it is for the kernel, when it makes a file or opens one (geteuid(2)).
#[must_use]
pub fn geteuid() -> u32 {
    // SAFETY: the call touches no memory of ours and cannot fail.
    unsafe { libc::geteuid() }
}

/// The entry of a user, by whatever the machine looks users up with (getpwuid_r(3)); `None` where there is none.
///
/// # Errors
/// Those of the look-up, such as `EIO`, `EMFILE`; `ERANGE` for an entry of more than 1 MiB.
pub fn getpwuid(uid: u32) -> io::Result<Option<Passwd>> {
    let mut room: Vec<libc::c_char> = vec![0; 1024];
    loop {
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let (mut found, len) = (ptr::null_mut(), room.len());
        // SAFETY: the call writes one passwd, at most `len` bytes of text, and one pointer: null, or the entry's.
        let code = unsafe {
            libc::getpwuid_r(uid, entry.as_mut_ptr(), room.as_mut_ptr(), len, &raw mut found)
        };
        match code {
            libc::ERANGE if len < MOST => room.resize(len * 4, 0),
            libc::EINTR => {}
            0 if found.is_null() => return Ok(None),
            0 => {
                // SAFETY: the pointer is not null, so the entry was written whole.
                let entry = unsafe { entry.assume_init() };
                return Ok(Some(Passwd { name: text(entry.pw_name), home: text(entry.pw_dir) }));
            }
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}

/// A text of the entry, copied out of the room.
fn text(start: *const libc::c_char) -> OsString {
    if start.is_null() {
        return OsString::new();
    }
    // SAFETY: every text of an entry lies in the room, which outlives this call, and ends with a NUL.
    OsString::from_vec(unsafe { CStr::from_ptr(start) }.to_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::{getpwuid, getuid};

    #[test]
    fn root_is_root_and_nobody_has_the_last_number() {
        assert_eq!(getpwuid(0).unwrap().unwrap().name, "root");
        assert_eq!(getpwuid(u32::MAX - 1).unwrap(), None);
    }

    #[test]
    fn the_owner_of_what_is_made_here() {
        use std::os::unix::fs::MetadataExt;
        let own = std::fs::metadata("/proc/self").unwrap().uid();
        assert_eq!(getuid(), own);
    }
}
