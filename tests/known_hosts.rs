//! known_hosts: the format of sshd(8), SSH_KNOWN_HOSTS FILE FORMAT; the files; and both held against ssh-keygen
//! where it is installed. `WAITCOPY_FUZZ_CASES=N` raises the number of cases of each property.
#![cfg(feature = "remote")]

#[path = "known_hosts/files.rs"]
mod files;
#[path = "known_hosts/keys.rs"]
mod keys;
#[path = "known_hosts/oracle.rs"]
mod oracle;
#[path = "known_hosts/properties.rs"]
mod properties;
mod support;

use keys::{ECDSA, ED25519, HASHED, HASHED_PORT, RSA, key, line, other_ed25519, parsed};
use waitcopy::remote::host_key::{HostKey, HostKeyError};
use waitcopy::remote::known_hosts::{Marker, Place, Reason, Verdict};
use waitcopy::remote::pattern::{Listed, listed};

/// Whether a file with these names in front of a key knows the host by it.
fn knows(names: &str, host: &str, port: u16) -> bool {
    let hosts = parsed(line(names, ED25519));
    assert!(hosts.ignored().is_empty(), "{:?}", hosts.ignored());
    matches!(hosts.check(host, port, &key(ED25519)), Verdict::Known(_))
}

/// The numbers of the lines that a verdict names.
fn lines(found: &[(Place, HostKey)]) -> Vec<usize> {
    found.iter().map(|(place, _)| place.line).collect()
}

#[test]
fn a_plain_name_is_known() {
    let hosts = parsed(format!("# mine\n\n{}\n", line("example.com", ED25519)));
    let Verdict::Known(place) = hosts.check("example.com", 22, &key(ED25519)) else {
        panic!("not known")
    };
    assert_eq!(place.to_string(), "kh:3");
    assert_eq!(hosts.check("example.org", 22, &key(ED25519)), Verdict::Unknown);
    assert_eq!(parsed("").check("example.com", 22, &key(ED25519)), Verdict::Unknown);
}

#[test]
fn letters_compare_in_lower_case() {
    assert!(knows("Example.COM", "eXample.com", 22));
    assert!(knows("*.Example.COM", "A.example.com", 22));
    assert!(knows("FE80::1", "fe80::1", 22));
    assert!(!knows("::1", "0:0:0:0:0:0:0:1", 22), "an address is compared as it is written");
}

#[test]
fn another_port_has_a_name_of_its_own() {
    assert!(knows("[example.com]:2222", "example.com", 2222));
    assert!(!knows("[example.com]:2222", "example.com", 22));
    assert!(!knows("[example.com]:2222", "example.com", 2223));
    assert!(!knows("example.com", "example.com", 2222));
    assert!(knows("[2001:db8::1]:2222", "2001:db8::1", 2222));
    // OpenSSH never asks for the port that it leaves out.
    assert!(!knows("[example.com]:22", "example.com", 22));
    // A pattern matches the whole name, brackets and port as well.
    assert!(knows("*", "example.com", 2222));
    assert!(knows("[*.com]:*", "example.com", 2222));
    assert!(!knows("*.com", "example.com", 2222));
}

#[test]
fn stars_and_question_marks() {
    assert!(knows("*.example.com", "a.example.com", 22));
    assert!(knows("db?.example.com", "db1.example.com", 22));
    assert!(!knows("db?.example.com", "db.example.com", 22));
    assert!(!knows("db?.example.com", "db12.example.com", 22));
    assert!(!knows("*.example.com", "example.com", 22));
    assert!(knows("a,b,c", "b", 22));
    assert!(!knows("a,b,c", "a,b", 22));
}

#[test]
fn a_negated_match_takes_the_line_out() {
    assert!(knows("*.example.com,!db.example.com", "web.example.com", 22));
    assert!(!knows("*.example.com,!db.example.com", "db.example.com", 22));
    assert!(!knows("!db.example.com,*.example.com", "db.example.com", 22), "in any order");
    assert!(!knows("!db.example.com", "web.example.com", 22), "alone it matches nothing");
    assert_eq!(listed(b"*,!a*", b"ab"), Listed::Negated);
    assert_eq!(listed(b"*,!a*", b"ba"), Listed::Yes);
    assert_eq!(listed(b"b,!a*", b"cc"), Listed::No);
    // As OpenSSH: the list ends at a pattern that is too long.
    assert_eq!(listed(&[b"a,".as_slice(), &[b'*'; 1023], b",!a"].concat(), b"a"), Listed::No);
    assert_eq!(listed(&[b"a,".as_slice(), &[b'*'; 1022]].concat(), b"a"), Listed::Yes);
}

