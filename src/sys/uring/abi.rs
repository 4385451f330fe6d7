//! What `linux/io_uring.h` lays out: structures shared with the kernel, and their constants. Ours, for libc has none of them.

use std::time::Duration;

/// `struct io_uring_sqe`: one operation on its way into the kernel, 64 bytes. Its unions have the names of the members that are used.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Sqe {
    pub(super) opcode: u8,
    pub(super) flags: u8,
    pub(super) ioprio: u16,
    pub(super) fd: i32,
    /// `off`, and `addr2`: where a send goes to.
    pub(super) addr2: u64,
    pub(super) addr: u64,
    pub(super) len: u32,
    /// `msg_flags`, `poll32_events`, `accept_flags`, `cancel_flags`.
    pub(super) op_flags: u32,
    pub(super) user_data: u64,
    /// `buf_group`, where the kernel chooses the buffer.
    pub(super) buf_group: u16,
    pub(super) personality: u16,
    /// `addr_len`: how long the address of `addr2` is.
    pub(super) addr_len: u16,
    pub(super) pad: [u16; 1],
    pub(super) pad2: [u64; 2],
}

/// `struct io_uring_cqe`: one completion.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Cqe {
    pub(super) user_data: u64,
    /// A result, or a negative errno.
    pub(super) res: i32,
    pub(super) flags: u32,
}

/// `struct io_sqring_offsets` and `struct io_cqring_offsets`, which differ in the names of the last words.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Offsets {
    pub(super) head: u32,
    pub(super) tail: u32,
    pub(super) ring_mask: u32,
    pub(super) ring_entries: u32,
    /// Submissions: `flags`. Completions: `overflow`.
    pub(super) fifth: u32,
    /// Submissions: `dropped`. Completions: `cqes`.
    pub(super) sixth: u32,
    /// Submissions: `array`. Completions: `flags`.
    pub(super) seventh: u32,
    pub(super) resv1: u32,
    pub(super) user_addr: u64,
}

/// `struct io_uring_params`, 120 bytes.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Params {
    pub(super) sq_entries: u32,
    pub(super) cq_entries: u32,
    pub(super) flags: u32,
    pub(super) sq_thread_cpu: u32,
    pub(super) sq_thread_idle: u32,
    pub(super) features: u32,
    pub(super) wq_fd: u32,
    pub(super) resv: [u32; 3],
    pub(super) sq_off: Offsets,
    pub(super) cq_off: Offsets,
}

/// `struct io_uring_getevents_arg`, with [`ENTER_EXT_ARG`].
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct GetEventsArg {
    pub(super) sigmask: u64,
    pub(super) sigmask_sz: u32,
    pub(super) min_wait_usec: u32,
    pub(super) ts: u64,
}

/// `struct __kernel_timespec`: 64 bits each on every machine.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct KernelTimespec {
    tv_sec: i64,
    tv_nsec: i64,
}

impl KernelTimespec {
    pub(super) fn of(duration: Duration) -> Self {
        let tv_sec = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        Self { tv_sec, tv_nsec: i64::from(duration.subsec_nanos()) }
    }
}

/// `struct io_uring_probe` with its operations (`struct io_uring_probe_op`), 16 and 8 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Probe {
    pub(super) last_op: u8,
    pub(super) ops_len: u8,
    pub(super) resv: [u16; 7],
    pub(super) ops: [[u16; 4]; 256],
}

/// `struct io_uring_buf`: an entry of a ring of provided buffers. The ring's tail overlays the `resv` of the first entry.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct BufferEntry {
    pub(super) addr: u64,
    pub(super) len: u32,
    pub(super) bid: u16,
    pub(super) resv: u16,
}

/// `struct io_uring_buf_reg`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct BufferRegister {
    pub(super) ring_addr: u64,
    pub(super) ring_entries: u32,
    pub(super) bgid: u16,
    pub(super) flags: u16,
    pub(super) resv: [u64; 3],
}

