//! io_uring_setup(2), io_uring_enter(2), io_uring_register(2).

use super::abi::{self, GetEventsArg, Offsets, Params, Sqe, SyncCancel};
use super::buffers::{Buffers, MOST};
use super::completions::{Cq, Failed};
use super::mapping::Mapping;
use super::operations::{Lent, Rest};
use crate::sys::check;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The ways of running a ring, best first; a kernel that does not know one says `EINVAL`.
///
/// With `DEFER_TASKRUN` (Linux 6.1) completions appear only inside io_uring_enter, in the thread that waits for them. With
/// `COOP_TASKRUN` (5.19) they appear at any entry into the kernel, without an interrupt for them; else at any time.
const LADDER: [u32; 4] = [
    abi::SETUP_SUBMIT_ALL
        | abi::SETUP_SINGLE_ISSUER
        | abi::SETUP_DEFER_TASKRUN
        | abi::SETUP_NO_SQARRAY,
    abi::SETUP_SUBMIT_ALL | abi::SETUP_SINGLE_ISSUER | abi::SETUP_DEFER_TASKRUN,
    abi::SETUP_SUBMIT_ALL | abi::SETUP_COOP_TASKRUN,
    0,
];

/// What the wrappers here rely on: both rings in one mapping, no completion lost where their ring is full, time-outs as an argument,
/// no completion for what went well.
const NEEDED: u32 =
    abi::FEAT_SINGLE_MMAP | abi::FEAT_NODROP | abi::FEAT_EXT_ARG | abi::FEAT_CQE_SKIP;

/// How long [`Uring::enter`] waits for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: operations are handed over, and no more.
    Not,
    /// Not at all, but what there is to do for completions is done.
    Look,
    /// Until there is one, or for so long; `None` is for ever.
    For(Option<Duration>),
}

/// A ring. It belongs to the thread that made it (`IORING_SETUP_SINGLE_ISSUER`), and is therefore not [`Send`].
#[derive(Debug)]
pub struct Uring {
    fd: OwnedFd,
    flags: u32,
    sq: Sq,
    pub(super) cq: Cq,
    /// Operations for which the ring had no room.
    backlog: VecDeque<Sqe>,
    /// How many operations there were, and how many of them the kernel has read.
    pushed: u64,
    read: u64,
    /// Operations whose last completion has not come; sends at once and cancellations are not counted.
    pub(super) flights: usize,
    /// What sends at once read from, until the kernel has read the operation.
    pub(super) lent: VecDeque<Lent>,
    /// Sends at once that the kernel did not take whole.
    pub(super) failed: Vec<Failed>,
    /// What waiting sends read from, and how much of it. Not dropped where the kernel could still read it.
    pub(super) waiting: ManuallyDrop<HashMap<u64, (Rest, u32)>>,
    pub(super) buffers: ManuallyDrop<Option<Buffers>>,
    /// What a receive of datagrams shall bring: the sender, and no control messages.
    pub(super) header: ManuallyDrop<Box<libc::msghdr>>,
    _rings: Mapping,
    _sqes: Mapping,
}

/// The ring of operations.
#[derive(Debug)]
struct Sq {
    head: *const AtomicU32,
    tail: *const AtomicU32,
    flags: *const AtomicU32,
    mask: u32,
    entries: u32,
    sqes: *mut Sqe,
    /// What the kernel's tail will be.
    own_tail: u32,
    /// The kernel's head when it was last looked at.
    seen_head: u32,
}

impl Uring {
    /// Makes a ring of `entries` operations and `completions` completions, by the best way that this kernel has.
    ///
    /// # Errors
    /// `EPERM`: forbidden (`kernel.io_uring_disabled`, a sandbox); `ENOSYS`: the kernel has none; `EINVAL`, `EOPNOTSUPP`: it is too
    /// old; `ENOMEM`: before Linux 5.12 also `RLIMIT_MEMLOCK`; `EMFILE`.
    pub fn setup(entries: u32, completions: u32) -> io::Result<Self> {
        let mut tried = Err(io::Error::from_raw_os_error(libc::EINVAL));
        for way in LADDER {
            tried = Self::setup_by(way, entries, completions);
            match &tried {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                _ => break,
            }
        }
        tried
    }

