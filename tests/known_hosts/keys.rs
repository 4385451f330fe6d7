//! Keys, files of known hosts at random, and a directory for them.

use crate::support::scratch;
use proptest::prelude::*;
use proptest::sample::select;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use waitcopy::remote::host_key::HostKey;
use waitcopy::remote::known_hosts::KnownHosts;

/// Key type and key as they stand in a line; made by ssh-keygen for these tests, the private halves are gone.
pub(crate) type Text = (&'static str, &'static str);

pub(crate) const ED25519: Text =
    ("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIKo0TK5EUEHUP2P6iBcMY2sb3+YDKQjW2xMlaGHNHSFN");

const OTHER: Text =
    ("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIPwhceh/XMFjoytzG8aCe2meLyYozXQXbCisipe/mq7T");

pub(crate) const ECDSA: Text = (
    "ecdsa-sha2-nistp256",
    concat!(
        "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBFO2k7VzlhPeHq/FeURmL6zd4+XI",
        "xBh/pkVjW+zKDNjAABlOud+JAt2YJNZ41VfZKOzjhGmHWzsxwzvMIIu30EM=",
    ),
);

pub(crate) const RSA: Text = (
    "ssh-rsa",
    concat!(
        "AAAAB3NzaC1yc2EAAAADAQABAAABAQCxfiUvhrarR/hwQoPRmLSt6SPVLbL56MxCUtp9HNYsbDJew0R7jQkSlVEJOM",
        "ghuMAwfcUsYouh/8SHmmE3HkZWgrAQzK4w4JiwYPFepeCjn7RwO2U3GyRg0jXV6CCGuHo3Ls29no+NqHij5eYcAzIa",
        "7+0RUde23XmbbJuQ1jvZwaidwywUcMlYAoDh7HDMnIbe8crDewVnYEC1/tJ+2HcskPpWxT4TxmNU3vhgPCaXTWDyn8",
        "1lpm3VDeJNQIDCU+YPNsMVQzOgIMye0RKC3ojtJf2R1mYuUbk0q1usgIJgSGOdfK7a6gEh0fWQYWPLHwFgRQ/NNnaN",
        "woCBY6yhycXz",
    ),
);

/// `example.com`, by `ssh-keygen -H`.
pub(crate) const HASHED: &str = "|1|qIqAffNWqCbXRpomjjTWmFIcX94=|r5IekAgN6lwHdOSJRVThvCNKfmw=";

/// `[example.com]:2222`, likewise.
pub(crate) const HASHED_PORT: &str = "|1|uMacppM1xlNMHU/RuUbJEJq4QFo=|P+S11jgwwTdPacQ1JqFpjNbbsLY=";

/// Hosts that files at random speak of.
pub(crate) const HOSTS: [(&str, u16); 6] = [
    ("example.com", 22),
    ("example.com", 2222),
    ("a.b", 22),
    ("ab", 22),
    ("2001:db8::1", 22),
    ("2001:db8::1", 2222),
];

/// A line without its newline.
pub(crate) fn line(names: &str, (algorithm, key): Text) -> String {
    format!("{names} {algorithm} {key}")
}

pub(crate) fn parsed(text: impl AsRef<[u8]>) -> KnownHosts {
    KnownHosts::parse(Path::new("kh"), text.as_ref())
}

pub(crate) fn key(text: Text) -> HostKey {
    parsed(line("h", text)).matching("h", 22).next().expect("an entry").key().clone()
}

/// Of the same algorithm as [`ED25519`], and not it.
pub(crate) fn other_ed25519() -> HostKey {
    key(OTHER)
}

/// So many cases, or as many as the environment wants.
pub(crate) fn cases(usual: u32) -> ProptestConfig {
    let wanted = std::env::var("WAITCOPY_FUZZ_CASES").ok();
    let cases = wanted.map_or(usual, |n| n.parse().expect("WAITCOPY_FUZZ_CASES=N"));
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// The lines of a file: entries of all kinds, and what is none.
pub(crate) fn file() -> impl Strategy<Value = Vec<String>> {
    let nothing =
        select(vec!["", " ", "\t", "\r", "# example.com", "  #", "example.com", "@", "a b c"]);
    let other = prop_oneof![nothing.prop_map(str::to_owned), "[ -~]{0,60}"];
    prop::collection::vec(prop_oneof![5 => entry(), 1 => other], 0..10)
}

/// An entry, or nearly one.
fn entry() -> impl Strategy<Value = String> {
    let pattern = select(vec![
        "example.com",
        "EXAMPLE.com",
        "*.com",
        "*",
        "?b",
        "a?b",
        "a*b",
        "!a.b",
        "!*.com",
        "!",
        "",
        "2001:db8::1",
        "2001:*",
        "[example.com]:2222",
        "[example.com]:22",
        "[*]:2222",
        "![*]:*",
    ]);
    let patterns = prop::collection::vec(pattern, 1..4).prop_map(|list| list.join(","));
    let hashed = select(vec![HASHED, HASHED_PORT, &HASHED[..40], "|1|", "|2|AAAA|AAAA"]);
    let names = prop_oneof![4 => patterns, 1 => hashed.prop_map(str::to_owned)];
    let (ed25519, ecdsa, rsa) = (ED25519.1, ECDSA.1, RSA.1);
    let key = prop_oneof![
        6 => select(vec![ED25519, OTHER, ECDSA, RSA]),
        1 => select(vec![
            ("ssh-rsa", ed25519), ("ssh-ed25519", rsa), ("rsa-sha2-256", rsa), ("1024", "35"),
            ("ssh-ed25519", &ed25519[4..]), (ECDSA.0, &ecdsa[..ecdsa.len() - 4]),
            ("ssh-rsa", &rsa[..rsa.len() - 4]), ("ssh-rsa", &rsa[..41]), ("ssh-ed25519", "#"),
        ]),
    ];
    let start = select(vec![
        "",
        "",
        "",
        " ",
        "\t ",
        "@revoked ",
        "@cert-authority \t",
        "@none ",
        "@revoked @revoked ",
    ]);
    let end = select(vec!["", "", " me@here", "\r", "\tsome words \r", "  "]);
    let blank = select(vec![" ", "\t", "  \t"]);
    (start, names, blank, key, end).prop_map(|(start, names, blank, (algorithm, key), end)| {
        format!("{start}{names}{blank}{algorithm}{blank}{key}{end}")
    })
}

/// A directory of a test's own, gone at its end.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = scratch(&format!("known-hosts-{name}-{number}"));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A file with this text.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A test that fails has more to say than this.
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn text(file: &Path) -> String {
    fs::read_to_string(file).unwrap()
}
