//! mmap(2): words shared between threads and with forked children, for the counters.

use super::check;
use std::alloc::Layout;
use std::io;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::AtomicU64;

/// An anonymous `MAP_SHARED` mapping of 64-bit counters, all 0 at first.
///
/// Pages that are never touched cost no memory. The mapping is given back on drop.
#[derive(Debug)]
pub struct Shared {
    words: NonNull<AtomicU64>,
    len: usize,
}

// SAFETY: the mapping is plain memory that any thread may reach, and only atomics lie in it.
unsafe impl Send for Shared {}
// SAFETY: as above; a shared reference gives out atomics only.
unsafe impl Sync for Shared {}

impl Shared {
    /// Maps `len` words.
    ///
    /// # Errors
    /// `ENOMEM`, also for more than an address space holds; `EINVAL` for no words at all.
    pub fn new(len: usize) -> io::Result<Self> {
        // A product that wrapped would map less than `deref` promises.
        let bytes = Layout::array::<AtomicU64>(len)
            .map_err(|_| io::Error::from_raw_os_error(libc::ENOMEM))?;
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
        let words =
            NonNull::new(base.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(Self { words, len })
    }
}

impl Deref for Shared {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the kernel mapped `len` words there, page-aligned and zeroed (0 is a valid
        // AtomicU64), and they stay mapped until drop.
        unsafe { slice::from_raw_parts(self.words.as_ptr(), self.len) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: exactly the range that mmap returned; no reference outlives `self`.
        let unmapped =
            unsafe { libc::munmap(self.words.as_ptr().cast(), self.len * size_of::<AtomicU64>()) };
        debug_assert!(check(unmapped).is_ok());
    }
}
