//! One I/O, told step by step: which arrows, words and blocks its figure has, from top to bottom.

use super::figure::{Block, Item, Phase, Side, rows};
use super::io::{Io, took};
use super::kernel::Kernel;
use crate::phase::{Asked, How, Nanos};

/// A figure in the making.
pub(super) struct Draft {
    io: Io,
    items: Vec<Item>,
    row: usize,
}

impl Draft {
    /// All of an input, and how many rows it takes.
    pub(super) fn of(io: &Io) -> (Vec<Item>, usize) {
        let mut draft = Self { io: *io, items: Vec::new(), row: 0 };
        draft.begins();
        match io.phases.how {
            How::Stamp | How::NoStamp | How::Call => draft.one_call(),
            How::Polled => draft.asked_again(),
            How::Completed => draft.completed(),
            How::Ready | How::SameTurn | How::Carried => draft.two_calls(),
        }
        draft.answers();
        (draft.items, draft.row + 1)
    }

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
            // The wake-up of a call that has waited lies behind the stamp.
            if self.io.readiness.is_none() && self.io.phases.wait > 0 {
                details.push(format!("runnable {}", Kernel::told(kernel.runnable)));
            }
            details.push(format!("copied in {}", Kernel::told(kernel.copied)));
        } else if let Some(wake) = self.io.phases.wake.filter(|&wake| wake > 0) {
            details.push(format!("wake-up {}", Nanos(wake)));
        }
        self.block(Phase::Copy, self.io.phases.copy, details);
        self.moment("copy complete");
        self.arrow(Side::Application, format!("return OK, {} B", self.io.receive.amount));
    }

    fn slept(&self) -> Vec<String> {
        let Some(kernel) = self.io.kernel else { return Vec::new() };
        let mut lines = vec![format!("asleep {}", Nanos(kernel.asleep))];
        if self.io.readiness.is_some() {
            lines.push(format!("runnable {}", Kernel::told(kernel.runnable)));
        }
        lines
    }

    /// The flow begins, where it was made for this client.
    fn begins(&mut self) {
        if let Some(start) = self.io.start {
            let flow = self.io.flow();
            self.row = 1;
            self.does(
                0,
                false,
                vec![format!("{flow} made, runs"), format!("{} later", Nanos(start))],
            );
            self.row = 3;
        }
    }

    /// The call that receives waits as well.
    fn one_call(&mut self) {
        let (from, call, phases) = (self.row, self.io.call(), self.io.phases);
        self.arrow(Side::Kernel, call);
        if phases.how == How::NoStamp {
            self.block(Phase::WaitCopy, phases.copy, vec!["not divided".to_owned()]);
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

    /// One call hands over, waits and copies; whose data has come is told by the completions.
    fn completed(&mut self) {
        let (from, call, phases) = (self.row, self.io.call(), self.io.phases);
        self.arrow(Side::Kernel, call);
        self.moment("no data ready");
        let slept = if let Some(kernel) = self.io.kernel {
            let runnable = format!("runnable {}", Kernel::told(kernel.runnable));
            vec![format!("asleep {}", Nanos(kernel.asleep)), runnable]
        } else {
            let wake = phases.wake.filter(|&wake| wake > 0);
            wake.map(|wake| format!("wake-up {}", Nanos(wake))).into_iter().collect()
        };
        self.block(Phase::Wait, phases.wait, slept);
        self.moment("data ready");
        let mut details = vec!["in the same call".to_owned()];
        details.extend((phases.nth.1 > 1).then(|| format!("a share of {}", phases.nth.1)));
        let copied = self.io.kernel.map(|kernel| Kernel::told(kernel.copied));
        details.extend(copied.map(|copied| format!("copied in {copied}")));
        self.block(Phase::Copy, phases.copy, details);
        self.moment("copy complete");
        let bytes = self.io.receive.amount;
        self.arrow(Side::Application, format!("completion: {bytes} B are here"));
        let whole = Nanos(phases.wait + phases.copy).to_string();
        let flow = self.io.flow();
        self.does(from, true, vec![format!("{flow} blocks"), format!("in {call}"), whole]);
        let from = self.row + 1;
        self.row += 2;
        self.does(from, false, vec![format!("queued {}", Nanos(phases.queued))]);
        self.row += 1;
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
            let call = send.call.map_or("send", |call| call.name());
            let ring = self.io.phases.how == How::Completed;
            let operation = if ring { ": SEND" } else { "" };
            self.arrow(Side::Kernel, format!("{call}{operation} {} B", send.amount));
            self.row += 2;
            self.arrow(Side::Application, "return OK");
            self.does(from, true, vec![format!("in {call}"), Nanos(took(&send)).to_string()]);
        }
    }
}

fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Wait => "wait",
        Phase::Copy => "copy",
        Phase::WaitCopy => "wait+copy",
    }
}
