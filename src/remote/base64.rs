//! Base 64 (RFC 4648, section 4), strict: one text for each byte string, so that two lines that look different
//! are different.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Whether the last group is filled up with `=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    /// To four characters: keys and hashed names in known_hosts, PEM.
    With,
    /// Not at all: fingerprints.
    Without,
}

/// The text of some bytes.
pub(crate) fn encode(bytes: &[u8], padding: Padding) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, i| bits << 8 | u32::from(*group.get(i).unwrap_or(&0)));
        // n bytes need n + 1 characters of six bits each.
        for i in 0..4 {
            if i <= group.len() {
                text.push(char::from(ALPHABET[(bits >> (18 - 6 * i)) as usize & 63]));
            } else if padding == Padding::With {
                text.push('=');
            }
        }
    }
    text
}

/// The bytes of a text. `None` for every character that is not of the alphabet (blanks and line ends too), padding
/// that is missing, misplaced or unwanted, and left-over bits that are not zero (RFC 4648, section 3.5).
pub(crate) fn decode(text: &[u8], padding: Padding) -> Option<Vec<u8>> {
    let text = match padding {
        Padding::With if text.len() % 4 != 0 => return None,
        // At most two: more would leave a group of one character, which is refused below.
        Padding::With => (0..2).fold(text, |text, _| text.strip_suffix(b"=").unwrap_or(text)),
        Padding::Without => text,
    };
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let mut bits = 0;
        for &character in group {
            bits = bits << 6 | value(character)?;
        }
        bits <<= 6 * (4 - group.len());
        let [_, decoded @ ..] = bits.to_be_bytes();
        let (whole, left_over) = decoded.split_at(group.len() - 1);
        if group.len() == 1 || left_over.iter().any(|&byte| byte != 0) {
            return None;
        }
        bytes.extend_from_slice(whole);
    }
    Some(bytes)
}

/// The six bits of a character.
fn value(character: u8) -> Option<u32> {
    Some(u32::from(match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::{Padding, decode, encode};
    use proptest::prelude::*;

    #[test]
    fn the_vectors_of_rfc_4648() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (bytes, text) in vectors {
            let bare = text.trim_end_matches('=');
            assert_eq!(encode(bytes.as_bytes(), Padding::With), text);
            assert_eq!(encode(bytes.as_bytes(), Padding::Without), bare);
            assert_eq!(decode(text.as_bytes(), Padding::With).unwrap(), bytes.as_bytes());
            assert_eq!(decode(bare.as_bytes(), Padding::Without).unwrap(), bytes.as_bytes());
        }
        assert_eq!(encode(&[0xfb, 0xff], Padding::With), "+/8=");
    }

    #[test]
    fn what_is_not_strict_is_refused() {
        for text in [
            "Zg", "Zg=", "Z===", "====", "=", "Zg==Zg==", "Zm=v", "Zm9v ", " Zm9v", "Zm9\n",
            "Zm9-", "Zm9_", "Zh==", "Zm9=", "A", "Zm9vA", "Zm9v====",
        ] {
            assert_eq!(decode(text.as_bytes(), Padding::With), None, "{text}");
        }
        for text in ["Zg==", "Zm8=", "Zh", "Zm9", "A", "Zm9vA", "Zm 9v"] {
            assert_eq!(decode(text.as_bytes(), Padding::Without), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn there_and_back(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            for padding in [Padding::With, Padding::Without] {
                prop_assert_eq!(decode(encode(&bytes, padding).as_bytes(), padding), Some(bytes.clone()));
            }
        }

        #[test]
        fn no_two_texts_mean_the_same(text in "[AQZgw/+=]{0,12}") {
            for padding in [Padding::With, Padding::Without] {
                if let Some(bytes) = decode(text.as_bytes(), padding) {
                    prop_assert_eq!(encode(&bytes, padding), text.clone());
                }
            }
        }
    }
}
