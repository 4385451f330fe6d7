//! Whom the remote takes for the host: real servers and the files by which they are known (row 45 of the faults).
#![cfg(feature = "remote")]

#[path = "support/remote.rs"]
mod remote;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use remote::{client_of, holds, login, new_key, refusal, secret, with};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::PATIENCE;
use waitcopy::lab::sshd::{Accounts, KeyKind, Options, Sshd};
use waitcopy::remote::config::IdentityAgent;
use waitcopy::remote::{Client, Error, Policy, Reason, Step};

const POLICIES: [Policy; 3] = [Policy::Reject, Policy::AcceptNew, Policy::Warn];

/// A file of known hosts.
fn file(sshd: &Sshd, text: &str) -> PathBuf {
    let path = sshd.folder().join("hosts");
    fs::write(&path, text).unwrap();
    path
}

/// A client that could log in by key and by password, if it came to that.
fn client(sshd: &Sshd, known: &Path) -> Client {
    let key = sshd.client_key(KeyKind::Ed25519).unwrap();
    client_of(sshd.user(), sshd.addr(), known).identity(key).password(secret("not to be sent"))
}

/// As ssh-keygen -l prints it.
fn fingerprint(key: &Path) -> String {
    let output = Command::new("ssh-keygen").arg("-lf").arg(key).output().unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    line.split(' ').nth(1).unwrap().to_owned()
}

/// `[127.0.0.1]:PORT`.
fn place(sshd: &Sshd) -> String {
    format!("[127.0.0.1]:{}", sshd.addr().port())
}

/// The key of a line of known_hosts: `ssh-ed25519 AAAA...`, without comment.
fn key_of(line: &str) -> String {
    line.split_whitespace().skip(1).take(2).collect::<Vec<_>>().join(" ")
}

/// A line for a key that is not the server's.
fn other_key(sshd: &Sshd, name: &str, words: &[&str]) -> (PathBuf, String) {
    let path = new_key(sshd.folder(), name, words);
    let line = fs::read_to_string(path.with_extension("pub")).unwrap();
    (path, line.trim_end().to_owned())
}

/// Refused for its key, and the server was told no user's name: nothing was tried on it.
#[track_caller]
fn refused(sshd: &Sshd, client: &Client, reason: Reason) -> Error {
    let before = sshd.log().matches("Connection from").count();
    let error = refusal(client);
    assert_eq!((error.step(), error.reason()), (Step::HostKey, reason), "{error}");
    // sshd has noticed the end of this connection: nothing more comes of it.
    let ended = || sshd.log().lines().filter(|line| line.contains("[preauth]")).count();
    support::until("sshd has noted the end", || ended() > before);
    let user = sshd.user();
    for word in
        [format!("for {user}"), format!("user {user}"), "publickey".into(), "password".into()]
    {
        assert!(!sshd.log().contains(&word), "'{word}' in {}", sshd.log());
    }
    error
}

#[test]
fn an_unknown_host_is_rejected_before_any_authentication() {
    with(Options { accounts: Accounts::Password, ..Options::default() }, |sshd| {
        let known = sshd.folder().join("no-file-yet");
        // Nobody has named a policy.
        assert_eq!(Policy::default(), Policy::Reject);
        let error = refused(&sshd, &client(&sshd, &known), Reason::HostKeyUnknown);
        let shown = fingerprint(sshd.host_key_path(KeyKind::Ed25519).unwrap());
        let file = known.display().to_string();
        holds(&error, &[&place(&sshd), "is unknown", &shown, "ssh-ed25519", "accept-new", &file]);
        assert!(!known.exists());
        // Those who know it are in, and the words that were looked for above stand in the log then.
        let known = self::file(&sshd, &sshd.known_hosts());
        login(&sshd, &client(&sshd, &known));
        assert!(sshd.await_log("Accepted publickey for walter", PATIENCE), "{}", sshd.log());
    });
}

