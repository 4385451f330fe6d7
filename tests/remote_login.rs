//! Logging in to real servers by passwords, by answers and by several methods in a row.
#![cfg(feature = "remote")]

#[path = "support/remote.rs"]
mod remote;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use remote::{Person, client, holds, login, refusal, secret, who, with};
use ssh::or_skip;
use std::fs;
use support::{PATIENCE, watchdog};
use waitcopy::lab::sshd::{Accounts, Dropbear, KeyKind, Options, Sshd};
use waitcopy::remote::{Client, Exit, Reason, Step};

fn for_accounts(accounts: Accounts, test: impl FnOnce(Sshd) + Send + 'static) {
    with(Options { accounts, ..Options::default() }, test);
}

/// A server that wants these methods, one after the other.
fn wanting(accounts: Accounts, methods: &str, test: impl FnOnce(Sshd) + Send + 'static) {
    let authentication_methods = Some(methods.to_owned());
    with(Options { accounts, authentication_methods, ..Options::default() }, test);
}

/// Refused by the server, and in these words.
#[track_caller]
fn denied(client: &Client, words: &[&str]) {
    let error = refusal(client);
    assert_eq!((error.step(), error.reason()), (Step::Auth, Reason::Denied), "{error}");
    holds(&error, words);
}

#[test]
fn the_right_password_is_in_and_a_wrong_one_is_told() {
    for_accounts(Accounts::Password, |sshd| {
        let right = client(&sshd).password(secret(sshd.password()));
        assert_eq!(login(&sshd, &right), "password");
        let wrong = client(&sshd).password(secret("wrong"));
        let offered = "the server takes publickey, password";
        denied(&wrong, &["walter@127.0.0.1: permission denied", offered, "password: not accepted"]);
        // One try and no more: it is the same password.
        assert_eq!(sshd.log().matches("Failed password").count(), 1, "{}", sshd.log());
    });
}

#[test]
fn nothing_at_hand_says_what_to_bring() {
    for_accounts(Accounts::Password, |sshd| {
        let error = refusal(&client(&sshd));
        assert_eq!(error.reason(), Reason::Denied);
        holds(&error, &["the server takes publickey, password", "give a password"]);
    });
    with(Options::default(), |sshd| {
        let by_password = client(&sshd).password(secret("of no use"));
        denied(&by_password, &["the server takes publickey;"]);
        assert!(!sshd.log().contains("Failed password"), "{}", sshd.log());
    });
}

#[test]
fn a_person_has_three_tries_for_a_password() {
    for_accounts(Accounts::Password, |sshd| {
        let right = sshd.password().to_owned();
        let (person, asked) = Person::new(&[("password", &["wrong", "worse", &right])]);
        assert_eq!(login(&sshd, &client(&sshd).ask(person)), "password");
        let expected = [0, 1, 2].map(|attempt| format!("password {attempt} of walter@127.0.0.1"));
        assert_eq!(*asked.borrow(), expected);

        let (person, asked) = Person::new(&[("password", &["wrong", "worse", "worst", &right])]);
        let not = "password: not accepted; password: not accepted; password: not accepted";
        denied(&client(&sshd).ask(person), &[not]);
        assert_eq!(asked.borrow().len(), 3);

        // Nobody answers: that way is not taken.
        let (nobody, asked) = Person::new(&[]);
        denied(&client(&sshd).ask(nobody), &["nothing to try"]);
        assert_eq!(asked.borrow().len(), 1);
    });
}

#[test]
fn a_question_is_answered_by_a_person_or_by_the_password_at_hand() {
    for_accounts(Accounts::Pam, |sshd| {
        let right = sshd.password().to_owned();
        let (person, asked) = Person::new(&[("Password", &["wrong", &right])]);
        assert_eq!(login(&sshd, &client(&sshd).ask(person)), "keyboard-interactive");
        assert_eq!(*asked.borrow(), ["Password: ", "Password: "]);
        assert_eq!(login(&sshd, &client(&sshd).password(secret(&right))), "keyboard-interactive");
        // Both ways are told.
        let wrong = client(&sshd).password(secret("wrong"));
        denied(&wrong, &["keyboard-interactive: not accepted", "password: not accepted"]);
    });
}

