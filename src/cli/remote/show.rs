//! How names, sizes, times and permissions are shown to a person.

use crate::json::Value;
use crate::phase::Utc;
use crate::remote::base64::{self, Padding};
use crate::remote::sftp::{Attributes, FileKind};
use std::fmt;

pub(super) use crate::phase::Size;

/// Text from a server, or of any other origin: control characters are escaped, so that it cannot move a terminal's cursor.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        self.0.chars().try_for_each(|c| match c.is_control() {
            true => write!(f, "{}", c.escape_default()),
            false => f.write_char(c),
        })
    }
}

/// A name on a server for a person: what is no UTF-8 is replaced, control characters are escaped.
pub(super) fn name(bytes: &[u8]) -> String {
    Shown(&String::from_utf8_lossy(bytes)).to_string()
}

/// Bytes in JSON: as text where they are UTF-8, else as `{"base64": ...}`.
pub(super) fn json(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => Value::object([("base64", base64::encode(bytes, Padding::With).into())]),
    }
}

/// The letters of `ls -l`.
pub(super) fn permissions(attributes: &Attributes) -> String {
    let kind = match attributes.kind() {
        FileKind::Regular => '-',
        FileKind::Directory => 'd',
        FileKind::Symlink => 'l',
        FileKind::Other => match attributes.permissions.unwrap_or(0) & 0o170_000 {
            0o020_000 => 'c',
            0o060_000 => 'b',
            0o010_000 => 'p',
            0o140_000 => 's',
            _ => '?',
        },
        FileKind::Unknown => '?',
    };
    let Some(mode) = attributes.mode() else { return format!("{kind}?????????") };
    let bit = |bit, letter| if mode & bit != 0 { letter } else { '-' };
    // Set-user-ID, set-group-ID and sticky share the place of x, in capitals where there is no x.
    let special = |x: u32, s: u32, letter: char| match (mode & x != 0, mode & s != 0) {
        (true, true) => letter,
        (false, true) => letter.to_ascii_uppercase(),
        (x, false) => {
            if x {
                'x'
            } else {
                '-'
            }
        }
    };
    String::from_iter([
        kind,
        bit(0o400, 'r'),
        bit(0o200, 'w'),
        special(0o100, 0o4000, 's'),
        bit(0o040, 'r'),
        bit(0o020, 'w'),
        special(0o010, 0o2000, 's'),
        bit(0o004, 'r'),
        bit(0o002, 'w'),
        special(0o001, 0o1000, 't'),
    ])
}

/// The kind in a word.
pub(super) fn kind(attributes: &Attributes) -> &'static str {
    match attributes.kind() {
        FileKind::Regular => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symbolic link",
        FileKind::Other => "special file",
        FileKind::Unknown => "unknown",
    }
}

/// Seconds since 1970 as `2026-11-25 10:11Z`: UTC, since the server's time zone is not told.
pub(super) fn time(seconds: u32) -> String {
    Utc(seconds.into()).to_string()
}

/// Attributes in JSON; what the server does not tell is null.
pub(super) fn attributes(of: &Attributes) -> Vec<(&'static str, Value)> {
    let number = |n: Option<u32>| Value::from(n.map(u64::from));
    vec![
        ("kind", kind(of).into()),
        ("mode", of.mode().map(|mode| format!("{mode:04o}")).into()),
        ("size", of.size.into()),
        ("uid", number(of.owner.map(|(user, _)| user))),
        ("gid", number(of.owner.map(|(_, group)| group))),
        ("accessed", number(of.times.map(|(access, _)| access))),
        ("modified", number(of.times.map(|(_, modification)| modification))),
    ]
}

#[cfg(test)]
mod tests {
    use super::{Shown, Size, json, permissions};
    use crate::remote::sftp::Attributes;

    #[test]
    fn sizes_have_two_or_three_digits() {
        let shown = |n| Size(n).to_string();
        assert_eq!(shown(1023), "1023 B");
        assert_eq!(shown(1024), "1.0 KiB");
        assert_eq!(shown(10 * 1024), "10 KiB");
        assert_eq!(shown(1_048_575), "1.0 MiB");
        assert_eq!(shown(512 << 20), "512 MiB");
        assert_eq!(shown(u64::MAX), "16 EiB");
    }

    #[test]
    fn permissions_as_ls_shows_them() {
        let of = |permissions| {
            permissions_of(Attributes { permissions: Some(permissions), ..Attributes::default() })
        };
        assert_eq!(of(0o100_644), "-rw-r--r--");
        assert_eq!(of(0o041_777), "drwxrwxrwt");
        assert_eq!(of(0o104_755), "-rwsr-xr-x");
        assert_eq!(of(0o102_640), "-rw-r-S---");
        assert_eq!(of(0o120_777), "lrwxrwxrwx");
        assert_eq!(permissions_of(Attributes::default()), "??????????");
    }

    fn permissions_of(attributes: Attributes) -> String {
        permissions(&attributes)
    }

    #[test]
    fn nothing_that_moves_a_cursor_is_shown() {
        assert_eq!(Shown("a\u{1b}[2Jb\n\u{9b}ü").to_string(), "a\\u{1b}[2Jb\\n\\u{9b}ü");
        assert_eq!(json(b"a\xff").to_string(), "{\"base64\":\"Yf8=\"}");
    }
}
