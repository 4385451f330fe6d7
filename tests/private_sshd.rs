//! The private SSH server under the real clients: it lets in whom it should, and leaves nothing.
#![cfg(feature = "remote")]

#[path = "support/ordinary.rs"]
mod ordinary;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use ordinary::{again, root};
use ssh::{answering, gone, mounts_of, only, or_skip, paramiko, run, said, sftp};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::{PATIENCE, skip, state, until, watchdog};
use waitcopy::lab::sshd::{
    Accounts, Dropbear, KeyFile, KeyKind, Options, Sftp, Sshd, StartError, sftp_server,
};

/// A test with its server, under a watchdog.
fn with(options: Options, test: impl FnOnce(Sshd) + Send + 'static) {
    watchdog(PATIENCE, move || {
        if let Some(sshd) = or_skip(Sshd::start(options)) {
            test(sshd);
        }
    });
}

fn for_accounts(accounts: Accounts, test: impl FnOnce(Sshd) + Send + 'static) {
    with(Options { accounts, ..Options::default() }, test);
}

fn out(output: &std::process::Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Starts a command in a session that goes on until it is killed, and tells its process number.
fn endless(sshd: &Sshd, words: &str) -> (std::process::Child, u32) {
    let key = sshd.client_key(KeyKind::Ed25519).unwrap();
    let mut client = ssh::ssh(sshd);
    client.arg("-i").arg(key).arg(words).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut client = client.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(client.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (client, line.trim().parse().unwrap())
}

#[test]
fn a_known_key_logs_in_and_a_stranger_s_does_not() {
    with(Options::default(), |sshd| {
        let key = sshd.client_key(KeyKind::Ed25519).unwrap();
        let output = run(&sshd, &key, "echo $HOME; id -un");
        let expected = format!("{}\n{}\n", sshd.home().display(), sshd.user());
        assert_eq!(out(&output), expected);
        let stranger = sshd.stranger_key(KeyKind::Ed25519).unwrap();
        let refused = run(&sshd, &stranger, "true");
        assert_eq!(refused.status.code(), Some(255), "{}", said(&refused));
        assert!(said(&refused).contains("Permission denied"), "{}", said(&refused));
        assert!(sshd.await_log("Accepted publickey", PATIENCE), "{}", sshd.log());
        assert!(!sshd.await_log("Accepted password", Duration::ZERO));
    });
}

#[test]
fn every_kind_of_key_serves_host_and_client() {
    let options = Options { host_keys: KeyKind::ALL.to_vec(), ..Options::default() };
    with(options, |sshd| {
        assert_eq!(sshd.known_hosts().lines().count(), KeyKind::ALL.len());
        for kind in KeyKind::ALL {
            let key = sshd.client_key(kind).unwrap();
            let line = sshd.known_hosts_line(kind).unwrap();
            let algorithm = line.split(' ').nth(1).unwrap().replace("ssh-rsa", "rsa-sha2-512");
            let mut client = ssh::ssh(&sshd);
            client.arg("-o").arg(format!("HostKeyAlgorithms={algorithm}"));
            let output = client.arg("-i").arg(key).arg("echo in").output().unwrap();
            assert_eq!(out(&output), "in\n", "{kind:?}");
        }
    });
}

#[test]
fn a_key_file_may_be_pem_or_need_a_passphrase() {
    with(Options::default(), |sshd| {
        let sealed = |kind, pem| KeyFile { kind, pem, passphrase: Some("open sesame") };
        let head = |file: KeyFile| fs::read_to_string(sshd.client_key(file).unwrap()).unwrap();
        let pem = KeyFile { kind: KeyKind::Ecdsa256, pem: true, passphrase: None };
        assert!(head(pem).starts_with("-----BEGIN EC PRIVATE KEY-----"));
        assert!(head(sealed(KeyKind::Ecdsa256, true)).contains("ENCRYPTED"));
        let key = sshd.client_key(sealed(KeyKind::Ed25519, false)).unwrap();
        for (answer, enters) in [("open sesame", true), ("open barley", false)] {
            let mut client = ssh::ssh(&sshd);
            client.arg("-i").arg(&key).arg("true");
            let output = answering(client, &sshd, &[("passphrase", answer)]).output().unwrap();
            assert_eq!(output.status.success(), enters, "{}", said(&output));
        }
    });
}

fn put_and_get(sshd: &Sshd) {
    let key = sshd.client_key(KeyKind::Ed25519).unwrap();
    let [near, back] = ["near", "back"].map(|name| sshd.folder().join(name));
    let bytes = support::pattern(300_000, 1);
    fs::write(&near, &bytes).unwrap();
    let mut client = sftp(sshd, &key);
    client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = client.spawn().unwrap();
    let mut orders = client.stdin.take().unwrap();
    write!(orders, "put {0} far\nget far {1}\n", near.display(), back.display()).unwrap();
    drop(orders);
    let output = client.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(fs::read(sshd.home().join("far")).unwrap(), bytes);
    assert_eq!(fs::read(back).unwrap(), bytes);
}

#[test]
fn sftp_puts_into_the_home_and_gets_from_it() {
    with(Options::default(), |sshd| put_and_get(&sshd));
    for_accounts(Accounts::Password, |sshd| put_and_get(&sshd));
}

#[test]
fn sftp_by_the_program_of_its_own() {
    let Some(server) = sftp_server() else { return skip("no sftp-server") };
    let server = Sftp::Command(server.display().to_string());
    let options = Options { accounts: Accounts::Password, sftp: server, ..Options::default() };
    with(options, |sshd| put_and_get(&sshd));
}

/// Logs in with answers to questions, by these ways alone.
fn by_answers(sshd: &Sshd, methods: &str, answers: &[(&str, &str)]) -> std::process::Output {
    let mut client = only(ssh::ssh(sshd), methods);
    if methods.contains("publickey") {
        client.arg("-i").arg(sshd.client_key(KeyKind::Ed25519).unwrap());
    }
    answering(client, sshd, answers).arg("id -un").output().unwrap()
}

fn enters(sshd: &Sshd, methods: &str, answers: &[(&str, &str)]) {
    assert_eq!(out(&by_answers(sshd, methods, answers)), format!("{}\n", sshd.user()));
}

fn refused(sshd: &Sshd, methods: &str, answers: &[(&str, &str)]) {
    let output = by_answers(sshd, methods, answers);
    assert_eq!(output.status.code(), Some(255), "{}", said(&output));
    assert!(said(&output).contains("Permission denied"), "{}", said(&output));
}

#[test]
fn a_password_logs_in_and_a_wrong_one_does_not() {
    for_accounts(Accounts::Password, |sshd| {
        enters(&sshd, "password", &[("password", sshd.password())]);
        refused(&sshd, "password", &[("password", "wrong")]);
        // sshd without PAM has nothing to ask by.
        refused(&sshd, "keyboard-interactive", &[("assword", sshd.password())]);
        assert!(sshd.await_log("Failed password for walter", PATIENCE), "{}", sshd.log());
    });
}

#[test]
fn keyboard_interactive_asks_for_the_password() {
    for_accounts(Accounts::Pam, |sshd| {
        enters(&sshd, "keyboard-interactive", &[("Password", sshd.password())]);
        refused(&sshd, "keyboard-interactive", &[("Password", "wrong")]);
        enters(&sshd, "password", &[("password", sshd.password())]);
    });
}

#[test]
fn keyboard_interactive_asks_for_a_password_and_a_code() {
    for_accounts(Accounts::PamWithCode, |sshd| {
        let answers = |password, code| [("STRESS", code), ("Password", password)];
        let way = "keyboard-interactive";
        enters(&sshd, way, &answers(sshd.password(), sshd.code()));
        refused(&sshd, way, &answers(sshd.password(), "000"));
        refused(&sshd, way, &answers("wrong", sshd.code()));
    });
}

#[test]
fn a_key_and_then_keyboard_interactive() {
    let methods = Some("publickey,keyboard-interactive".to_owned());
    let accounts = Accounts::PamWithCode;
    with(Options { accounts, authentication_methods: methods, ..Options::default() }, |sshd| {
        let answers = [("STRESS", sshd.code()), ("Password", sshd.password())];
        enters(&sshd, "publickey,keyboard-interactive", &answers);
        refused(&sshd, "publickey", &answers);
        refused(&sshd, "keyboard-interactive", &answers);
    });
}

#[test]
fn dropbear_serves_the_same_clients() {
    watchdog(PATIENCE, || {
        let Some(sshd) = or_skip(Dropbear::start(&[])) else { return };
        let key = sshd.client_key(KeyKind::Ed25519).unwrap();
        let expected = format!("walter\n{}\n", sshd.home().display());
        assert_eq!(out(&run(&sshd, &key, "id -un; echo $HOME")), expected);
        enters(&sshd, "password", &[("password", sshd.password())]);
        refused(&sshd, "password", &[("password", "wrong")]);
        put_and_get(&sshd);
        ends_with_everything(sshd);
    });
}

#[test]
fn paramiko_logs_in() {
    for_accounts(Accounts::Password, |sshd| {
        let Some(python) = paramiko() else { return };
        let script = "import paramiko, sys\n\
            ssh = paramiko.SSHClient()\n\
            ssh.load_host_keys(sys.argv[4])\n\
            ssh.connect('127.0.0.1', int(sys.argv[1]), sys.argv[2], sys.argv[3], look_for_keys=False, allow_agent=False)\n\
            print(ssh.exec_command('id -un')[1].read().decode(), end='')\n\
            ssh.close()\n";
        let known = sshd.folder().join("known");
        fs::write(&known, sshd.known_hosts()).unwrap();
        let mut client = Command::new(python);
        client.args(["-c", script, &sshd.addr().port().to_string(), sshd.user(), sshd.password()]);
        assert_eq!(out(&client.arg(known).output().unwrap()), "walter\n");
    });
}

#[test]
fn the_system_knows_nothing_of_the_account() {
    let records = || {
        let length = |path| fs::metadata(path).map_or(0, |file| file.len());
        ["/var/log/wtmp", "/var/log/btmp", "/var/log/lastlog", "/run/utmp", "/run/sshd"].map(length)
    };
    for_accounts(Accounts::Password, move |sshd| {
        let before = records();
        refused(&sshd, "password", &[("password", "wrong")]);
        let mut client = ssh::ssh(&sshd);
        client.arg("-i").arg(sshd.client_key(KeyKind::Ed25519).unwrap()).args(["-tt", "id -un"]);
        assert!(out(&client.output().unwrap()).contains("walter"));
        assert_eq!(records(), before, "a login or a failure was recorded");
        assert!(!fs::read_to_string("/etc/passwd").unwrap().contains("walter"));
        let found = Command::new("getent").args(["passwd", "walter"]).output().unwrap();
        assert_eq!(found.status.code(), Some(2), "{}", said(&found));
        assert_eq!(mounts_of(sshd.folder()), 0);
    });
}

#[test]
fn an_account_is_refused_to_an_ordinary_user() {
    if root() {
        // Nothing is refused to root, unless it lacks mounts; then that is said.
        return with(Options::default(), |_| {
            let (output, left) = again("an_account_is_refused_to_an_ordinary_user");
            assert!(said(&output).contains("1 passed"), "{}", said(&output));
            assert_eq!(left, 2, "a folder is left");
        });
    }
    let refusal = Sshd::start(Options { accounts: Accounts::Password, ..Options::default() });
    let Err(StartError::Unavailable(why)) = refusal else { panic!("{refusal:?}") };
    assert!(why.starts_with("only root"), "{why}");
    a_known_key_logs_in_and_a_stranger_s_does_not();
}

/// Drops a server with a session and an orphan, and looks for what is left.
fn ends_with_everything(sshd: Sshd) {
    let (mut client, process) = endless(&sshd, "echo $$; exec sleep 1000");
    // Its session ends at once, it does not.
    let orphan = "setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo $!";
    let (mut other, orphan) = endless(&sshd, orphan);
    other.wait().unwrap();
    let (folder, listener) = (sshd.folder().to_owned(), sshd.process());
    let sessions: Vec<u32> = sshd.sessions().into_iter().flat_map(|s| s.processes()).collect();
    assert!(sessions.contains(&process), "{sessions:?} {process}");
    assert!(!gone(orphan) && folder.exists());
    drop(sshd);
    assert!(!folder.exists());
    for process in sessions.into_iter().chain([listener, orphan, process]) {
        until("a process is gone", || gone(process));
    }
    assert_eq!(mounts_of(&folder), 0);
    client.wait().unwrap();
}

#[test]
fn nothing_is_left_after_drop() {
    with(Options::default(), ends_with_everything);
    for_accounts(Accounts::Password, ends_with_everything);
}

#[test]
fn nothing_is_left_after_a_panic() {
    with(Options::default(), |sshd| {
        let (folder, listener) = (sshd.folder().to_owned(), sshd.process());
        let panicked = std::thread::spawn(move || {
            let _held = sshd;
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        assert!(panicked.join().is_err());
        assert!(!folder.exists() && gone(listener));
    });
}

#[test]
fn nothing_is_left_when_the_parent_is_killed() {
    const CHILD: &str = "WAITCOPY_TEST_KILLED_PARENT";
    let test = "nothing_is_left_when_the_parent_is_killed";
    if std::env::var_os(CHILD).is_some() {
        // The killed one: says what it has made, and waits for its end.
        return with(Options::default(), |sshd| {
            let (_client, process) = endless(&sshd, "echo $$; exec sleep 1000");
            println!("\nmade {} {} {process}", sshd.folder().display(), sshd.process());
            let _ = std::io::stdin().read(&mut [0]);
        });
    }
    watchdog(PATIENCE, move || {
        // Where there can be no server, this is where it is said.
        if or_skip(Sshd::start(Options::default())).is_none() {
            return;
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture"]).env(CHILD, "1");
        let mut parent = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(parent.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut made = lines.filter_map(|line| line.strip_prefix("made ").map(str::to_owned));
        let made = made.next().expect("the child's server");
        let mut words = made.split(' ');
        let folder = Path::new(words.next().unwrap());
        let processes: Vec<u32> = words.map(|word| word.parse().unwrap()).collect();
        assert!(folder.exists() && processes.iter().all(|&process| !gone(process)));
        parent.kill().unwrap();
        parent.wait().unwrap();
        until("folder and processes are gone", || {
            !folder.exists() && processes.iter().all(|&process| gone(process))
        });
    });
}

#[test]
fn a_stopped_session_stands_still_and_a_killed_one_ends_the_client() {
    for_accounts(Accounts::Password, |sshd| {
        let (mut client, process) = endless(&sshd, "echo $$; exec sleep 1000");
        let session = sshd.sessions()[0];
        session.stop();
        assert!(session.processes().iter().all(|&process| state(process) == 'T'));
        session.resume();
        until("it goes on", || session.processes().iter().all(|&process| state(process) != 'T'));
        sshd.kill_sessions();
        assert_eq!(client.wait().unwrap().code(), Some(255));
        until("the command is gone", || gone(process));
        // The others never noticed.
        let key = sshd.client_key(KeyKind::Ed25519).unwrap();
        assert_eq!(out(&run(&sshd, &key, "echo on")), "on\n");
    });
}

#[test]
fn another_host_key_on_the_same_port() {
    with(Options::default(), |mut sshd| {
        let key = sshd.client_key(KeyKind::Ed25519).unwrap();
        let (addr, before) = (sshd.addr(), sshd.known_hosts());
        assert_eq!(out(&run(&sshd, &key, "echo in")), "in\n");
        sshd.stop().unwrap();
        assert!(TcpStream::connect(addr).is_err());
        // Nobody else is given the port meanwhile.
        let others: Vec<_> = (0..500).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        assert!(others.iter().all(|other| other.local_addr().unwrap() != addr));
        sshd.restart().unwrap();
        assert_eq!(out(&run(&sshd, &key, "echo in")), "in\n");
        sshd.replace_host_keys().unwrap();
        assert_eq!(sshd.addr(), addr);
        assert_ne!(sshd.known_hosts(), before);
        let output = run(&sshd, &key, "true");
        assert!(said(&output).contains("IDENTIFICATION HAS CHANGED"), "{}", said(&output));
    });
}

#[test]
fn a_server_that_cannot_start_says_why() {
    watchdog(PATIENCE, || {
        let extra = vec!["NoSuchKeyword yes".to_owned()];
        match Sshd::start(Options { extra, ..Options::default() }) {
            Err(StartError::Failed(why)) => assert!(why.contains("NoSuchKeyword"), "{why}"),
            Err(StartError::Unavailable(why)) => skip(&why),
            Ok(_) => panic!("it started"),
        }
    });
}
