//! Logging in by keys: in files of every kind, in memory, and in an agent.
#![cfg(feature = "remote")]

#[path = "support/remote.rs"]
mod remote;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use remote::{Agent, Person, client, holds, login, new_key, refusal, secret, with};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use waitcopy::lab::sshd::{KeyFile, KeyKind, Options, Sshd};
use waitcopy::remote::config::IdentityAgent;
use waitcopy::remote::{Client, Reason, key_file};

const PASSPHRASE: &str = "open sesame";

fn sealed(kind: KeyKind, pem: bool) -> KeyFile {
    KeyFile { kind, pem, passphrase: Some(PASSPHRASE) }
}

fn by(key: &Path) -> String {
    format!("publickey {}", key.display())
}

/// Refused by the server, which was there to the end: no "too many authentication failures".
#[track_caller]
fn denied(sshd: &Sshd, client: &Client, words: &[&str]) {
    let error = refusal(client);
    assert_eq!(error.reason(), Reason::Denied, "{error}");
    holds(&error, words);
    assert!(!sshd.log().contains("Too many authentication failures"), "{}", sshd.log());
}

#[test]
fn every_kind_of_key_and_of_file() {
    with(Options::default(), |sshd| {
        for (kind, pem) in KeyKind::ALL.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
            let key = sshd.client_key(KeyFile { kind, pem, passphrase: None }).unwrap();
            assert_eq!(login(&sshd, &client(&sshd).identity(&key)), by(&key));
            // The public half beside it is a convenience.
            fs::remove_file(key.with_extension("pub")).unwrap();
            assert_eq!(login(&sshd, &client(&sshd).identity(&key)), by(&key));
        }
        let stranger = sshd.stranger_key(KeyKind::Ecdsa256).unwrap();
        let name = format!("{}: not accepted", stranger.display());
        denied(&sshd, &client(&sshd).identity(&stranger), &["takes publickey;", &name]);
        let missing = sshd.folder().join("missing");
        denied(&sshd, &client(&sshd).identity(&missing), &["missing", "ENOENT"]);
    });
}

#[test]
fn pkcs8_files_are_keys_too() {
    with(Options::default(), |sshd| {
        for (name, words) in
            [("rsa8", ["-t", "rsa", "-m", "PKCS8"]), ("ecdsa8", ["-t", "ecdsa", "-m", "PKCS8"])]
        {
            for passphrase in [None, Some(PASSPHRASE)] {
                let name = format!("{name}{}", passphrase.map_or("", |_| "_sealed"));
                let words = [&words[..], &["-N", passphrase.unwrap_or("")]].concat();
                let key = new_key(sshd.folder(), &name, &words);
                authorize(&sshd, &key);
                let mut client = client(&sshd).identity(&key);
                if let Some(passphrase) = passphrase {
                    client = client.passphrase(secret(passphrase));
                }
                assert_eq!(login(&sshd, &client), by(&key));
            }
        }
    });
}

/// Lets a key in that this test has made.
fn authorize(sshd: &Sshd, key: &Path) {
    sshd.client_key(KeyKind::Ed25519).unwrap();
    let list = sshd.folder().join("authorized_keys");
    let line = fs::read_to_string(key.with_extension("pub")).unwrap();
    fs::write(&list, fs::read_to_string(&list).unwrap() + &line).unwrap();
}

