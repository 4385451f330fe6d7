//! What goes wrong in the middle: a deadline, a future that is dropped, a server that is stopped or killed (faults.md row 48).
#![cfg(feature = "remote")]

#[path = "support/sessions.rs"]
mod sessions;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use sessions::{
    One, Started, Told, descriptors, knowing, memory_kib, on, output, polled, together, with_sshd,
    works,
};
use std::cell::Cell;
use std::fs;
use std::future::poll_fn;
use std::io;
use std::path::{Path, PathBuf};
use std::task::Poll;
use std::time::{Duration, Instant};
use support::{alone, long, pattern, scratch};
use waitcopy::lab::sshd::{Options, Sshd};
use waitcopy::reactor::{Deadline, Reactor};
use waitcopy::remote::sftp::{OpenFlags, Progress, Sftp, Transfer};
use waitcopy::remote::{Error, Input, Reason};

const MIB: usize = 1 << 20;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn timed_out<T>(result: Result<T, Error>) -> Error {
    let error = result.map(drop).unwrap_err();
    assert!(matches!(error.reason(), Reason::TimedOut(_)), "{error}");
    error
}

#[test]
fn a_deadline_ends_a_command_and_no_session() {
    with_sshd(Options::default(), |sshd| {
        on(&sshd, async |_, session| {
            for command in ["sleep 1000", "while sleep 0.01; do echo; done", "cat; sleep 1000"] {
                let late = session.exec(command).timeout(ms(200)).output().await;
                assert_eq!(timed_out(late).reason(), Reason::TimedOut(ms(200)));
                works(session).await;
            }
            let silent = session.exec("sleep 1000").idle_timeout(ms(200)).output().await;
            let silent = timed_out(silent);
            assert!(silent.message().contains("silent"), "{silent}");
            works(session).await;
            // Longer than the idle time, and never silent for as long.
            let ticks = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo; sleep 0.05; done";
            let said = session.exec(ticks).idle_timeout(ms(400)).output().await.unwrap();
            assert_eq!(said.stdout.len(), 12);
        });
    });
}

/// Given up after any number of steps: the session goes on, or says why it does not.
#[test]
fn a_dropped_command_leaves_a_session_that_never_hangs() {
    with_sshd(Options { max_sessions: Some(100), ..Options::default() }, |sshd| {
        let client = knowing(&sshd);
        let reactor = Reactor::new().unwrap();
        let input = pattern(4 * MIB, 3);
        let (mut alive, mut abandoned) = (0, 0);
        reactor.run(async {
            let mut session = client.connect_on(&reactor).await.unwrap();
            for times in (1..40).chain([60, 100, 200]) {
                let _ = polled(times, session.exec("cat").output_of(&input)).await;
                match output(&session, "echo hi").await {
                    Ok(said) => {
                        assert_eq!(said.stdout, b"hi\n");
                        alive += 1;
                    }
                    Err(error) => {
                        assert_eq!(error.reason(), Reason::Abandoned, "{times}: {error}");
                        abandoned += 1;
                        session = client.connect_on(&reactor).await.unwrap();
                    }
                }
            }
        });
        println!("{alive} sessions went on, {abandoned} did not");
        assert!(alive > 10 && abandoned > 0);
    });
}

/// This process keeps what its server says, some 800 bytes a connect by default: that would be measured, too.
fn terse() -> Options {
    Options { extra: vec!["LogLevel INFO".to_owned()], ..Options::default() }
}

#[test]
fn two_hundred_commands_leave_nothing_behind() {
    alone("two_hundred_commands_leave_nothing_behind", || {
        let Some(sshd) = ssh::or_skip(Sshd::start(terse())) else { return };
        on(&sshd, async |_, session| {
            let mut before = (0, 0);
            for n in 0..220 {
                let said = session.exec("cat").output_of(&[7; 10_000]).await.unwrap();
                assert_eq!(said.stdout.len(), 10_000);
                if n == 20 {
                    before = (descriptors(), memory_kib());
                }
            }
            let after = (descriptors(), memory_kib());
            assert_eq!(after.0, before.0, "descriptors");
            assert!(after.1 < before.1 + 1024, "{} KiB, then {}", before.1, after.1);
        });
        assert!(descriptors() < 20, "{}", descriptors());
    });
}

