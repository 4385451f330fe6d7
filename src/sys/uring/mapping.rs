//! Memory that is shared with the kernel: mmap(2).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::{self, NonNull};

/// A mapping, given back on drop.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    /// A part of a ring.
    pub(super) fn of_ring(ring: &OwnedFd, len: usize, offset: i64) -> io::Result<Self> {
        Self::new(len, libc::MAP_SHARED | libc::MAP_POPULATE, ring.as_raw_fd(), offset)
    }

    /// Memory of our own, zeroed, aligned to a page. What is never touched costs nothing.
    pub(super) fn anonymous(len: usize) -> io::Result<Self> {
        Self::new(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    }

    fn new(len: usize, flags: i32, fd: i32, offset: i64) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a mapping at an address of the kernel's choice overlaps nothing.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start =
            NonNull::new(start.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(Self { start, len })
    }

    /// A pointer to the `T` at an offset in bytes, for `count` of them.
    ///
    /// # Panics
    /// Where they would not lie inside, or not aligned: the kernel has told nonsense.
    pub(super) fn at<T>(&self, offset: usize, count: usize) -> *mut T {
        let end = count.checked_mul(size_of::<T>()).and_then(|bytes| bytes.checked_add(offset));
        assert!(end.is_some_and(|end| end <= self.len), "beyond the mapping");
        assert!(offset % align_of::<T>() == 0, "not aligned");
        // SAFETY: the offset was found to lie inside the mapping.
        unsafe { self.start.as_ptr().add(offset) }.cast()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that mmap returned; whoever has a pointer into it owns this mapping too.
        let _ = unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
