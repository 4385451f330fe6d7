//! What a server's process and the children that it has now have used.

use super::procfs;
use crate::client::load::Watch;
use crate::sys;
use std::collections::HashMap;
use std::io;
use std::time::Duration;

/// Reads a server's CPU time at both ends of a measurement.
#[derive(Debug)]
pub struct Family {
    process: u32,
    begun: io::Result<Members>,
    ended: io::Result<Members>,
}

/// The CPU time of each process, the parent first.
type Members = Vec<(u32, Duration)>;

impl Family {
    /// Of the process of that number.
    #[must_use]
    pub fn of(process: u32) -> Self {
        Self { process, begun: Ok(Vec::new()), ended: Ok(Vec::new()) }
    }

    /// CPU time between both ends.
    ///
    /// # Errors
    /// `ESRCH`: the server is gone.
    pub fn cpu(self) -> io::Result<Duration> {
        let sum = |members: Members| members.into_iter().map(|(_, cpu)| cpu).sum::<Duration>();
        Ok(sum(self.ended?).saturating_sub(sum(self.begun?)))
    }

    /// How many of the processes at the end were not there at the beginning, and how many of the others have run.
    #[must_use]
    pub fn came_and_ran(&self) -> (usize, usize) {
        let (Ok(begun), Ok(ended)) = (&self.begun, &self.ended) else { return (0, 0) };
        let before: HashMap<u32, Duration> = begun.iter().copied().collect();
        let came = ended.iter().filter(|(process, _)| !before.contains_key(process)).count();
        let ran = |(process, cpu): &&(u32, Duration)| before.get(process).is_some_and(|b| b < cpu);
        (came, ended.iter().filter(ran).count())
    }
}

impl Watch for Family {
    fn begins(&mut self) {
        self.begun = cpu_times(self.process);
    }

    fn ends(&mut self) {
        self.ended = cpu_times(self.process);
    }
}

/// CPU time of a process and of each of the children that it has now.
fn cpu_times(process: u32) -> io::Result<Members> {
    let members = procfs::members(process);
    // One that ends meanwhile is missed.
    let cpu = |&child: &u32| (child, sys::process_cpu_time(child).unwrap_or_default());
    let mut times = vec![(process, sys::process_cpu_time(process)?)];
    times.extend(members[1..].iter().map(cpu));
    Ok(times)
}
