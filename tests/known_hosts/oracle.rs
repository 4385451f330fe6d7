//! Held against OpenSSH's own ssh-keygen.

use crate::keys::{self, Directory, ED25519, HOSTS, RSA, cases, key, parsed, text};
use crate::support::skip;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use waitcopy::remote::known_hosts::{KnownHosts, Marker, add};

/// What ssh-keygen prints, or nothing where it is not installed.
fn keygen(args: &[&str]) -> Option<String> {
    match Command::new("ssh-keygen").args(args).output() {
        Ok(output) => {
            // 1: nothing found, or a file with bad lines. All else is no answer: say why.
            let answered = matches!(output.status.code(), Some(0 | 1));
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(answered, "ssh-keygen {args:?}: {}: {said}", output.status);
            Some(String::from_utf8(output.stdout).unwrap())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => panic!("ssh-keygen: {error}"),
    }
}

/// Whether it is; skips aloud if not.
fn installed() -> bool {
    let installed = keygen(&["-?"]).is_some();
    if !installed {
        skip("ssh-keygen is not installed");
    }
    installed
}

/// The lines that `ssh-keygen -F` finds: number, marker, fingerprint. With `-l`, it reads the keys too and leaves
/// out those that are none.
fn found(file: &Path, host: &str, port: u16) -> Vec<(usize, Option<Marker>, String)> {
    let name = if port == 22 { host.to_owned() } else { format!("[{host}]:{port}") };
    let said = keygen(&["-l", "-F", &name, "-f", file.to_str().unwrap()]).unwrap();
    let said: Vec<_> = said.lines().collect();
    let entry = |pair: &[&str]| {
        let (number, marker) = pair[0].rsplit_once(" line ").unwrap().1.split_once(' ').unwrap();
        let marker = match marker {
            "CA" => Some(Marker::CertAuthority),
            "REVOKED" => Some(Marker::Revoked),
            _ => None,
        };
        (number.parse().unwrap(), marker, pair[1].split(' ').nth(2).unwrap().to_owned())
    };
    said.chunks(2).map(entry).collect()
}

#[test]
fn fingerprints_are_those_of_ssh_keygen() {
    let home = Directory::new("fingerprints");
    if !installed() {
        return;
    }
    for (algorithm, bits) in
        [("ed25519", "256"), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521"), ("rsa", "2048")]
    {
        let file = home.path(&format!("{algorithm}-{bits}"));
        let path = file.to_str().unwrap();
        keygen(&["-q", "-t", algorithm, "-b", bits, "-N", "", "-f", path]).unwrap();
        let public = text(&file.with_extension("pub"));
        let hosts = parsed(format!("h {public}"));
        let key = hosts.matching("h", 22).next().expect("an entry").key();
        assert!(public.starts_with(&key.to_string()));
        let said = keygen(&["-l", "-f", path]).unwrap();
        assert_eq!(said.split(' ').nth(1), Some(&*key.fingerprint()), "{said}");
    }
}

/// Files of all features at random: `ssh-keygen -F` finds the same lines for each name, before and after
/// `ssh-keygen -H` has hashed the names in them.
#[test]
fn ssh_keygen_finds_the_same_lines() {
    let home = Directory::new("oracle");
    let file = home.path("kh");
    if !installed() {
        return;
    }
    let compare = || -> Result<(), TestCaseError> {
        let hosts = KnownHosts::load(&[&file]).unwrap();
        for (host, port) in HOSTS {
            let matching = hosts.matching(host, port);
            let ours: Vec<_> =
                matching.map(|e| (e.place().line, e.marker(), e.key().fingerprint())).collect();
            prop_assert_eq!(ours, found(&file, host, port), "{}:{}", host, port);
        }
        Ok(())
    };
    // A dozen processes a case: a thousandth of what the others do.
    let mut config = cases(24);
    config.cases = config.cases.min(24.max(config.cases / 1000));
    let mut runner = TestRunner::new(config);
    runner
        .run(&keys::file(), |lines| {
            // A last line of a name alone and without its newline makes ssh-keygen 9.2 read on in what the line before
            // has left in its buffer (hostkeys_foreach_file steps over the terminator), and find a key there.
            fs::write(&file, lines.join("\n") + "\n").unwrap();
            compare()?;
            // It leaves a file with bad lines as it is, which is the same test once more.
            let _ = keygen(&["-H", "-f", file.to_str().unwrap()]);
            compare()
        })
        .unwrap();
}

/// And the other way round: it finds what `add` wrote.
#[test]
fn ssh_keygen_finds_what_was_added() {
    let home = Directory::new("added");
    let file = home.path("kh");
    if !installed() {
        return;
    }
    for ((line, key), (host, port)) in (1..).zip([key(RSA), key(ED25519)].iter().cycle()).zip(HOSTS)
    {
        let _ = add(&file, host, port, key, line % 3 == 0).unwrap();
        let theirs: Vec<_> = found(&file, host, port).into_iter().map(|l| (l.0, l.2)).collect();
        assert_eq!(theirs, [(line, key.fingerprint())], "{host}:{port}");
    }
}
