//! Bytes that nobody shall find later: passwords, passphrases, private keys.

use crate::sys;
use std::fmt;
use std::io::{self, Read};

/// Owned bytes that are overwritten when they are dropped.
///
/// The room is taken once and never grown: growing would move the bytes and leave a copy in freed memory. What the
/// kernel swaps out, or writes into a core dump, is beyond this type.
pub struct Secret {
    bytes: Vec<u8>,
}

/// There is no room for more, and a [`Secret`] does not grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the secret is longer than the room made for it")
    }
}

impl std::error::Error for Full {}

impl Secret {
    /// No bytes yet, and room for `capacity` of them.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity) }
    }

    /// All that a reader gives.
    ///
    /// # Errors
    /// The reader's; `FileTooLarge` for more than `most` bytes. What was read by then is overwritten.
    pub fn read_from(source: &mut impl Read, most: usize) -> io::Result<Self> {
        // One more, so that a file of exactly `most` bytes is told from a longer one.
        let mut secret = Self { bytes: vec![0; most.saturating_add(1)] };
        let mut len = 0;
        while len < secret.bytes.len() {
            match source.read(&mut secret.bytes[len..]) {
                Ok(0) => break,
                Ok(count) => len += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if len > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        secret.bytes.truncate(len);
        Ok(secret)
    }

    /// Appends a byte, as it is typed.
    ///
    /// # Errors
    /// [`Full`], and nothing is appended.
    pub fn push(&mut self, byte: u8) -> Result<(), Full> {
        self.extend(&[byte])
    }

    /// Appends bytes. The caller's copy is the caller's to overwrite.
    ///
    /// # Errors
    /// [`Full`], and nothing is appended.
    pub fn extend(&mut self, bytes: &[u8]) -> Result<(), Full> {
        // Vec would move all bytes to a larger room here and free the old one as it is.
        if bytes.len() > self.bytes.capacity() - self.bytes.len() {
            return Err(Full);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Takes the last byte back, as backspace does. Its place is overwritten when the secret is dropped.
    pub fn pop(&mut self) -> Option<u8> {
        self.bytes.pop()
    }

    /// A second one. By name only: each copy is one more to be found.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self { bytes: self.bytes.clone() }
    }

    /// The bytes themselves.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Overwrites all of the room, also what was there before a truncation or a [`Secret::pop`].
    fn wipe(&mut self) {
        // Within the capacity, so nothing moves.
        self.bytes.resize(self.bytes.capacity(), 0);
        sys::zero(&mut self.bytes);
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// Takes the bytes where they are: no copy is left behind.
impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }
}

/// Takes the bytes where they are: no copy is left behind.
impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self { bytes: text.into_bytes() }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::{Full, Secret};

    #[test]
    fn it_takes_the_buffer_over_and_never_moves_it() {
        let text = String::from("correct horse");
        let place = text.as_ptr();
        let secret = Secret::from(text);
        assert_eq!((secret.expose(), secret.expose().as_ptr()), (&b"correct horse"[..], place));

        let mut typed = Secret::with_capacity(3);
        let place = typed.expose().as_ptr();
        let room = typed.bytes.capacity();
        (0..room).for_each(|_| typed.push(b'x').unwrap());
        assert_eq!(typed.push(b'y'), Err(Full));
        assert_eq!(typed.pop(), Some(b'x'));
        assert_eq!(typed.extend(b"yz"), Err(Full));
        assert_eq!((typed.len(), typed.expose().as_ptr()), (room - 1, place));
    }

    #[test]
    fn what_is_wiped_is_gone_the_part_behind_the_end_too() {
        let mut secret = Secret::from(b"hunter2".to_vec());
        assert_eq!(secret.pop(), Some(b'2'));
        secret.wipe();
        assert!(secret.bytes.len() >= 7 && secret.bytes.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn it_is_read_up_to_its_limit() {
        let read = |most| Secret::read_from(&mut &b"hunter2"[..], most);
        assert_eq!(read(7).unwrap().expose(), b"hunter2");
        assert_eq!(read(6).unwrap_err().kind(), std::io::ErrorKind::FileTooLarge);
        assert!(Secret::read_from(&mut &b""[..], 0).unwrap().is_empty());
    }

    #[test]
    fn it_does_not_show_itself() {
        let secret = Secret::from(String::from("hunter2"));
        assert_eq!(format!("{secret:?} {:?}", secret.duplicate()), "Secret(..) Secret(..)");
        assert_eq!(secret.duplicate().expose(), b"hunter2");
    }
}