    fn setup_by(way: u32, entries: u32, completions: u32) -> io::Result<Self> {
        let flags = way | abi::SETUP_CQSIZE | abi::SETUP_CLAMP;
        let mut params = Params { flags, cq_entries: completions, ..Params::default() };
        // SAFETY: the kernel reads and writes one io_uring_params at the pointer.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, entries, &raw mut params) };
        let fd = check(fd as libc::c_int)?;
        // SAFETY: the kernel has just made this descriptor and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        if params.features & NEEDED != NEEDED {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        let Params { sq_entries, cq_entries, sq_off, cq_off, .. } = params;
        let array = if flags & abi::SETUP_NO_SQARRAY == 0 { sq_off.seventh } else { 0 };
        let len = end(array, sq_entries, 4).max(end(cq_off.sixth, cq_entries, 16));
        let rings = Mapping::of_ring(&fd, len, abi::OFF_SQ_RING)?;
        let len = sq_entries as usize * size_of::<Sqe>();
        let sqes = Mapping::of_ring(&fd, len, abi::OFF_SQES)?;
        if array != 0 {
            let places = rings.at::<u32>(array as usize, sq_entries as usize);
            for place in 0..sq_entries {
                // Each place of the ring holds the operation of its own number, for good.
                // SAFETY: inside the array of `sq_entries` words; the kernel only reads it, and nothing yet.
                unsafe { places.wrapping_add(place as usize).write(place) };
            }
        }
        let sq = Sq::new(&rings, &sqes, &sq_off);
        let cq = Cq::new(&rings, &cq_off);
        Ok(Self {
            fd,
            flags: way,
            sq,
            cq,
            backlog: VecDeque::new(),
            pushed: 0,
            read: 0,
            flights: 0,
            lent: VecDeque::new(),
            failed: Vec::new(),
            waiting: ManuallyDrop::new(HashMap::new()),
            buffers: ManuallyDrop::new(None),
            header: ManuallyDrop::new(Box::new(header())),
            _rings: rings,
            _sqes: sqes,
        })
    }

    /// Provides buffers for receives: `count`, rounded up to a power of two and at most 32,768, of `size` bytes each.
    ///
    /// # Errors
    /// `EINVAL` before Linux 5.19; `EEXIST` when there are buffers already; `ENOMEM`.
    pub fn provide(&mut self, count: u32, size: u32) -> io::Result<()> {
        if self.buffers.is_some() {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        let count = count.clamp(1, MOST).next_power_of_two();
        *self.buffers = Some(Buffers::new(&self.fd, count, size)?);
        Ok(())
    }

    /// Whether completions appear only inside [`enter`](Self::enter) (`IORING_SETUP_DEFER_TASKRUN`).
    #[must_use]
    pub fn deferred(&self) -> bool {
        self.flags & abi::SETUP_DEFER_TASKRUN != 0
    }

    /// Operations in flight: their last completion has not come.
    #[must_use]
    pub fn flights(&self) -> usize {
        self.flights
    }

    /// Whether the kernel keeps completions aside, since their ring was full. While it does, it may have spoken of a send at once
    /// where nobody sees it yet: none is over before the ring has been looked at again ([`Wait::Look`]).
    #[must_use]
    pub fn aside(&self) -> bool {
        // SAFETY: the flags lie in the rings, mapped as long as `self`; the kernel writes them atomically.
        unsafe { &*self.sq.flags }.load(Ordering::Acquire) & abi::SQ_CQ_OVERFLOW != 0
    }

    /// Whether this kernel knows the operation of that number, and so all before it.
    ///
    /// # Errors
    /// `EINVAL` before Linux 5.6.
    pub fn knows(&self, operation: u8) -> io::Result<bool> {
        let mut probe = abi::Probe { last_op: 0, ops_len: 0, resv: [0; 7], ops: [[0; 4]; 256] };
        let pointer = (&raw mut probe).cast_const().cast();
        // SAFETY: the kernel writes one io_uring_probe with at most 256 operations behind it during the call.
        unsafe { register(&self.fd, abi::REGISTER_PROBE, pointer, 256) }?;
        Ok(probe.last_op >= operation)
    }

    /// Sends at once that the kernel has not been seen to read.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.lent.len()
    }

    /// Hands the operations over and waits for a completion; how many operations were taken. Sends at once are over then.
    ///
    /// # Errors
    /// `EINTR`; `ETIME` (the time is over); `EAGAIN`, `EBUSY` (no memory for an operation or its completion: collect, and try again).
    pub fn enter(&mut self, wait: Wait) -> io::Result<usize> {
        self.fill();
        let (mut flags, mut least) = (0, 0);
        let mut argument = GetEventsArg::default();
        let time;
        if wait != Wait::Not {
            flags = abi::ENTER_GETEVENTS;
        }
        if let Wait::For(limit) = wait {
            // What has found no room yet must not wait for what others do.
            least = u32::from(self.backlog.is_empty());
            if let Some(limit) = limit {
                time = abi::KernelTimespec::of(limit);
                argument.ts = (&raw const time) as u64;
                flags |= abi::ENTER_EXT_ARG;
            }
        }
        let (pointer, size) = if flags & abi::ENTER_EXT_ARG == 0 {
            (std::ptr::null(), 0)
        } else {
            (&raw const argument, size_of::<GetEventsArg>())
        };
        let submit = self.sq.own_tail.wrapping_sub(self.sq.head());
        let fd = self.fd.as_raw_fd();
        // SAFETY: the kernel reads the operations up to the tail, whose memory the ring keeps, and during the call one
        // argument of `size` bytes with the timespec in it.
        let taken = unsafe {
            libc::syscall(libc::SYS_io_uring_enter, fd, submit, least, flags, pointer, size)
        };
        self.sq.seen_head = self.sq.head();
        let unread = self.sq.own_tail.wrapping_sub(self.sq.seen_head) as usize;
        self.read = self.pushed - (unread + self.backlog.len()) as u64;
        check(taken as libc::c_int).map(|taken| taken as usize)
    }

