//! What holds for any input.

use crate::keys::{self, Directory, ED25519, HOSTS, RSA, cases, key, line, parsed};
use crate::support::{PATIENCE, watchdog};
use proptest::prelude::*;
use std::fs;
use waitcopy::remote::host_key::HostKey;
use waitcopy::remote::known_hosts::{KnownHosts, Verdict, add};
use waitcopy::remote::pattern::glob;

/// What `*` and `?` mean, without a thought of time.
fn reference_glob(pattern: &[u8], subject: &[u8]) -> bool {
    match (pattern.split_first(), subject.split_first()) {
        (None, _) => subject.is_empty(),
        (Some((b'*', rest)), None) => reference_glob(rest, subject),
        (Some((b'*', rest)), Some((_, tail))) => {
            reference_glob(rest, subject) || reference_glob(pattern, tail)
        }
        (Some(_), None) => false,
        (Some((p, rest)), Some((s, tail))) => (*p == b'?' || p == s) && reference_glob(rest, tail),
    }
}

#[test]
fn many_stars_take_no_time() {
    watchdog(PATIENCE, || {
        let pattern = b"*a".repeat(500);
        let subject = [b'a'; 1000];
        assert!(glob(&pattern, &subject));
        assert!(!glob(&[&pattern[..], b"*b"].concat(), &subject));
        let names = format!("{}*b", "*a".repeat(500));
        let hosts = parsed(line(&names, ED25519));
        assert_eq!(hosts.check(&"a".repeat(5000), 22, &key(ED25519)), Verdict::Unknown);
    });
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn glob_is_what_the_reference_says(pattern in "[ab*?]{0,10}", subject in "[ab*?]{0,12}") {
        let naive = reference_glob(pattern.as_bytes(), subject.as_bytes());
        prop_assert_eq!(glob(pattern.as_bytes(), subject.as_bytes()), naive);
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"\n\r\t @|*!,=h1A"[..])], 0..400),
        host in ".{0,20}",
        port: u16,
    ) {
        let hosts = parsed(&bytes);
        let _ = hosts.check(&host, port, &key(ED25519));
        let _ = hosts.algorithms(&host, port);
        let lines = bytes.split(|&byte| byte == b'\n').count();
        prop_assert!(hosts.ignored().iter().all(|i| (1..=lines).contains(&i.place.line)));
        let _ = HostKey::from_blob(bytes);
    }

    /// Good lines, each damaged at one place.
    #[test]
    fn a_damaged_line_never_panics(lines in keys::file(), at: prop::sample::Index, byte: u8) {
        let mut bytes = lines.join("\n").into_bytes();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let hosts = parsed(&bytes);
        for (host, port) in HOSTS {
            let _ = hosts.check(host, port, &key(RSA));
        }
    }

    #[test]
    fn add_leaves_every_byte_that_is_there(
        before in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            keys::file().prop_map(|lines| lines.join("\n").into_bytes()),
        ],
        hashed: bool,
    ) {
        let home = Directory::new("bytes");
        let file = home.path("kh");
        fs::write(&file, &before).unwrap();
        let verdict = add(&file, "h", 22, &key(ED25519), hashed).unwrap();
        let after = fs::read(&file).unwrap();
        prop_assert!(after.starts_with(&before));
        let appended = std::str::from_utf8(&after[before.len()..]).unwrap();
        let whole = before.is_empty() || before.ends_with(b"\n");
        if verdict == Verdict::Unknown {
            let end = format!(" {}\n", key(ED25519));
            prop_assert!(appended.ends_with(&end));
            prop_assert_eq!(appended.matches('\n').count(), if whole { 1 } else { 2 });
            prop_assert!(!appended.trim_matches('\n').contains(char::is_control));
            let after = KnownHosts::load(&[&file]).unwrap();
            prop_assert!(matches!(after.check("h", 22, &key(ED25519)), Verdict::Known(_)));
        } else {
            prop_assert_eq!(appended, "");
        }
    }
}
