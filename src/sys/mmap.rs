//! mmap(2): words shared between threads and with forked children, for the counters.

use super::check;
use std::alloc::Layout;
use std::io;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

/// An anonymous `MAP_SHARED` mapping of 64-bit counters, all 0 at first: a known number of them, `[AtomicU64; N]`, or
/// rows of so many, `[[AtomicU64; N]]`.
///
/// The length of the first is part of its type, so that counting makes no comparison with it: a counter's index
/// is known when the program is compiled. Pages that are never touched cost no memory. The mapping is given back on drop.
#[derive(Debug)]
pub struct Shared<T: ?Sized>(NonNull<T>);

// SAFETY: the mapping is plain memory that any thread may reach, and what lies in it may be shared.
unsafe impl<T: ?Sized + Sync> Send for Shared<T> {}
// SAFETY: as above; a shared reference gives out a shared reference only.
unsafe impl<T: ?Sized + Sync> Sync for Shared<T> {}

impl<const N: usize> Shared<[AtomicU64; N]> {
    /// Maps `N` words.
    ///
    /// # Errors
    /// `ENOMEM`, also for more than an address space holds; `EINVAL` for no words at all.
    pub fn new() -> io::Result<Self> {
        map(Some(N)).map(|words| Self(words.cast()))
    }
}

impl<const N: usize> Shared<[[AtomicU64; N]]> {
    /// Maps so many rows of `N` words.
    ///
    /// # Errors
    /// As [`Shared::new`].
    pub fn rows(count: usize) -> io::Result<Self> {
        // A product that wrapped would map less than `deref` promises.
        let words = map(count.checked_mul(N))?;
        Ok(Self(NonNull::slice_from_raw_parts(words.cast(), count)))
    }
}

/// Maps so many words; `None` are more than can be counted.
fn map(words: Option<usize>) -> io::Result<NonNull<AtomicU64>> {
    let none = || io::Error::from_raw_os_error(libc::ENOMEM);
    let bytes = words.and_then(|words| Layout::array::<AtomicU64>(words).ok()).ok_or_else(none)?;
    // SAFETY: an anonymous mapping at an address of the kernel's choice overlaps nothing.
    let base = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes.size(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(base.cast()).ok_or_else(none)
}

impl<T: ?Sized> Deref for Shared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the kernel mapped as many words as `T` has, page-aligned and zeroed (0 is a valid
        // AtomicU64; the constructors make no other `T`), and they stay mapped until drop.
        unsafe { self.0.as_ref() }
    }
}

impl<T: ?Sized> Drop for Shared<T> {
    fn drop(&mut self) {
        let bytes = size_of_val::<T>(self);
        // SAFETY: exactly the range that mmap returned; no reference outlives `self`.
        let unmapped = unsafe { libc::munmap(self.0.as_ptr().cast(), bytes) };
        debug_assert!(check(unmapped).is_ok());
    }
}
