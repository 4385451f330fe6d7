//! The pass with the kernel watching: for how long a server sleeps, waits for a CPU and copies, per request.

use crate::client::load::{self, Load, Watch};
use crate::lab::Server;
use crate::lab::kernel::{Kernel, KernelIo, Malformed, Refused, ios, lines};
use std::time::Duration;

/// What the kernel's tracepoints said of a server, in a pass of their own with the recorder off. Nanoseconds, sums over the calls of
/// all flows that began and ended in its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// How long it listened.
    pub wall_ns: u64,
    /// Messages that those calls received.
    pub requests: u64,
    /// In a call and not runnable.
    pub asleep_ns: u64,
    /// In a call, runnable without a CPU.
    pub runnable_ns: u64,
    /// Copying to the process, where the kernel tells the end of it.
    pub copied_ns: u64,
    /// Bytes of those copies.
    pub copied_bytes: u64,
}

/// The kernel's buffers hold the events of so much time, of most servers.
pub const LISTENS: Duration = Duration::from_millis(100);
/// Of a server that makes more calls than they hold, it listens for a quarter of the time, and then for a quarter of that.
const SHORTEST: Duration = Duration::from_millis(6);

/// Has the kernel listen to a server of `start` under `load`, for a short time.
///
/// # Errors
/// A sentence: as those two; a kernel that does not tell, or that drops events of the shortest time as well.
pub(super) fn listen(
    start: impl Fn() -> Result<Server, String>,
    load: impl Fn(&Server) -> Load,
) -> Result<Told, String> {
    let mut duration = LISTENS;
    loop {
        let server = start()?;
        let load = Load { duration, ..load(&server) };
        let (heard, wall) = once(&server, &load)?;
        server.stop()?;
        match lines(&heard) {
            Err(Malformed::Lost(_)) if duration / 4 >= SHORTEST => duration /= 4,
            events => {
                let events = events.map_err(|malformed| malformed.to_string())?;
                return Ok(Told::of(&ios(&events), load.size as u64, wall));
            }
        }
    }
}

fn once(server: &Server, load: &Load) -> Result<(String, Duration), String> {
    let kernel = Kernel::prepare(server.process()).map_err(|refused| refused.to_string())?;
    let mut listener = Listener { kernel, refused: None };
    let outcome = load::run(load, &mut listener).map_err(|failure| failure.to_string())?;
    let Listener { kernel, refused } = listener;
    refused.map_or(Ok(()), |refused| Err(refused.to_string()))?;
    Ok((kernel.text()?, outcome.wall))
}

impl Told {
    fn of(ios: &[KernelIo], size: u64, wall: Duration) -> Self {
        let sum = |of: fn(&KernelIo) -> u64| ios.iter().map(of).sum::<u64>();
        Self {
            wall_ns: wall.as_nanos() as u64,
            // Not what the clients count: a receive that began before the recording is not among the calls.
            requests: sum(KernelIo::received) / size,
            asleep_ns: sum(|io| io.asleep),
            runnable_ns: sum(|io| io.runnable),
            copied_ns: sum(|io| if io.measured { io.copied } else { 0 }),
            copied_bytes: sum(|io| if io.measured { io.bytes } else { 0 }),
        }
    }
}

/// Turns the recording on for the measured time.
struct Listener {
    kernel: Kernel,
    refused: Option<Refused>,
}

impl Watch for Listener {
    fn begins(&mut self) {
        self.refused = self.kernel.resume().err();
    }

    fn ends(&mut self) {
        self.refused = self.refused.take().or(self.kernel.pause().err());
    }
}
