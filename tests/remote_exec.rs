//! Commands on real servers: their three streams, their ends, their environment.
#![cfg(feature = "remote")]

#[path = "support/sessions.rs"]
mod sessions;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use sessions::{One, Started, on, output, together, with_sshd, works};
use std::io;
use std::process::{Command, Stdio};
use support::{PATIENCE, pattern, watchdog};
use waitcopy::lab::sshd::{Dropbear, Options, Sshd};
use waitcopy::reactor::Reactor;
use waitcopy::remote::{Descriptor, Exit, Reason, Session, Step};

const MIB: usize = 1 << 20;

async fn three_streams_of_ten_mebibytes(session: &Session) {
    let input = pattern(10 * MIB, 1);
    // Not /dev/stderr: another account's, where the server has opened it.
    let both = "mkfifo ~/both; cat ~/both >&2 & tee ~/both; wait; rm ~/both";
    let said = session.exec(both).output_of(&input).await.unwrap();
    assert_eq!(said.exit, Exit::Status(0));
    assert!(said.stdout == input && said.stderr == input);
    // Writes both to their ends before it reads a byte.
    let letters = |letter| format!("head -c {} /dev/zero | tr '\\0' {letter}", 10 * MIB);
    let command = format!("{{ {} >&2 & }}; {}; wait; sha256sum", letters('e'), letters('o'));
    let said = session.exec(command).output_of(&input).await.unwrap();
    let (out, sum) = said.stdout.split_at(10 * MIB);
    assert!(out.iter().all(|byte| *byte == b'o') && said.stderr == vec![b'e'; 10 * MIB]);
    let mut here = Command::new("sha256sum");
    here.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut here = here.spawn().unwrap();
    io::Write::write_all(&mut here.stdin.take().unwrap(), &input).unwrap();
    assert_eq!(sum, here.wait_with_output().unwrap().stdout);
}

#[test]
fn ten_mebibytes_on_each_of_three_streams() {
    with_sshd(Options::default(), |sshd| {
        on(&sshd, async |_, session| three_streams_of_ten_mebibytes(session).await);
    });
}

#[test]
fn the_same_through_dropbear() {
    watchdog(PATIENCE, || {
        let Some(sshd) = ssh::or_skip(Dropbear::start(&[])) else { return };
        on(&sshd, async |_, session| {
            three_streams_of_ten_mebibytes(session).await;
            for (command, exit) in [("exit 7", Exit::Status(7)), ("kill -9 $$", killed())] {
                assert_eq!(output(session, command).await.unwrap().exit, exit);
            }
        });
    });
}

fn killed() -> Exit {
    Exit::Signal("KILL".into())
}

#[test]
fn the_exit_is_told_as_it_was() {
    with_sshd(Options::default(), |sshd| {
        on(&sshd, async |_, session| {
            let ends = [
                ("exit 0", Exit::Status(0)),
                ("exit 7", Exit::Status(7)),
                ("exit 255", Exit::Status(255)),
                ("kill -9 $$", killed()),
                ("kill -TERM $$", Exit::Signal("TERM".into())),
                ("no-such-command-here", Exit::Status(127)),
            ];
            for (command, exit) in ends {
                let said = output(session, command).await.unwrap();
                assert_eq!(said.exit, exit, "{command}: {said:?}");
                assert_eq!(said.exit.success(), command == "exit 0");
            }
        });
    });
}

/// Ends that neither sshd nor dropbear makes, from paramiko's server.
#[test]
fn no_exit_and_strange_exits() {
    watchdog(PATIENCE, || {
        let Some(python) = ssh::paramiko() else { return };
        let Some(sshd) = ssh::or_skip(Sshd::start(Options::default())) else { return };
        let kind = waitcopy::lab::sshd::KeyKind::Ed25519;
        let mut server = Command::new(python);
        server.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/ssh_server.py"));
        server.arg(sshd.host_key_path(kind).unwrap()).stdout(Stdio::piped());
        let mut server = sessions::Killed(server.spawn().unwrap());
        let port = sessions::first_line(server.0.stdout.take().unwrap());
        let reactor = Reactor::new().unwrap();
        let (known, key) = (scratch_known(&sshd, &port), sshd.client_key(kind).unwrap());
        let client = waitcopy::remote::Client::new(&format!("anybody@127.0.0.1:{port}")).unwrap();
        let client = client.known_hosts(known).identity(key);
        reactor.run(async {
            let session = client.connect_on(&reactor).await.unwrap();
            let ends = [
                ("unknown", Exit::Unknown),
                ("status 0", Exit::Status(0)),
                ("status 4294967295", Exit::Status(u32::MAX)),
                ("signal KILL", killed()),
                ("signal \u{1b}[2J@example", Exit::Signal("\u{1b}[2J@example".into())),
            ];
            for (command, exit) in ends {
                let said = output(&session, command).await.unwrap();
                assert_eq!((said.exit, &*said.stdout), (exit, &b"said\n"[..]), "{command}");
            }
            let refused = output(&session, "refuse").await.unwrap_err();
            assert_eq!((refused.step(), refused.reason()), (Step::Channel, Reason::Refused));
            assert_eq!(output(&session, "status 0").await.unwrap().exit, Exit::Status(0));
            let gone = output(&session, "eof").await.unwrap_err();
            assert_eq!(gone.reason(), Reason::Disconnected, "{gone}");
        });
    });
}

