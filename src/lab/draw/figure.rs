//! One I/O as geometry: the application at the left, the kernel at the right, time downwards, in rows.

use super::io::{Io, script, took};
use super::run::Run;
use crate::json::Value;
use crate::phase::{Asked, How, Nanos};

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
        let mut draft = Draft { io, items: Vec::new(), row: 0 };
        draft.begins();
        match io.phases.how {
            How::Stamp | How::NoStamp | How::Call => draft.one_call(),
            How::Polled => draft.asked_again(),
            How::Ready | How::SameTurn | How::Carried => draft.two_calls(),
        }
        draft.answers();
        let Draft { mut items, row, .. } = draft;
        let proportion = break_axis(&mut items);
        let about =
            vec![io.model.meaning.to_owned(), format!("{}; who waits: {}", script(run), io.who())];
        let mut caption = vec![times_told(&io)];
        caption.extend(proportion);
        Ok(Self { model: io.model.name, about, items, rows: row + 1, caption, times: times(&io) })
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

/// A figure in the making.
struct Draft {
    io: Io,
    items: Vec<Item>,
    row: usize,
}

impl Draft {
    fn arrow(&mut self, to: Side, text: impl Into<String>) {
        self.items.push(Item::Arrow { to, row: self.row, text: text.into() });
    }

    fn moment(&mut self, text: &'static str) {
        self.items.push(Item::Moment { row: self.row, text });
    }

    fn does(&mut self, from: usize, blocked: bool, lines: Vec<String>) {
        self.items.push(Item::Does { from, to: self.row, blocked, lines });
    }

    /// A block from here on; afterwards the draft stands at its end.
    fn block(&mut self, phase: Phase, ns: u64, details: Vec<String>) {
        let mut lines = vec![format!("{} {}", phase_word(phase), Nanos(ns))];
        lines.extend(details);
        let from = self.row;
        self.row += rows(ns).max(lines.len() + 1);
        self.items.push(Item::Block(Block { phase, from, to: self.row, ns, lines, broken: false }));
    }

    fn copied(&mut self) {
        let mut details = Vec::new();
        if let Some(kernel) = self.io.kernel {
            details.push(format!("bytes moved {}", Nanos(kernel.copied)));
        } else if let Some(wake) = self.io.phases.wake.filter(|&wake| wake > 0) {
            details.push(format!("wake-up {}", Nanos(wake)));
        }
        self.block(Phase::Copy, self.io.phases.copy, details);
        self.moment("copy complete");
        self.arrow(Side::Application, format!("return OK, {} B", self.io.receive.amount));
    }

    fn slept(&self) -> Vec<String> {
        self.io.kernel.map_or(Vec::new(), |kernel| {
            vec![
                format!("asleep {}", Nanos(kernel.asleep)),
                format!("runnable {}", Nanos(kernel.runnable)),
            ]
        })
    }

    /// The flow begins, where it was made for this client.
    fn begins(&mut self) {
        if let Some(start) = self.io.start {
            let flow = self.io.flow();
            self.row = 1;
            self.does(0, false, vec![format!("{flow} made"), format!("{} ago", Nanos(start))]);
            self.row = 3;
        }
    }

    /// The call that receives waits as well.
    fn one_call(&mut self) {
        let (from, call, phases) = (self.row, self.io.call(), self.io.phases);
        self.arrow(Side::Kernel, call);
        if phases.how == How::NoStamp {
            self.block(Phase::WaitCopy, phases.copy, vec!["no stamp divides it".to_owned()]);
            self.arrow(Side::Application, format!("return OK, {} B", self.io.receive.amount));
        } else if phases.wait > 0 {
            self.moment("no data ready");
            self.block(Phase::Wait, phases.wait, self.slept());
            self.moment("data ready");
            self.copied();
        } else {
            self.moment("data is there");
            self.copied();
        }
        let whole = Nanos(took(&self.io.receive)).to_string();
        self.does(
            from,
            true,
            vec![format!("{} blocks", self.io.flow()), format!("in {call}"), whole],
        );
    }

