//! `waitcopy remote`: passwords, host keys, copy-id, what a signal breaks off, the demonstration.
#![cfg(feature = "remote")]

#[path = "support/remote_cli.rs"]
mod remote_cli;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use remote_cli::{Remote, Said, names, said};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;
use support::{PATIENCE, WAITCOPY, watchdog};
use waitcopy::json::Value;
use waitcopy::lab::sshd::{Accounts, KeyKind, Options};
use waitcopy::sys::{self, SIGHUP, SIGINT, SIGTERM};

const SOON: Duration = Duration::from_secs(10);

fn for_accounts(accounts: Accounts, test: impl FnOnce(Remote) + Send + 'static) {
    watchdog(PATIENCE, move || {
        if let Some(remote) = Remote::start(Options { accounts, ..Options::default() }) {
            test(remote);
        }
    });
}

/// `exec HOST -- CMD` by the password that a pipe brings.
fn by_fd(remote: &Remote, flags: &[&str], password: &str, words: &str) -> Command {
    let mut program = remote.bare("exec");
    program.args(["--password-fd", "3"]).args(flags).arg(remote.host()).args(["--", words]);
    let mut shell = Command::new("sh");
    // The shell opens the descriptor; what it reads from is a file of the test's.
    static FILES: AtomicU32 = AtomicU32::new(0);
    let file = remote.here(&format!("password{}", FILES.fetch_add(1, Relaxed)));
    fs::write(&file, format!("{password}\nnot this line\n")).unwrap();
    shell.args(["-c", "exec \"$@\" 3<\"$0\""]).arg(&file).arg(program.get_program());
    shell.args(program.get_args());
    shell.env_remove("SSH_AUTH_SOCK").env_remove("SSH_ASKPASS").stdin(Stdio::null());
    shell
}

/// The program on a terminal of its own, where this question gets this answer.
fn on_a_terminal(program: &Command, prompt: &str, answer: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/terminal.py"));
    command.args([prompt, answer, "--"]).arg(program.get_program()).args(program.get_args());
    command.env_remove("SSH_AUTH_SOCK").env_remove("SSH_ASKPASS").stdin(Stdio::null());
    command
}

#[test]
fn a_password_comes_by_a_descriptor() {
    for_accounts(Accounts::Password, |remote| {
        let password = remote.sshd.password();
        assert_eq!(said(&mut by_fd(&remote, &[], password, "echo hi")).well().text(), "hi\n");
        let wrong = said(&mut by_fd(&remote, &[], "wrong", "echo hi"));
        wrong.failed(
            255,
            &["permission denied", "the server takes publickey,", "password: not accepted"],
        );
        let none = said(remote.bare("exec").args(["--password-fd", "77", &remote.host(), "true"]));
        none.failed(2, &["--password-fd 77: bad file descriptor (EBADF)"]);
        let both =
            said(remote.bare("exec").args(["--password-fd", "0", "--ask-password", "h", "true"]));
        both.failed(2, &["one of them"]);
        // From standard input only the first line is taken: the rest is the command's.
        let mut command = remote.bare("exec");
        command.args(["--password-fd", "0", &remote.host(), "--", "cat"]).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        write!(child.stdin.take().unwrap(), "{password}\nthe rest\n").unwrap();
        assert_eq!(Said::of(child.wait_with_output().unwrap()).well().text(), "the rest\n");
    });
}

