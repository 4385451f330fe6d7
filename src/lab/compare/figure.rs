//! The figures of a cell: one list, which the table, the page and the claims read.

use super::Sample;
use super::kernel::Told;
use super::plan::Grouped;
use crate::phase::Nanos;

/// Median of the rounds, and the smallest and largest of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle one; of an even number the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub low: f64,
    /// The largest.
    pub high: f64,
}

impl Spread {
    /// Of these values; `None` of none.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, low, high })
    }
}

/// One figure of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Answered messages per second.
    Rate,
    /// Latency that half of the messages do not exceed, ns.
    P50,
    /// 99 %.
    P99,
    /// 99.9 %.
    P999,
    /// CPU time of the server and its children per message, ns.
    Cpu,
    /// The part of it in user mode, ns.
    User,
    /// The part of it in the kernel, ns.
    System,
    /// System calls per message.
    Calls,
    /// `EAGAIN`s per message.
    Again,
    /// Context switches per message.
    Switches,
    /// Proportional set of the server and its children with all clients held, bytes.
    Memory,
    /// Growth of that per connection, bytes.
    PerConnection,
    /// By the kernel: in a call and not runnable, per message, ns.
    Asleep,
    /// By the kernel: in a call, runnable without a CPU, per message, ns.
    Runnable,
    /// By the kernel: copying to the process, per message, ns.
    Copied,
    /// The generator's share of a core, percent.
    Generator,
}

/// Fewer connections than this do not fill the pages that the first one takes.
pub const ENOUGH: usize = 100;

impl Figure {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 16] = [
        Self::Rate,
        Self::P50,
        Self::P99,
        Self::P999,
        Self::Cpu,
        Self::User,
        Self::System,
        Self::Calls,
        Self::Again,
        Self::Switches,
        Self::Memory,
        Self::PerConnection,
        Self::Asleep,
        Self::Runnable,
        Self::Copied,
        Self::Generator,
    ];

    /// Head of a column.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "requests/s",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
            Self::Cpu => "CPU/req",
            Self::User => "user",
            Self::System => "system",
            Self::Calls => "calls/req",
            Self::Again => "EAGAIN/req",
            Self::Switches => "switches/req",
            Self::Memory => "memory",
            Self::PerConnection => "per conn.",
            Self::Asleep => "asleep/req",
            Self::Runnable => "runnable/req",
            Self::Copied => "copied/req",
            Self::Generator => "clients' CPU",
        }
    }

    /// Its name in JSON.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Rate => "requests_per_second",
            Self::P50 => "p50_ns",
            Self::P99 => "p99_ns",
            Self::P999 => "p999_ns",
            Self::Cpu => "cpu_ns_per_request",
            Self::User => "user_ns_per_request",
            Self::System => "system_ns_per_request",
            Self::Calls => "calls_per_request",
            Self::Again => "again_per_request",
            Self::Switches => "switches_per_request",
            Self::Memory => "memory_bytes",
            Self::PerConnection => "bytes_per_connection",
            Self::Asleep => "kernel_asleep_ns_per_request",
            Self::Runnable => "kernel_runnable_ns_per_request",
            Self::Copied => "kernel_copied_ns_per_request",
            Self::Generator => "generator_percent",
        }
    }

    /// Whether it comes from the pass with the recorder on.
    #[must_use]
    pub fn recorded(self) -> bool {
        matches!(self, Self::Calls | Self::Again | Self::Switches)
    }

    /// Whether it comes from the pass with the kernel watching.
    #[must_use]
    pub fn told(self) -> bool {
        matches!(self, Self::Asleep | Self::Runnable | Self::Copied)
    }

    /// Its value in one sample under `held` connections; `None` where it was not or could not be measured.
    #[must_use]
    pub fn of(self, sample: &Sample, held: usize) -> Option<f64> {
        let requests = some(sample.plain.requests)?;
        let cpu = sample.server_cpu_ns as f64 / requests;
        let recorded = &sample.recorded;
        let per_recorded = |n: u64| Some(n as f64 / some(recorded.requests)?);
        let per_told = |of: fn(&Told) -> u64| {
            sample.kernel.as_ref().and_then(|told| Some(of(told) as f64 / some(told.requests)?))
        };
        Some(match self {
            Self::Rate => requests * 1e9 / some(sample.plain.wall_ns)?,
            Self::P50 => sample.latency.p50 as f64,
            Self::P99 => sample.latency.p99 as f64,
            Self::P999 => sample.latency.p999 as f64,
            Self::Cpu => cpu,
            Self::User => cpu * sample.user_share?,
            Self::System => cpu * (1.0 - sample.user_share?),
            Self::Calls => return per_recorded(recorded.steady_calls),
            Self::Again => return per_recorded(recorded.again.iter().map(|(_, n)| n).sum()),
            Self::Switches => recorded.switches? as f64 / some(recorded.clients.requests)?,
            Self::Memory => sample.memory?[1].pss_kib as f64 * 1024.0,
            Self::PerConnection => {
                let [before, with_all] = sample.memory.filter(|_| held >= ENOUGH)?;
                with_all.pss_kib.saturating_sub(before.pss_kib) as f64 * 1024.0 / held as f64
            }
            Self::Asleep => return per_told(|told| told.asleep_ns),
            Self::Runnable => return per_told(|told| told.runnable_ns),
            Self::Copied => return per_told(|told| told.copied_ns),
            Self::Generator => sample.generator_cpu_ns as f64 * 100.0 / some(sample.plain.wall_ns)?,
        })
    }

    /// A value as people read it, with its unit.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Rate => Grouped(value.round() as u64).to_string(),
            Self::P50
            | Self::P99
            | Self::P999
            | Self::Cpu
            | Self::User
            | Self::System
            | Self::Asleep
            | Self::Runnable
            | Self::Copied => Nanos(value.round() as u64).to_string(),
            Self::Calls | Self::Switches => decimals(value, 2),
            Self::Again => decimals(value, 1),
            Self::Memory | Self::PerConnection => bytes(value),
            Self::Generator => format!("{value:.0}%"),
        }
    }
}

