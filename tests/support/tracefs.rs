//! Where the kernel records: a machine with tracefs, or a mount of it that only the test sees.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "shared by test binaries that each use a part"
)]

use crate::support::{PATIENCE, skip, watchdog};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the instances are.
pub const INSTANCES: &str = "/sys/kernel/tracing/instances";
const AGAIN: &str = "WAITCOPY_TEST_TRACEFS";

/// Whether this is root, who alone may have the kernel record.
pub fn root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Runs a test where tracefs is mounted: here, or again in a mount namespace of its own. Skips aloud where it cannot be had.
pub fn with_tracefs(test: &str, body: impl FnOnce() + Send + 'static) {
    if !root() {
        return skip("only root may have the kernel record");
    }
    if Path::new(INSTANCES).is_dir() {
        return watchdog(PATIENCE, body);
    }
    if std::env::var_os(AGAIN).is_some() {
        return skip("tracefs cannot be mounted here");
    }
    let script =
        "mount -t tracefs nodev /sys/kernel/tracing; exec \"$1\" --exact \"$2\" --nocapture";
    let mut again = Command::new("unshare");
    again.args(["--mount", "sh", "-c", script, "sh"]).arg(std::env::current_exe().unwrap());
    let output = again.arg(test).env(AGAIN, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    if said.contains("unshare: ") {
        return skip(&said);
    }
    assert!(said.contains("1 passed"), "{said}");
    said.lines().filter(|line| line.starts_with("SKIPPED")).for_each(|line| eprintln!("{line}"));
}

/// The instances of a process.
pub fn instances(process: u32) -> Vec<PathBuf> {
    let prefix = format!("waitcopy-{process}-");
    let entries = fs::read_dir(INSTANCES).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&prefix))
        .collect()
}
