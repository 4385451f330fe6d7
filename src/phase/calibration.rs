//! The copy alone, without root: how long the kernel takes to copy n bytes to a process, in a table made on this machine.

use crate::sys::{self, Clock, Kind};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// What is copied from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// A TCP connection over loopback: a receive, minus the same with `MSG_TRUNC`, which does everything but the copy (tcp(7)).
    Tcp,
    /// A UDP socket on loopback. There `MSG_TRUNC` copies; a look (`MSG_PEEK`) at n bytes, minus one at none.
    Udp,
    /// A Unix stream, by `MSG_PEEK` as well.
    Unix,
}

impl Over {
    /// The flag that makes the difference.
    #[must_use]
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Tcp => "MSG_TRUNC",
            Self::Udp | Self::Unix => "MSG_PEEK",
        }
    }
}

/// The method `calibrated`: splits the time from the kernel's stamp to the return of a receive into the copy and the rest, which is
/// softirq, wake-up and return.
///
/// The data lies in this CPU's cache when it is measured, since the same thread has just sent it: a copy of what another CPU
/// has sent takes longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calibration {
    over: Over,
    /// Nanoseconds for each of [`Calibration::SIZES`], never less for more bytes.
    copies: [u64; Self::SIZES.len()],
}

/// Pairs of receives per size, with the copy and without.
const ROUNDS: usize = 65;
/// Data on loopback is there at once; longer than this means that it will not come.
const PATIENCE: Duration = Duration::from_millis(200);

impl Calibration {
    /// What is measured, in bytes; a window that nobody has opened yet holds the largest.
    pub const SIZES: [usize; 6] = [1, 64, 1024, 4096, 16_384, 32_768];

    /// Measures, in some milliseconds.
    ///
    /// # Errors
    /// The errno of a socket call; `EAGAIN` where what was sent does not arrive.
    pub fn measure(over: Over) -> io::Result<Self> {
        let pair = Pair::new(over)?;
        let mut buffer = vec![b'c'; Self::SIZES[Self::SIZES.len() - 1]];
        let mut copies = [0; Self::SIZES.len()];
        let mut least = 0;
        for (copy, size) in copies.iter_mut().zip(Self::SIZES) {
            // Noise must not make more bytes cheaper than fewer.
            least = pair.difference(&mut buffer[..size])?.max(least);
            *copy = least;
        }
        Ok(Self { over, copies })
    }

    /// How it was measured.
    #[must_use]
    pub fn over(&self) -> Over {
        self.over
    }

    /// Sizes in bytes with nanoseconds.
    pub fn table(&self) -> impl Iterator<Item = (usize, u64)> {
        Self::SIZES.into_iter().zip(self.copies)
    }

    /// Nanoseconds to copy so many bytes: between the measured sizes and beyond them along a line.
    #[must_use]
    pub fn copy(&self, bytes: usize) -> u64 {
        let last = Self::SIZES.len() - 1;
        let upper = Self::SIZES.iter().position(|&size| size >= bytes).unwrap_or(last).max(1);
        let at = |place: usize| (Self::SIZES[place] as f64, self.copies[place] as f64);
        let ((x0, y0), (x1, y1)) = (at(upper - 1), at(upper));
        let y = y0 + (y1 - y0) * (bytes as f64 - x0) / (x1 - x0);
        y.max(0.0) as u64
    }

    /// Splits the nanoseconds from stamp to return: the copy of so many bytes, and everything else.
    #[must_use]
    pub fn split(&self, stamp_to_return: u64, bytes: usize) -> (u64, u64) {
        let copy = self.copy(bytes).min(stamp_to_return);
        (copy, stamp_to_return - copy)
    }
}

/// Two ends of our own.
struct Pair {
    over: Over,
    sender: OwnedFd,
    receiver: OwnedFd,
}