#[test]
fn a_changed_key_is_refused_under_each_policy() {
    with(Options { accounts: Accounts::Password, ..Options::default() }, |mut sshd| {
        let text = format!("# mine\n\n{}", sshd.known_hosts());
        let known = file(&sshd, &text);
        let before = fingerprint(sshd.host_key_path(KeyKind::Ed25519).unwrap());
        sshd.replace_host_keys().unwrap();
        let now = fingerprint(sshd.host_key_path(KeyKind::Ed25519).unwrap());
        assert_ne!(before, now);
        for policy in POLICIES {
            let client = client(&sshd, &known).host_key(policy);
            let error = refused(&sshd, &client, Reason::HostKeyChanged);
            let line = format!("{}:3", known.display());
            let removal = format!("ssh-keygen -R '{}'", place(&sshd));
            holds(&error, &["has changed", &before, &now, &line, &removal]);
            assert_eq!(fs::read_to_string(&known).unwrap(), text);
        }
        // What the message says, done as it says it.
        let mut remove = Command::new("ssh-keygen");
        remove.args(["-R", &place(&sshd), "-f"]).arg(&known);
        assert!(remove.output().unwrap().status.success());
        login(&sshd, &client(&sshd, &known).host_key(Policy::AcceptNew));
    });
}

#[test]
fn accept_new_saves_the_key_and_nothing_else() {
    with(Options::default(), |mut sshd| {
        let (_, other) = other_key(&sshd, "other", &[]);
        // The last line lacks its end.
        let text = format!(
            "# a comment\n\ngarbage\nexample.org ssh-ed25519 AAAA!\n@revoked example.org {other}\n\
            @unknown * {other}\n|1|bm90IGEgc2FsdA==|eA== {other}\n\u{fffd} \t\nexample.com {other}"
        );
        let known = file(&sshd, &text);
        let new = || client(&sshd, &known).host_key(Policy::AcceptNew);
        let ssh = new().connect().unwrap();
        let line = format!("{} {}", place(&sshd), key_of(&sshd.known_hosts()));
        let notices = ssh.about().notices.clone();
        assert!(
            matches!(&*notices, [notice] if notice.contains("was unknown; saved to")),
            "{notices:?}"
        );
        ssh.close().unwrap();
        let saved = format!("{text}\n{line}\n");
        assert_eq!(fs::read_to_string(&known).unwrap(), saved);
        // The second time it is known: to us, under the strictest policy, and to OpenSSH.
        for policy in POLICIES {
            let ssh = client(&sshd, &known).host_key(policy).connect().unwrap();
            assert!(ssh.about().notices.is_empty(), "{:?}", ssh.about().notices);
            ssh.close().unwrap();
        }
        assert_eq!(fs::read_to_string(&known).unwrap(), saved);
        let mut find = Command::new("ssh-keygen");
        let found = find.args(["-F", &place(&sshd), "-f"]).arg(&known).output().unwrap();
        assert!(found.status.success(), "{}", ssh::said(&found));
        // And now it is a known host, whose key may not change.
        sshd.replace_host_keys().unwrap();
        let changed = client(&sshd, &known).host_key(Policy::AcceptNew);
        assert_eq!(refusal(&changed).reason(), Reason::HostKeyChanged);
    });
}

#[test]
fn a_warning_saves_nothing() {
    with(Options::default(), |sshd| {
        for known in [file(&sshd, "# empty\n"), sshd.folder().join("none")] {
            let before = fs::read(&known).ok();
            for _ in 0..2 {
                let ssh = client(&sshd, &known).host_key(Policy::Warn).connect().unwrap();
                let shown = fingerprint(sshd.host_key_path(KeyKind::Ed25519).unwrap());
                let notices = &ssh.about().notices;
                assert!(matches!(&**notices, [notice] if notice.contains(&shown)), "{notices:?}");
                ssh.close().unwrap();
            }
            assert_eq!(fs::read(&known).ok(), before);
        }
    });
}

