//! The remote against a real sshd, where something goes another way than usual.
#![cfg(feature = "remote")]

#[path = "support/slow.rs"]
mod slow;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use std::cell::Cell;
use std::fs;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use support::{scratch, watchdog};
use waitcopy::lab::sshd::{KeyKind, Options, Sftp, Sshd};
use waitcopy::reactor::{Deadline, Reactor, Sleep};
use waitcopy::remote::config::IdentityAgent;
use waitcopy::remote::secret::Secret;
use waitcopy::remote::sftp::OpenFlags;
use waitcopy::remote::{Client, Exit, Input, Reason, blocking};

const PATIENCE: Duration = Duration::from_secs(40);

fn client(sshd: &Sshd) -> Client {
    let known = sshd.folder().join("known_hosts_of_the_test");
    fs::write(&known, sshd.known_hosts()).expect("known_hosts");
    let target = format!("{}@127.0.0.1:{}", sshd.user(), sshd.addr().port());
    let client = Client::new(&target).expect("a target");
    client.agent(IdentityAgent::Off).known_hosts(known)
}

fn logged_in(sshd: &Sshd) -> blocking::Session {
    let key = sshd.client_key(KeyKind::Ed25519).expect("a key");
    client(sshd).identity(key).connect().expect("login by key")
}

/// Runs a test with a server and a session, or skips it aloud.
fn with_session(test: impl FnOnce(&Sshd, blocking::Session) + Send + 'static) {
    watchdog(PATIENCE, || {
        let Some(sshd) = ssh::or_skip(Sshd::start(Options::default())) else { return };
        let session = logged_in(&sshd);
        test(&sshd, session);
    });
}

#[test]
fn sftp_ends_while_a_file_is_still_open() {
    with_session(|_, ssh| {
        ssh.run(async |ssh| {
            let sftp = ssh.sftp().await.expect("sftp");
            let file = sftp.open_file("/etc/passwd", OpenFlags::READ, None).await.expect("a file");
            sftp.close().await.expect("the end");
            assert_eq!(file.stat().await.unwrap_err().reason(), Reason::Disconnected);
        });
        ssh.close().expect("close");
    });
}

#[test]
fn a_command_that_closes_its_output_gets_all_of_its_input() {
    with_session(|sshd, ssh| {
        let there = sshd.home().join("taken");
        let input = vec![7; 3 << 20];
        let command = format!("exec >&- 2>&-; sleep 0.3; cat > '{}'", there.display());
        let out = ssh
            .run(async |ssh| ssh.exec(command).timeout(PATIENCE / 4).output_of(&input).await)
            .expect("exec");
        assert_eq!(out.exit, Exit::Status(0));
        assert_eq!(fs::metadata(&there).expect("the file").len(), 3 << 20);
        ssh.close().expect("close");
    });
}

#[test]
fn files_fail_on_a_silent_connection() {
    with_session(|sshd, ssh| {
        let idle = Duration::from_millis(300);
        let pid = ssh.exec("echo $PPID").expect("the server's process").stdout;
        let pid = String::from_utf8(pid).expect("text");
        ssh.files(async |sftp| sftp.stat("/etc").await).expect("stat");
        ssh.run(async |ssh| ssh.set_idle_timeout(Some(idle)));
        let stopped = std::process::Command::new("kill").args(["-STOP", pid.trim()]).status();
        assert!(stopped.expect("kill").success());
        let failed = ssh.files(async |sftp| sftp.stat("/etc").await);
        let continued = std::process::Command::new("kill").args(["-CONT", pid.trim()]).status();
        assert!(continued.expect("kill").success());
        assert_eq!(failed.unwrap_err().reason(), Reason::TimedOut(idle));
        let _ = sshd;
    });
}