#[test]
fn a_second_question_is_a_person_s() {
    for_accounts(Accounts::PamWithCode, |sshd| {
        let (password, code) = (sshd.password().to_owned(), sshd.code().to_owned());
        let by_answers = "keyboard-interactive";
        // Who does not answer is asked once by each method.
        let (nobody, asked) = Person::new(&[]);
        denied(&client(&sshd).ask(nobody), &["keyboard-interactive: not accepted"]);
        assert_eq!(*asked.borrow(), ["Password: ", "password 0 of walter@127.0.0.1"]);

        let (person, asked) = Person::new(&[("STRESS", &[&code]), ("Password", &[&password])]);
        assert_eq!(login(&sshd, &client(&sshd).ask(person)), by_answers);
        assert_eq!(*asked.borrow(), ["Password: ", "STRESS Password: "]);

        // The password at hand answers the first, and never the second.
        let (person, asked) = Person::new(&[("STRESS", &[&code])]);
        let client_of = || client(&sshd).password(secret(&password));
        assert_eq!(login(&sshd, &client_of().ask(person)), by_answers);
        assert_eq!(*asked.borrow(), ["STRESS Password: "]);
        denied(&client_of(), &["keyboard-interactive: not accepted"]);
    });
}

#[test]
fn a_key_and_then_answers() {
    let methods = "publickey,keyboard-interactive";
    wanting(Accounts::PamWithCode, methods, |sshd| {
        let (password, code) = (sshd.password().to_owned(), sshd.code().to_owned());
        let key = sshd.client_key(KeyKind::Ed25519).unwrap();
        let with_key = || client(&sshd).identity(&key);
        let (person, asked) = Person::new(&[("STRESS", &[&code]), ("Password", &[&password])]);
        assert_eq!(login(&sshd, &with_key().ask(person)), "keyboard-interactive");
        assert_eq!(*asked.borrow(), ["Password: ", "STRESS Password: "]);
        assert!(sshd.log().contains("Partial publickey for walter"), "{}", sshd.log());

        let (person, _) = Person::new(&[("STRESS", &["000"]), ("Password", &[&password])]);
        let left = "the server takes keyboard-interactive;";
        denied(&with_key().ask(person), &[left, "keyboard-interactive: not accepted"]);
        denied(&with_key(), &[left, "nothing to try"]);
        // Without the key nobody is asked anything.
        let (person, asked) = Person::new(&[("STRESS", &[&code]), ("Password", &[&password])]);
        denied(&client(&sshd).ask(person), &["the server takes publickey;"]);
        assert!(asked.borrow().is_empty());
    });
}

#[test]
fn a_key_and_then_a_password() {
    wanting(Accounts::Password, "publickey,password", |sshd| {
        let key = sshd.client_key(KeyKind::Rsa3072).unwrap();
        let both = client(&sshd).identity(&key).password(secret(sshd.password()));
        assert_eq!(login(&sshd, &both), "password");
        let wrong = client(&sshd).identity(&key).password(secret("wrong"));
        denied(&wrong, &["the server takes password;", "password: not accepted"]);
        let stranger = sshd.stranger_key(KeyKind::Ed25519).unwrap();
        let stranger = client(&sshd).identity(&stranger).password(secret(sshd.password()));
        denied(&stranger, &["the server takes publickey;", "not accepted"]);
    });
}

#[test]
fn two_keys_in_a_row() {
    wanting(Accounts::Own, "publickey,publickey", |sshd| {
        let [first, second] =
            [KeyKind::Ed25519, KeyKind::Ecdsa256].map(|kind| sshd.client_key(kind).unwrap());
        let both = client(&sshd).identity(&first).identity(&second);
        assert_eq!(login(&sshd, &both), format!("publickey {}", second.display()));
        // The same key does not count twice.
        denied(&client(&sshd).identity(&first), &["the server takes publickey;"]);
    });
}

#[test]
fn about_tells_the_server_and_its_banner() {
    let banner = Some("Authorised users only.\nNo \u{1b}[31mred\n".to_owned());
    with(Options { banner, ..Options::default() }, |sshd| {
        let key = sshd.client_key(KeyKind::Ed25519).unwrap();
        let ssh = client(&sshd).identity(&key).connect().unwrap();
        let about = ssh.about();
        // sshd itself escapes control characters in it.
        assert!(about.banner.starts_with("Authorised users only."), "{:?}", about.banner);
        assert!(about.server.starts_with("SSH-2.0-OpenSSH"), "{:?}", about.server);
        assert_eq!((&*about.host, &*about.user), ("127.0.0.1", sshd.user()));
        assert_eq!((about.peer, about.via.len()), (Some(sshd.addr()), 0));
        assert_eq!(about.methods.len(), 6, "{:?}", about.methods);
        assert_eq!(about.methods[1], "ssh-ed25519");
        assert!(about.notices.is_empty(), "{:?}", about.notices);
        assert!(sshd.known_hosts().contains(&about.host_key.to_string()));
        ssh.close().unwrap();
    });
}