#[test]
fn a_revoked_key_is_refused_whatever_else_knows_it() {
    with(Options::default(), |sshd| {
        let (line, place) = (sshd.known_hosts(), place(&sshd));
        let key = key_of(&line);
        for names in [&*place, "[127.0.0.*]:*", "*", "example.org,*"] {
            let known = file(&sshd, &format!("{line}@revoked {names} {key}\n"));
            for policy in POLICIES {
                let client = client(&sshd, &known).host_key(policy);
                let error = refused(&sshd, &client, Reason::HostKeyRevoked);
                holds(&error, &["revoked", &format!("{}:2", known.display())]);
            }
        }
        // Another host's, and another key of this one's.
        let (_, other) = other_key(&sshd, "other", &[]);
        let known = format!("@revoked example.org {key}\n@revoked * {other}\n{line}");
        login(&sshd, &client(&sshd, &file(&sshd, &known)));
    });
}

#[test]
fn names_are_hashed_or_patterns_or_taken_back() {
    with(Options::default(), |sshd| {
        let (key, port) = (key_of(&sshd.known_hosts()), sshd.addr().port());
        for (names, is_known) in [
            (format!("[127.0.0.1]:{port}"), true),
            (format!("example.org,[127.0.0.1]:{port}"), true),
            (format!("[127.*]:{port}"), true),
            ("[127.0.0.?]:*".into(), true),
            ("*".into(), true),
            (format!("*,![127.0.0.1]:{port}"), false),
            (format!("![127.0.0.1]:*,[127.0.0.1]:{port}"), false),
            ("*,!example.org".into(), true),
            // ssh_config(5): another port than 22 is part of the name.
            ("127.0.0.1".into(), false),
            ("[127.0.0.1]:22".into(), false),
            ("[127.0.0.2]:*".into(), false),
        ] {
            let client = client(&sshd, &file(&sshd, &format!("{names} {key}\n")));
            if is_known {
                login(&sshd, &client);
            } else {
                assert_eq!(refusal(&client).reason(), Reason::HostKeyUnknown, "{names}");
            }
        }
        // Hashed by OpenSSH: the right key, and one that is not.
        let (_, other) = other_key(&sshd, "other", &[]);
        for (line, reason) in [(key, None), (other, Some(Reason::HostKeyChanged))] {
            let known = file(&sshd, &format!("{} {line}\n", place(&sshd)));
            let mut hash = Command::new("ssh-keygen");
            assert!(hash.args(["-H", "-f"]).arg(&known).output().unwrap().status.success());
            let text = fs::read_to_string(&known).unwrap();
            assert!(text.starts_with("|1|") && !text.contains("127.0.0.1"), "{text}");
            match reason {
                None => drop(login(&sshd, &client(&sshd, &known))),
                Some(reason) => assert_eq!(refusal(&client(&sshd, &known)).reason(), reason),
            }
        }
    });
}

#[test]
fn the_key_type_that_is_known_is_asked_for() {
    let host_keys = KeyKind::ALL.to_vec();
    with(Options { host_keys, ..Options::default() }, |sshd| {
        for kind in KeyKind::ALL {
            let line = sshd.known_hosts_line(kind).unwrap();
            let ssh = client(&sshd, &file(&sshd, &line)).connect().unwrap();
            let about = ssh.about();
            assert_eq!(about.host_key.to_string(), key_of(&line), "{kind:?}");
            let agreed = about.methods[1].replace("rsa-sha2-512", "ssh-rsa");
            assert_eq!(agreed, about.host_key.algorithm());
            ssh.close().unwrap();
        }
        // A revoked one of the preferred type does not stand in the way of the other that is known.
        let [ed25519, rsa] =
            [KeyKind::Ed25519, KeyKind::Rsa3072].map(|kind| sshd.known_hosts_line(kind).unwrap());
        let known = format!("@revoked * {}\n{rsa}", key_of(&ed25519));
        login(&sshd, &client(&sshd, &file(&sshd, &known)));
    });
}