/// `struct io_uring_sync_cancel_reg`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct SyncCancel {
    pub(super) addr: u64,
    pub(super) fd: i32,
    pub(super) flags: u32,
    pub(super) tv_sec: i64,
    pub(super) tv_nsec: i64,
    pub(super) opcode: u8,
    pub(super) pad: [u8; 7],
    pub(super) pad2: [u64; 3],
}

/// `struct io_uring_recvmsg_out`: what a multishot recvmsg writes in front of the sender's address, room for control messages, and the payload.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct RecvmsgOut {
    pub(super) namelen: u32,
    pub(super) controllen: u32,
    /// All of the datagram, with `MSG_TRUNC` also what did not fit.
    pub(super) payloadlen: u32,
    pub(super) flags: u32,
}

// A layout that is not the kernel's must not compile.
const _: () = assert!(size_of::<Sqe>() == 64 && size_of::<Cqe>() == 16);
const _: () = assert!(size_of::<Params>() == 120 && size_of::<Offsets>() == 40);
const _: () = assert!(size_of::<RecvmsgOut>() == 16);
const _: () = assert!(size_of::<BufferEntry>() == 16 && size_of::<BufferRegister>() == 40);
const _: () = assert!(size_of::<GetEventsArg>() == 24 && size_of::<SyncCancel>() == 64);

// mmap(2) offsets: both rings in one mapping (IORING_FEAT_SINGLE_MMAP), the operations in another.
pub(super) const OFF_SQ_RING: i64 = 0;
pub(super) const OFF_SQES: i64 = 0x1000_0000;

// io_uring_setup(2), flags.
pub(super) const SETUP_CQSIZE: u32 = 1 << 3;
pub(super) const SETUP_CLAMP: u32 = 1 << 4;
pub(super) const SETUP_SUBMIT_ALL: u32 = 1 << 7;
pub(super) const SETUP_COOP_TASKRUN: u32 = 1 << 8;
pub(super) const SETUP_SINGLE_ISSUER: u32 = 1 << 12;
pub(super) const SETUP_DEFER_TASKRUN: u32 = 1 << 13;
pub(super) const SETUP_NO_SQARRAY: u32 = 1 << 16;

// io_uring_setup(2), features.
pub(super) const FEAT_SINGLE_MMAP: u32 = 1 << 0;
pub(super) const FEAT_NODROP: u32 = 1 << 1;
pub(super) const FEAT_EXT_ARG: u32 = 1 << 8;
pub(super) const FEAT_CQE_SKIP: u32 = 1 << 11;

// io_uring_enter(2), flags.
pub(super) const ENTER_GETEVENTS: u32 = 1 << 0;
pub(super) const ENTER_EXT_ARG: u32 = 1 << 3;

// io_uring_register(2).
/// `IORING_SQ_CQ_OVERFLOW`, in the flags of the ring of operations.
pub(super) const SQ_CQ_OVERFLOW: u32 = 1 << 1;
pub(super) const REGISTER_PROBE: u32 = 8;
pub(super) const REGISTER_PBUF_RING: u32 = 22;
pub(super) const REGISTER_SYNC_CANCEL: u32 = 24;

// Operations.
pub(super) const OP_POLL_ADD: u8 = 6;
pub(super) const OP_RECVMSG: u8 = 10;
pub(super) const OP_ACCEPT: u8 = 13;
pub(super) const OP_ASYNC_CANCEL: u8 = 14;
pub(super) const OP_SEND: u8 = 26;
pub(super) const OP_RECV: u8 = 27;

// Of an operation.
pub(super) const SQE_BUFFER_SELECT: u8 = 1 << 5;
pub(super) const SQE_CQE_SKIP_SUCCESS: u8 = 1 << 6;
pub(super) const ACCEPT_MULTISHOT: u16 = 1 << 0;
pub(super) const RECV_MULTISHOT: u16 = 1 << 1;
pub(super) const CANCEL_ALL: u32 = 1 << 0;
pub(super) const CANCEL_ANY: u32 = 1 << 2;

// Of a completion.
pub(super) const CQE_BUFFER: u32 = 1 << 0;
pub(super) const CQE_MORE: u32 = 1 << 1;
pub(super) const CQE_BUFFER_SHIFT: u32 = 16;
