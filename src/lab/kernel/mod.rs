//! The kernel's own word: for each call of a server, how long it slept, waited for a CPU, and copied.
//!
//! A private tracefs instance records, for the server's threads and children alone, entry and exit of its calls,
//! `sched_switch` and `sched_wakeup`, `skb:skb_copy_datagram_iovec` (a copy begins) and `tcp:tcp_rcv_space_adjust` (just after it).
//! Its clock is `CLOCK_MONOTONIC`, the recorder's. It needs root. Recording costs the server time with each
//! event, and the kernel's text tells whole microseconds.
//!
//! ```no_run
//! use waitcopy::lab::{Server, kernel::Kernel};
//!
//! # fn main() -> Result<(), String> {
//! let server = Server::start("epoll", false, None)?;
//! let kernel = Kernel::start(server.process()).map_err(|refused| refused.to_string())?;
//! // ... clients ...
//! for io in kernel.stop()? {
//!     println!("{} of flow {}: asleep {} ns, copied {} ns", io.call.name(), io.flow, io.asleep, io.copied);
//! }
//! # Ok(())
//! # }
//! ```

mod guard;
mod instance;
mod io;
mod line;

pub use instance::Refused;
pub use io::{KernelIo, ios};
pub use line::{Event, Malformed, Stamped, lines};

use instance::Instance;
use std::fs;
use std::path::Path;
use std::process;

/// Why there is no result.
#[derive(Debug)]
pub enum Trouble {
    /// The kernel does not tell, here or us.
    Refused(Refused),
    /// It ran, and went wrong.
    Failed(String),
}

impl From<String> for Trouble {
    fn from(said: String) -> Self {
        Self::Failed(said)
    }
}

impl From<Refused> for Trouble {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// Whether the kernel would tell us, before anything is run for it.
///
/// # Errors
/// [`Refused`]: not root, no tracefs, no events of system calls in this kernel.
pub fn available() -> Result<(), Refused> {
    Kernel::prepare(process::id()).map(drop)
}

/// A recording that runs. Dropped or not, its instance is removed: when this process ends, however it ends.
#[derive(Debug)]
pub struct Kernel {
    instance: Instance,
}

/// The events that are always there; the calls come with both of their ends.
const EVENTS: [&str; 4] = [
    "sched/sched_switch",
    "sched/sched_wakeup",
    "skb/skb_copy_datagram_iovec",
    "tcp/tcp_rcv_space_adjust",
];

/// The calls that wait or copy, by the kernel's names. Not every machine has each of them.
const CALLS: [&str; 13] = [
    "accept4",
    "recvfrom",
    "recvmsg",
    "sendto",
    "select",
    "pselect6",
    "poll",
    "ppoll",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "io_uring_enter",
    "rt_sigtimedwait",
];

impl Kernel {
    /// Begins to record a process, its threads and its children, also those that it makes from now on. Calls that it is in
    /// already are not among the results.
    ///
    /// # Errors
    /// [`Refused`]: not root, no tracefs, no events of system calls in this kernel.
    pub fn start(process: u32) -> Result<Self, Refused> {
        let kernel = Self::prepare(process)?;
        kernel.resume()?;
        Ok(kernel)
    }

    /// Makes everything ready, and records nothing before [`Kernel::resume`]. Whom the process makes meanwhile is known.
    ///
    /// # Errors
    /// As [`Kernel::start`].
    pub fn prepare(process: u32) -> Result<Self, Refused> {
        let instance = Instance::new()?;
        instance.write("tracing_on", "0")?;
        instance.write("trace_clock", "mono")?;
        instance.write("options/event-fork", "1")?;
        instance.size_buffers()?;
        // One that is made between two looks is found by the second, or followed by event-fork.
        let mut known = Vec::new();
        loop {
            let family = flows(process);
            let fresh: Vec<_> = family.iter().filter(|flow| !known.contains(*flow)).collect();
            if fresh.is_empty() {
                break;
            }
            // Opened to append: opened to overwrite, it would forget the others. In one write: the kernel waits for all of its
            // readers after each.
            let fresh: Vec<_> = fresh.into_iter().map(String::as_str).collect();
            instance.append("set_event_pid", &fresh.join(" "))?;
            known = family;
        }
        if known.is_empty() {
            return Err(Refused::no_process(process));
        }
        EVENTS.iter().try_for_each(|event| instance.enable(event))?;
        let of = |end: &str, call: &str| format!("syscalls/sys_{end}_{call}");
        let here = CALLS.iter().filter(|call| instance.has(&of("enter", call)));
        let mut enabled = 0;
        for call in here {
            instance.enable(&of("exit", call))?;
            instance.enable(&of("enter", call))?;
            enabled += 1;
        }
        if enabled == 0 {
            return Err(Refused::no_calls());
        }
        Ok(Self { instance })
    }

    /// Records from now on.
    ///
    /// # Errors
    /// The instance cannot be written any more.
    pub fn resume(&self) -> Result<(), Refused> {
        self.instance.write("tracing_on", "1")
    }

    /// Records no more, until [`Kernel::resume`].
    ///
    /// # Errors
    /// As [`Kernel::resume`].
    pub fn pause(&self) -> Result<(), Refused> {
        self.instance.write("tracing_on", "0")
    }

    /// Ends the recording.
    ///
    /// # Errors
    /// A sentence: the kernel had to drop events, or its text is not understood.
    pub fn stop(self) -> Result<Vec<KernelIo>, String> {
        self.text().and_then(|text| read(&text))
    }

    /// Ends the recording, and gives the kernel's own text.
    ///
    /// # Errors
    /// A sentence: the trace cannot be read.
    pub fn text(self) -> Result<String, String> {
        self.pause().map_err(|refused| refused.to_string())?;
        self.instance.read("trace")
    }
}

/// What a recording's text says of each call, in the order in which they ended.
///
/// # Errors
/// A sentence: a line that is none of the kernel's, or events that it had to drop.
pub fn read(text: &str) -> Result<Vec<KernelIo>, String> {
    Ok(ios(&lines(text).map_err(|malformed| malformed.to_string())?))
}

/// The threads of a process and of all that descend from it.
fn flows(process: u32) -> Vec<String> {
    let mut flows = Vec::new();
    let mut processes = vec![process.to_string()];
    while let Some(process) = processes.pop() {
        // One that has ended meanwhile has none.
        let Ok(threads) = fs::read_dir(Path::new("/proc").join(&process).join("task")) else {
            continue;
        };
        for thread in threads.filter_map(Result::ok) {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            processes.extend(children.split_ascii_whitespace().map(str::to_owned));
            flows.extend(thread.file_name().into_string());
        }
    }
    flows
}
