//! The clock of `--idle-timeout`: coarse, so that a connection remembers its last byte in 4 bytes.

use crate::sys::{self, Clock};
use std::time::Duration;

/// One tick of the idle clock. A `u32` of them lasts 497 days.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// `--idle-timeout`.
#[derive(Debug)]
pub(super) struct Idle {
    pub(super) limit: Duration,
    /// When the clock began, on `CLOCK_MONOTONIC`.
    pub(super) zero: Duration,
    /// No connection is over its time before this tick.
    pub(super) next: u32,
}

impl Idle {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, zero: sys::clock_gettime(Clock::Monotonic), next: 0 }
    }

    /// Ticks since the clock began. Only a server with `--idle-timeout` pays for it.
    pub(super) fn now(&self) -> u32 {
        ticks(sys::clock_gettime(Clock::Monotonic).saturating_sub(self.zero))
    }
}

/// A time in ticks, rounded down.
pub(super) fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX / 4)
}