#[test]
fn a_key_of_another_type_than_the_known_one_is_a_changed_key() {
    with(Options::default(), |sshd| {
        let (path, rsa) = other_key(&sshd, "rsa", &["-t", "rsa"]);
        let known = file(&sshd, &format!("{} {rsa}\n", place(&sshd)));
        let now = fingerprint(sshd.host_key_path(KeyKind::Ed25519).unwrap());
        for policy in POLICIES {
            let client = client(&sshd, &known).host_key(policy);
            let error = refused(&sshd, &client, Reason::HostKeyChanged);
            holds(&error, &["never seen", &fingerprint(&path), &now, "ssh-rsa", "ssh-ed25519"]);
        }
    });
}

#[test]
fn a_host_certificate_does_not_stand_in_the_way() {
    with(Options::default(), |sshd| {
        let (ca_key, ca) = other_key(&sshd, "ca", &[]);
        let key = sshd.host_key_path(KeyKind::Ed25519).unwrap();
        let mut sign = Command::new("ssh-keygen");
        sign.args(["-q", "-h", "-I", "host", "-n", "127.0.0.1", "-s"]).arg(&ca_key);
        let signed = sign.arg(key.with_extension("pub")).output().unwrap();
        assert!(signed.status.success(), "{}", ssh::said(&signed));
        let certificate = format!("{}-cert.pub", key.display());
        let text = fs::read_to_string(sshd.folder().join("config")).unwrap();
        let text = format!("HostCertificate \"{certificate}\"\n{text}");
        fs::write(sshd.folder().join("config"), text).unwrap();
        let (line, mut sshd) = (sshd.known_hosts(), sshd);
        sshd.restart().unwrap();
        // OpenSSH is content with the authority alone, so the certificate is good.
        let authority = format!("@cert-authority * {ca}\n");
        let known = file(&sshd, &authority);
        fs::write(sshd.folder().join("known_hosts_of_test"), &authority).unwrap();
        let key = sshd.client_key(KeyKind::Ed25519).unwrap();
        let output = ssh::run(&sshd, &key, "echo in");
        assert!(output.status.success(), "{}", ssh::said(&output));
        // Here an authority is none, and the plain key is what counts.
        assert_eq!(refusal(&client(&sshd, &known)).reason(), Reason::HostKeyUnknown);
        let known = file(&sshd, &format!("{authority}{line}"));
        login(&sshd, &client(&sshd, &known));
    });
}

#[test]
fn a_name_is_known_as_a_name() {
    with(Options::default(), |sshd| {
        let (port, key) = (sshd.addr().port(), sshd.client_key(KeyKind::Ed25519).unwrap());
        // It may stand for ::1 as well, where nobody listens on this port.
        let target = format!("{}@localhost:{port}", sshd.user());
        let client = |known: &Path| {
            let client = Client::new(&target).unwrap().agent(IdentityAgent::Off);
            client.identity(&key).known_hosts(known)
        };
        let host_key = key_of(&sshd.known_hosts());
        for (name, is_known) in [("localhost", true), ("LocalHost", true), ("127.0.0.1", false)] {
            let client = client(&file(&sshd, &format!("[{name}]:{port} {host_key}\n")));
            if is_known {
                login(&sshd, &client);
            } else {
                let error = refusal(&client);
                assert_eq!(error.reason(), Reason::HostKeyUnknown);
                holds(&error, &[&format!("[localhost]:{port} is unknown")]);
            }
        }
    });
}

#[test]
fn a_file_that_cannot_be_read_lets_nobody_in() {
    with(Options::default(), |sshd| {
        // A directory: EISDIR also for root.
        for policy in POLICIES {
            let error = refusal(&client(&sshd, sshd.folder()).host_key(policy));
            assert_eq!(error.step(), Step::Settings);
            holds(&error, &["EISDIR", "hosts cannot be checked without it"]);
        }
        assert!(!sshd.log().contains("Connection from"), "{}", sshd.log());
    });
}