/// A thousand of them in the long run, ten at a time; each lists a folder.
#[test]
fn a_thousand_connects_leave_nothing_behind() {
    let rounds = if long() { 100 } else { 15 };
    alone("a_thousand_connects_leave_nothing_behind", move || {
        let Some(sshd) = ssh::or_skip(Sshd::start(terse())) else { return };
        let (client, reactor) = (knowing(&sshd), Reactor::new().unwrap());
        let mut before = (0, 0);
        for round in 0..rounds {
            let one = || -> One<'_, _> {
                Box::pin(async {
                    let session = client.connect_on(&reactor).await.unwrap();
                    let sftp = session.sftp().await.unwrap();
                    sftp.read_dir(".").await.unwrap();
                    sftp.close().await.unwrap();
                    session.close().await.unwrap();
                })
            };
            let ended = reactor.run(together((0..10).map(|_| one()).collect()));
            assert_eq!(ended.len(), 10);
            if round == 4 {
                before = (descriptors(), memory_kib());
            }
        }
        let after = (descriptors(), memory_kib());
        println!("{} connects: {before:?} descriptors and KiB, then {after:?}", rounds * 10);
        assert_eq!(after.0, before.0, "descriptors");
        // A session has tens of KiB of its own, its buffer for packets alone 35; the server's log grows by 0.1 KiB, the rest
        // is the allocator's.
        assert!(after.1 < before.1 + 2048, "{} KiB, then {}", before.1, after.1);
    });
}

#[test]
fn a_connection_that_is_killed_is_told_at_once() {
    with_sshd(Options::default(), |sshd| {
        on(&sshd, async |_, session| {
            let (mut out, mut err) = (Started::new(), Vec::new());
            let ready = out.ready.clone();
            let killed = async {
                ready.wait().await;
                sshd.kill_sessions();
                Ok(Instant::now())
            };
            let run = async {
                let exec = session.exec("echo started; sleep 1000");
                exec.run(&mut &b""[..], &mut out, &mut err).await.map(|_| Instant::now())
            };
            let both: Vec<One<'_, _>> = vec![Box::pin(run), Box::pin(killed)];
            let mut both = together(both).await;
            let at = both.pop().unwrap().unwrap();
            let gone = both.pop().unwrap().unwrap_err();
            assert_eq!(gone.reason(), Reason::Disconnected, "{gone}");
            assert!(at.elapsed() < Duration::from_secs(5), "{:?}", at.elapsed());
            let again = output(session, "true").await.unwrap_err();
            assert_eq!(again.reason(), Reason::Disconnected, "{again}");
        });
    });
}

/// A server that is stopped answers nothing; whoever lets go of what he has does not wait for it.
#[test]
fn dropping_never_waits_for_a_stopped_server() {
    with_sshd(Options::default(), |sshd| {
        let (reactor, client) = (Reactor::new().unwrap(), knowing(&sshd));
        let (session, sftp) = reactor.run(async {
            let session = client.connect_on(&reactor).await.unwrap();
            let sftp = session.sftp().await.unwrap();
            works(&session).await;
            (session, sftp)
        });
        let stopped = sshd.sessions();
        stopped.iter().for_each(|session| session.stop());
        let start = Instant::now();
        let input = vec![7; 16 * MIB];
        reactor.run(async {
            let exec = session.exec("cat").timeout(ms(100)).output_of(&input);
            timed_out(exec.await);
            // The answer to the opening of its channel was given up.
            let stat = sftp.stat("/").await.unwrap_err();
            assert_eq!(stat.reason(), Reason::Abandoned, "{stat}");
            assert!(stat.message().contains("between question and answer"), "{stat}");
        });
        let before = start.elapsed();
        drop(sftp);
        drop(session);
        drop(reactor);
        assert!(start.elapsed() - before < Duration::from_secs(1), "{:?}", start.elapsed());
        stopped.iter().for_each(|session| session.resume());
    });
}