/// A divisor that is not 0.
fn some(n: u64) -> Option<f64> {
    (n > 0).then_some(n as f64)
}

/// Three digits are enough for a mean.
fn decimals(value: f64, places: usize) -> String {
    if value < 99.95 {
        format!("{value:.places$}")
    } else {
        Grouped(value.round() as u64).to_string()
    }
}

/// `56 B`, `11.1 KiB`, `1.2 GiB`.
#[must_use]
pub fn bytes(value: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut scaled = value;
    let mut unit = 0;
    while scaled >= 1023.5 && unit + 1 < units.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    let places = usize::from(unit > 0 && scaled < 99.95);
    format!("{scaled:.places$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::{Figure, Spread, bytes};

    #[test]
    fn a_spread_has_its_middle_and_its_ends() {
        let of = |values: &[f64]| Spread::of(values.to_vec());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3.0, 1.0, 9.0]), Some(Spread { median: 3.0, low: 1.0, high: 9.0 }));
        assert_eq!(of(&[4.0, 2.0]).unwrap().median, 3.0);
    }

    #[test]
    fn values_are_shown_with_three_digits_and_a_unit() {
        assert_eq!(Figure::Rate.show(12_345.6), "12,346");
        assert_eq!(Figure::Calls.show(2.004), "2.00");
        assert_eq!(Figure::Again.show(10_844.2), "10,844");
        assert_eq!(Figure::Cpu.show(7_849.0), "7.8 us");
        let shown = [0.0, 56.4, 1023.6, 11_366.0, 1_300_000_000.0].map(bytes);
        assert_eq!(shown, ["0 B", "56 B", "1.0 KiB", "11.1 KiB", "1.2 GiB"]);
    }
}