    /// A readiness call waits, another one receives.
    fn two_calls(&mut self) {
        let (flow, phases) = (self.io.flow(), self.io.phases);
        if let Some(ready) = self.io.readiness {
            let (from, call) = (self.row, ready.call.map_or("wait", |call| call.name()));
            self.arrow(Side::Kernel, call);
            self.moment("no data ready");
            self.block(Phase::Wait, phases.wait, self.slept());
            self.moment("data ready");
            self.arrow(Side::Application, format!("return {} ready", phases.nth.1));
            self.does(
                from,
                true,
                vec![
                    format!("{flow} blocks"),
                    format!("in {call}"),
                    Nanos(phases.wait).to_string(),
                ],
            );
            let from = self.row + 1;
            self.row += 2;
            let nth = if phases.nth.1 > 1 {
                format!(" ({} of {})", phases.nth.0, phases.nth.1)
            } else {
                String::new()
            };
            self.does(from, false, vec![format!("queued {}{nth}", Nanos(phases.queued))]);
            self.row += 1;
        }
        let (from, call) = (self.row, self.io.call());
        self.arrow(Side::Kernel, call);
        self.moment("data is there");
        self.copied();
        self.does(from, true, vec![format!("in {call}"), Nanos(phases.copy).to_string()]);
    }

    /// The receive is tried until it succeeds.
    fn asked_again(&mut self) {
        let (from, call, phases) = (self.row, self.io.call(), self.io.phases);
        let Asked { calls, inside, first, last } = phases.again;
        if calls > 0 {
            self.in_vain(call);
            self.moment("no data ready");
            self.row += 2;
            if calls > 2 {
                self.in_vain(call);
                self.row += 3;
                let text = format!("EAGAIN x {calls} in all");
                self.items.push(Item::LeftOut { row: self.row, text });
                self.row += 3;
            }
            if calls > 1 {
                self.in_vain(call);
                self.row += 2;
            }
            let mut lines = vec![format!("wait {}", Nanos(phases.wait))];
            if calls > 1 {
                lines.push(format!("last at +{}", Nanos(last.saturating_sub(first))));
            }
            let to = self.row;
            let block =
                Block { phase: Phase::Wait, from, to, ns: phases.wait, lines, broken: false };
            self.items.push(Item::Block(block));
            let asks = vec![
                format!("{} asks", self.io.flow()),
                "again and again,".to_owned(),
                "never blocked".to_owned(),
                format!("{} in calls", Nanos(inside)),
            ];
            self.does(from, false, asks);
            self.moment("data ready");
        } else {
            self.moment("data is there");
        }
        let from = self.row;
        self.arrow(Side::Kernel, call);
        self.copied();
        self.does(from, true, vec![format!("in {call}"), Nanos(phases.copy).to_string()]);
    }

    /// One call and its `EAGAIN`.
    fn in_vain(&mut self, call: &str) {
        self.arrow(Side::Kernel, call);
        self.row += 1;
        self.arrow(Side::Application, "EAGAIN");
        self.row -= 1;
    }

    /// The service and the answer.
    fn answers(&mut self) {
        let from = self.row + 1;
        if let Some(service) = self.io.service {
            self.row += 2;
            self.does(from, false, vec!["process data".to_owned(), Nanos(service).to_string()]);
        }
        if let Some(send) = self.io.send {
            self.row += 1;
            let from = self.row;
            self.arrow(
                Side::Kernel,
                format!("{} {} B", send.call.map_or("send", |c| c.name()), send.amount),
            );
            self.row += 2;
            self.arrow(Side::Application, "return OK");
            self.does(from, true, vec!["in sendto".to_owned(), Nanos(took(&send)).to_string()]);
        }
    }
}

fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Wait => "wait",
        Phase::Copy => "copy",
        Phase::WaitCopy => "wait + copy",
    }
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
    if phases.how == How::Ready {
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
            ("bytes moved", kernel.copied),
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
        How::Polled => "from the first EAGAIN to the call that succeeds",
        _ => "from call to call",
    };
    format!("{}; measured: {how}.", times.join(" + "))
}