#[test]
fn a_password_is_asked_for_on_the_terminal() {
    for_accounts(Accounts::Password, |remote| {
        let password = remote.sshd.password();
        let program = |flags: &[&str]| {
            let mut program = remote.bare("exec");
            program.args(flags).args([&remote.host(), "--", "echo it is $((6 * 7))"]);
            program
        };
        let prompt = format!("{}@127.0.0.1's password: ", remote.sshd.user());
        let run = said(&mut on_a_terminal(&program(&["--ask-password"]), &prompt, password)).well();
        assert!(run.text().contains("it is 42") && !run.text().contains(password), "{run:?}");
        // Without the flag too, once no key is taken.
        let stranger = remote.sshd.stranger_key(KeyKind::Ed25519).unwrap();
        let by_key = program(&["--identity", stranger.to_str().unwrap()]);
        let run = said(&mut on_a_terminal(&by_key, &prompt, password)).well();
        assert!(run.text().contains("it is 42"), "{run:?}");
        // ^C is no answer; the script checks that the terminal shows again what is typed.
        let run = said(&mut on_a_terminal(&program(&["--ask-password"]), &prompt, "^C"));
        run.failed(130, &[]);
        // Nobody there to ask.
        let mut alone = Command::new("setsid");
        let asking = program(&["--ask-password"]);
        alone.arg("-w").arg(asking.get_program()).args(asking.get_args()).env_remove("SSH_ASKPASS");
        said(alone.stdin(Stdio::null())).failed(2, &["there is no terminal to ask on"]);
        let script = remote.here("askpass");
        fs::write(
            &script,
            format!("#!/bin/sh\ncase $1 in *password:*) echo '{password}';; esac\n"),
        )
        .unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
        let run = said(alone.env("SSH_ASKPASS", &script));
        assert_eq!(run.well().text(), "it is 42\n");
    });
}

#[test]
fn passphrases_and_questions_are_asked_for() {
    for_accounts(Accounts::PamWithCode, |remote| {
        let key = waitcopy::lab::sshd::KeyFile {
            passphrase: Some("open sesame"),
            ..KeyKind::Ed25519.into()
        };
        let key = remote.sshd.client_key(key).unwrap();
        let mut program = remote.bare("exec");
        program.arg("--identity").arg(&key).args([&remote.host(), "--", "echo it is $((6 * 7))"]);
        let prompt = format!("Enter passphrase for key '{}': ", key.display());
        let run = said(&mut on_a_terminal(&program, &prompt, "open sesame")).well();
        assert!(run.text().contains("it is 42") && !run.text().contains("sesame"), "{run:?}");
        // The password at hand answers the first question, a person the second.
        let script = remote.here("askpass");
        let code = remote.sshd.code();
        fs::write(&script, format!("#!/bin/sh\ncase $1 in *STRESS*) echo '{code}';; esac\n"))
            .unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
        let mut command = by_fd(&remote, &[], remote.sshd.password(), "echo in");
        command.env("SSH_ASKPASS", &script).env("SSH_ASKPASS_REQUIRE", "force");
        assert_eq!(said(&mut command).well().text(), "in\n");
    });
}

/// It is read from its descriptor and nowhere written, not by the ssh that is asked for the configuration either.
#[test]
fn a_password_is_nowhere_to_be_seen() {
    for_accounts(Accounts::Password, |remote| {
        if !support::strace_works() {
            return;
        }
        let password = remote.sshd.password().to_owned();
        let trace = remote.here("trace");
        let program = by_fd(&remote, &["--json", "--phases"], &password, "cat /proc/self/environ");
        let mut command = Command::new("strace");
        command.args(["-f", "-s", "100000", "-v", "-o"]).arg(&trace);
        command.arg(program.get_program()).args(program.get_args()).stdin(Stdio::null());
        let run = said(&mut command).well();
        assert!(!run.text().contains(&password));
        let trace = fs::read_to_string(&trace).unwrap();
        assert!(trace.contains("execve(") && trace.contains("\"-G\""), "no ssh -G in it");
        // Byte by byte, so that nothing behind its line is taken.
        let read: String = trace
            .lines()
            .filter_map(|line| {
                line.split_once("read(")?.1.split_once("\"")?.1.split_once("\", 1) ")
            })
            .map(|(byte, _)| byte)
            .collect();
        assert!(read.contains(&password), "the trace shows what is read");
        for line in trace.lines() {
            assert!(!line.contains(&password), "{line}");
        }
    });
}

