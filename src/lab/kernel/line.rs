//! The text of a tracefs `trace` file, line by line.

use crate::phase::Call;
use std::fmt;

/// One event of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// When, on the instance's clock: nanoseconds, told in whole microseconds.
    pub at: u64,
    /// In whose context: a thread's number; 0 is the idle task.
    pub flow: u32,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A call begins, with its first argument, the descriptor, where it has one.
    Enter(Call, Option<i64>),
    /// It returns; an error is negative.
    Exit(Call, i64),
    /// A CPU goes from one thread to another; whether the first could run on.
    Switch {
        /// Who had it.
        from: u32,
        /// Not asleep: only without a CPU.
        runnable: bool,
        /// Who has it now.
        to: u32,
    },
    /// A thread may run again.
    Wakeup(u32),
    /// The kernel begins to copy so many bytes to the process.
    Copy(u64),
    /// TCP has copied.
    Copied,
}

/// A line that is no event, or events that are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The line of that number, with its beginning.
    Line(usize, String),
    /// So many events were overwritten or dropped.
    Lost(u64),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line, text) => write!(f, "kernel trace, line {line}: no event: '{text}'"),
            Self::Lost(events) => write!(
                f,
                "the kernel had to drop {events} events: too many for its buffers; fewer messages, or less late ones"
            ),
        }
    }
}

impl std::error::Error for Malformed {}

/// The events of a trace; those of no concern are left out.
///
/// # Errors
/// [`Malformed`]: what is missing would make every sum wrong.
pub fn lines(text: &str) -> Result<Vec<Stamped>, Malformed> {
    let mut events = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(lost) = lost(line) {
            return Err(Malformed::Lost(lost));
        }
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let (at, flow, event) =
            split(line).ok_or_else(|| Malformed::Line(number, line.chars().take(80).collect()))?;
        if let Some(event) = parse(event) {
            events.push(Stamped { at, flow, event });
        }
    }
    Ok(events)
}

/// `# entries-in-buffer/entries-written: 47/50   #P:2` and `CPU:1 [LOST 12 EVENTS]`
fn lost(line: &str) -> Option<u64> {
    if let Some(counts) = line.strip_prefix("# entries-in-buffer/entries-written: ") {
        let (here, written) = counts.split_whitespace().next()?.split_once('/')?;
        let (here, written): (u64, u64) = (here.parse().ok()?, written.parse().ok()?);
        return written.checked_sub(here).filter(|&lost| lost > 0);
    }
    let (_, rest) = line.strip_prefix("CPU:")?.split_once(" [LOST ")?;
    rest.split(' ').next()?.parse().ok()
}

/// `waitcopy-31884   [001] d..2. 16279.161926: sched_wakeup: comm=...`: when, who, what. A name may hold blanks, dashes and
/// brackets; the first place where all the rest fits is the CPU's.
fn split(line: &str) -> Option<(u64, u32, &str)> {
    line.match_indices(" [").find_map(|(at, _)| split_at(line[..at].trim_end(), &line[at + 2..]))
}

fn split_at<'l>(task: &str, rest: &'l str) -> Option<(u64, u32, &'l str)> {
    let flow = task.rsplit_once('-')?.1.parse().ok()?;
    let (cpu, rest) = rest.split_once("] ")?;
    let (_flags, rest) = rest.split_once(' ')?;
    let (stamp, event) = rest.trim_start().split_once(": ")?;
    let (seconds, micros) = stamp.split_once('.')?;
    let _: u32 = cpu.parse().ok()?;
    let (seconds, micros): (u64, u64) = (seconds.parse().ok()?, micros.parse().ok()?);
    // Six digits, whatever the clock.
    let nanos = seconds.checked_mul(1_000_000_000)?.checked_add(micros.checked_mul(1_000)?)?;
    Some((nanos, flow, event))
}

fn parse(event: &str) -> Option<Event> {
    if let Some(call) = event.strip_prefix("sys_") {
        return syscall(call);
    }
    let (name, fields) = event.split_once(": ")?;
    // Not by name alone: a thread may be called "x pid=7".
    let last = |name: &str| Some(fields.rsplit_once(name)?.1.split(' ').next()?.trim());
    match name {
        "sched_wakeup" => Some(Event::Wakeup(last(" pid=")?.parse().ok()?)),
        "sched_switch" => {
            let (before, after) = fields.rsplit_once(" ==> ")?;
            let of = |part: &'_ str, name: &str| -> Option<u32> {
                part.rsplit_once(name)?.1.split(' ').next()?.parse().ok()
            };
            let state = before.rsplit_once(" prev_state=")?.1;
            let (from, to) = (of(before, " prev_pid=")?, of(after, " next_pid=")?);
            Some(Event::Switch { from, runnable: state.starts_with('R'), to })
        }
        "skb_copy_datagram_iovec" => Some(Event::Copy(last(" len=")?.parse().ok()?)),
        "tcp_rcv_space_adjust" => Some(Event::Copied),
        _ => None,
    }
}

/// `recvfrom(fd: 8, ubuf: 0x55bcc39115b0, ...)`, `recvfrom -> 0x5`
fn syscall(text: &str) -> Option<Event> {
    if let Some((name, result)) = text.split_once(" -> ") {
        let result = result.trim().strip_prefix("0x").unwrap_or(result.trim());
        // Two's complement of a long.
        return Some(Event::Exit(
            Call::of_trace(name)?,
            u64::from_str_radix(result, 16).ok()? as i64,
        ));
    }
    let (name, arguments) = text.split_once('(')?;
    let first = arguments.split([',', ')']).next()?;
    let fd = first.split_once("fd: ").and_then(|(_, number)| number_of(number));
    Some(Event::Enter(Call::of_trace(name)?, fd))
}

/// `8`, `0xc`
fn number_of(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
