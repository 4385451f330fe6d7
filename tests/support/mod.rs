//! What every test of a real server needs: the server as a child process, a watchdog, skipping aloud.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "shared by test binaries that each use a part"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Once;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};
use waitcopy::json::Value;
use waitcopy::sys::{self, SIGHUP, SIGINT, SIGQUIT, SIGTERM};

/// The program under test.
pub const WAITCOPY: &str = env!("CARGO_BIN_EXE_waitcopy");

/// Nothing here may take longer; a test that does has hung.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Makes one test per model: `for_each_model!(fn name(model: &str) { ... })` becomes `name::epoll` and so on.
/// `every_model_has_its_tests` in `compare.rs` holds the list against the catalogue.
#[macro_export]
macro_rules! for_each_model {
    ($(#[$note:meta])* fn $name:ident($model:ident: &str) $body:block) => {
        $(#[$note])*
        mod $name {
            #[allow(unused_imports, reason = "a test may need nothing of its file")]
            use super::*;
            use $crate::support::PATIENCE;
            fn run($model: &str) { let model = $model.to_owned(); support::watchdog(PATIENCE, move || { let $model = model.as_str(); $body }) }
            #[test] fn blocking() { run("blocking") }
            #[test] fn nonblocking() { run("nonblocking") }
            #[test] fn select() { run("select") }
            #[test] fn poll() { run("poll") }
            #[test] fn epoll() { run("epoll") }
            #[test] fn epoll_et() { run("epoll-et") }
            #[test] fn sigio() { run("sigio") }
            #[test] fn io_uring() { run("io-uring") }
            #[test] fn async_fn() { run("async") }
            #[test] fn threads() { run("threads") }
            #[test] fn thread_pool() { run("thread-pool") }
            #[test] fn fork() { run("fork") }
            #[test] fn prefork() { run("prefork") }
            #[test] fn reuseport() { run("reuseport") }
        }
    };
}

/// The models that the macro above knows.
pub const TESTED_MODELS: [&str; 14] = [
    "blocking",
    "nonblocking",
    "select",
    "poll",
    "epoll",
    "epoll-et",
    "sigio",
    "io-uring",
    "async",
    "threads",
    "thread-pool",
    "fork",
    "prefork",
    "reuseport",
];

/// Memory of a process's own, in KiB. Unlike VmRSS, which the kernel estimates per CPU (proc_pid_status(5)), this one is
/// counted.
pub fn own_memory_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Runs a test on a thread of its own and fails it when it takes longer than `limit`.
pub fn watchdog(limit: Duration, test: impl FnOnce() + Send + 'static) {
    static SIGNALS: Once = Once::new();
    // nohup(1), and a shell that starts something behind it, have some ignored, also for the programs that we start: those would
    // not be ended by them, as they are meant to be.
    SIGNALS.call_once(|| {
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            if sys::is_ignored(signal).unwrap() {
                sys::default_signal(signal).unwrap();
            }
        }
    });
    let (done, finished) = mpsc::channel();
    let worker = thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    match finished.recv_timeout(limit) {
        Err(RecvTimeoutError::Timeout) => panic!("watchdog: not done after {limit:?}"),
        // Done, or panicked: join tells.
        Ok(()) | Err(RecvTimeoutError::Disconnected) => {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// Says on standard error (which the test runner does not capture) why a check is not made here; with
/// `NO_SKIP=1`, as in CI, fails instead.
pub fn skip(reason: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
    assert!(std::env::var_os("NO_SKIP").is_none(), "NO_SKIP=1, but skipped: {reason}");
}

/// Whether the long tests are wanted (`make test-all`).
pub fn long() -> bool {
    std::env::var_os("WAITCOPY_LONG").is_some()
}

/// Whether strace is here and may trace; skips aloud if not.
pub fn strace_works() -> bool {
    let probe = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    let works = probe.as_ref().is_ok_and(|output| output.status.success());
    if !works {
        skip("strace is missing or ptrace is forbidden here");
    }
    works
}

/// Sends and reads the whole answer.
pub fn exchange(stream: &mut TcpStream, message: &[u8]) {
    stream.write_all(message).unwrap();
    let mut reply = vec![0; message.len()];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(reply, message.to_ascii_uppercase());
}

/// Bytes of all values, different at each position, so that a lost or foreign one shows.
pub fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Waits until `condition` holds; for what no event tells, such as counters of another process.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "not within 30 s: {what}");
        thread::yield_now();
    }
}

/// A report file's figures.
pub fn report(path: &std::path::Path) -> Value {
    Value::parse(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A path for a file of this test, unique in this run.
pub fn scratch(name: &str) -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("waitcopy-test-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir.join(name)
}

/// Runs a test's body in a process of its own: for what a process has one of, such as its descriptor
/// numbers, limits and signal handlers, and for what parallel tests would disturb.
pub fn alone(test: &str, body: impl FnOnce() + Send + 'static) {
    if std::env::var_os("WAITCOPY_ALONE").is_some() {
        return watchdog(PATIENCE, body);
    }
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture"]).env("WAITCOPY_ALONE", "1");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{errors}");
    // What it skipped is said here too.
    eprint!("{errors}");
}

/// A listening socket on a free port of loopback, made by the wrappers.
pub fn listening() -> (std::os::fd::OwnedFd, SocketAddr) {
    use waitcopy::sys;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = sys::socket(any, sys::Kind::Stream).unwrap();
    sys::bind(&listener, any).unwrap();
    sys::listen(&listener, 128).unwrap();
    let address = sys::getsockname(&listener).unwrap().ip().unwrap();
    (listener, address)
}

/// The two ends of a TCP connection over loopback: the one that connected and the accepted one.
pub fn connected() -> (std::os::fd::OwnedFd, std::os::fd::OwnedFd) {
    use waitcopy::sys;
    let (listener, address) = listening();
    let near = sys::socket(address, sys::Kind::Stream).unwrap();
    sys::connect(&near, address).unwrap();
    let (far, _) = sys::accept4(&listener).unwrap();
    (near, far)
}

/// The errno of a call that must fail.
pub fn errno<T: std::fmt::Debug>(result: std::io::Result<T>) -> i32 {
    result.expect_err("a failure").raw_os_error().unwrap()
}

/// Raises the limit for this process and the servers it starts. One test at a time, so that
/// together they stay below it.
pub fn many_descriptors(wanted: u64) -> Option<std::sync::MutexGuard<'static, ()>> {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let limit = waitcopy::sys::getrlimit().unwrap();
    if limit.hard < wanted {
        skip(&format!("needs {wanted} descriptors, ulimit -Hn allows {}", limit.hard));
        return None;
    }
    waitcopy::sys::setrlimit(waitcopy::sys::Limit { soft: limit.hard, ..limit }).unwrap();
    Some(guard)
}

/// Runs a command that must end with this exit status and one line on standard error: `waitcopy: ` and `said`,
/// perhaps with more after it. Nothing on standard output.
pub fn assert_refused(command: &mut Command, code: i32, said: &str) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{command:?}: {stderr}");
    assert!(stderr.starts_with(&format!("waitcopy: {said}")), "{command:?}: {stderr}");
    assert!(stderr.ends_with('\n') && stderr.lines().count() == 1, "{command:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{command:?}");
}

mod server;
pub mod streams;

pub use server::*;
