//! Every step of the remote ends at its deadline, and says which it was: hosts that are down, silent, busy or stopped.
#![cfg(feature = "remote")]

#[path = "support/remote.rs"]
mod remote;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use remote::{client, client_of, holds, login, refusal, secret, with};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::{PATIENCE, watchdog};
use waitcopy::lab::sshd::{Accounts, KeyKind, Options, Sshd};
use waitcopy::remote::config::IdentityAgent;
use waitcopy::remote::secret::Secret;
use waitcopy::remote::{Ask, Client, Error, Reason, Sink, Step, Timeouts};
use waitcopy::sys;

const SECOND: Duration = Duration::from_secs(1);

fn timeouts(client: Client, set: impl FnOnce(&mut Timeouts)) -> Client {
    let mut timeouts = client.get_timeouts();
    set(&mut timeouts);
    client.timeouts(timeouts)
}

/// A client for something that is no SSH server.
fn stranger(addr: SocketAddr) -> Client {
    client_of("nobody", addr, Path::new("/nonexistent/known_hosts")).password(secret("secret"))
}

/// Fails at this step, not before its deadline of a second and not long after it.
#[track_caller]
fn late(client: &Client, step: Step) -> Error {
    let start = Instant::now();
    let error = refusal(client);
    assert_eq!((error.step(), error.reason()), (step, Reason::TimedOut(SECOND)), "{error}");
    let took = start.elapsed();
    assert!(took >= SECOND && took < 10 * SECOND, "{took:?}");
    error
}

#[test]
fn who_accepts_and_says_nothing_fails_at_the_handshake() {
    watchdog(PATIENCE, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = timeouts(stranger(listener.local_addr().unwrap()), |t| t.handshake = SECOND);
        holds(&late(&client, Step::Handshake), &["no end after 1s", "does not speak SSH"]);
        // In all, and the handshake alone would have had its usual time.
        let total = timeouts(stranger(listener.local_addr().unwrap()), |t| t.total = Some(SECOND));
        late(&total, Step::Connect);
    });
}

#[test]
fn who_introduces_himself_and_no_more_fails_at_the_handshake() {
    watchdog(PATIENCE, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = timeouts(stranger(listener.local_addr().unwrap()), |t| t.handshake = SECOND);
        let peer = thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            peer.write_all(b"SSH-2.0-silent\r\n").unwrap();
            // Up to the client's end.
            io::copy(&mut peer, &mut io::sink())
        });
        late(&client, Step::Handshake);
        assert!(peer.join().unwrap().is_ok_and(|bytes| bytes > 0));
    });
}

#[test]
fn a_closed_port_is_refused_at_once() {
    with(Options::default(), |mut sshd| {
        let client = client(&sshd);
        sshd.stop().unwrap();
        let error = refusal(&client);
        let refused = Reason::Io(Some(libc::ECONNREFUSED));
        assert_eq!((error.step(), error.reason()), (Step::Connect, refused), "{error}");
        holds(&error, &["connect: connect 127.0.0.1:", "ECONNREFUSED"]);
    });
}

#[test]
fn a_full_backlog_fails_at_the_deadline_of_connect() {
    watchdog(PATIENCE, || {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = sys::socket(any, sys::Kind::Stream).unwrap();
        sys::bind(&listener, any).unwrap();
        sys::listen(&listener, 0).unwrap();
        let addr = sys::getsockname(&listener).unwrap().ip().unwrap();
        // Linux lets one more in than it is told, and then answers no SYN.
        let mut filling = Vec::new();
        while let Ok(peer) = TcpStream::connect_timeout(&addr, Duration::from_millis(300)) {
            filling.push(peer);
        }
        assert!(!filling.is_empty());
        let client = timeouts(stranger(addr), |t| t.connect = SECOND);
        holds(&late(&client, Step::Connect), &["no answer after 1s"]);
    });
}

