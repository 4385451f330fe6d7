//! What the remote finds in the home of the user: key files, known hosts, and OpenSSH's configuration.
//!
//! The home is the one in the password database, as for OpenSSH. So each test is run again in a process whose database
//! is a file of its own: `/etc/passwd` of a mount namespace.
#![cfg(feature = "remote")]

#[path = "support/remote.rs"]
mod remote;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use remote::{holds, login, refusal, with};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::skip;
use waitcopy::lab::sshd::{KeyKind, Options, Sshd};
use waitcopy::remote::{Client, Reason, Step};

const HOME: &str = "WAITCOPY_TEST_HOME";

/// Runs `body` with a server in a process whose user's home holds an empty `.ssh`, which `body` gets.
fn at_home(test: &str, body: fn(&Sshd, &Path)) {
    if let Some(home) = std::env::var_os(HOME) {
        return with(Options::default(), move |sshd| body(&sshd, &Path::new(&home).join(".ssh")));
    }
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return skip("only root can give a process another home");
    }
    let home = support::scratch(test);
    fs::create_dir_all(home.join(".ssh")).unwrap();
    let place = home.display();
    let passwd = format!("root:x:0:0::{place}:/bin/sh\nsshd:x:60501:60501::/:/bin/false\n");
    fs::write(home.join("passwd"), passwd).unwrap();
    let script = "mount --bind \"$1/passwd\" /etc/passwd && exec \"$2\" --exact \"$3\" --nocapture";
    let mut again = Command::new("unshare");
    again.args(["--mount", "sh", "-c", script, "sh"]).arg(&home);
    again.arg(std::env::current_exe().unwrap()).arg(test).env(HOME, &home);
    let output = again.env_remove("SSH_AUTH_SOCK").output().unwrap();
    fs::remove_dir_all(&home).unwrap();
    let said = ssh::said(&output);
    if said.contains("unshare: ") || said.contains("mount: ") {
        return skip(&said);
    }
    assert!(said.contains("1 passed"), "{said}");
    // What it skipped is said here too.
    said.lines().filter(|line| line.starts_with("SKIPPED")).for_each(|line| eprintln!("{line}"));
}

/// A key under another name.
fn place(key: &Path, folder: &Path, name: &str) -> PathBuf {
    fs::copy(key, folder.join(name)).unwrap();
    folder.join(name)
}

fn target(sshd: &Sshd) -> String {
    format!("{}@127.0.0.1:{}", sshd.user(), sshd.addr().port())
}

#[test]
fn the_usual_key_files_in_their_order() {
    at_home("the_usual_key_files_in_their_order", |sshd, folder| {
        fs::write(folder.join("known_hosts"), sshd.known_hosts()).unwrap();
        let new = || Client::new(&target(sshd)).unwrap();
        let error = refusal(&new());
        assert_eq!(error.reason(), Reason::Denied);
        holds(&error, &["nothing to try", "name a key"]);
        // OpenSSH's order, and a file that is not there is no news.
        let stranger = sshd.stranger_key(KeyKind::Rsa3072).unwrap();
        let first = place(&stranger, folder, "id_rsa");
        holds(&refusal(&new()), &[&format!("; {}: not accepted", first.display())]);
        let third = place(&sshd.client_key(KeyKind::Ed25519).unwrap(), folder, "id_ed25519");
        let by = |path: &Path| format!("publickey {}", path.display());
        assert_eq!(login(sshd, &new()), by(&third));
        assert_eq!(login(sshd, &Client::from_config(&target(sshd)).unwrap()), by(&third));
        let second = place(&sshd.client_key(KeyKind::Ecdsa256).unwrap(), folder, "id_ecdsa");
        assert_eq!(login(sshd, &new()), by(&second));
        // A name that is asked for takes the place of the usual ones.
        let stranger = sshd.stranger_key(KeyKind::Ecdsa384).unwrap();
        let error = refusal(&new().identity(&stranger));
        assert!(!error.to_string().contains("id_"), "{error}");
    });
}

#[test]
fn the_usual_known_hosts_files() {
    at_home("the_usual_known_hosts_files", |sshd, folder| {
        let key = sshd.client_key(KeyKind::Ed25519).unwrap();
        let client = Client::new(&target(sshd)).unwrap().identity(key);
        let first = folder.join("known_hosts");
        assert_eq!(refusal(&client).reason(), Reason::HostKeyUnknown);
        holds(&refusal(&client), &[&format!("accept-new saves it to {}", first.display())]);
        for name in ["known_hosts2", "known_hosts"] {
            fs::write(folder.join(name), sshd.known_hosts()).unwrap();
            login(sshd, &client);
            fs::remove_file(folder.join(name)).unwrap();
        }
    });
}

#[test]
fn what_openssh_s_configuration_says() {
    at_home("what_openssh_s_configuration_says", |sshd, folder| {
        let (user, port) = (sshd.user(), sshd.addr().port());
        let key = place(&sshd.client_key(KeyKind::Ecdsa521).unwrap(), folder, "of_the_machine");
        let config = format!(
            "Host machine far\n HostName 127.0.0.1\n User {user}\n Port {port}\n\
            Host machine\n IdentityFile ~/.ssh/of_the_machine\n HashKnownHosts yes\n Compression yes\n\
            UserKnownHostsFile ~/.ssh/machines\n StrictHostKeyChecking accept-new\n\
            Host far\n BindAddress 127.0.0.9\n"
        );
        fs::write(folder.join("config"), config).unwrap();
        let machine = || Client::from_config("machine").unwrap();
        assert_eq!(login(sshd, &machine()), format!("publickey {}", key.display()));
        // Saved where it says and as it says; the second time it is known.
        let saved = fs::read_to_string(folder.join("machines")).unwrap();
        assert!(saved.starts_with("|1|") && saved.lines().count() == 1, "{saved}");
        let ssh = machine().connect().unwrap();
        assert!(ssh.about().notices.is_empty(), "{:?}", ssh.about().notices);
        assert_eq!((&*ssh.about().host, &*ssh.about().user), ("machine", user));
        ssh.close().unwrap();
        assert_eq!(fs::read_to_string(folder.join("machines")).unwrap(), saved);
        // What cannot be done is refused, and not left out.
        let error = refusal(&Client::from_config("far").unwrap());
        assert_eq!((error.step(), error.reason()), (Step::Settings, Reason::Usage));
        holds(&error, &["BindAddress 127.0.0.9", "not supported"]);
        // Without the configuration the name is no host's.
        assert_eq!(Client::new("root@machine").unwrap().user(), "root");
    });
}