#[test]
fn an_unknown_host_is_refused_and_a_changed_one_always() {
    for_accounts(Accounts::Own, |mut remote| {
        // Without the comment that stands behind the key.
        let known = fs::read_to_string(&remote.known).unwrap();
        let known = known.trim_end().rsplit_once(' ').unwrap().0.to_owned() + "\n";
        let shown = |remote: &Remote| {
            let path = remote.sshd.host_key_path(KeyKind::Ed25519).unwrap().with_extension("pub");
            let output = said(Command::new("ssh-keygen").arg("-lf").arg(path));
            output.text().split(' ').nth(1).unwrap().to_owned()
        };
        let first = shown(&remote);
        fs::write(&remote.known, "# a remark\n").unwrap();
        remote
            .exec(&[], "true")
            .failed(255, &["host key:", "is unknown", &first, "accept-new saves it"]);
        remote.exec(&["--host-key", "warn"], "true").failed(0, &["taken at its word", &first]);
        assert_eq!(fs::read_to_string(&remote.known).unwrap(), "# a remark\n");
        remote.exec(&["--host-key", "accept-new"], "true").failed(0, &["saved to"]);
        assert_eq!(fs::read_to_string(&remote.known).unwrap(), format!("# a remark\n{known}"));
        remote.exec(&[], "true").well();
        remote.sshd.replace_host_keys().unwrap();
        let second = shown(&remote);
        assert_ne!(first, second);
        let place = format!("{}:2 holds", remote.known.display());
        let logins = || remote.sshd.log().matches(" publickey for ").count();
        let before = logins();
        assert!(before > 0, "the log tells of logins");
        for policy in ["reject", "accept-new", "warn"] {
            let run = remote.exec(&["--host-key", policy], "true");
            run.failed(255, &["has changed", &first, &second, &place, "ssh-keygen -R"]);
        }
        // Before any authentication, a try that is refused included.
        assert!(remote.sshd.await_log("[preauth]", SOON));
        assert_eq!(logins(), before);
        let json = remote.exec(&["--json"], "true").json();
        assert_eq!(json.get("error.reason"), Some(&"host key changed".into()));
        assert_eq!(json.get("error.step"), Some(&"host key".into()));
    });
}

#[test]
fn an_alias_of_the_configuration_is_a_host() {
    for_accounts(Accounts::Own, |remote| {
        let config = remote.here("config");
        let (addr, user) = (remote.sshd.addr(), remote.sshd.user());
        let (key, known) = (remote.key.display(), remote.known.display());
        let text = format!(
            "Host box\n HostName {}\n Port {}\n User {user}\n IdentityFile {key}\n UserKnownHostsFile {known}\n",
            addr.ip(),
            addr.port()
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new(WAITCOPY);
        command.args(["remote", "exec", "--config"]).arg(&config).args(["box", "--", "echo hi"]);
        command.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
        assert_eq!(said(&mut command).well().text(), "hi\n");
        fs::write(&config, "Host box\n BindAddress 127.0.0.9\n").unwrap();
        said(&mut command).failed(2, &["BindAddress 127.0.0.9, which is not supported yet"]);
        fs::write(&config, "Nonsense yes\n").unwrap();
        said(&mut command).failed(78, &["nonsense", "line 1"]);
    });
}

/// A server that looks for keys where ssh-copy-id puts them.
fn with_keys_at_home() -> Option<Remote> {
    let extra = vec!["AuthorizedKeysFile .ssh/authorized_keys".to_owned()];
    Remote::start(Options { accounts: Accounts::Password, extra, ..Options::default() })
}

fn copy_id(remote: &Remote, key: &Path) -> Said {
    let mut command = by_fd(remote, &[], remote.sshd.password(), "");
    // The same words with another verb, and no command.
    let words: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
    let words =
        words.iter().map(|word| if word == "exec" { "copy-id".into() } else { word.clone() });
    let words: Vec<_> = words.take_while(|word| word != "--").collect();
    let (program, host) = (words.len() - 1, words.last().unwrap().clone());
    command = Command::new("sh");
    command.args(&words[..program]).arg("--identity").arg(key).arg(host);
    said(command.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null()))
}

