//! How long each step may take, and how a connection is found out to be dead.

use crate::sys;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How long each step may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// The host's name to addresses.
    pub resolve: Duration,
    /// TCP, over all addresses.
    pub connect: Duration,
    /// Banner and key exchange.
    pub handshake: Duration,
    /// Authentication; the time in which a person is asked does not count.
    pub auth: Duration,
    /// How long the connection may be silent once it is logged in while something is waited for.
    pub idle: Option<Duration>,
    /// All steps to the session together.
    pub total: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            resolve: seconds(10),
            connect: seconds(10),
            handshake: seconds(15),
            auth: seconds(60),
            idle: None,
            total: None,
        }
    }
}

/// How a connection is found out to be dead: by the two kernels, whatever the session does meanwhile. Jump hosts have their own, on the
/// connection to the nearest one; what goes through it is watched by the jump host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Ask the peer's kernel after so long without a word from it, and again after each such time. Whole seconds, rounded up.
    pub interval: Duration,
    /// How often to ask in vain.
    pub probes: u8,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { interval: Duration::from_secs(60), probes: 3 }
    }
}

impl Keepalive {
    /// When a peer that has vanished is given up at the latest: the silence, and the questions after it.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.interval * (u32::from(self.probes) + 1)
    }

    /// Sets it on a TCP socket.
    pub(super) fn set(&self, socket: &OwnedFd) -> io::Result<()> {
        sys::set_keepalive(socket, self.interval, self.interval, self.probes)?;
        sys::set_user_timeout(socket, self.limit())
    }
}