#[test]
fn a_name_that_nobody_knows_fails_at_its_resolution() {
    watchdog(PATIENCE, || {
        // RFC 6761: never a name. Where the resolver itself is silent, its deadline tells.
        let client = Client::new("nobody@no-such-host.invalid").unwrap();
        let client = timeouts(client, |t| t.resolve = SECOND);
        let error = refusal(&client);
        assert_eq!(error.step(), Step::Resolve, "{error}");
        assert!(matches!(error.reason(), Reason::Io(None) | Reason::TimedOut(SECOND)), "{error}");
        holds(&error, &["no-such-host.invalid"]);
    });
}

/// Stops the connection's processes when it is asked, as slowly as it is told.
struct Stopping(Rc<Sshd>, String);

impl Ask for Stopping {
    fn password(&mut self, _: &str, _: &str, _: usize) -> Option<Secret> {
        self.0.sessions().into_iter().for_each(waitcopy::lab::sshd::Session::stop);
        Some(secret(&self.1))
    }
}

#[test]
fn a_server_that_stops_fails_at_the_deadline_of_the_login() {
    with(Options { accounts: Accounts::Password, ..Options::default() }, |sshd| {
        let sshd = Rc::new(sshd);
        let password = sshd.password().to_owned();
        let client = client(&sshd).ask(Stopping(Rc::clone(&sshd), password));
        let error = late(&timeouts(client, |t| t.auth = SECOND), Step::Auth);
        holds(&error, &["walter@127.0.0.1", "no end after 1s"]);
    });
}

#[test]
fn an_agent_that_says_nothing_fails_at_the_deadline_of_the_login() {
    with(Options::default(), |sshd| {
        let socket = sshd.folder().join("silent");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let client = client(&sshd).agent(IdentityAgent::Socket(socket));
        late(&timeouts(client, |t| t.auth = SECOND), Step::Auth);
    });
}

/// Takes his time.
struct Slow(String);

impl Ask for Slow {
    fn password(&mut self, _: &str, _: &str, _: usize) -> Option<Secret> {
        thread::sleep(2 * SECOND);
        Some(secret(&self.0))
    }
}

#[test]
fn the_deadline_of_the_login_waits_for_a_person() {
    with(Options { accounts: Accounts::Password, ..Options::default() }, |sshd| {
        let client = client(&sshd).ask(Slow(sshd.password().to_owned()));
        let client = timeouts(client, |t| t.auth = SECOND);
        assert_eq!(login(&sshd, &client), "password");
    });
}

/// Does something to the connection's processes as soon as the command has said a word.
struct AtFirstWord<'a>(&'a Sshd, fn(waitcopy::lab::sshd::Session));

impl Sink for AtFirstWord<'_> {
    async fn write(&mut self, _: &[u8]) -> io::Result<()> {
        self.0.sessions().into_iter().for_each(self.1);
        Ok(())
    }
}

#[test]
fn a_server_that_stops_or_ends_in_the_middle_of_a_command() {
    with(Options::default(), |sshd| {
        let key = sshd.client_key(KeyKind::Ed25519).unwrap();
        let client = client(&sshd).identity(key);
        // A command that talks all the time: it is silent only because it is stopped.
        let words = "while echo on; do sleep 0.05; done";
        let idle = timeouts(client.clone(), |t| t.idle = Some(SECOND));
        let stop = |connected: &Client, own: Option<Duration>| {
            let ssh = connected.connect().unwrap();
            let mut sink = AtFirstWord(&sshd, waitcopy::lab::sshd::Session::stop);
            let start = Instant::now();
            let ended = ssh.run(async |ssh| {
                let exec = ssh.exec(words);
                let exec = own.map_or_else(|| ssh.exec(words), |own| exec.idle_timeout(own));
                exec.run(&mut &[][..], &mut sink, &mut Vec::new()).await
            });
            let error = ended.unwrap_err();
            let expected = (Step::Command, Reason::TimedOut(SECOND));
            assert_eq!((error.step(), error.reason()), expected, "{error}");
            holds(&error, &["silent"]);
            assert!(start.elapsed() >= SECOND);
            // The end does not wait for a server that is stopped.
            drop(ssh);
            assert!(start.elapsed() < 10 * SECOND);
            sshd.kill_sessions();
        };
        stop(&idle, None);
        stop(&client, Some(SECOND));

        let ssh = client.connect().unwrap();
        let mut sink = AtFirstWord(&sshd, waitcopy::lab::sshd::Session::kill);
        let ended = ssh
            .run(async |ssh| ssh.exec(words).run(&mut &[][..], &mut sink, &mut Vec::new()).await);
        assert_eq!(ended.unwrap_err().reason(), Reason::Disconnected);

        // Its time in all, while it talks.
        let ssh = client.connect().unwrap();
        let ended = ssh.run(async |ssh| ssh.exec(words).timeout(SECOND).output().await);
        assert_eq!(ended.unwrap_err().reason(), Reason::TimedOut(SECOND));
        // The session is still good.
        assert_eq!(ssh.exec("echo still").unwrap().stdout, b"still\n");
    });
}

