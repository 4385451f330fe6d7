//! What the kernel says, as a person reads it.

use super::kernel::{Means, Request, Watched};
use crate::lab::kernel::KernelIo;
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
    let head = format!("{number:>4}");
    match &request.readiness {
        Some(ready) => {
            writeln!(f, "{head}  kernel    {}", Parts(ready))?;
            writeln!(f, "{:4}            {}", "", Parts(&request.receive))?;
        }
        None => writeln!(f, "{head}  kernel    {}", Parts(&request.receive))?,
    }
    match &request.recorder {
        Some(said) => writeln!(f, "{:4}  recorder  {said}", ""),
        None => Ok(()),
    }
}

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
            "{:<12} {:<6} {:>5} {:>9} {:>9} {:>10} {:>9} {:>9} {:>10} {:>9}",
            "model",
            "method",
            "n",
            "wait",
            "kernel",
            "off by",
            "wake-up",
            "copy",
            "calibrated",
            "kernel"
        )?;
        for watched in self.0 {
            let (name, method) = (watched.model.name, watched.method());
            match watched.means() {
                Some(means) => row(f, watched, &means)?,
                None => writeln!(f, "{name:<12} {method:<6} no request was seen")?,
            }
        }
        writeln!(
            f,
            "means over n requests; wait and copy are the recorder's by its method, calibrated is the copy alone without root,\n\
             kernel is what tracing saw, in whole microseconds each, its own cost included; wake-up: runnable without a CPU (kernel)"
        )
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
        "{name:<12} {method:<6} {n:>5} {wait:>9} {kernel:>9} {off:>10} {wake:>9} {own:>9} {calibrated:>10} {copy:>9}"
    )
}