/// Input without end, which begins when as many commands as this have started, and something is done just then.
struct Together<'a> {
    of: u32,
    started: &'a Cell<u32>,
    counted: bool,
    then: &'a dyn Fn(),
}

impl Input for Together<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !std::mem::replace(&mut self.counted, true) {
            self.started.set(self.started.get() + 1);
            if self.started.get() == self.of {
                (self.then)();
            }
        }
        // All of them are one task: the last one's turn wakes the others.
        poll_fn(|cx| match self.started.get() == self.of {
            true => {
                cx.waker().wake_by_ref();
                Poll::Ready(())
            }
            false => Poll::Pending,
        })
        .await;
        buffer.fill(7);
        Ok(buffer.len())
    }
}

/// Nine windows, none of them begun, are more than the sockets hold: a packet is sent in part, and stays so.
#[test]
fn what_is_given_up_in_the_middle_of_a_packet_ends_the_session_and_nobody_waits() {
    const COMMANDS: u32 = 9;
    with_sshd(Options::default(), |sshd| {
        let (reactor, client) = (Reactor::new().unwrap(), knowing(&sshd));
        let started = Cell::new(0);
        let stop = || sshd.sessions().into_iter().for_each(|session| session.stop());
        let (session, sftp) = reactor.run(async {
            let session = client.connect_on(&reactor).await.unwrap();
            let sftp = session.sftp().await.unwrap();
            let fill = || -> One<'_, _> {
                let mut input =
                    Together { of: COMMANDS, started: &started, counted: false, then: &stop };
                let exec = session.exec("cat >/dev/null").timeout(Duration::from_secs(3));
                Box::pin(
                    async move { exec.run(&mut input, &mut Vec::new(), &mut Vec::new()).await },
                )
            };
            for late in together((0..COMMANDS).map(|_| fill()).collect()).await {
                let error = late.unwrap_err();
                let given_up = matches!(error.reason(), Reason::TimedOut(_) | Reason::Abandoned);
                assert!(given_up, "{error}");
            }
            assert_eq!(started.get(), COMMANDS);
            let stat = sftp.stat("/").await.unwrap_err();
            assert_eq!(stat.reason(), Reason::Abandoned, "{stat}");
            assert!(stat.message().contains("in the middle of a packet"), "{stat}");
            (session, sftp)
        });
        let start = Instant::now();
        drop(sftp);
        drop(session);
        drop(reactor);
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        sshd.sessions().into_iter().for_each(|session| session.resume());
    });
}

/// Copies 20 MiB, which takes a while, and does something once in the middle of it.
async fn copy(
    sftp: &Sftp,
    put: bool,
    from: &Path,
    to: &Path,
    so: impl FnOnce(),
) -> Result<u64, Error> {
    let mut so = Some(so);
    let how = Transfer::new().progress(|Progress { done, .. }| {
        if done > 2 << 20 {
            if let Some(so) = so.take() {
                so();
            }
        }
    });
    if put { sftp.put_with(from, to, how).await } else { sftp.get_with(from, to, how).await }
}