#[test]
fn the_idle_times_of_two_commands_do_not_stay() {
    with_session(|_, ssh| {
        let idle = Duration::from_millis(700);
        ssh.run(async |ssh| {
            let mut first = Box::pin(ssh.exec("sleep 0.1").idle_timeout(idle).output());
            let second = Box::pin(ssh.exec("sleep 0.4").idle_timeout(idle * 2).output());
            let mut second = Some(second);
            // Both begin, the first one ends first.
            let mut begun = None;
            poll_fn(|cx| {
                let done = first.as_mut().poll(cx).is_ready();
                if let Some(second) = second.as_mut() {
                    begun = Some(second.as_mut().poll(cx).is_ready());
                }
                if done { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            second.take().expect("the second").await.expect("the second command");
            let quiet = ssh.exec("sleep 2").output().await.expect("no idle time is left behind");
            assert_eq!(quiet.exit, Exit::Status(0));
        });
    });
}

#[test]
fn a_key_that_cannot_be_read_does_not_end_the_login() {
    watchdog(PATIENCE, || {
        let Some(sshd) = ssh::or_skip(Sshd::start(Options::default())) else { return };
        let folder = scratch("unreadable-key");
        fs::create_dir_all(&folder).expect("folder");
        let bad = folder.join("bad");
        // Whole by its outside, and not to be read inside.
        let made = std::process::Command::new("sh")
            .args(["-c", "umask 077; printf '%s\\n' '-----BEGIN RSA PRIVATE KEY-----' MAwCAQACAQECAQECAQE= '-----END RSA PRIVATE KEY-----' > \"$1\"", "sh"])
            .arg(&bad)
            .status();
        assert!(made.expect("sh").success());
        let key = sshd.client_key(KeyKind::Ed25519).expect("a key");
        let ssh =
            client(&sshd).identity(&bad).identity(key).connect().expect("login by the second");
        println!("{}", ssh.about().login);
        ssh.close().expect("close");
    });
}

/// A terminal at which nobody types.
struct Silence;

impl Input for Silence {
    async fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        std::future::pending().await
    }
}

#[test]
fn a_packet_that_waits_for_room_keeps_nobody_busy() {
    watchdog(PATIENCE, || {
        let Some(sshd) = ssh::or_skip(Sshd::start(Options::default())) else { return };
        let key = sshd.client_key(KeyKind::Ed25519).expect("a key");
        let known = sshd.folder().join("known_hosts_of_the_test");
        let way = slow::way(sshd.addr());
        let line =
            sshd.known_hosts().replace(&sshd.addr().port().to_string(), &way.port().to_string());
        fs::write(&known, line).expect("known_hosts");
        let client = Client::new(&format!("{}@{way}", sshd.user())).expect("a target");
        let client = client.agent(IdentityAgent::Off).known_hosts(known).identity(key);
        let reactor = Reactor::new().expect("a reactor");
        reactor.run(async {
            let ssh = client.connect_on(&reactor).await.expect("login");
            let all_there = Deadline::after(Duration::from_secs(1));
            // More windows than the socket has room for, and meanwhile windows to open for what comes.
            let run = async || {
                let mut input = Late(reactor.sleep(all_there), vec![0; 2 << 20]);
                let (mut out, mut err) = (Vec::new(), Vec::new());
                let exec = ssh.exec("sleep 2; head -c 8M /dev/zero; cat >/dev/null");
                exec.run(&mut input, &mut out, &mut err).await.expect("exec");
                assert_eq!(out.len(), 8 << 20);
            };
            let mut under_way: Vec<_> = (0..8).map(|_| Box::pin(run())).collect();
            poll_fn(|cx| {
                under_way.retain_mut(|exec| exec.as_mut().poll(cx).is_pending());
                if under_way.is_empty() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            // 16 MiB are 514 packets, most of them sent in a few parts; each vain try is a send(2) more.
            let sends = ssh.traffic().sends;
            assert!(sends < 10_000, "{sends}");
        });
    });
}

/// Bytes from a moment on.
struct Late(Sleep, Vec<u8>);

impl Input for Late {
    async fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        (&mut self.0).await;
        let n = buffer.len().min(self.1.len());
        self.1.drain(..n).zip(buffer).for_each(|(byte, place)| *place = byte);
        Ok(n)
    }
}

#[test]
fn commands_end_beside_a_transfer_that_fills_the_socket() {
    watchdog(PATIENCE, || {
        let Some(sshd) = ssh::or_skip(Sshd::start(Options::default())) else { return };
        let key = sshd.client_key(KeyKind::Ed25519).expect("a key");
        let here = scratch("fills").join("here");
        fs::create_dir_all(here.parent().expect("a folder")).expect("folder");
        fs::File::create(&here).and_then(|file| file.set_len(256 << 20)).expect("a file");
        let there = sshd.home().join("there");
        let reactor = Reactor::new().expect("a reactor");
        reactor.run(async {
            let ssh = client(&sshd).identity(key).connect_on(&reactor).await.expect("login");
            let sftp = ssh.sftp().await.expect("sftp");
            let done = Rc::new(Cell::new(false));
            let told = Rc::clone(&done);
            // A task of its own: only what it says of the connection reaches the commands.
            reactor.spawn(async move {
                sftp.put(&here, &there).await.expect("put");
                told.set(true);
            });
            let mut ended = 0;
            while !done.get() {
                let (mut out, mut err) = (Vec::new(), Vec::new());
                let exec = ssh.exec("echo said").timeout(PATIENCE / 4);
                let end = exec.run(&mut Silence, &mut out, &mut err).await.expect("exec");
                assert_eq!((end.exit, &*out), (Exit::Status(0), &b"said\n"[..]));
                ended += 1;
            }
            println!("{ended} commands");
        });
    });
}

#[test]
fn a_directory_without_an_end_is_given_up() {
    // It answers each request with its handle or a thousand names, whatever was asked.
    const SERVER: &str = r#"
import struct, sys
i, o = sys.stdin.buffer, sys.stdout.buffer
def packet(body): o.write(struct.pack('>I', len(body)) + body); o.flush()
s = lambda b: struct.pack('>I', len(b)) + b
while True:
    head = i.read(4)
    if not head: break
    body = i.read(struct.unpack('>I', head)[0])
    kind, number = body[0], body[1:5]
    if kind == 1: packet(b'\x02\0\0\0\x03')
    elif kind == 11: packet(b'\x66' + number + s(b'h'))
    elif kind == 12: packet(b'\x68' + number + struct.pack('>I', 1000) + (s(b'.') + s(b'x' * 200) + bytes(4)) * 1000)
    else: packet(b'\x65' + number + bytes(4) + s(b'') + s(b''))
"#;
    watchdog(PATIENCE, || {
        let folder = scratch("endless");
        fs::create_dir_all(&folder).expect("folder");
        let script = folder.join("server.py");
        fs::write(&script, SERVER).expect("the server");
        let sftp = Sftp::Command(format!("python3 {}", script.display()));
        let started = Sshd::start(Options { sftp, ..Options::default() });
        let Some(sshd) = ssh::or_skip(started) else { return };
        let ssh = logged_in(&sshd);
        let failed = ssh.files(async |sftp| sftp.read_dir("/").await).unwrap_err();
        assert_eq!(failed.reason(), Reason::Protocol, "{failed}");
        assert!(ssh.files(async |sftp| sftp.read_dir("/").await).is_err(), "the session goes on");
        ssh.close().expect("close");
    });
}

#[test]
fn a_wrong_passphrase_does_not_end_the_login() {
    watchdog(PATIENCE, || {
        let Some(sshd) = ssh::or_skip(Sshd::start(Options::default())) else { return };
        let folder = scratch("wrong-passphrase");
        fs::create_dir_all(&folder).expect("folder");
        let keygen = |name: &str, words: &[&str]| {
            let file = folder.join(name);
            let mut keygen = std::process::Command::new("ssh-keygen");
            let made = keygen.args(["-q", "-N", "right", "-f"]).arg(&file).args(words).status();
            assert!(made.expect("ssh-keygen").success());
            file
        };
        let locked = [
            keygen("new", &["-t", "ed25519"]),
            keygen("ecdsa", &["-t", "ecdsa"]),
            keygen("pem", &["-t", "rsa", "-m", "PEM"]),
            keygen("pkcs8", &["-t", "rsa", "-m", "PKCS8"]),
        ];
        let key = sshd.client_key(KeyKind::Ed25519).expect("a key");
        let client = locked.iter().fold(client(&sshd), Client::identity);
        let client = client.passphrase(Secret::from(String::from("wrong"))).identity(key);
        let ssh = client.connect().expect("login by the last");
        ssh.close().expect("close");
    });
}
