//! Many datagrams in one call: recvmmsg(2), sendmmsg(2).

use super::{Address, Packet};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

/// Room for so many datagrams, each with its sender.
pub struct Batch {
    /// Bytes of one datagram at most.
    size: usize,
    bytes: Box<[u8]>,
    names: Box<[MaybeUninit<libc::sockaddr_storage>]>,
    parts: Box<[libc::iovec]>,
    heads: Box<[libc::mmsghdr]>,
    /// What [`Batch::reply`] has put down to be sent.
    replies: usize,
}

// SAFETY: the pointers in `parts` and `heads` point to nothing but what this very value owns, on the heap, where it does not move with
// it; they are written and read through `self` alone.
unsafe impl Send for Batch {}

/// An mmsghdr of zeros.
fn empty() -> libc::mmsghdr {
    // SAFETY: an mmsghdr of zeros is valid: no name, no parts, no control.
    unsafe { MaybeUninit::<libc::mmsghdr>::zeroed().assume_init() }
}

impl Batch {
    /// Room for `count` datagrams of `size` bytes.
    #[must_use]
    pub fn new(count: usize, size: usize) -> Self {
        let part = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Self {
            size,
            bytes: vec![0; count * size].into_boxed_slice(),
            names: vec![MaybeUninit::zeroed(); count].into_boxed_slice(),
            parts: vec![part; count].into_boxed_slice(),
            heads: (0..count).map(|_| empty()).collect(),
            replies: 0,
        }
    }

    /// For how many datagrams there is room.
    #[must_use]
    pub fn count(&self) -> usize {
        self.heads.len()
    }

    /// Receives as many as are there and fit (recvmmsg(2), `MSG_WAITFORONE`): a blocking socket waits for the first, never for more.
    ///
    /// # Errors
    /// As recvfrom(2), where the first one failed.
    pub fn recvmmsg(&mut self, fd: impl AsFd) -> io::Result<usize> {
        for n in 0..self.heads.len() {
            self.parts[n] = libc::iovec {
                iov_base: self.bytes[n * self.size..].as_mut_ptr().cast(),
                iov_len: self.size,
            };
            let mut head = empty();
            head.msg_hdr.msg_name = self.names[n].as_mut_ptr().cast();
            head.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            head.msg_hdr.msg_iov = &raw mut self.parts[n];
            head.msg_hdr.msg_iovlen = 1;
            self.heads[n] = head;
        }
        self.replies = 0;
        let flags = libc::MSG_WAITFORONE | libc::MSG_TRUNC;
        let room = self.heads.len() as libc::c_uint;
        let fd = fd.as_fd().as_raw_fd();
        // SAFETY: the kernel writes through `room` headers at most: to each one's iovec of `size` bytes, whatever length MSG_TRUNC
        // has it report, to its name of a sockaddr_storage, and to the header's own lengths. A null time-out is none.
        let count = unsafe {
            libc::recvmmsg(fd, self.heads.as_mut_ptr(), room, flags as _, ptr::null_mut())
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// One of those that the last [`recvmmsg`](Self::recvmmsg) has brought, and its bytes.
    ///
    /// # Panics
    /// Beyond the batch.
    pub fn packet(&mut self, n: usize) -> (Packet, &mut [u8]) {
        let head = &self.heads[n];
        let len = head.msg_len as usize;
        // SAFETY: zeroed at first, so it is initialised whatever the kernel wrote.
        let storage = unsafe { self.names[n].assume_init() };
        let from = Address::of(storage, head.msg_hdr.msg_namelen);
        let packet = Packet { len, truncated: len > self.size, from, stamp: None };
        let start = n * self.size;
        (packet, &mut self.bytes[start..start + len.min(self.size)])
    }

    /// Puts down the first `len` bytes of a datagram to be sent to where it came from. In the order of the datagrams, each once.
    ///
    /// # Panics
    /// Beyond the batch, or out of order.
    pub fn reply(&mut self, n: usize, len: usize) {
        let to = self.replies;
        assert!(to <= n && len <= self.size, "a reply in the place of its request or before it");
        let namelen = self.heads[n].msg_hdr.msg_namelen;
        self.parts[to] =
            libc::iovec { iov_base: self.bytes[n * self.size..].as_mut_ptr().cast(), iov_len: len };
        let mut head = empty();
        head.msg_hdr.msg_name = self.names[n].as_mut_ptr().cast();
        head.msg_hdr.msg_namelen = namelen;
        head.msg_hdr.msg_iov = &raw mut self.parts[to];
        head.msg_hdr.msg_iovlen = 1;
        self.heads[to] = head;
        self.replies += 1;
    }

    /// How many replies are put down.
    #[must_use]
    pub fn replies(&self) -> usize {
        self.replies
    }

    /// Sends the replies from that number on, without waiting for room (sendmmsg(2), `MSG_DONTWAIT`); how many went, and their bytes.
    ///
    /// # Errors
    /// As sendto(2), where the first one failed.
    pub fn sendmmsg(&mut self, fd: impl AsFd, from: usize) -> io::Result<(usize, usize)> {
        let rest = &mut self.heads[from..self.replies];
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        let fd = fd.as_fd().as_raw_fd();
        let room = rest.len() as libc::c_uint;
        // SAFETY: the kernel reads these headers, which `reply` has filled with parts and names that this value owns and has not
        // moved since (they lie on the heap), and writes each one's msg_len.
        let count = unsafe { libc::sendmmsg(fd, rest.as_mut_ptr(), room, flags as _) };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        Ok((count, rest[..count].iter().map(|head| head.msg_len as usize).sum()))
    }

    /// Where a reply goes, for a message about one that did not.
    #[must_use]
    pub fn destination(&self, reply: usize) -> Address {
        let head = &self.heads[reply].msg_hdr;
        // SAFETY: `reply` has pointed it at one of `names`, each initialised with zeros at least.
        let storage = unsafe { head.msg_name.cast::<libc::sockaddr_storage>().read() };
        Address::of(storage, head.msg_namelen)
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("count", &self.count()).field("size", &self.size).finish()
    }
}