#[test]
fn a_passphrase_opens_a_file_and_a_wrong_one_is_told() {
    with(Options::default(), |sshd| {
        for file in [
            sealed(KeyKind::Ed25519, false),
            sealed(KeyKind::Rsa3072, false),
            sealed(KeyKind::Ecdsa256, true),
            sealed(KeyKind::Rsa3072, true),
        ] {
            let key = sshd.client_key(file).unwrap();
            let with_key = || client(&sshd).identity(&key);
            let name = key.display();
            assert_eq!(login(&sshd, &with_key().passphrase(secret(PASSPHRASE))), by(&key));
            let wrong = with_key().passphrase(secret("open barley"));
            denied(&sshd, &wrong, &[&format!("{name}: the passphrase does not open it")]);
            denied(&sshd, &with_key(), &[&format!("{name}: encrypted, and no passphrase")]);
            // A person is asked again, as OpenSSH does.
            let (person, asked) = Person::new(&[("passphrase", &["open barley", PASSPHRASE])]);
            assert_eq!(login(&sshd, &with_key().ask(person)), by(&key));
            assert_eq!(
                *asked.borrow(),
                [format!("passphrase of {name}"), format!("passphrase of {name}")]
            );
        }
        let key = sshd.client_key(sealed(KeyKind::Ed25519, false)).unwrap();
        let (person, asked) = Person::new(&[("passphrase", &["1", "2", "3", PASSPHRASE])]);
        denied(&sshd, &client(&sshd).identity(&key).ask(person), &["no passphrase that opens it"]);
        assert_eq!(asked.borrow().len(), 3);
    });
}

#[test]
fn nobody_is_asked_for_a_passphrase_that_would_be_of_no_use() {
    with(Options::default(), |sshd| {
        let stranger = sshd.stranger_key(sealed(KeyKind::Ed25519, false)).unwrap();
        let (person, asked) = Person::new(&[("passphrase", &[PASSPHRASE])]);
        let client = client(&sshd).identity(&stranger).ask(person);
        denied(&sshd, &client, &[&format!("{}: not accepted", stranger.display())]);
        assert!(asked.borrow().is_empty(), "{asked:?}");
    });
}

#[test]
fn a_key_in_memory() {
    with(Options::default(), |sshd| {
        for file in [KeyKind::Ed25519.into(), sealed(KeyKind::Ecdsa384, true)] {
            let text = fs::read_to_string(sshd.client_key(file).unwrap()).unwrap();
            let key = key_file::KeyFile::from_memory(secret(&text)).unwrap();
            let client = client(&sshd).key(key).passphrase(secret(PASSPHRASE));
            assert!(login(&sshd, &client).starts_with("publickey a key in memory"));
        }
    });
}

#[test]
fn a_private_key_that_others_may_read_is_refused() {
    with(Options::default(), |sshd| {
        let key = sshd.client_key(KeyKind::Ed25519).unwrap();
        for mode in [0o644, 0o640, 0o604] {
            fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
            let words = format!("permissions 0{mode:o} for '{}' are too open", key.display());
            denied(&sshd, &client(&sshd).identity(&key), &[&words, "chmod 600"]);
        }
        assert!(!sshd.log().contains("Accepted"), "{}", sshd.log());
        fs::set_permissions(&key, Permissions::from_mode(0o400)).unwrap();
        assert_eq!(login(&sshd, &client(&sshd).identity(&key)), by(&key));
    });
}

/// Keys that the server does not know.
fn strangers(sshd: &Sshd, count: usize) -> Vec<PathBuf> {
    (0..count).map(|n| new_key(sshd.folder(), &format!("stranger-{n}"), &[])).collect()
}

#[test]
fn an_agent_signs_with_each_kind_of_key() {
    with(Options::default(), |sshd| {
        for kind in KeyKind::ALL {
            let agent = Agent::start(&sshd);
            agent.add(&[sshd.client_key(kind).unwrap()]);
            let by = login(&sshd, &client(&sshd).agent(agent.at()));
            assert_eq!(by, "publickey agent's waitcopy", "{kind:?}");
            drop(agent);
            // One that is gone is told, and no end of it all.
            let gone = client(&sshd).agent(IdentityAgent::Socket(sshd.folder().join("agent")));
            denied(&sshd, &gone, &["agent ", "the server takes publickey;"]);
        }
    });
}

#[test]
fn an_agent_s_comment_does_not_reach_the_terminal_as_it_is() {
    with(Options::default(), |sshd| {
        let key = new_key(sshd.folder(), "odd", &["-C", "\u{1b}[31mred"]);
        let agent = Agent::start(&sshd);
        agent.add(std::slice::from_ref(&key));
        let by_agent = || client(&sshd).agent(agent.at());
        denied(&sshd, &by_agent(), &["agent's ?[31mred: not accepted"]);
        authorize(&sshd, &key);
        assert_eq!(login(&sshd, &by_agent()), "publickey agent's ?[31mred");
    });
}