/// The salt and hash are those of sshd(8)'s kind, made by ssh-keygen -H for `example.com` and `[example.com]:2222`.
#[test]
fn hashed_names() {
    let (plain, port) = (HASHED, HASHED_PORT);
    assert!(knows(plain, "example.com", 22));
    assert!(knows(plain, "EXAMPLE.com", 22));
    assert!(!knows(plain, "example.org", 22));
    assert!(!knows(plain, "example.com", 2222));
    assert!(knows(port, "example.com", 2222));
    assert!(!knows(port, "example.com", 22));
}

#[test]
fn a_changed_key_names_the_lines_with_the_old_ones() {
    let hosts = parsed(
        [line("h", RSA), line("h", ED25519), line("*", ED25519), line("x", ECDSA)].join("\n"),
    );
    match hosts.check("h", 22, &other_ed25519()) {
        Verdict::Changed(found) => {
            assert_eq!(lines(&found), [2, 3]);
            assert!(found.iter().all(|(_, old)| *old == key(ED25519)));
        }
        other => panic!("{other:?}"),
    }
    // Any line with the key is enough: sshd(8), "authentication is accepted if any matching line has the proper key".
    let both = [line("h", ED25519), format!("h {}", other_ed25519())].join("\n");
    assert!(
        matches!(parsed(both).check("h", 22, &other_ed25519()), Verdict::Known(p) if p.line == 2)
    );
}

