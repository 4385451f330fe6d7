//! A tracefs instance of one's own: plain files, apart from other users of tracing.

use super::guard::Guard;
use crate::sys;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Why the kernel does not tell, and what to do about it.
#[derive(Debug)]
pub struct Refused {
    reason: String,
    remedy: &'static str,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.reason, self.remedy)
    }
}

impl std::error::Error for Refused {}

const MOUNT: &str = "as root: mount -t tracefs nodev /sys/kernel/tracing";
const ROOT: &str =
    "only root may have the kernel record: sudo, or a container that shows tracefs writable";

impl Refused {
    fn of(path: &Path, error: &io::Error) -> Self {
        let reason = format!("open {}: {}", path.display(), sys::describe(error));
        let denied = [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem];
        let remedy = if denied.contains(&error.kind()) {
            ROOT
        } else {
            "a kernel with CONFIG_FTRACE_SYSCALLS and CONFIG_EVENT_TRACING has it"
        };
        Self { reason, remedy }
    }

    pub(super) fn no_process(process: u32) -> Self {
        Self { reason: format!("no process {process}"), remedy: "it may have ended" }
    }

    pub(super) fn no_calls() -> Self {
        Self {
            reason: "this kernel has no events of system calls".to_owned(),
            remedy: "it needs CONFIG_FTRACE_SYSCALLS",
        }
    }
}

/// What our instances are called: `waitcopy-PID-N`.
const PREFIX: &str = "waitcopy-";
/// Bytes of the buffers of all CPUs together, at most.
const BUFFERS_KIB: usize = 128 * 1024;

/// The directory of an instance; removed when dropped.
#[derive(Debug)]
pub(super) struct Instance {
    path: PathBuf,
    /// Let go after the directory is gone.
    _guard: Guard,
}

/// Where tracefs is mounted.
fn tracefs() -> Result<PathBuf, Refused> {
    let places = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"].map(PathBuf::from);
    let mut denied = None;
    for place in places {
        match fs::read_dir(place.join("instances")) {
            Ok(_) => return Ok(place),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                denied.get_or_insert(Refused::of(&place.join("instances"), &error));
            }
            Err(_) => {}
        }
    }
    Err(denied
        .unwrap_or_else(|| Refused { reason: "tracefs is not mounted".to_owned(), remedy: MOUNT }))
}

impl Instance {
    pub(super) fn new() -> Result<Self, Refused> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let instances = tracefs()?.join("instances");
        remove_stale(&instances);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = instances.join(format!("{PREFIX}{}-{number}", process::id()));
        let refused = |error: io::Error| Refused {
            reason: format!("mkdir {}: {}", path.display(), sys::describe(&error)),
            remedy: ROOT,
        };
        // The guard first: it waits for our end, and removes what is there then.
        let guard = Guard::of(&path).map_err(|error| Refused {
            reason: format!(
                "start /bin/sh, which is to remove the instance: {}",
                sys::describe(&error)
            ),
            remedy: "it must be there",
        })?;
        fs::create_dir(&path).map_err(refused)?;
        Ok(Self { path, _guard: guard })
    }

    pub(super) fn has(&self, event: &str) -> bool {
        self.path.join("events").join(event).is_dir()
    }

    pub(super) fn enable(&self, event: &str) -> Result<(), Refused> {
        self.write(&format!("events/{event}/enable"), "1")
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), Refused> {
        self.put(name, text, false)
    }

    pub(super) fn append(&self, name: &str, text: &str) -> Result<(), Refused> {
        self.put(name, text, true)
    }

    fn put(&self, name: &str, text: &str, append: bool) -> Result<(), Refused> {
        let path = self.path.join(name);
        let opened = File::options().write(true).append(append).open(&path);
        opened
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|e| Refused::of(&path, &e))
    }

    /// Each CPU has a buffer; together they stay within a bound, however many there are.
    pub(super) fn size_buffers(&self) -> Result<(), Refused> {
        let cpus = fs::read_dir(self.path.join("per_cpu")).map_or(1, Iterator::count).max(1);
        self.write("buffer_size_kb", &(BUFFERS_KIB / cpus).clamp(512, 32 * 1024).to_string())
    }

    pub(super) fn read(&self, name: &str) -> Result<String, String> {
        let path = self.path.join(name);
        // A thread's name need not be UTF-8.
        let text = fs::read(&path)
            .map_err(|e| format!("read {}: {}", path.display(), sys::describe(&e)))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // What fails here the guard tries again.
        let _ = fs::remove_dir(&self.path);
    }
}

/// Removes the instances of processes that are gone: the guard may have been killed as well.
fn remove_stale(instances: &Path) {
    let names = fs::read_dir(instances).into_iter().flatten().filter_map(Result::ok);
    for entry in names {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let owner = owner.and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner.to_string()).exists()) {
            // Somebody else may be quicker.
            let _ = fs::remove_dir(entry.path());
        }
    }
}