    /// Does what there is to do for completions, and hands nothing over: for a ring that goes.
    pub(super) fn look(&self) -> io::Result<()> {
        let (fd, flags) = (self.fd.as_raw_fd(), abi::ENTER_GETEVENTS);
        let none = std::ptr::null::<libc::c_void>();
        // SAFETY: with no operation to be read and no argument the kernel reads nothing of ours.
        let looked = unsafe { libc::syscall(libc::SYS_io_uring_enter, fd, 0, 0, flags, none, 0) };
        check(looked as libc::c_int).map(drop)
    }

    /// Puts an operation behind the others; its number.
    pub(super) fn push(&mut self, sqe: Sqe) -> u64 {
        if self.backlog.is_empty() && self.sq.room() {
            self.sq.place(sqe);
        } else {
            self.backlog.push_back(sqe);
        }
        self.pushed += 1;
        self.pushed - 1
    }

    /// Whether the kernel has read the operation of that number.
    pub(super) fn has_read(&self, number: u64) -> bool {
        number < self.read
    }

    fn fill(&mut self) {
        while !self.backlog.is_empty() && self.sq.room() {
            let sqe = self.backlog.pop_front();
            sqe.into_iter().for_each(|sqe| self.sq.place(sqe));
        }
        // SAFETY: the tail lies in the rings, mapped as long as `self`; the kernel reads it atomically.
        unsafe { &*self.sq.tail }.store(self.sq.own_tail, Ordering::Release);
    }

    /// Cancels everything that is in flight, and waits until the kernel has let go of it.
    fn cancel_and_wait(&self) -> io::Result<()> {
        let flags = abi::CANCEL_ALL | abi::CANCEL_ANY;
        let request = SyncCancel { fd: -1, flags, tv_sec: 1, ..SyncCancel::default() };
        let pointer = (&raw const request).cast();
        // SAFETY: the kernel reads one io_uring_sync_cancel_reg during the call.
        let cancelled =
            unsafe { register(&self.fd, abi::REGISTER_SYNC_CANCEL, pointer, 1) }.map(drop);
        match cancelled {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
            _ => Ok(()),
        }
    }
}

impl AsFd for Uring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // Closing a ring ends its operations, but some time later. Memory that one of them may still use is not freed.
        let landed = self.flights == 0 || self.cancel_and_wait().is_ok();
        if self.flights > 0 {
            self.reap();
        }
        if landed {
            // SAFETY: not used again; nothing in flight points into it.
            unsafe { ManuallyDrop::drop(&mut self.waiting) };
            // SAFETY: as above.
            unsafe { ManuallyDrop::drop(&mut self.buffers) };
            // SAFETY: as above.
            unsafe { ManuallyDrop::drop(&mut self.header) };
        }
    }
}

impl Sq {
    fn new(rings: &Mapping, sqes: &Mapping, offsets: &Offsets) -> Self {
        let word = |offset: u32| rings.at::<AtomicU32>(offset as usize, 1).cast_const();
        // SAFETY: the kernel has written these words before the mapping was made, and the ring is not in use yet.
        let constant = |offset| unsafe { &*word(offset) }.load(Ordering::Relaxed);
        let entries = constant(offsets.ring_entries);
        Self {
            head: word(offsets.head),
            tail: word(offsets.tail),
            flags: word(offsets.fifth),
            mask: constant(offsets.ring_mask),
            entries,
            sqes: sqes.at(0, entries as usize),
            own_tail: constant(offsets.tail),
            seen_head: constant(offsets.head),
        }
    }

    /// Up to where the kernel has read.
    fn head(&self) -> u32 {
        // SAFETY: the head lies in the rings, mapped as long as the ring; the kernel writes it atomically.
        unsafe { &*self.head }.load(Ordering::Acquire)
    }

    fn room(&mut self) -> bool {
        self.own_tail.wrapping_sub(self.seen_head) < self.entries
    }

    fn place(&mut self, sqe: Sqe) {
        let place = self.sqes.wrapping_add((self.own_tail & self.mask) as usize);
        // SAFETY: the masked tail lies inside the mapping, and `room` has found that the kernel has read what was there.
        unsafe { place.write(sqe) };
        self.own_tail = self.own_tail.wrapping_add(1);
    }
}

/// A header with room for an address, which is all that is read of it.
fn header() -> libc::msghdr {
    let mut header = MaybeUninit::<libc::msghdr>::zeroed();
    // SAFETY: a msghdr of zeros is valid: no name, no parts, no control.
    let header = unsafe { header.assume_init_mut() };
    header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    *header
}

fn end(offset: u32, count: u32, size: usize) -> usize {
    offset as usize + count as usize * size
}

/// io_uring_register(2).
///
/// # Safety
/// The pointer is what the request expects, for as long as it says.
pub(super) unsafe fn register(
    fd: &OwnedFd,
    what: u32,
    pointer: *const libc::c_void,
    count: u32,
) -> io::Result<libc::c_int> {
    let fd = fd.as_raw_fd();
    // SAFETY: the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_io_uring_register, fd, what, pointer, count) };
    check(result as libc::c_int)
}