#[test]
fn a_key_is_copied_once_and_lets_in() {
    watchdog(PATIENCE, || {
        let Some(remote) = with_keys_at_home() else { return };
        let key = remote.sshd.stranger_key(KeyKind::Ed25519).unwrap();
        let public = fs::read_to_string(key.with_extension("pub")).unwrap();
        let folder = remote.home(".ssh");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let login =
            || said(remote.bare("exec").arg("--identity").arg(&key).args([&remote.host(), "true"]));
        login().failed(255, &["permission denied"]);
        assert!(copy_id(&remote, &key).well().text().contains("added to ~/.ssh/authorized_keys"));
        assert_eq!(fs::read_to_string(folder.join("authorized_keys")).unwrap(), public);
        assert_eq!((mode(&folder), mode(&folder.join("authorized_keys"))), (0o700, 0o600));
        login().well();
        // Again, by its .pub: nothing is changed but modes that sshd would not like.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        fs::set_permissions(folder.join("authorized_keys"), fs::Permissions::from_mode(0o666))
            .unwrap();
        let again = copy_id(&remote, &key.with_extension("pub"));
        assert!(again.well().text().contains("is already in"));
        assert_eq!(fs::read_to_string(folder.join("authorized_keys")).unwrap(), public);
        assert_eq!((mode(&folder), mode(&folder.join("authorized_keys"))), (0o700, 0o600));
        // What others wrote stays, a last line without its end too.
        let theirs = "# theirs\nssh-rsa AAAA theirs";
        fs::write(folder.join("authorized_keys"), theirs).unwrap();
        copy_id(&remote, &key).well();
        assert_eq!(
            fs::read_to_string(folder.join("authorized_keys")).unwrap(),
            format!("{theirs}\n{public}")
        );
        assert_eq!(names(&folder), ["authorized_keys"], "nothing else is left");
        // One that was killed leaves its lock: nothing is changed, and what to do is said.
        let lock = folder.join("authorized_keys.copy-id");
        fs::write(&lock, "").unwrap();
        fs::write(folder.join("authorized_keys"), theirs).unwrap();
        copy_id(&remote, &key).failed(1, &["left ~/.ssh/authorized_keys.copy-id: remove it then"]);
        assert_eq!(fs::read_to_string(folder.join("authorized_keys")).unwrap(), theirs);
        fs::remove_file(lock).unwrap();
        copy_id(&remote, Path::new("/none")).failed(1, &["/none.pub: no such file"]);
    });
}

#[test]
fn many_copies_at_once_lose_no_key() {
    watchdog(PATIENCE, || {
        let Some(remote) = with_keys_at_home() else { return };
        let kinds = [KeyKind::Ed25519, KeyKind::Ecdsa256, KeyKind::Ecdsa384, KeyKind::Ecdsa521];
        let keys = kinds.map(|kind| remote.sshd.stranger_key(kind).unwrap());
        std::thread::scope(|scope| {
            for key in &keys {
                scope.spawn(|| copy_id(&remote, key).well());
            }
        });
        let text = fs::read_to_string(remote.home(".ssh/authorized_keys")).unwrap();
        for key in &keys {
            let public = fs::read_to_string(key.with_extension("pub")).unwrap();
            assert_eq!(text.matches(&public).count(), 1, "{public}: {text}");
        }
        assert_eq!(names(&remote.home(".ssh")), ["authorized_keys"]);
    });
}

