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

/// How a connection is found out to be dead: by the two kernels, whatever the session does meanwhile. Behind a jump host or a proxy
/// command it is the connection to the nearest machine that is watched; what is further away is [`Timeouts::idle`]'s to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Ask the peer's kernel after so long without a word from it, and again after each such time. Whole seconds, rounded up, from 1 to
    /// 32,767, which is all the kernel takes: a longer time is that.
    pub interval: Duration,
    /// How often to ask in vain, from 1 to 127.
    pub probes: u8,
}

/// What `TCP_KEEPIDLE` and `TCP_KEEPINTVL` take at most, in seconds.
const LONGEST: u64 = 32_767;
/// What `TCP_KEEPCNT` takes at most.
const MOST: u8 = 127;

impl Default for Keepalive {
    fn default() -> Self {
        Self { interval: Duration::from_secs(60), probes: 3 }
    }
}

impl Keepalive {
    /// The same within what the kernel takes.
    fn fitted(self) -> Self {
        let seconds = self.interval.as_secs() + u64::from(self.interval.subsec_nanos() > 0);
        let interval = Duration::from_secs(seconds.clamp(1, LONGEST));
        Self { interval, probes: self.probes.clamp(1, MOST) }
    }

    /// When a peer that has vanished is given up at the latest: the silence, and the questions after it.
    #[must_use]
    pub fn limit(&self) -> Duration {
        let Self { interval, probes } = self.fitted();
        interval * (u32::from(probes) + 1)
    }

    /// Sets it on a TCP socket.
    pub(super) fn set(&self, socket: &OwnedFd) -> io::Result<()> {
        let Self { interval, probes } = self.fitted();
        sys::set_keepalive(socket, interval, interval, probes)?;
        sys::set_user_timeout(socket, self.limit())
    }
}