impl Pair {
    fn new(over: Over) -> io::Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (sender, receiver) = match over {
            Over::Unix => sys::socketpair()?,
            Over::Udp => {
                let receiver = sys::socket(any, Kind::Datagram)?;
                sys::bind(&receiver, any)?;
                let sender = sys::socket(any, Kind::Datagram)?;
                sys::connect(&sender, sys::getsockname(&receiver)?)?;
                (sender, receiver)
            }
            Over::Tcp => {
                let listener = sys::socket(any, Kind::Stream)?;
                sys::bind(&listener, any)?;
                sys::listen(&listener, 1)?;
                let sender = sys::socket(any, Kind::Stream)?;
                sys::connect(&sender, sys::getsockname(&listener)?)?;
                sys::set_nodelay(&sender)?;
                (sender, sys::accept4(&listener)?.0)
            }
        };
        sys::set_receive_timeout(&receiver, PATIENCE)?;
        sys::set_send_timeout(&sender, PATIENCE)?;
        Ok(Self { over, sender, receiver })
    }

    /// The median of what the copy adds to a receive of a whole buffer, in nanoseconds.
    fn difference(&self, buffer: &mut [u8]) -> io::Result<u64> {
        let mut differences = Vec::with_capacity(ROUNDS);
        for round in 0..ROUNDS {
            // In turn the one and the other first: whatever drifts falls on both.
            let with_first = round % 2 == 0;
            let one = self.time(buffer, with_first)?;
            let other = self.time(buffer, !with_first)?;
            let (with, without) = if with_first { (one, other) } else { (other, one) };
            differences.push(with as i64 - without as i64);
        }
        differences.sort_unstable();
        Ok(u64::try_from(differences[ROUNDS / 2]).unwrap_or(0))
    }

    /// Nanoseconds of one receive of data that is there.
    fn time(&self, buffer: &mut [u8], copying: bool) -> io::Result<u64> {
        let mut sent = 0;
        while sent < buffer.len() {
            sent += sys::send(&self.sender, &buffer[sent..])?;
        }
        // A datagram's own length, a stream's bytes.
        let end = now() + PATIENCE;
        while sys::fionread(&self.receiver)? < buffer.len() {
            if now() > end {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        let start = now();
        let received = match (self.over, copying) {
            (Over::Tcp, true) => sys::recv(&self.receiver, buffer)?,
            (Over::Tcp, false) => sys::recv_discarding(&self.receiver, buffer)?,
            (_, true) => sys::recv_peek(&self.receiver, buffer)?,
            (_, false) => sys::recv_peek(&self.receiver, &mut [])?,
        };
        let took = now() - start;
        let mut left = buffer.len() - if self.over == Over::Tcp { received } else { 0 };
        while left > 0 {
            left -= sys::recv(&self.receiver, &mut buffer[..left])?;
        }
        Ok(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX))
    }
}

fn now() -> Duration {
    sys::clock_gettime(Clock::Monotonic)
}

#[cfg(test)]
mod tests {
    use super::{Calibration, Over};

    #[test]
    fn between_the_sizes_and_beyond_them_it_goes_along_a_line() {
        let table = Calibration { over: Over::Tcp, copies: [10, 10, 100, 400, 1600, 3200] };
        assert_eq!([1, 64, 1024, 32_768].map(|n| table.copy(n)), [10, 10, 100, 3200]);
        assert_eq!([2560, 65_536, 0].map(|n| table.copy(n)), [250, 6400, 10]);
        assert_eq!(table.split(5_000, 1024), (100, 4_900));
        assert_eq!(table.split(60, 1024), (60, 0), "never more than there was");
    }

    #[test]
    fn more_bytes_take_longer_whatever_they_come_over() {
        for over in [Over::Tcp, Over::Udp, Over::Unix] {
            let table = Calibration::measure(over).unwrap();
            let (small, large) = (table.copy(1), table.copy(32_768));
            // 32 KiB at 100 GB/s would be 327 ns.
            assert!(large > 200 && large > small, "{over:?}: {small} ns, {large} ns");
        }
    }
}
