//! Many sessions on one reactor: a host that is down, silent or stopped holds up none of the others (rows 46 and 47 of
//! the faults).
#![cfg(feature = "remote")]

#[path = "support/remote.rs"]
mod remote;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use remote::{all, client, client_of, holds, with};
use std::cell::RefCell;
use std::net::TcpListener;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};
use waitcopy::lab::sshd::{KeyKind, Options};
use waitcopy::reactor::{Deadline, Handle, Reactor};
use waitcopy::remote::{Client, Error, Exit, Policy, Reason, Step, Timeouts};

/// Connects, runs a command, and ends; what the command said.
async fn job(reactor: &Handle, client: &Client, words: &str) -> Result<String, Error> {
    let ssh = client.connect_on(reactor).await?;
    let output = ssh.exec(words).output().await?;
    assert_eq!(output.exit, Exit::Status(0));
    ssh.close().await?;
    Ok(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn one_of_twenty_hosts_is_down_and_the_others_complete() {
    with(Options::default(), |sshd| {
        let key = sshd.client_key(KeyKind::Ed25519).unwrap();
        let up = client(&sshd).identity(&key);
        // Bound and not listening: nobody else gets the port.
        let closed = waitcopy::sys::socket(sshd.addr(), waitcopy::sys::Kind::Stream).unwrap();
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        waitcopy::sys::bind(&closed, any).unwrap();
        let addr = waitcopy::sys::getsockname(&closed).unwrap().ip().unwrap();
        let down = client_of(sshd.user(), addr, Path::new("/nonexistent")).identity(&key);
        let reactor = Reactor::new().unwrap();
        let hosts: Vec<&Client> = (0..20).map(|n| if n == 7 { &down } else { &up }).collect();
        let jobs = hosts.iter().enumerate().map(|(n, client)| {
            let reactor = &reactor;
            async move { job(reactor, client, &format!("echo {n}")).await }
        });
        let done = reactor.run(all(jobs.collect()));
        assert_eq!(done.len(), 20);
        for (n, done) in done.into_iter().enumerate() {
            match done {
                Ok(said) => assert_eq!(said, format!("{n}\n")),
                Err(error) => {
                    assert_eq!(n, 7, "{error}");
                    let refused = Reason::Io(Some(libc::ECONNREFUSED));
                    assert_eq!((error.step(), error.reason()), (Step::Connect, refused));
                }
            }
        }
    });
}

#[test]
fn a_silent_host_holds_up_no_other_session_of_its_reactor() {
    const HANDSHAKE: Duration = Duration::from_secs(5);
    with(Options::default(), |sshd| {
        let key = sshd.client_key(KeyKind::Ed25519).unwrap();
        let live = client(&sshd).identity(&key);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = client_of("nobody", listener.local_addr().unwrap(), Path::new("/nonexistent"));
        let silent = silent.timeouts(Timeouts { handshake: HANDSHAKE, ..Timeouts::default() });
        let reactor = Reactor::new().unwrap();
        let failed: Rc<RefCell<Option<Error>>> = Rc::default();
        let (of_silent, handle) = (Rc::clone(&failed), (*reactor).clone());
        reactor.spawn(async move {
            let done = silent.connect_on(&handle).await;
            *of_silent.borrow_mut() = done.err();
        });
        let (in_time, after) = reactor.run(async {
            let ssh = live.connect_on(&reactor).await.unwrap();
            let sftp = ssh.sftp().await.unwrap();
            for _ in 0..1000 {
                sftp.stat(".").await.unwrap();
            }
            // All of them while the other still waited; and it fails although the reactor is never idle.
            let in_time = failed.borrow().is_none();
            let mut after = 0;
            while failed.borrow().is_none() {
                sftp.stat(".").await.unwrap();
                after += 1;
            }
            sftp.close().await.unwrap();
            ssh.close().await.unwrap();
            (in_time, after)
        });
        let error = failed.take().expect("the silent one has failed");
        assert_eq!((error.step(), error.reason()), (Step::Handshake, Reason::TimedOut(HANDSHAKE)));
        assert!(in_time, "held up until the silent one's deadline");
        assert!(after > 0);
    });
}

#[test]
fn a_stopped_session_fails_alone() {
    const IDLE: Duration = Duration::from_secs(1);
    with(Options::default(), |sshd| {
        let key = sshd.client_key(KeyKind::Ed25519).unwrap();
        let client = client(&sshd).identity(&key);
        let reactor = Reactor::new().unwrap();
        reactor.run(async {
            let mut sessions = Vec::new();
            for _ in 0..4 {
                sessions.push(client.connect_on(&reactor).await.unwrap());
            }
            // The oldest is the first one's.
            sshd.sessions()[0].stop();
            let jobs = sessions.iter().map(|ssh| async move {
                ssh.exec("echo on").idle_timeout(IDLE).output().await.map(|output| output.stdout)
            });
            let done = all(jobs.collect()).await;
            assert_eq!(done[0].as_ref().unwrap_err().reason(), Reason::TimedOut(IDLE));
            assert!(done[1..].iter().all(|done| done.as_deref() == Ok(b"on\n")), "{done:?}");
            // Nothing is waited for when it goes, although the server is stopped.
            drop(sessions);
        });
    });
}

#[test]
fn ten_at_once_for_few_places_come_again() {
    let options = Options { max_startups: "2:50:4".to_owned(), ..Options::default() };
    with(options, |sshd| {
        let key = sshd.client_key(KeyKind::Ed25519).unwrap();
        let client = client(&sshd).identity(&key);
        let reactor = Reactor::new().unwrap();
        let jobs = (0..10).map(|_| job(&reactor, &client, "echo in"));
        let done = reactor.run(all(jobs.collect()));
        for error in done.iter().filter_map(|done| done.as_ref().err()) {
            assert_eq!((error.step(), error.reason()), (Step::Handshake, Reason::Disconnected));
            holds(error, &["MaxStartups"]);
        }
        // sshd has turned some away, and more are in than it would take at once.
        assert!(sshd.await_log("MaxStartups", support::PATIENCE), "{}", sshd.log());
        let entered = done.iter().filter(|done| done.is_ok()).count();
        assert!(entered > 4, "{entered} of 10: {done:?}");
    });
}

#[test]
fn a_new_host_is_saved_once_by_all() {
    with(Options::default(), |sshd| {
        let key = sshd.client_key(KeyKind::Ed25519).unwrap();
        let known = sshd.folder().join("hosts");
        let client = client_of(sshd.user(), sshd.addr(), &known).identity(&key);
        let client = client.host_key(Policy::AcceptNew);
        let reactor = Reactor::new().unwrap();
        let done = reactor.run(all((0..8).map(|_| job(&reactor, &client, "echo in")).collect()));
        assert!(done.iter().all(Result::is_ok), "{done:?}");
        let saved = std::fs::read_to_string(&known).unwrap();
        assert_eq!(saved.lines().count(), 1, "{saved}");
    });
}

#[test]
fn a_connect_is_given_up_at_any_moment_and_nothing_is_left() {
    with(Options::default(), |sshd| {
        let key = sshd.client_key(KeyKind::Ed25519).unwrap();
        let client = client(&sshd).identity(&key);
        let reactor = Reactor::new().unwrap();
        let start = Instant::now();
        job_in_time(&reactor, &client, Duration::MAX).expect("with all the time of the world");
        let whole = start.elapsed();
        let mut given_up = 0;
        for n in 0..40 {
            given_up += usize::from(job_in_time(&reactor, &client, whole * n / 32).is_none());
        }
        assert!(given_up > 0);
        // The server sees the end of each at once, the reactor has nothing to do, and goes on.
        support::until("the server has no session left", || sshd.sessions().is_empty());
        assert_eq!(reactor.run(job(&reactor, &client, "echo in")).unwrap(), "in\n");
        assert_eq!(reactor.spawned(), 0);
    });
}

/// A job that is dropped where it stands when its time is over.
fn job_in_time(reactor: &Reactor, client: &Client, time: Duration) -> Option<String> {
    let deadline = Deadline::after(time);
    let done = reactor.run(reactor.within(deadline, job(reactor, client, "echo in")));
    done.ok().map(|done| done.unwrap())
}