/// SIGINT, SIGTERM and SIGHUP end it with their status, and no temporary file stays behind, there or here.
#[test]
fn a_signal_leaves_nothing_behind() {
    for_accounts(Accounts::Own, |remote| {
        let target = remote.here("got");
        fs::write(&target, "before").unwrap();
        fs::write(remote.home("put"), "before").unwrap();
        let part = |folder: &Path| names(folder).iter().any(|name| name.ends_with(".part"));
        for (verb, from, to, folder, signal) in [
            ("put", "/dev/zero", "put", remote.sshd.home(), SIGINT),
            ("put", "/dev/zero", "put", remote.sshd.home(), SIGHUP),
            ("get", "/dev/zero", target.to_str().unwrap(), remote.here(""), SIGTERM),
        ] {
            let mut command = remote.verb(verb, &[]);
            command.args([from, to]).stdout(Stdio::piped()).stderr(Stdio::piped());
            let child = command.spawn().unwrap();
            support::until("it copies", || part(&folder));
            sys::kill(child.id(), signal).unwrap();
            Said::of(child.wait_with_output().unwrap()).failed(128 + signal, &[]);
            assert!(!part(&folder), "{verb}: {:?}", names(&folder));
        }
        assert_eq!(fs::read(&target).unwrap(), b"before");
        assert_eq!(fs::read(remote.home("put")).unwrap(), b"before");
    });
}

#[test]
fn progress_is_for_terminals() {
    for_accounts(Accounts::Own, |remote| {
        let mut program = remote.verb("put", &[]);
        program.args([WAITCOPY, "there"]);
        // Any text will do as a question: the first line of progress has the file's name.
        let bar = said(&mut on_a_terminal(&program, "waitcopy  ", ""));
        let text = String::from_utf8_lossy(&bar.out);
        assert!(text.contains("/s  ETA ") || text.contains(" MiB/s  "), "{text}");
        assert!(text.contains("MiB"), "{text}");
        // To a pipe there is nothing.
        said(&mut program).well();
        // What fails takes its line away, so that the message stands alone.
        let mut fails = remote.verb("put", &["--timeout", "500ms"]);
        fails.args(["/dev/zero", "/dev/null"]);
        let text = said(&mut on_a_terminal(&fails, "/dev/zero  ", ""));
        let text = String::from_utf8_lossy(&text.failed(255, &[]).out).into_owned();
        assert!(text.contains("\r\u{1b}[Kwaitcopy: command: "), "{text:?}");
    });
}

#[test]
fn the_demonstration_does_the_four_jobs_and_leaves_nothing() {
    watchdog(PATIENCE, || {
        let json =
            said(Command::new(WAITCOPY).args(["remote", "demo", "--json"]).stdin(Stdio::null()));
        if json.code == 69 {
            return support::skip(&json.err);
        }
        let json = json.well().json();
        let Some(Value::List(jobs)) = json.get("jobs") else { panic!("{json}") };
        let done: Vec<_> = jobs.iter().map(|job| job.get("job").unwrap().to_string()).collect();
        let root = sys::getuid() == 0;
        let by_password = ["\"df, by password\"", "\"copy-id\""];
        let by_key = ["\"df, by key\"", "\"upload\"", "\"download\""];
        assert_eq!(done, if root { [&by_password[..], &by_key].concat() } else { by_key.to_vec() });
        for job in jobs {
            assert!(job.count("phases.auth_ns").unwrap() > 0, "{job}");
        }
        let mut text = Command::new(WAITCOPY);
        text.args(["remote", "demo"]).stdout(Stdio::piped()).stdin(Stdio::null());
        let mut child = text.spawn().unwrap();
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(said.contains("the file that came back is the one that was sent"), "{said}");
        let port = said.split("127.0.0.1:").nth(1).unwrap().split(',').next().unwrap();
        let gone = std::net::TcpStream::connect(format!("127.0.0.1:{port}"));
        assert_eq!(support::errno(gone), libc::ECONNREFUSED);
    });
}
