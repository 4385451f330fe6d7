//! Base64 as keys are written in (RFC 4648, section 4), with padding.

/// Whether the last group is filled up with `=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    /// To four letters.
    With,
}

#[cfg(test)]
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What a letter stands for.
fn value(letter: u8) -> Option<u8> {
    match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// The letters of some bytes.
#[cfg(test)]
pub(crate) fn encode(bytes: &[u8], _padding: Padding) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for letter in 0..4 {
            let at = (bits >> (18 - 6 * letter) & 63) as usize;
            text.push(if letter > group.len() { '=' } else { char::from(ALPHABET[at]) });
        }
    }
    text
}

/// The bytes of some letters; `None` for any other letter, a wrong length or padding, and bits set behind the end.
///
/// All is checked before the one allocation, which is never grown: no part of a private key stays behind.
pub(crate) fn decode(letters: &[u8], _padding: Padding) -> Option<Vec<u8>> {
    let padding = letters.iter().rev().take_while(|&&letter| letter == b'=').count();
    let body = &letters[..letters.len() - padding];
    if letters.len() % 4 != 0 || padding > 2 || body.iter().any(|&letter| value(letter).is_none()) {
        return None;
    }
    let (mut bytes, mut bits, mut held) = (Vec::with_capacity(letters.len() / 4 * 3), 0_u32, 0);
    let unused = (1 << (2 * padding)) - 1;
    if body.last().and_then(|&last| value(last)).is_some_and(|last| last & unused != 0) {
        return None;
    }
    for &letter in body {
        bits = bits << 6 | u32::from(value(letter)?);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{Padding, decode, encode};
    use proptest::prelude::*;

    // The test vectors of RFC 4648, section 10.
    #[test]
    fn the_vectors_of_the_standard() {
        let vectors = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (len, letters) in vectors.into_iter().enumerate() {
            assert_eq!(encode(&b"foobar"[..len], Padding::With), letters);
            assert_eq!(decode(letters.as_bytes(), Padding::With).unwrap(), &b"foobar"[..len]);
        }
        for wrong in ["Z", "Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "Zg==Zg==", "Zm\n9", "Zm9-"]
        {
            assert_eq!(decode(wrong.as_bytes(), Padding::With), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn there_and_back(bytes: Vec<u8>) {
            prop_assert_eq!(decode(encode(&bytes, Padding::With).as_bytes(), Padding::With), Some(bytes));
        }

        #[test]
        fn what_is_read_is_written_so(letters in "[A-Za-z0-9+/=]{0,12}") {
            if let Some(bytes) = decode(letters.as_bytes(), Padding::With) {
                prop_assert_eq!(encode(&bytes, Padding::With), letters);
            }
        }
    }
}