fn scratch_known(sshd: &Sshd, port: &str) -> std::path::PathBuf {
    let path = sshd.folder().join("known_hosts_of_another");
    let place = sshd.addr().port().to_string();
    std::fs::write(&path, sshd.known_hosts().replace(&place, port)).unwrap();
    path
}

#[test]
fn input_that_nobody_reads_is_no_failure() {
    with_sshd(Options::default(), |sshd| {
        let input = pattern(10 * MIB, 2);
        on(&sshd, async |_, session| {
            for (command, out) in [("true", 0), ("head -c 5", 5), ("exec 0<&-; exit 0", 0)] {
                let said = session.exec(command).output_of(&input).await.unwrap();
                assert_eq!((said.exit, &*said.stdout), (Exit::Status(0), &input[..out]));
                works(session).await;
            }
        });
    });
}

#[test]
fn environment_and_terminal() {
    with_sshd(Options::default(), |sshd| {
        on(&sshd, async |_, session| {
            let exec =
                session.exec("printf '%s|' \"$LANG\" \"$WAITCOPY_X\" \"$LD_PRELOAD\" \"$SECRET\"");
            let exec = exec.env("LANG", "de_CH").env("WAITCOPY_X", "a 'b'\n").env("SECRET", "1");
            let said = exec.env("LD_PRELOAD", "/tmp/x").output().await.unwrap();
            assert_eq!(String::from_utf8_lossy(&said.stdout), "de_CH|a 'b'\n|||");
            assert_eq!(said.refused, ["SECRET", "LD_PRELOAD"]);
            let exec = session.exec("tty; stty size; echo $TERM; echo error >&2");
            let said = exec.pty("vt100", 132, 43).output().await.unwrap();
            let text = String::from_utf8_lossy(&said.stdout).replace("\r\n", "\n");
            let (tty, rest) = text.split_once('\n').unwrap();
            assert!(tty.starts_with("/dev/pts/"), "{text}");
            assert_eq!(rest, "43 132\nvt100\nerror\n");
            assert!(said.stderr.is_empty());
            let none = output(session, "tty").await.unwrap();
            assert_eq!((none.exit, &*none.stdout), (Exit::Status(1), &b"not a tty\n"[..]));
        });
    });
}

#[test]
fn ten_at_once_each_with_its_own_bytes() {
    with_sshd(Options::default(), |sshd| {
        on(&sshd, async |_, session| {
            let inputs: Vec<_> = (0..10).map(|n| pattern(MIB + n, n as u64)).collect();
            let echo = |n: usize| -> One<'_, _> {
                let command = format!("tee /dev/stderr; exit {n}");
                Box::pin(session.exec(command).output_of(&inputs[n]))
            };
            for (n, said) in together((0..10).map(echo).collect()).await.into_iter().enumerate() {
                let said = said.unwrap();
                assert_eq!(said.exit, Exit::Status(n as u32));
                assert!(said.stdout == inputs[n] && said.stderr == inputs[n], "{n}");
            }
        });
    });
}

/// MaxSessions bounds them: the one too many is refused, and no other is touched.
#[test]
fn one_too_many_is_refused_with_the_reason() {
    with_sshd(Options { max_sessions: Some(1), ..Options::default() }, |sshd| {
        on(&sshd, async |reactor, session| {
            let (mut theirs, ours) = std::os::unix::net::UnixStream::pair().unwrap();
            let mut input = Descriptor::new(reactor, ours).unwrap();
            let (mut out, mut err) = (Started::new(), Vec::new());
            let ready = out.ready.clone();
            let first = async {
                let exec = session.exec("echo started; cat");
                exec.run(&mut input, &mut out, &mut err).await.map(|ended| ended.exit)
            };
            let second = async {
                ready.wait().await;
                let refused = output(session, "true").await.unwrap_err();
                io::Write::write_all(&mut theirs, b"more").unwrap();
                drop(theirs);
                Err(refused)
            };
            let both: Vec<One<'_, _>> = vec![Box::pin(first), Box::pin(second)];
            let mut both = together(both).await;
            let refused = both.pop().unwrap().unwrap_err();
            assert_eq!((refused.step(), refused.reason()), (Step::Channel, Reason::Refused));
            assert!(refused.to_string().contains("MaxSessions"), "{refused}");
            assert_eq!(both.pop().unwrap(), Ok(Exit::Status(0)));
            assert_eq!(out.bytes, b"started\nmore");
            // One after the other there is room, however fast they follow.
            for _ in 0..20 {
                works(session).await;
            }
        });
    });
}

#[test]
fn input_from_a_pipe() {
    with_sshd(Options::default(), |sshd| {
        on(&sshd, async |reactor, session| {
            let mut source = Command::new("sh");
            source.args(["-c", "head -c 3000000 /dev/zero; printf end"]).stdout(Stdio::piped());
            let mut source = source.spawn().unwrap();
            let pipe = source.stdout.take().unwrap();
            let mut input = Descriptor::new(reactor, pipe).unwrap();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let ended = session.exec("cat; echo >&2").run(&mut input, &mut out, &mut err);
            assert_eq!(ended.await.unwrap().exit, Exit::Status(0));
            assert!(out.len() == 3_000_003 && out.ends_with(b"\0end") && err == b"\n");
            source.wait().unwrap();
            // A sink that fails is told as that.
            let mut full = std::fs::File::options().write(true).open("/dev/full").unwrap();
            let failed = session.exec("echo x").run(&mut &b""[..], &mut full, &mut err).await;
            let failed = failed.unwrap_err();
            assert_eq!(failed.reason(), Reason::Io(Some(28)), "{failed}");
            works(session).await;
        });
    });
}
