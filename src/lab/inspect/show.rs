//! An inspection as a person reads it.

use super::annotate::{Line, Mark, Whose};
use super::verdict::{Deviation, Verdict};
use super::{Inspection, Summary};
use std::collections::BTreeSet;
use std::fmt;

/// Whether marks are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// No.
    Plain,
    /// For a terminal: ANSI colours that differ in brightness too.
    Ansi,
}

impl Paint {
    fn of(self, mark: Mark, text: &str) -> String {
        let code = match mark {
            Mark::Wait => "33",
            Mark::Copy => "34",
            Mark::WaitCopy => "35",
            Mark::Send => "36",
            Mark::Strange => "1;31",
            _ => "2",
        };
        match self {
            Self::Plain => text.to_owned(),
            Self::Ansi => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// The annotated trace, its counts and the verdict.
#[derive(Debug)]
pub struct Page<'p, 't> {
    /// What to show.
    pub inspection: &'p Inspection<'t>,
    /// The loader's and the runtime's calls too.
    pub all: bool,
    /// Colours.
    pub paint: Paint,
}

/// Calls in vain that are shown of each row of them.
const SHOWN: usize = 2;

impl fmt::Display for Page<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.trace(f)?;
        counts(f, self.inspection)?;
        writeln!(f, "\n{}", Sentence(self.inspection))
    }
}

impl Page<'_, '_> {
    fn trace(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<_> = self.inspection.lines.iter().filter(|line| self.shows(line)).collect();
        let flows: BTreeSet<_> = shown.iter().map(|line| line.call.pid).collect();
        let width = flows.iter().map(|flow| flow.to_string().len()).max().unwrap_or(0);
        let hidden = self.inspection.lines.len() - shown.len();
        let mut rest = &shown[..];
        while let Some(line) = rest.first() {
            let vain = rest.iter().take_while(|line| line.polled()).count();
            let next = vain.clamp(1, SHOWN);
            for line in &rest[..next] {
                let flow = if flows.len() > 1 {
                    format!("{:>width$}  ", line.call.pid)
                } else {
                    String::new()
                };
                let mark = self.paint.of(line.mark, &format!("{:<9}", line.mark.name()));
                writeln!(f, "{mark}  {:<8}  {flow}{}", whose(line.whose), line.call)?;
            }
            if vain > SHOWN {
                let more = Thousands((vain - SHOWN) as u64);
                let mark = self.paint.of(line.mark, &format!("{:<9}", line.mark.name()));
                writeln!(f, "{mark}  ... {more} more, all EAGAIN")?;
            }
            rest = &rest[next.max(vain)..];
        }
        if hidden > 0 {
            let more = Thousands(hidden as u64);
            writeln!(f, "({more} calls of the loader and the runtime are not shown: --all)")?;
        }
        Ok(())
    }

    fn shows(&self, line: &Line<'_>) -> bool {
        self.all || line.mark != Mark::Runtime
    }
}

fn whose(whose: Whose) -> String {
    match whose {
        Whose::Nobody => String::new(),
        Whose::Front => "front".to_owned(),
        Whose::Set => "set".to_owned(),
        Whose::Client(n) => format!("client {n}"),
    }
}

fn counts(f: &mut fmt::Formatter<'_>, inspection: &Inspection<'_>) -> fmt::Result {
    let Inspection { counts, model, server, .. } = inspection;
    writeln!(f, "\n{:<12} {:>10} {:>12} {:>10}", "call", "calls", "per request", "EAGAIN")?;
    let unseen = inspection.unseen();
    let seen = server.map_or(counts.summary(), |server| inspection.seen(server));
    for (call, calls, again) in &counts.calls {
        let each = *calls as f64 / seen.requests.max(1) as f64;
        let (calls, again) = (Thousands(*calls).to_string(), Thousands(*again).to_string());
        writeln!(f, "{:<12} {calls:>10} {each:>12.3} {again:>10}", call.name())?;
    }
    let Summary { connections, requests, bytes_in, bytes_out } = seen;
    writeln!(
        f,
        "connections {connections}, requests {requests}, bytes in {bytes_in}, out {bytes_out}"
    )?;
    if unseen {
        writeln!(
            f,
            "accepts, receives and sends are operations of the ring and no system calls: the trace shows when they are handed over and \
             waited for; requests and bytes are the server's word"
        )?;
    }
    match server {
        Some(_) if unseen && inspection.agrees() => {}
        Some(own) if *own == seen => writeln!(f, "the server itself counts the same")?,
        Some(own) => writeln!(
            f,
            "but the server counts connections {}, requests {}, bytes in {}, out {}",
            own.connections, own.requests, own.bytes_in, own.bytes_out
        )?,
        None => {}
    }
    if let Some(calls) = inspection.per_request() {
        let said = model.calls_per_request();
        writeln!(
            f,
            "calls per request from the first answer to the last, without those in vain: {calls:.3} (catalogue: {said})"
        )?;
    }
    Ok(())
}

/// The last line.
#[derive(Debug)]
pub struct Sentence<'p, 't>(pub &'p Inspection<'t>);

impl fmt::Display for Sentence<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inspection { verdict, server, .. } = self.0;
        match verdict {
            Verdict::Holds(_) if server.is_some() && !self.0.agrees() => {
                write!(f, "the trace is not what the server has counted")
            }
            Verdict::Holds(grammar) => write!(f, "the trace is what the catalogue says: {grammar}"),
            Verdict::Empty => {
                write!(f, "the trace is not what the catalogue says: no client was served in it")
            }
            Verdict::Deviates(deviation) => {
                write!(f, "the trace is not what the catalogue says: {deviation}")
            }
        }
    }
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = self.client.map(|n| format!(" of client {n}")).unwrap_or_default();
        match self.line {
            Some(line) => write!(f, "line {line}{whose}: {}", self.call)?,
            None => write!(f, "the conversation{whose} ends too early")?,
        }
        match &self.expected[..] {
            [] if self.client.is_some() => write!(f, "; nothing more was expected"),
            [] => write!(f, "; no call of this model"),
            words => write!(f, "; expected {}", words.join(" or ")),
        }
    }
}

/// `12,345`
struct Thousands(u64);

impl fmt::Display for Thousands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place) % 3 == 0 {
                write!(f, ",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}