/// A door before a server that shuts on the first comers, and how many have come.
fn door(drops: usize, server: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (addr, came) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&came);
    thread::spawn(move || {
        while let Ok((near, _)) = listener.accept() {
            if count.fetch_add(1, Ordering::SeqCst) < drops {
                // As sshd does it: a sentence that is no banner, then the end.
                let _ = (&near).write_all(b"Exceeded MaxStartups\r\n");
                continue;
            }
            let far = TcpStream::connect(server).unwrap();
            for (mut from, mut to) in [
                (near.try_clone().unwrap(), far.try_clone().unwrap()),
                (far.try_clone().unwrap(), near.try_clone().unwrap()),
            ] {
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    (addr, came)
}

#[test]
fn a_server_that_hangs_up_before_its_banner_is_tried_again() {
    with(Options::default(), |sshd| {
        let key = sshd.client_key(KeyKind::Ed25519).unwrap();
        let known = sshd.folder().join("hosts");
        let host_key = sshd.known_hosts();
        std::fs::write(&known, format!("* {}", host_key.split_once(' ').unwrap().1)).unwrap();
        let (addr, came) = door(3, sshd.addr());
        let client = client_of(sshd.user(), addr, &known).identity(&key);
        login(&sshd, &client);
        assert_eq!(came.load(Ordering::SeqCst), 4);
        // Four times and no more.
        let (addr, came) = door(usize::MAX, sshd.addr());
        let error = refusal(&client_of(sshd.user(), addr, &known).identity(&key));
        assert_eq!((error.step(), error.reason()), (Step::Handshake, Reason::Disconnected));
        holds(&error, &["MaxStartups"]);
        assert_eq!(came.load(Ordering::SeqCst), 4);
    });
}

#[test]
fn a_server_that_hangs_up_after_its_banner_is_not() {
    watchdog(PATIENCE, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let peer = thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            peer.write_all(b"a word before\r\nSSH-2.0-curt\r\n").unwrap();
            let mut line = String::new();
            BufReader::new(peer).read_line(&mut line).unwrap();
            listener
        });
        let error = refusal(&stranger(addr));
        assert_eq!(error.step(), Step::Handshake, "{error}");
        assert!(!error.to_string().contains("MaxStartups"), "{error}");
        let listener = peer.join().unwrap();
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "it came again");
    });
}

#[test]
fn startups_that_are_used_up_are_named_and_others_get_in_later() {
    with(Options { max_startups: "2:100:2".to_owned(), ..Options::default() }, |sshd| {
        let key = sshd.client_key(KeyKind::Ed25519).unwrap();
        let client = client(&sshd).identity(&key);
        // Those hold the places: sshd has said its banner to them.
        let held: Vec<TcpStream> = (0..2)
            .map(|_| {
                let stream = TcpStream::connect(sshd.addr()).unwrap();
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                assert!(line.starts_with("SSH-2.0-"), "{line}");
                stream
            })
            .collect();
        let error = refusal(&client);
        assert_eq!((error.step(), error.reason()), (Step::Handshake, Reason::Disconnected));
        holds(&error, &["MaxStartups"]);
        drop(held);
        support::until("the places are free", || client.connect().is_ok());
        let mut rest = Vec::new();
        let _ = TcpStream::connect(sshd.addr()).unwrap().take(4).read_to_end(&mut rest);
        assert_eq!(rest, b"SSH-");
    });
}
