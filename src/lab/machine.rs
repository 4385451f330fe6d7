//! What this machine is and can do.

use crate::json::Value;
use crate::net::Ring;
use crate::phase::{Calibration, Nanos, Over, Primed};
use crate::sys;
use std::fs;
use std::io;
use std::process::{Command, Stdio};

/// One thing that this machine can or cannot do.
#[derive(Debug)]
pub struct Ability {
    /// What it is about.
    pub name: &'static str,
    /// Whether all of it is there.
    pub good: bool,
    /// What was found.
    pub found: String,
    /// What to do if it is not good; empty where nothing needs to be done.
    pub remedy: &'static str,
}

/// The block that stands beside measured figures: kernel, CPU, cores.
#[must_use]
pub fn environment() -> Value {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Value::object([
        ("kernel", sys::uname_release().into()),
        ("cpu", cpu().into()),
        ("cores", (cores as u64).into()),
        (
            "clocksource",
            read("/sys/devices/system/clocksource/clocksource0/current_clocksource").into(),
        ),
    ])
}

/// That block in a line: `Linux 6.18, AMD EPYC, 2 cores`.
#[must_use]
pub fn described(environment: &Value) -> String {
    let of = |name| match environment.get(name) {
        Some(Value::Text(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "?".to_owned(),
    };
    format!("Linux {}, {}, {} cores", of("kernel"), of("cpu"), of("cores"))
}

fn cpu() -> Option<String> {
    let text = read("/proc/cpuinfo")?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Looks at everything; takes some tenths of a second.
#[must_use]
pub fn abilities() -> Vec<Ability> {
    vec![
        toolchain(),
        strace(),
        tracefs(),
        io_uring(),
        descriptors(),
        somaxconn(),
        clock(),
        stamps(),
        calibration(),
        wake_ups(),
        ssh(),
        #[cfg(feature = "remote")]
        sshd(),
    ]
}

fn ability(
    name: &'static str,
    good: bool,
    found: impl Into<String>,
    remedy: &'static str,
) -> Ability {
    Ability { name, good, found: found.into(), remedy: if good { "" } else { remedy } }
}

/// The oldest compiler that builds this crate, as Cargo.toml says.
const RUST: &str = env!("CARGO_PKG_RUST_VERSION");

fn toolchain() -> Ability {
    let found = said("rustc", &["--version"]);
    let version = found.as_deref().and_then(|text| text.split_whitespace().nth(1)).map(parts);
    let good = version.is_some_and(|version| version >= parts(RUST));
    let found = found.unwrap_or_else(|| "no rustc on the PATH".to_owned());
    ability(
        "toolchain",
        good,
        found,
        "make deps installs one that is new enough (as root, on Debian)",
    )
}

fn parts(version: &str) -> Vec<u32> {
    version.split(['.', '-']).map_while(|part| part.parse().ok()).collect()
}

/// Whether strace is here and may trace.
#[must_use]
pub fn strace() -> Ability {
    const REMEDY: &str = "apt-get install strace; where ptrace is forbidden: \
                          sysctl kernel.yama.ptrace_scope=1, or allow SYS_PTRACE in the container";
    let Some(version) = said("strace", &["--version"]) else {
        return ability("strace", false, "not installed", REMEDY);
    };
    let traced = said("strace", &["-o", "/dev/null", "true"]).is_some();
    let version = version.lines().next().unwrap_or_default().to_owned();
    let found = if traced { version } else { format!("{version}, but ptrace is refused") };
    ability("strace", traced, found, REMEDY)
}

fn tracefs() -> Ability {
    let events = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
    let found = events.into_iter().find(|dir| fs::read_dir(format!("{dir}/events")).is_ok());
    ability(
        "tracefs",
        found.is_some(),
        found.unwrap_or("not mounted, or not readable by this user"),
        "as root: mount -t tracefs nodev /sys/kernel/tracing (only needed for --kernel)",
    )
}

fn io_uring() -> Ability {
    // The same check as the model's own.
    let refused = |datagrams| Ring::available(datagrams).err();
    let (what, failure) = match (refused(false), refused(true)) {
        (None, None) => return ability("io_uring", true, "streams and datagrams", ""),
        (None, Some(failure)) => ("streams, no datagrams: ", failure),
        (Some(failure), _) => ("", failure),
    };
    let errno = failure.errno().unwrap_or(0);
    let remedy = sys::uring_remedy(&io::Error::from_raw_os_error(errno));
    ability("io_uring", false, format!("{what}{}", failure.hint(None)), remedy)
}

fn descriptors() -> Ability {
    match sys::getrlimit() {
        Ok(limit) => ability(
            "descriptors",
            limit.soft >= 10_100,
            format!("{} soft, {} hard (RLIMIT_NOFILE)", limit.soft, limit.hard),
            "ulimit -n 20000, for tests with 10,000 connections",
        ),
        Err(error) => ability("descriptors", false, sys::describe(&error), ""),
    }
}

fn somaxconn() -> Ability {
    let found = read("/proc/sys/net/core/somaxconn");
    let good = found.as_deref().and_then(|n| n.parse().ok()).is_some_and(|n: u32| n >= 1024);
    let found = found.map_or("unknown".to_owned(), |n| format!("{n} connections may wait"));
    ability("somaxconn", good, found, "sysctl net.core.somaxconn=4096: it caps --backlog")
}

fn clock() -> Ability {
    let found = read("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let good = matches!(found.as_deref(), Some("tsc" | "kvm-clock" | "arch_sys_counter"));
    let resolution = sys::clock_getres(sys::Clock::Monotonic).unwrap_or_default();
    let found = format!("{}, resolution {resolution:?}", found.unwrap_or_else(|| "unknown".into()));
    ability(
        "clock source",
        good,
        found,
        "each reading of another clock is a system call: it distorts short phases",
    )
}

fn stamps() -> Ability {
    let (good, found) = match Primed::new() {
        Ok(Primed { works: true, .. }) => (true, "SO_TIMESTAMPNS stamps received data".to_owned()),
        Ok(_) => (false, "SO_TIMESTAMPNS is accepted, but no stamp comes".to_owned()),
        Err(error) => (false, sys::describe(&error)),
    };
    ability(
        "receive stamps",
        good,
        found,
        "without them the blocking model's wait and copy stay undivided",
    )
}

fn calibration() -> Ability {
    let (good, found) = match Calibration::measure(Over::Tcp) {
        Ok(table) => {
            let [small, large] = [1024, 16_384].map(|bytes| Nanos(table.copy(bytes)));
            (true, format!("1 KiB is copied in {small}, 16 KiB in {large} (MSG_TRUNC)"))
        }
        Err(error) => (false, sys::describe(&error)),
    };
    ability("copy alone", good, found, "without it the row 'copy' keeps wake-up and return in it")
}

fn wake_ups() -> Ability {
    let good = read("/proc/thread-self/schedstat").is_some();
    let found = if good { "/proc/thread-self/schedstat" } else { "no /proc/thread-self/schedstat" };
    ability(
        "wake-up times",
        good,
        found,
        "a kernel with CONFIG_SCHED_INFO; without it the row 'wake' is missing",
    )
}

fn ssh() -> Ability {
    const CLIENT: &str = "apt-get install openssh-client: remote asks ssh -G for OpenSSH's configuration, aliases among it";
    const FEATURE: &str = "build with the feature remote (default; C compiler, OpenSSL's headers)";
    if !cfg!(feature = "remote") {
        return ability("ssh", false, "remote is not built in", FEATURE);
    }
    let configured = said("ssh", &["-G", "--", "host"]).is_some();
    let found = if configured {
        "ssh -G tells the configuration"
    } else {
        "no ssh that tells its configuration"
    };
    ability("ssh", configured, found, CLIENT)
}

#[cfg(feature = "remote")]
fn sshd() -> Ability {
    let found = super::sshd::available();
    let good = found.is_ok();
    let found = found.unwrap_or_else(|why| why.to_string());
    ability(
        "private sshd",
        good,
        found,
        "apt-get install openssh-server (as root, in a machine that allows mounts): remote demo and the tests",
    )
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// What a program prints, if it is there and ends with 0.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let run = |command: &mut Command| -> io::Result<_> { command.stdin(Stdio::null()).output() };
    let output = run(Command::new(program).args(arguments)).ok().filter(|o| o.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
