//! mmap(2): words shared between threads and with forked children, for the counters.

use super::check;
use std::alloc::Layout;
use std::io;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// An anonymous `MAP_SHARED` mapping of 64-bit counters, all 0 at first: a known number of them, `[AtomicU64; N]`, or
/// rows of so many, `[[AtomicU64; N]]`.
///
/// The length of the first is part of its type, so that counting makes no comparison with it: a counter's index
/// is known when the program is compiled. Pages that are never touched cost no memory. A clone is the same memory, which is given
/// back when the last one is dropped.
#[derive(Debug)]
pub struct Shared<T: ?Sized> {
    /// Here and not only behind the counted pointer: counting follows one pointer, not two.
    words: NonNull<T>,
    mapping: Arc<Mapping>,
}

/// Owns the mapping.
#[derive(Debug)]
struct Mapping {
    base: NonNull<AtomicU64>,
    bytes: usize,
}

// SAFETY: the address of a mapping that any thread may give back.
unsafe impl Send for Mapping {}
// SAFETY: as above; a shared reference allows nothing.
unsafe impl Sync for Mapping {}

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
        let mapping = map(Some(N))?;
        Ok(Self { words: mapping.base.cast(), mapping: Arc::new(mapping) })
    }
}

impl<const N: usize> Shared<[[AtomicU64; N]]> {
    /// Maps so many rows of `N` words.
    ///
    /// # Errors
    /// As [`Shared::new`].
    pub fn rows(count: usize) -> io::Result<Self> {
        // A product that wrapped would map less than `deref` promises.
        let mapping = map(count.checked_mul(N))?;
        let words = NonNull::slice_from_raw_parts(mapping.base.cast(), count);
        Ok(Self { words, mapping: Arc::new(mapping) })
    }
}

/// Maps so many words; `None` are more than can be counted.
fn map(words: Option<usize>) -> io::Result<Mapping> {
    let none = || io::Error::from_raw_os_error(libc::ENOMEM);
    let layout = words.and_then(|words| Layout::array::<AtomicU64>(words).ok()).ok_or_else(none)?;
    // SAFETY: an anonymous mapping at an address of the kernel's choice overlaps nothing.
    let base = unsafe {
        libc::mmap(
            ptr::null_mut(),
            layout.size(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(Mapping { base: NonNull::new(base.cast()).ok_or_else(none)?, bytes: layout.size() })
}

impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self { words: self.words, mapping: Arc::clone(&self.mapping) }
    }
}

impl<T: ?Sized> Deref for Shared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the kernel mapped as many words as `T` has, page-aligned and zeroed (0 is a valid
        // AtomicU64; the constructors make no other `T`), and they stay mapped as long as `self.mapping` lives.
        unsafe { self.words.as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that mmap returned; no reference outlives the last `Shared`.
        let unmapped = unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
        debug_assert!(check(unmapped).is_ok());
    }
}
