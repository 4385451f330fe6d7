//! One I/O as geometry: the application at the left, the kernel at the right, time downwards, in rows.

use super::draft::Draft;
use super::io::{Io, script, took};
use super::run::Run;
use crate::json::Value;
use crate::phase::{How, Nanos};

/// Whose side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The process.
    Application,
    /// The kernel.
    Kernel,
}

/// What a block of time was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Until the kernel has data.
    Wait,
    /// Until the process has it.
    Copy,
    /// Both, undivided.
    WaitCopy,
}

impl Phase {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait for data",
            Self::Copy => "copy to the process",
            Self::WaitCopy => "wait and copy",
        }
    }
}

/// Time inside the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What it was.
    pub phase: Phase,
    /// Its first row.
    pub from: usize,
    /// The row after its last one: there it ends.
    pub to: usize,
    /// How long it was, in nanoseconds.
    pub ns: u64,
    /// What is written into it; its time stands first.
    pub lines: Vec<String>,
    /// It is drawn too short beside the others: its axis is broken.
    pub broken: bool,
}

/// One thing to draw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An arrow to the other side.
    Arrow {
        /// Where it goes.
        to: Side,
        /// When.
        row: usize,
        /// What is written on it.
        text: String,
    },
    /// A word at the kernel's side, for a moment.
    Moment {
        /// When.
        row: usize,
        /// What.
        text: &'static str,
    },
    /// What the process does from row to row.
    Does {
        /// Its first row.
        from: usize,
        /// Its last row.
        to: usize,
        /// Whether it cannot run.
        blocked: bool,
        /// What is written beside it.
        lines: Vec<String>,
    },
    /// Time inside the kernel.
    Block(Block),
    /// More of the same is left out here.
    LeftOut {
        /// Where.
        row: usize,
        /// What.
        text: String,
    },
}

/// The figure of one I/O.
#[derive(Clone, Debug)]
pub struct Figure {
    /// The model's name.
    pub model: &'static str,
    /// Under the name.
    pub about: Vec<String>,
    /// What to draw.
    pub items: Vec<Item>,
    /// How many rows it takes.
    pub rows: usize,
    /// Under the figure.
    pub caption: Vec<String>,
    /// The times that it shows.
    pub times: Vec<(&'static str, u64)>,
}

impl Figure {
    /// The figure of a run's longest input.
    ///
    /// # Errors
    /// A sentence: nobody sent anything.
    pub fn of(run: &Run) -> Result<Self, String> {
        let io = Io::of(run)?;
        let (mut items, rows) = Draft::of(&io);
        let proportion = break_axis(&mut items);
        let who = format!("who waits: {}", io.who());
        let about = vec![io.model.meaning.to_owned(), script(run), who];
        let mut caption = vec![times_told(&io)];
        caption.extend(proportion);
        Ok(Self { model: io.model.name, about, items, rows, caption, times: times(&io) })
    }

    /// The times that it shows, for programs: each in nanoseconds and as it is written in the figure.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let time = |&(name, ns): &(&str, u64)| {
            let shown = Nanos(ns).to_string();
            Value::object([("what", name.into()), ("ns", ns.into()), ("shown", Value::from(shown))])
        };
        Value::List(self.times.iter().map(time).collect())
    }

    /// Its blocks.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.items.iter().filter_map(|item| match item {
            Item::Block(block) => Some(block),
            _ => None,
        })
    }
}

/// How many rows a time takes: never fewer than can be seen, and one more with each power of ten.
pub(super) fn rows(ns: u64) -> usize {
    3 + (ns / 1_000).checked_ilog10().unwrap_or(0) as usize
}

/// Marks the blocks that are drawn too short beside the most magnified one, and says how much is missing.
fn break_axis(items: &mut [Item]) -> Option<String> {
    let mut blocks: Vec<&mut Block> = items
        .iter_mut()
        .filter_map(|item| match item {
            Item::Block(block) => Some(block),
            _ => None,
        })
        .collect();
    let scale = |block: &Block| block.ns as f64 / (block.to - block.from) as f64;
    let finest = blocks.iter().map(|block| scale(block)).filter(|&ns| ns > 0.0).reduce(f64::min)?;
    for block in &mut blocks {
        block.broken = scale(block) > 2.0 * finest;
    }
    let [wait, copy] = [Phase::Wait, Phase::Copy]
        .map(|phase| blocks.iter().find(|block| block.phase == phase).map_or(0, |block| block.ns));
    let broken = blocks.iter().any(|block| block.broken);
    (broken && copy > 0 && wait > copy).then(|| {
        format!("The axis is broken: this wait is {} times as long as this copy.", wait / copy)
    })
}

/// The times that the figure shows, by name.
fn times(io: &Io) -> Vec<(&'static str, u64)> {
    let phases = io.phases;
    let mut times = Vec::new();
    let divided = phases.how != How::NoStamp;
    if divided {
        times.push(("wait", phases.wait));
    }
    if matches!(phases.how, How::Ready | How::Completed) {
        times.push(("queued", phases.queued));
    }
    times.push((if divided { "copy" } else { "wait+copy" }, phases.copy));
    if let Some(wake) = phases.wake.filter(|&wake| wake > 0 && io.kernel.is_none()) {
        times.push(("wake-up", wake));
    }
    if let Some(kernel) = io.kernel {
        times.extend([
            ("asleep", kernel.asleep),
            ("runnable", kernel.runnable),
            ("copied", kernel.copied),
        ]);
    }
    times.extend(io.start.map(|ns| ("start", ns)));
    times.extend(io.service.map(|ns| ("service", ns)));
    times.extend(io.send.map(|send| ("send", took(&send))));
    times
}

/// `wait 50.2 ms + queued 741 ns + copy 3.9 us; measured by: call`
fn times_told(io: &Io) -> String {
    let phases = ["wait", "queued", "copy", "wait+copy"];
    let times = times(io).into_iter().filter(|(name, _)| phases.contains(name));
    let times: Vec<_> = times.map(|(name, ns)| format!("{name} {}", Nanos(ns))).collect();
    let how = match io.phases.how {
        How::Stamp => "the kernel's receive stamp divides the call",
        How::NoStamp => "no stamp divides the call",
        How::Completed => "the call's CPU time is the copy",
        How::Polled => "from the first EAGAIN to the call that succeeds",
        _ => "from call to call",
    };
    format!("{}; measured: {how}.", times.join(" + "))
}
