//! What the kernel says, as a person reads it.

use super::kernel::{Means, Request, Watched};
use crate::lab::kernel::KernelIo;
use crate::lab::prose::{TERMINAL, wrapped, wrapped_at};
use crate::phase::Nanos;
use std::fmt;

/// Each request of one model.
#[derive(Debug)]
pub struct KernelPage<'w>(pub &'w Watched);

impl fmt::Display for KernelPage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, request) in (1..).zip(&self.0.requests) {
            one(f, number, request)?;
        }
        writeln!(f)?;
        KernelTable(std::slice::from_ref(self.0)).fmt(f)
    }
}

fn one(f: &mut fmt::Formatter<'_>, number: usize, request: &Request) -> fmt::Result {
    let kernel = [request.readiness.as_ref(), Some(&request.receive)].into_iter().flatten();
    let mut lines: Vec<_> =
        kernel.flat_map(|io| wrapped_at(", ", &Parts(io).to_string(), BESIDE)).collect();
    let recorder = lines.len();
    lines.extend(request.recorder.iter().flat_map(|said| wrapped_at("  ", said, BESIDE)));
    for (n, line) in lines.into_iter().enumerate() {
        let number = if n == 0 { number.to_string() } else { String::new() };
        let whose = match n {
            0 => "kernel",
            n if n == recorder => "recorder",
            _ => "",
        };
        writeln!(f, "{number:>4}  {whose:<8}  {line}")?;
    }
    Ok(())
}

/// Columns that a terminal has beside a request's number and whose word it is.
const BESIDE: usize = TERMINAL - 16;

/// `recvmsg 5.1 ms: asleep 5.0 ms, runnable 20 us, before 9 us, copy 2 us (64 B), after 3 us`
struct Parts<'k>(&'k KernelIo);

/// A time in whole microseconds.
struct Whole(u64);

impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0..1_000 => write!(f, "<1 us"),
            1_000..1_000_000 => write!(f, "{} us", self.0 / 1_000),
            ns => Nanos(ns).fmt(f),
        }
    }
}

impl fmt::Display for Parts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let io = self.0;
        write!(f, "{} {}: ", io.call.name(), Whole(io.whole()))?;
        if io.woken.is_some() || io.runnable > 0 {
            write!(f, "asleep {}, runnable {}, ", Whole(io.asleep), Whole(io.runnable))?;
        }
        if io.bytes == 0 {
            return write!(f, "running {}", Whole(io.before));
        }
        write!(f, "before {}, copy {} ({} B)", Whole(io.before), Whole(io.copied), io.bytes)?;
        if io.measured {
            write!(f, ", after {}", Whole(io.after))
        } else {
            write!(f, " and return")
        }
    }
}

/// A row per model: the recorder's means beside the kernel's.
#[derive(Debug)]
pub struct KernelTable<'w>(pub &'w [Watched]);

impl fmt::Display for KernelTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<11} {:<5} {:>4} {:>7} {:>7} {:>8} {:>7} {:>7} {:>7} {:>8}",
            "model", "by", "n", "wait", "kernel", "off by", "wake-up", "copy", "alone", "kernel"
        )?;
        for watched in self.0 {
            let (name, method) = (watched.model.name, watched.method());
            match watched.means() {
                Some(means) => row(f, watched, &means)?,
                None => writeln!(f, "{name:<11} {method:<5} no request was seen")?,
            }
        }
        let told = "means over n requests; wait and copy are the recorder's, by stamp or by call; alone is the copy alone, calibrated without root; \
                    kernel is what tracing saw, in whole microseconds each, its own cost included; wake-up: runnable without a CPU (kernel)";
        wrapped(told, TERMINAL).iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

fn row(f: &mut fmt::Formatter<'_>, watched: &Watched, means: &Means) -> fmt::Result {
    let (name, method, n) = (watched.model.name, watched.method(), watched.requests.len());
    let time = |ns: Option<u64>| ns.map_or("-".to_owned(), |ns| Nanos(ns).to_string());
    let off = means.wait.zip(means.kernel_wait);
    let off = off.map_or("-".to_owned(), |(own, kernel)| {
        let sign = if own < kernel { "-" } else { "+" };
        format!("{sign}{}", Nanos(own.abs_diff(kernel)))
    });
    let bound = if means.measured { "" } else { "<" };
    let copy = means.kernel_copy.map_or("-".to_owned(), |ns| format!("{bound}{}", Nanos(ns)));
    let (wait, kernel) = (time(means.wait), time(means.kernel_wait));
    let (own, calibrated) = (time(means.copy), time(means.calibrated));
    let wake = Nanos(means.runnable);
    writeln!(
        f,
        "{name:<11} {method:<5} {n:>4} {wait:>7} {kernel:>7} {off:>8} {wake:>7} {own:>7} {calibrated:>7} {copy:>8}"
    )
}
