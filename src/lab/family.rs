//! What a server's process and the children that it has now have used.

use super::procfs;
use crate::client::load::Watch;
use crate::sys;
use std::io;
use std::time::Duration;

/// Reads a server's CPU time at both ends of a measurement.
#[derive(Debug)]
pub struct Family {
    process: u32,
    begun: io::Result<Duration>,
    ended: io::Result<Duration>,
}

impl Family {
    /// Of the process of that number.
    #[must_use]
    pub fn of(process: u32) -> Self {
        Self { process, begun: Ok(Duration::ZERO), ended: Ok(Duration::ZERO) }
    }

    /// CPU time between both ends.
    ///
    /// # Errors
    /// `ESRCH`: the server is gone.
    pub fn cpu(self) -> io::Result<Duration> {
        Ok(self.ended?.saturating_sub(self.begun?))
    }
}

impl Watch for Family {
    fn begins(&mut self) {
        self.begun = cpu_time(self.process);
    }

    fn ends(&mut self) {
        self.ended = cpu_time(self.process);
    }
}

/// CPU time of a process and of the children that it has now.
fn cpu_time(process: u32) -> io::Result<Duration> {
    let members = procfs::members(process);
    // One that ends meanwhile is missed.
    let children =
        members[1..].iter().map(|&child| sys::process_cpu_time(child).unwrap_or_default());
    Ok(sys::process_cpu_time(process)? + children.sum::<Duration>())
}
