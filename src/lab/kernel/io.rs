//! From events to calls: where the time of each went.

use super::line::{Event, Stamped};
use crate::phase::Call;
use std::collections::HashMap;

/// One call of a flow, as the kernel saw it. Times are nanoseconds, told in whole microseconds;
/// `before + asleep + runnable + copied + after` is the whole call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelIo {
    /// The thread that made it.
    pub flow: u32,
    /// Its family.
    pub call: Call,
    /// Its descriptor; an epoll set's, where it waits for one.
    pub fd: Option<i64>,
    /// When it began, on `CLOCK_MONOTONIC`.
    pub enter: u64,
    /// When it returned.
    pub exit: u64,
    /// What it returned; an error is negative.
    pub result: i64,
    /// When it was woken last; `None`: it never slept.
    pub woken: Option<u64>,
    /// Asleep: nothing to run for.
    pub asleep: u64,
    /// Woken or preempted, and waiting for a CPU.
    pub runnable: u64,
    /// Running before the first copy, or all of its running where nothing was copied.
    pub before: u64,
    /// Copying to the process. Where [`KernelIo::measured`] says no it goes on to the end of the call.
    pub copied: u64,
    /// Running after the copy.
    pub after: u64,
    /// Bytes that were copied to the process.
    pub bytes: u64,
    /// Whether the end of its copies was seen: TCP tells it, Unix sockets and UDP do not.
    pub measured: bool,
}

impl KernelIo {
    /// The wait of this call: from its beginning until what it waits for woke it; 0 where it did not sleep.
    #[must_use]
    pub fn wait(&self) -> u64 {
        self.woken.map_or(0, |woken| woken.saturating_sub(self.enter))
    }

    /// Bytes that it brought to the process: what a receive returns. A ring's call returns how many operations it took in, and what
    /// it brought is what it was seen to copy.
    #[must_use]
    pub fn received(&self) -> u64 {
        match self.call {
            Call::Recvfrom | Call::Recvmsg => u64::try_from(self.result).unwrap_or(0),
            Call::IoUringEnter => self.bytes,
            _ => 0,
        }
    }

    /// All of it.
    #[must_use]
    pub fn whole(&self) -> u64 {
        self.exit - self.enter
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    Runnable,
    Asleep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Before,
    Copying,
    After,
}

/// A call that has not returned yet.
#[derive(Debug)]
struct Open {
    io: KernelIo,
    state: State,
    stage: Stage,
    /// Up to here its time is told.
    told: u64,
}

impl Open {
    fn new(at: u64, flow: u32, call: Call, fd: Option<i64>) -> Self {
        let io = KernelIo {
            flow,
            call,
            fd,
            enter: at,
            exit: at,
            result: 0,
            woken: None,
            asleep: 0,
            runnable: 0,
            before: 0,
            copied: 0,
            after: 0,
            bytes: 0,
            measured: false,
        };
        Self { io, state: State::Running, stage: Stage::Before, told: at }
    }

    /// Books the time up to now.
    fn tell(&mut self, at: u64) {
        let past = at.saturating_sub(self.told);
        self.told = self.told.max(at);
        let io = &mut self.io;
        let part = match (self.state, self.stage) {
            (State::Asleep, _) => &mut io.asleep,
            (State::Runnable, _) => &mut io.runnable,
            (State::Running, Stage::Before) => &mut io.before,
            (State::Running, Stage::Copying) => &mut io.copied,
            (State::Running, Stage::After) => &mut io.after,
        };
        *part += past;
    }

    fn becomes(&mut self, at: u64, state: State) {
        self.tell(at);
        self.state = state;
    }

    fn reaches(&mut self, at: u64, stage: Stage) {
        // It acts, so it runs: not each switch away from the idle task is told.
        self.becomes(at, State::Running);
        self.stage = stage;
    }

    fn ended(mut self, at: u64, result: i64) -> KernelIo {
        self.becomes(at, State::Running);
        self.io.exit = self.told;
        self.io.result = result;
        self.io.measured = self.io.bytes > 0 && self.stage == Stage::After;
        self.io
    }
}

/// Every call that begins and returns among the events, in the order in which they return.
#[must_use]
pub fn ios(events: &[Stamped]) -> Vec<KernelIo> {
    let mut open: HashMap<u32, Open> = HashMap::new();
    let mut done = Vec::new();
    for &Stamped { at, flow, ref event } in events {
        match *event {
            Event::Enter(call, fd) => _ = open.insert(flow, Open::new(at, flow, call, fd)),
            Event::Exit(call, result) => {
                // Without its beginning, or with that of another call, it began before the trace.
                let begun = open.remove(&flow).filter(|begun| begun.io.call == call);
                done.extend(begun.map(|begun| begun.ended(at, result)));
            }
            Event::Switch { from, runnable, to } => {
                if let Some(call) = open.get_mut(&from) {
                    call.becomes(at, if runnable { State::Runnable } else { State::Asleep });
                }
                if let Some(call) = open.get_mut(&to) {
                    call.becomes(at, State::Running);
                }
            }
            Event::Wakeup(whom) => {
                if let Some(call) = open.get_mut(&whom).filter(|call| call.state == State::Asleep) {
                    call.becomes(at, State::Runnable);
                    call.io.woken = Some(at);
                }
            }
            Event::Copy(bytes) => {
                if let Some(call) = open.get_mut(&flow) {
                    call.reaches(at, Stage::Copying);
                    call.io.bytes += bytes;
                }
            }
            Event::Copied => {
                // TCP says so after a receive of nothing as well.
                if let Some(call) = open.get_mut(&flow).filter(|call| call.stage == Stage::Copying)
                {
                    call.reaches(at, Stage::After);
                }
            }
        }
    }
    done
}