#[test]
fn the_key_exchange_is_strict() {
    // CVE-2023-48795 (Terrapin): both sides must say so, and then count from 0 after the exchange.
    let extra = vec!["LogLevel DEBUG3".to_owned()];
    with(Options { extra, ..Options::default() }, |sshd| {
        let key = sshd.client_key(KeyKind::Ed25519).unwrap();
        login(&sshd, &client(&sshd).identity(&key));
        assert!(sshd.await_log("will use strict KEX ordering", PATIENCE), "{}", sshd.log());
    });
}

#[test]
fn a_server_without_a_common_algorithm_says_so_and_is_asked_once() {
    let extra = vec!["MACs umac-64@openssh.com".to_owned(), "Ciphers aes128-ctr".to_owned()];
    with(Options { extra, ..Options::default() }, |sshd| {
        let error = refusal(&client(&sshd));
        assert_eq!((error.step(), error.reason()), (Step::Handshake, Reason::Protocol), "{error}");
        holds(&error, &["exchange"]);
        assert!(sshd.await_log("no matching MAC found", PATIENCE), "{}", sshd.log());
        assert_eq!(sshd.log().matches("Connection from").count(), 1, "{}", sshd.log());
    });
}

#[test]
fn dropbear_lets_in_runs_and_copies() {
    watchdog(PATIENCE, || {
        let Some(sshd) = or_skip(Dropbear::start(&[])) else { return };
        let by_password = client(&sshd).password(secret(sshd.password()));
        assert_eq!(login(&sshd, &by_password), "password");
        denied(&client(&sshd).password(secret("wrong")), &["password: not accepted"]);
        for kind in KeyKind::ALL {
            let key = sshd.client_key(kind).unwrap();
            let by = login(&sshd, &client(&sshd).identity(&key));
            assert_eq!(by, format!("publickey {}", key.display()));
        }
        let key = sshd.client_key(KeyKind::Ed25519).unwrap();
        let ssh = client(&sshd).identity(&key).connect().unwrap();
        assert!(ssh.about().server.contains("dropbear"), "{:?}", ssh.about().server);
        let said = ssh.exec("echo out; echo err >&2; exit 3").unwrap();
        assert_eq!(
            (said.exit, &*said.stdout, &*said.stderr),
            (Exit::Status(3), &b"out\n"[..], &b"err\n"[..])
        );
        let [here, back] = ["here", "back"].map(|name| sshd.folder().join(name));
        let bytes = support::pattern(3_000_001, 5);
        fs::write(&here, &bytes).unwrap();
        assert_eq!(ssh.put(&here, "there").unwrap(), 3_000_001);
        assert!(fs::read(sshd.home().join("there")).unwrap() == bytes);
        assert_eq!(ssh.get("there", &back).unwrap(), 3_000_001);
        assert!(fs::read(&back).unwrap() == bytes);
        assert_eq!(who(&ssh), "walter");
        ssh.close().unwrap();
    });
}

#[test]
fn no_secret_is_shown() {
    for_accounts(Accounts::PamWithCode, |sshd| {
        let password = sshd.password().to_owned();
        let secrets = [&*password, "open sesame", sshd.code()];
        let shown = |text: String| {
            let found = secrets.iter().find(|secret| text.contains(**secret));
            assert_eq!(found, None, "{text}");
        };
        let (person, _) = Person::new(&[("STRESS", &[sshd.code()])]);
        let right = client(&sshd).password(secret(&password)).passphrase(secret("open sesame"));
        let right = right.ask(person);
        shown(format!("{right:?} {:?}", right.get_timeouts()));
        let ssh = right.connect().unwrap();
        shown(format!("{:?} {:?}", ssh.about(), ssh.about().clone()));
        ssh.close().unwrap();
        // A code that is none: refused after the password was taken.
        let (person, _) = Person::new(&[("STRESS", &["1234567"])]);
        let error = refusal(&right.ask(person));
        shown(format!("{error} {error:?}"));
        assert!(!format!("{error} {error:?}").contains("1234567"));
    });
}
