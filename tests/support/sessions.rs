//! Sessions of the remote with private servers, and what this process costs meanwhile.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "as in mod.rs")]

use crate::support::{PATIENCE, own_memory_kib, watchdog};
use std::cell::{Cell, RefCell};
use std::fs;
use std::future::{Future, poll_fn};
use std::io::{self, BufRead, BufReader, Read};
use std::pin::Pin;
use std::process::Child;
use std::rc::Rc;
use std::task::{Poll, Waker};
use waitcopy::lab::sshd::{KeyKind, Options, Sshd};
use waitcopy::reactor::Reactor;
use waitcopy::remote::config::IdentityAgent;
use waitcopy::remote::{Client, Error, Exit, Output, Session, Sink};

/// A client that knows the server and may log in, by a key.
pub fn knowing(sshd: &Sshd) -> Client {
    let known = sshd.folder().join("known_hosts_of_sessions");
    fs::write(&known, sshd.known_hosts()).unwrap();
    let key = sshd.client_key(KeyKind::Ed25519).unwrap();
    let target = format!("{}@127.0.0.1:{}", sshd.user(), sshd.addr().port());
    Client::new(&target).unwrap().agent(IdentityAgent::Off).known_hosts(known).identity(key)
}

/// Something done on a session, on a reactor of its own.
pub fn on<T>(sshd: &Sshd, what: impl AsyncFnOnce(&Reactor, &Session) -> T) -> T {
    let (reactor, client) = (Reactor::new().unwrap(), knowing(sshd));
    reactor.run(async {
        let session = client.connect_on(&reactor).await.unwrap();
        what(&reactor, &session).await
    })
}

/// One of many futures.
pub type One<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// All of them at once, to the last one's end; the results in their order.
pub async fn together<T>(futures: Vec<One<'_, T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (future, None)).collect();
    poll_fn(|cx| {
        for (future, result) in futures.iter_mut().filter(|(_, result)| result.is_none()) {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                *result = Some(value);
            }
        }
        match futures.iter().all(|(_, result)| result.is_some()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    futures.into_iter().filter_map(|(_, result)| result).collect()
}

/// Polls a future so often, at most; whatever wakes it.
pub async fn polled<T>(times: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = Box::pin(future);
    let mut left = times;
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending if left <= 1 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

/// Open descriptors of this process.
pub fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count() - 1
}

/// This process's memory of its own, in KiB.
pub fn memory_kib() -> u64 {
    own_memory_kib(std::process::id())
}

/// The most that this process had in memory, `VmHWM` of /proc/self/status in KiB.
pub fn peak_kib() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// From now on `VmHWM` is the peak since now (proc(5), `/proc/pid/clear_refs`). What it is now, in KiB.
pub fn forget_peak() -> u64 {
    fs::write("/proc/self/clear_refs", "5").unwrap();
    peak_kib()
}

/// Something that one future tells and another waits for.
#[derive(Clone, Default)]
pub struct Told(Rc<(Cell<bool>, RefCell<Vec<Waker>>)>);

impl Told {
    pub fn tell(&self) {
        self.0.0.set(true);
        self.0.1.take().into_iter().for_each(Waker::wake);
    }

    pub async fn wait(&self) {
        poll_fn(|cx| {
            if self.0.0.get() {
                return Poll::Ready(());
            }
            self.0.1.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A process that does not outlive its test.
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The first line of what a process says.
pub fn first_line(output: impl Read) -> String {
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// Collects, and tells when the first bytes are here.
pub struct Started {
    pub bytes: Vec<u8>,
    pub ready: Told,
}

impl Started {
    pub fn new() -> Self {
        Self { bytes: Vec::new(), ready: Told::default() }
    }
}

impl Sink for Started {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(bytes);
        self.ready.tell();
        Ok(())
    }
}

/// A test on a private sshd.
pub fn with_sshd(options: Options, test: impl FnOnce(Sshd) + Send + 'static) {
    watchdog(PATIENCE, move || {
        if let Some(sshd) = crate::ssh::or_skip(Sshd::start(options)) {
            test(sshd);
        }
    });
}

pub async fn output(session: &Session, command: &str) -> Result<Output, Error> {
    session.exec(command).output().await
}

/// The session is as good as new.
pub async fn works(session: &Session) {
    let said = session.exec("cat; echo as good as new").output_of(b"in ").await.unwrap();
    assert_eq!((said.exit, &*said.stdout), (Exit::Status(0), &b"in as good as new\n"[..]));
    assert!(said.stderr.is_empty());
}