#[test]
fn keys_of_other_algorithms_are_neither_unknown_nor_changed() {
    let hosts = parsed([line("h", RSA), line("h", ECDSA)].join("\n"));
    match hosts.check("h", 22, &key(ED25519)) {
        Verdict::OtherAlgorithms(found) => assert_eq!(lines(&found), [1, 2]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_revoked_key_wins_over_all() {
    let revoked = format!("@revoked {}", line("*", ED25519));
    let hosts = parsed([line("h", ED25519), revoked.clone(), line("h", RSA)].join("\n"));
    assert!(matches!(hosts.check("h", 22, &key(ED25519)), Verdict::Revoked(p) if p.line == 2));
    // Neither another key of the host, nor a revoked one that it is not.
    assert!(matches!(hosts.check("h", 22, &key(RSA)), Verdict::Known(_)));
    assert_eq!(parsed(&revoked).check("h", 22, &other_ed25519()), Verdict::Unknown);
    let elsewhere = format!("@revoked {}\n{0}", line("x", ED25519));
    assert_eq!(parsed(elsewhere).check("h", 22, &key(ED25519)), Verdict::Unknown);
    // OpenSSH loses this one, for the tab.
    let tab = format!("@revoked\t{}", line("h", ED25519));
    assert!(matches!(parsed(tab).check("h", 22, &key(ED25519)), Verdict::Revoked(_)));
}

#[test]
fn the_key_of_an_authority_is_no_host_key() {
    let hosts = parsed(format!("@cert-authority {}", line("*", ED25519)));
    assert_eq!(hosts.check("h", 22, &key(ED25519)), Verdict::Unknown);
    assert_eq!(hosts.check("h", 22, &other_ed25519()), Verdict::Unknown);
    let entry = hosts.matching("h", 22).next().expect("kept");
    assert_eq!((entry.marker(), entry.key()), (Some(Marker::CertAuthority), &key(ED25519)));
}

#[test]
fn blanks_comments_and_line_ends() {
    let text = format!(
        " \t\n\r\n#{0}\n \t # h\n  {0}\r\n\th2\t \tssh-ed25519 \t{1}\tme@here and more # \r\nh3 ssh-ed25519 {1}",
        line("h", ED25519),
        ED25519.1,
    );
    let hosts = parsed(text);
    assert!(hosts.ignored().is_empty(), "{:?}", hosts.ignored());
    for (host, number) in [("h", 5), ("h2", 6), ("h3", 7)] {
        let verdict = hosts.check(host, 22, &key(ED25519));
        assert!(matches!(&verdict, Verdict::Known(p) if p.line == number), "{host}: {verdict:?}");
    }
}

#[test]
fn a_line_that_is_no_entry_is_ignored_with_its_reason() {
    let ed = ED25519.1;
    let cut = &ed[..ed.len() - 4];
    let long = |len: usize| {
        let start = format!("{} ", line("h", ED25519));
        format!("{start}{}", "x".repeat(len - start.len()))
    };
    let hash = HASHED;
    let lines = [
        ("h".to_owned(), Reason::Truncated),
        ("h ssh-ed25519".to_owned(), Reason::Truncated),
        ("h ssh-ed25519 \r".to_owned(), Reason::Truncated),
        ("@revoked".to_owned(), Reason::Truncated),
        (format!("@revoke h ssh-ed25519 {ed}"), Reason::Marker),
        (format!("@revoked @revoked h ssh-ed25519 {ed}"), Reason::Marker),
        (format!("@revoked @cert-authority h ssh-ed25519 {ed}"), Reason::Marker),
        (format!("h 1024 35 {}", "1234567890".repeat(30)), Reason::Rsa1),
        (format!("h ssh-ed25519 {ed}="), Reason::Base64),
        (format!("h ssh-ed25519 {}-{}", &ed[..20], &ed[21..]), Reason::Base64),
        ("\0\u{1}\u{2} \u{ff} %&/".to_owned(), Reason::Base64),
        (format!("h ssh-ed25519 {cut}"), Reason::Key(HostKeyError::Malformed)),
        (format!("h ssh-rsa {ed}"), Reason::Algorithm),
        (format!("h SSH-ed25519 {ed}"), Reason::Algorithm),
        (format!("|2{} ssh-ed25519 {ed}", &hash[2..]), Reason::Hash),
        (format!("{hash},h ssh-ed25519 {ed}"), Reason::Hash),
        (format!("|1|| ssh-ed25519 {ed}"), Reason::Hash),
        (format!("|1|AAAA|AAAA ssh-ed25519 {ed}"), Reason::Hash),
        (long(64 * 1024 + 1), Reason::TooLong),
    ];
    let good = long(64 * 1024);
    let text: Vec<_> = lines.iter().map(|(line, _)| line.as_str()).chain([good.as_str()]).collect();
    let hosts = parsed(text.join("\n"));
    let found: Vec<_> = hosts.ignored().iter().map(|i| (i.place.line, i.reason)).collect();
    let expected: Vec<_> = (1..).zip(lines.iter().map(|(_, reason)| *reason)).collect();
    assert_eq!(found, expected);
    assert_eq!(hosts.ignored()[4].to_string(), "kh:5: unknown marker");
    // What follows the garbage is still read, which libssh2 does not do.
    assert!(
        matches!(hosts.check("h", 22, &key(ED25519)), Verdict::Known(p) if p.line == lines.len() + 1)
    );
}

/// ssh-keygen -F finds such lines; a revoked key must not come back by the way it is written.
#[test]
fn an_rsa_key_goes_by_its_signatures_names_too() {
    let hosts = parsed(format!("@revoked h rsa-sha2-512 {}\nh rsa-sha2-256 {0}", RSA.1));
    assert!(hosts.ignored().is_empty());
    assert!(matches!(hosts.check("h", 22, &key(RSA)), Verdict::Revoked(_)));
}

#[test]
fn algorithms_come_in_the_order_of_the_lines() {
    let revoked = format!("@revoked h {}", other_ed25519());
    let authority = format!("@cert-authority {}", line("h", ED25519));
    let mixed =
        [revoked, authority, line("h", RSA), line("x", ED25519), line("h*", ECDSA), line("h", RSA)];
    let hosts = parsed(mixed.join("\n"));
    assert_eq!(hosts.algorithms("h", 22), ["ssh-rsa", "ecdsa-sha2-nistp256"]);
    assert_eq!(hosts.algorithms("h2", 22), ["ecdsa-sha2-nistp256"]);
    assert_eq!(hosts.algorithms("h", 2222), Vec::<String>::new());
    // A key that is listed and revoked is no reason to ask for it.
    let both = [line("h", RSA), line("h", ECDSA), format!("@revoked {}", line("*", RSA))];
    assert_eq!(parsed(both.join("\n")).algorithms("h", 22), ["ecdsa-sha2-nistp256"]);
}

#[test]
fn blobs_that_are_no_key() {
    let string = |text: &[u8]| [&(text.len() as u32).to_be_bytes()[..], text].concat();
    let blob = |name: &[u8], rest: &[u8]| HostKey::from_blob([&string(name)[..], rest].concat());
    let (key, long) = (string(&[7; 32]), [b'a'; 65]);
    assert_eq!(blob(b"ssh-ed25519", &key).unwrap().algorithm(), "ssh-ed25519");
    assert_eq!(blob(&long[1..], &key).unwrap().algorithm().len(), 64);
    for name in [&b""[..], b"a b", b"a,b", b"a\n", b"\xc3\xa4", &long] {
        assert_eq!(blob(name, &key), Err(HostKeyError::Name), "{name:?}");
    }
    for rest in [&b""[..], &key[..35], &[&key[..], &[0]].concat(), &[255; 4]] {
        assert_eq!(blob(b"ssh-ed25519", rest), Err(HostKeyError::Malformed), "{rest:?}");
    }
    for start in [&b""[..], &[0, 0, 0], &[0xff; 40], &[0, 0, 0, 9, 1]] {
        assert_eq!(HostKey::from_blob(start.to_vec()), Err(HostKeyError::Malformed));
    }
    let certificate = blob(b"ssh-ed25519-cert-v01@openssh.com", &key);
    assert_eq!(certificate, Err(HostKeyError::Certificate));
    let largest = string(&vec![0; 16 * 1024 - 4 - 15]);
    assert_eq!(blob(b"ssh-ed25519", &largest).unwrap().blob().len(), 16 * 1024);
    let larger = string(&vec![0; 16 * 1024 - 4 - 14]);
    assert_eq!(blob(b"ssh-ed25519", &larger), Err(HostKeyError::TooLong));
}