/// Row 48: the link is cut in the middle, in either direction, onto a new name and onto one that is there.
#[test]
fn a_copy_that_is_cut_leaves_no_half_file() {
    with_sshd(Options::default(), |sshd| {
        let here = scratch("cut");
        fs::create_dir_all(&here).unwrap();
        for (put, old) in [(true, None), (true, Some("old")), (false, None), (false, Some("old"))] {
            let folders = [here.clone(), sshd.home()];
            let [from, to] = if put { folders } else { [folders[1].clone(), folders[0].clone()] };
            let (from, to) = (from.join("from"), to.join("to"));
            fs::write(&from, pattern(20 * MIB, 5)).unwrap();
            if let Some(old) = old {
                fs::write(&to, old).unwrap();
            }
            let error = on(&sshd, async |_, session| {
                let sftp = session.sftp().await.unwrap();
                copy(&sftp, put, &from, &to, || sshd.kill_sessions()).await.unwrap_err()
            });
            assert_eq!(error.reason(), Reason::Disconnected, "{error}");
            assert_eq!(fs::read_to_string(&to).ok().as_deref(), old, "put {put}");
            let _ = fs::remove_file(to);
            fs::remove_file(from).unwrap();
            let left: Vec<_> = fs::read_dir(&here).unwrap().map(|e| e.unwrap().path()).collect();
            assert_eq!(left, [] as [PathBuf; 0], "put {put}");
        }
        fs::remove_dir(here).unwrap();
    });
}

/// One server of two stops: its transfer fails at its deadline, and the other's is done before that.
#[test]
fn a_stopped_server_holds_up_nobody_else() {
    with_sshd(Options::default(), |sshd| {
        let (reactor, client) = (Reactor::new().unwrap(), knowing(&sshd));
        let here = scratch("stopped");
        fs::create_dir_all(&here).unwrap();
        let (from, home) = (here.join("from"), sshd.home());
        let bytes = pattern(20 * MIB, 6);
        fs::write(&from, &bytes).unwrap();
        fs::write(home.join("from"), &bytes).unwrap();
        for put in [true, false] {
            let idle = Duration::from_secs(2);
            let (stuck, other) = reactor.run(async {
                let stuck = client.connect_on(&reactor).await.unwrap();
                let which = sshd.sessions().pop().unwrap();
                let other = client.connect_on(&reactor).await.unwrap();
                stuck.set_idle_timeout(Some(idle));
                let (first, second) = (stuck.sftp().await.unwrap(), other.sftp().await.unwrap());
                let stopped = Told::default();
                let one = async {
                    let stop = || {
                        which.stop();
                        stopped.tell();
                    };
                    let [from, to] = if put { [&here, &home] } else { [&home, &here] };
                    let (from, to) = (from.join("from"), to.join("stuck"));
                    let failed = timed_out(copy(&first, put, &from, &to, stop).await);
                    assert_eq!(failed.reason(), Reason::TimedOut(idle), "{failed}");
                    assert!(!to.exists());
                    Instant::now()
                };
                let two = async {
                    stopped.wait().await;
                    second.put(&from, home.join("other")).await.unwrap();
                    second.get(home.join("other"), here.join("other")).await.unwrap();
                    Instant::now()
                };
                let both: Vec<One<'_, _>> = vec![Box::pin(one), Box::pin(two)];
                let both = together(both).await;
                assert!(both[1] < both[0], "the other one was not held up");
                drop(first);
                which.kill();
                works(&other).await;
                (stuck, other)
            });
            drop((stuck, other));
            assert!(fs::read(here.join("other")).unwrap() == bytes);
            assert!(!here.join("stuck").exists());
        }
        fs::remove_dir_all(here).unwrap();
    });
}

/// What still holds a file does not hold up the end of the SFTP session.
#[test]
fn sftp_ends_beside_an_open_file() {
    with_sshd(Options::default(), |sshd| {
        on(&sshd, async |reactor, session| {
            let sftp = session.sftp().await.unwrap();
            let mut file = sftp.open_file("/etc/passwd", OpenFlags::READ, None).await.unwrap();
            let closed = reactor.within(Deadline::after(Duration::from_secs(5)), sftp.close());
            closed.await.expect("an end").unwrap();
            let gone = file.read(&mut [0; 9]).await.unwrap_err();
            assert_eq!(gone.reason(), Reason::Disconnected, "{gone}");
            drop(file);
            works(session).await;
        });
    });
}
