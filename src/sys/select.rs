//! select(2): readiness by three bit sets of 1024 descriptors each.

use super::check;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::time::Duration;

/// Descriptors that fit into a set: 0 to 1023, whatever `RLIMIT_NOFILE` says.
pub const FD_SETSIZE: usize = libc::FD_SETSIZE;

const WORD: usize = libc::c_ulong::BITS as usize;

/// A set of descriptors that knows its own limit.
///
/// C's `FD_SET` writes outside of the set for descriptor 1024; this one refuses it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FdSet {
    bits: [libc::c_ulong; FD_SETSIZE / WORD],
}

/// The descriptor has a number that no set can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverLimit {
    /// The number that does not fit.
    pub descriptor: usize,
}

impl fmt::Display for OverLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "descriptor {} does not fit into a set of {FD_SETSIZE} (FD_SETSIZE)",
            self.descriptor
        )
    }
}

impl std::error::Error for OverLimit {}

impl FdSet {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a descriptor (`FD_SET`) and returns its number: its index in the set.
    ///
    /// # Errors
    /// [`OverLimit`] for number 1024 and above. The set is then as it was.
    pub fn insert(&mut self, fd: impl AsFd) -> Result<usize, OverLimit> {
        let n = number(fd);
        let word = self.bits.get_mut(n / WORD).ok_or(OverLimit { descriptor: n })?;
        *word |= 1 << (n % WORD);
        Ok(n)
    }

    /// Takes a descriptor out (`FD_CLR`); one that no set can hold is not in it.
    pub fn remove(&mut self, fd: impl AsFd) {
        let n = number(fd);
        if let Some(word) = self.bits.get_mut(n / WORD) {
            *word &= !(1 << (n % WORD));
        }
    }

    /// Whether the set holds this descriptor (`FD_ISSET`).
    #[must_use]
    pub fn contains(&self, fd: impl AsFd) -> bool {
        let n = number(fd);
        self.bits.get(n / WORD).is_some_and(|word| word & (1 << (n % WORD)) != 0)
    }

    /// The union with another set.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        for (word, more) in self.bits.iter_mut().zip(&other.bits) {
            *word |= more;
        }
        self
    }

    /// The numbers in the set, lowest first: what select's user must scan for.
    pub fn numbers(&self) -> impl Iterator<Item = usize> + use<> {
        self.bits.into_iter().enumerate().flat_map(|(i, mut word)| {
            std::iter::from_fn(move || {
                let bit = word.trailing_zeros() as usize;
                (word != 0).then(|| {
                    word &= word - 1;
                    i * WORD + bit
                })
            })
        })
    }

    /// One more than the highest number in the set: select's `nfds`.
    #[must_use]
    pub fn span(&self) -> usize {
        let top = self.bits.iter().rposition(|&word| word != 0);
        top.map_or(0, |i| (i + 1) * WORD - self.bits[i].leading_zeros() as usize)
    }
}

impl fmt::Debug for FdSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.numbers()).finish()
    }
}

/// The index of a descriptor in any set, also of one that fits into none; a signal names it by the same number.
pub fn number(fd: impl AsFd) -> usize {
    // An open descriptor is never negative.
    fd.as_fd().as_raw_fd() as usize
}

/// Waits until a descriptor of `read` can be read or one of `write` can be written, or the time
/// is over (microseconds, rounded up; `None` is for ever). The sets are **overwritten** with
/// what is ready; the return value is how many that is.
///
/// Appears in a trace as `pselect6`: glibc's select is that call.
///
/// # Errors
/// `EINTR`, `EBADF`, `ENOMEM`. After an error the sets are as they were.
pub fn select(read: &mut FdSet, write: &mut FdSet, timeout: Option<Duration>) -> io::Result<usize> {
    let nfds = read.span().max(write.span()) as libc::c_int;
    let mut time = timeout.map(|t| {
        let micros = t.as_nanos().div_ceil(1_000);
        libc::timeval {
            tv_sec: libc::time_t::try_from(micros / 1_000_000).unwrap_or(libc::time_t::MAX),
            tv_usec: (micros % 1_000_000) as libc::suseconds_t,
        }
    });
    let time = time.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
    // SAFETY: the kernel reads and writes `nfds` bits of each set, and `nfds` is at most 1024, the
    // size of the sets (FdSet has fd_set's layout: an array of unsigned long); Linux writes the
    // time left to `time`, which lives until the end of the call.
    check(unsafe {
        libc::select(
            nfds,
            ptr::from_mut(read).cast(),
            ptr::from_mut(write).cast(),
            ptr::null_mut(),
            time,
        )
    })
    .map(|n| n as usize)
}