#[test]
fn the_fifth_key_of_an_agent_is_tried_and_the_sixth_is_not() {
    with(Options::default(), |sshd| {
        let key = sshd.client_key(KeyKind::Ed25519).unwrap();
        let agent = Agent::start(&sshd);
        let strangers = strangers(&sshd, 19);
        agent.add(&strangers[..4]);
        agent.add(std::slice::from_ref(&key));
        let by_agent = || client(&sshd).agent(agent.at());
        assert_eq!(login(&sshd, &by_agent()), "publickey agent's waitcopy");

        // Twenty keys, and the right one is the 20th.
        let agent = Agent::start_at(sshd.folder().join("agent-20"));
        agent.add(&strangers);
        agent.add(std::slice::from_ref(&key));
        let by_agent = || client(&sshd).agent(agent.at());
        let told = [
            "agent's stranger-0: not accepted",
            "agent's stranger-4: not accepted",
            "further keys not tried",
        ];
        denied(&sshd, &by_agent(), &told);
        assert!(!refusal(&by_agent()).to_string().contains("stranger-5"));
        // Named, it is the first: by the agent, and by the agent when only its public half is a file.
        for only in [false, true] {
            let named = by_agent().identity(&key).identities_only(only);
            assert_eq!(login(&sshd, &named), "publickey agent's waitcopy");
        }
        fs::rename(&key, sshd.folder().join("elsewhere")).unwrap();
        let named = by_agent().identity(&key).identities_only(true);
        assert_eq!(login(&sshd, &named), "publickey agent's waitcopy");
        let named = by_agent().identity(key.with_extension("pub"));
        assert_eq!(login(&sshd, &named), "publickey agent's waitcopy");
        // Nothing of the agent's but what is named.
        let other = by_agent().identity(&strangers[7]).identities_only(true);
        let error = refusal(&other);
        holds(&error, &["agent's stranger-7: not accepted"]);
        assert!(!error.to_string().contains("stranger-0"), "{error}");
    });
}

#[test]
fn an_agent_that_does_not_sign_is_passed_over() {
    with(Options::default(), |sshd| {
        let agent = Agent::start(&sshd);
        // To be confirmed by a person, and there is nobody to ask.
        agent.add_with(&["-c"], &[sshd.client_key(KeyKind::Ed25519).unwrap()]);
        let by_agent = || client(&sshd).agent(agent.at());
        let error = refusal(&by_agent());
        denied(&sshd, &by_agent(), &["agent's waitcopy: the agent refused to sign"]);
        // The server has refused nothing.
        assert!(!error.to_string().contains("not accepted"), "{error}");
        agent.add(&[sshd.client_key(KeyKind::Ecdsa256).unwrap()]);
        assert_eq!(login(&sshd, &by_agent()), "publickey agent's waitcopy");
    });
}

#[test]
fn five_refused_keys_leave_the_password_its_try() {
    let accounts = waitcopy::lab::sshd::Accounts::Password;
    with(Options { accounts, ..Options::default() }, |sshd| {
        let agent = Agent::start(&sshd);
        agent.add(&strangers(&sshd, 8));
        let by_agent = || client(&sshd).agent(agent.at());
        assert_eq!(login(&sshd, &by_agent().password(secret(sshd.password()))), "password");
        let error = refusal(&by_agent().password(secret("wrong")));
        assert_eq!(error.reason(), Reason::Denied, "{error}");
        holds(&error, &["further keys not tried", "password: not accepted"]);
    });
}

#[test]
fn a_server_that_hangs_up_sooner_is_explained() {
    let extra = vec!["MaxAuthTries 3".to_owned()];
    with(Options { extra, ..Options::default() }, |sshd| {
        let agent = Agent::start(&sshd);
        agent.add(&strangers(&sshd, 4));
        let error = refusal(&client(&sshd).agent(agent.at()));
        assert_eq!(error.reason(), Reason::Disconnected, "{error}");
        holds(&error, &["MaxAuthTries", "name the key to use"]);
    });
}
