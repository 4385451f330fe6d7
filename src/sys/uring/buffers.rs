//! Provided buffers: the kernel chooses one when data has come, so that an idle connection needs none.

use super::abi::{BufferEntry, BufferRegister, REGISTER_PBUF_RING, RecvmsgOut};
use super::mapping::Mapping;
use super::setup::register;
use crate::sys::Address;
use std::io;
use std::mem::offset_of;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

/// The one group of buffers that a ring has here.
pub(super) const GROUP: u16 = 0;
/// The kernel's own limit: a buffer's number and the ring's tail have 16 bits.
pub(super) const MOST: u32 = 1 << 15;

/// What stands in front of a datagram: its lengths, and room for the address of its sender.
pub(super) const PACKET_FRONT: usize =
    size_of::<RecvmsgOut>() + size_of::<libc::sockaddr_storage>();

/// A buffer that the kernel has filled. It belongs to whoever holds this until it is given back or sent.
#[derive(Debug)]
#[must_use = "a buffer that is not given back is lost to the ring"]
pub struct Taken {
    /// Which ring's it is.
    pub(super) of: u32,
    pub(super) id: u16,
    /// Where the data begins.
    pub(super) start: u32,
    pub(super) len: u32,
}

impl Taken {
    /// How many bytes came.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether none came.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The buffers, and the ring by which they are given to the kernel.
#[derive(Debug)]
pub(super) struct Buffers {
    /// Tells the buffers of two rings apart.
    of: u32,
    entries: *mut BufferEntry,
    mask: u16,
    size: u32,
    tail: u16,
    memory: Mapping,
    _ring: Mapping,
}

impl Buffers {
    /// Makes `count` buffers (a power of two) of `size` bytes and registers them.
    pub(super) fn new(uring: &OwnedFd, count: u32, size: u32) -> io::Result<Self> {
        static RINGS: AtomicU32 = AtomicU32::new(0);
        assert!(count.is_power_of_two() && count <= MOST, "{count} buffers");
        let memory = Mapping::anonymous(count as usize * size as usize)?;
        let ring = Mapping::anonymous(count as usize * size_of::<BufferEntry>())?;
        let entries = ring.at::<BufferEntry>(0, count as usize);
        let registration = BufferRegister {
            ring_addr: entries as u64,
            ring_entries: count,
            bgid: GROUP,
            ..BufferRegister::default()
        };
        // SAFETY: the kernel reads one io_uring_buf_reg, and from then on the entries that it names, as far as the tail
        // allows. They stay mapped while an operation is in flight that could take one: see `Uring`'s drop.
        unsafe { register(uring, REGISTER_PBUF_RING, (&raw const registration).cast(), 1) }?;
        let of = RINGS.fetch_add(1, Ordering::Relaxed);
        let mask = (count - 1) as u16;
        let mut buffers = Self { of, entries, mask, size, tail: 0, memory, _ring: ring };
        (0..count).for_each(|id| buffers.provide(id as u16));
        Ok(buffers)
    }

    /// The filled buffer of a datagram of which `len` bytes are there, with what stands in front of them.
    pub(super) fn packet(&self, id: u16, len: u32) -> (Taken, RecvmsgOut, Address) {
        let front = PACKET_FRONT as u32;
        assert!(len >= front, "a datagram without its front");
        let Taken { of, id, .. } = self.taken(id, len);
        let start = self.memory.at::<u8>(self.place(id), len as usize);
        // SAFETY: the front lies there, inside the buffer, which is ours from the completion on; it may be unaligned.
        let out = unsafe { start.cast::<RecvmsgOut>().read_unaligned() };
        let name = start.wrapping_add(size_of::<RecvmsgOut>());
        let room = (front as usize) - size_of::<RecvmsgOut>();
        let from = Address::written(|raw, len| {
            let bytes = (out.namelen as usize).min(room);
            // SAFETY: the address lies behind the front, and the room for one is as large as what is copied at most.
            unsafe { std::ptr::copy_nonoverlapping(name, raw.cast(), bytes) };
            // SAFETY: the length is `written`'s own.
            unsafe { *len = bytes as libc::socklen_t };
            Ok(())
        });
        let from = from.map_or(Address::AUTOBIND, |(_, from)| from);
        (Taken { of, id, start: front, len: len - front }, out, from)
    }

    /// Where the address of a datagram's sender is, and how long it is.
    pub(super) fn sender(&self, taken: &Taken) -> (*const u8, u16) {
        assert_eq!(
            (taken.of, taken.start as usize),
            (self.of, PACKET_FRONT),
            "no datagram of this ring"
        );
        let start = self.memory.at::<u8>(self.place(taken.id), PACKET_FRONT);
        // SAFETY: as in `packet`; nobody has written there since.
        let out = unsafe { start.cast::<RecvmsgOut>().read_unaligned() };
        (start.wrapping_add(size_of::<RecvmsgOut>()), out.namelen as u16)
    }

    /// The filled buffer of a completion.
    pub(super) fn taken(&self, id: u16, len: u32) -> Taken {
        assert!(
            id <= self.mask && len <= self.size,
            "the kernel names no buffer that it was given"
        );
        Taken { of: self.of, id, start: 0, len }
    }

    /// The bytes in a buffer.
    pub(super) fn bytes(&mut self, taken: &mut Taken) -> &mut [u8] {
        let start = self.address(taken);
        // SAFETY: from the completion on the buffer is ours alone, until `provide` gives it to the kernel again; there is
        // one `Taken` for it, borrowed as long as the slice. All of it is initialised: zeroed by mmap, then written by the kernel.
        unsafe { std::slice::from_raw_parts_mut(start, taken.len as usize) }
    }

    /// Where the bytes are.
    pub(super) fn address(&self, taken: &Taken) -> *mut u8 {
        assert_eq!(taken.of, self.of, "a buffer of another ring");
        self.memory.at(self.place(taken.id) + taken.start as usize, taken.len as usize)
    }

    fn place(&self, id: u16) -> usize {
        usize::from(id) * self.size as usize
    }

    /// Lets the kernel fill it again.
    pub(super) fn give_back(&mut self, taken: Taken) {
        assert_eq!(taken.of, self.of, "a buffer of another ring");
        self.provide(taken.id);
    }

    fn provide(&mut self, id: u16) {
        let addr = self.memory.at::<u8>(self.place(id), self.size as usize) as u64;
        let entry = self.entries.wrapping_add(usize::from(self.tail & self.mask));
        // Member by member: the resv of the first entry is the ring's tail, and must not be written.
        let member = |offset: usize| entry.cast::<u8>().wrapping_add(offset);
        // SAFETY: the masked tail lies inside the ring. The kernel reads no entry beyond the tail, and there is always room: as
        // many entries as buffers.
        unsafe { member(offset_of!(BufferEntry, addr)).cast::<u64>().write(addr) };
        // SAFETY: as above.
        unsafe { member(offset_of!(BufferEntry, len)).cast::<u32>().write(self.size) };
        // SAFETY: as above.
        unsafe { member(offset_of!(BufferEntry, bid)).cast::<u16>().write(id) };
        self.tail = self.tail.wrapping_add(1);
        let tail = self.entries.cast::<u8>().wrapping_add(offset_of!(BufferEntry, resv));
        // SAFETY: the resv of the first entry is the tail, which the kernel reads atomically and never writes.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast()) };
        // What was written above is there before it.
        tail.store(self.tail, Ordering::Release);
    }
}
