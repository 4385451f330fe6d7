//! What a ring can be asked to do. Each operation is put behind the others and begins with the next
//! [`Uring::enter`].

use super::abi::{self, Sqe};
use super::buffers::{GROUP, PACKET_FRONT, Taken};
use super::setup::Uring;
use std::os::fd::{AsFd, AsRawFd};

/// What an operation is, in the four bits of its `user_data` that a token leaves free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Accept = 1,
    Poll,
    Receive,
    SendAtOnce,
    SendWaiting,
    Cancel,
    ReceivePacket,
    SendPacket,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Accept,
        Self::Poll,
        Self::Receive,
        Self::SendAtOnce,
        Self::SendWaiting,
        Self::Cancel,
        Self::ReceivePacket,
        Self::SendPacket,
    ];
    const SHIFT: u32 = 28;
    const MASK: u64 = 0xf << Self::SHIFT;

    /// The `user_data` of an operation with a token.
    fn with(self, token: u64) -> u64 {
        assert_eq!(token & Self::MASK, 0, "a token with bits that the kind needs");
        token | (self as u64) << Self::SHIFT
    }

    /// The two parts of a `user_data`.
    pub(super) fn of(user_data: u64) -> (Option<Self>, u64) {
        let number = (user_data & Self::MASK) >> Self::SHIFT;
        let kind = Self::ALL.into_iter().find(|kind| *kind as u64 == number);
        (kind, user_data & !Self::MASK)
    }
}

/// Bytes to be sent, from `from` on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// All bytes.
    pub bytes: Vec<u8>,
    /// So many of them are sent.
    pub from: usize,
}

impl Rest {
    /// What is not sent.
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        &self.bytes[self.from..]
    }
}

/// Where a send at once reads from.
#[derive(Debug)]
pub(super) enum Memory {
    Buffer(Taken),
    Own(Rest),
}

/// A send at once that the kernel has not been seen to read.
#[derive(Debug)]
pub(super) struct Lent {
    pub(super) number: u64,
    pub(super) user_data: u64,
    pub(super) len: u32,
    pub(super) memory: Memory,
}

/// A send at once: all of it, or a completion that says how much; never a signal.
const AT_ONCE: libc::c_int = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT | libc::MSG_WAITALL;

/// Tokens are 64 bits of which those from 28 to 31 are 0. They come back with the completions.
impl Uring {
    /// Accepts a client of a listener; with `many`, one after the other until a completion says that there will be no more.
    /// A listener with `O_NONBLOCK` is not waited for.
    pub fn accept(&mut self, listener: impl AsFd, many: bool) {
        let mut sqe = operation(abi::OP_ACCEPT, &listener, Kind::Accept.with(0));
        sqe.op_flags = libc::SOCK_CLOEXEC as u32;
        sqe.ioprio = if many { abi::ACCEPT_MULTISHOT } else { 0 };
        self.begin(sqe);
    }

    /// Waits until a descriptor is readable, once.
    pub fn poll(&mut self, fd: impl AsFd) {
        let mut sqe = operation(abi::OP_POLL_ADD, &fd, Kind::Poll.with(0));
        // Little-endian machines have these events in the low half; others have the halves swapped.
        let events = u32::from(libc::POLLIN as u16);
        sqe.op_flags = if cfg!(target_endian = "big") { events << 16 } else { events };
        self.begin(sqe);
    }

    /// Receives from a connection into the provided buffers, again and again, until a completion says that there will be no more.
    pub fn receive(&mut self, connection: impl AsFd, token: u64) {
        let mut sqe = operation(abi::OP_RECV, &connection, Kind::Receive.with(token));
        sqe.ioprio = abi::RECV_MULTISHOT;
        sqe.flags = abi::SQE_BUFFER_SELECT;
        sqe.buf_group = GROUP;
        self.begin(sqe);
    }

    /// Bytes of a provided buffer that a datagram's sender and lengths take.
    pub const PACKET_FRONT: usize = PACKET_FRONT;

    /// Receives datagrams into the provided buffers, until a completion says that there will be no more.
    pub fn receive_packets(&mut self, socket: impl AsFd) {
        let mut sqe = operation(abi::OP_RECVMSG, &socket, Kind::ReceivePacket.with(0));
        sqe.addr = std::ptr::from_ref(self.header.as_ref()) as u64;
        sqe.len = 1;
        // The length of all of it, also where the buffer is shorter.
        sqe.op_flags = libc::MSG_TRUNC as u32;
        sqe.ioprio = abi::RECV_MULTISHOT;
        sqe.flags = abi::SQE_BUFFER_SELECT;
        sqe.buf_group = GROUP;
        self.begin(sqe);
    }

    /// Sends the first `len` bytes of a datagram's buffer back to its sender, at once or not at all, and gives the buffer back. Linux 6.1.
    pub fn send_packet(&mut self, socket: impl AsFd, taken: Taken, len: usize) {
        let buffers = self.buffers.as_ref().expect("a buffer was taken");
        let len = len.min(taken.len()) as u32;
        let ((name, name_len), start) = (buffers.sender(&taken), buffers.address(&taken));
        let user_data = Kind::SendPacket.with(u64::from(taken.id));
        let mut sqe = operation(abi::OP_SEND, &socket, user_data);
        (sqe.addr, sqe.len) = (start as u64, len);
        (sqe.addr2, sqe.addr_len) = (name as u64, name_len);
        sqe.op_flags = (libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) as u32;
        sqe.flags = abi::SQE_CQE_SKIP_SUCCESS;
        let number = self.push(sqe);
        self.lent.push_back(Lent { number, user_data, len, memory: Memory::Buffer(taken) });
    }

    /// The bytes that came.
    pub fn bytes(&mut self, taken: &mut Taken) -> &mut [u8] {
        self.buffers.as_mut().expect("a buffer was taken").bytes(taken)
    }

    /// Gives a buffer back unsent.
    pub fn give_back(&mut self, taken: Taken) {
        self.buffers.as_mut().expect("a buffer was taken").give_back(taken);
    }

    /// Sends the first `len` bytes of a buffer at once, and gives it back. One send at once per token at a time.
    pub fn send_buffer(&mut self, connection: impl AsFd, token: u64, taken: Taken, len: usize) {
        let len = len.min(taken.len()) as u32;
        let start = self.buffers.as_ref().expect("a buffer was taken").address(&taken);
        self.send_at_once(connection, token, (start, len), Memory::Buffer(taken));
    }

    /// Sends bytes at once, `most` of them at most. One send at once per token at a time.
    pub fn send_bytes(&mut self, connection: impl AsFd, token: u64, rest: Rest, most: usize) {
        // A Vec does not move its bytes when it is moved itself.
        let (start, len) = (rest.unsent().as_ptr(), short(rest.unsent().len().min(most)));
        self.send_at_once(connection, token, (start, len), Memory::Own(rest));
    }

    fn send_at_once(
        &mut self,
        connection: impl AsFd,
        token: u64,
        (start, len): (*const u8, u32),
        memory: Memory,
    ) {
        let user_data = Kind::SendAtOnce.with(token);
        let mut sqe = operation(abi::OP_SEND, &connection, user_data);
        sqe.addr = start as u64;
        sqe.len = len;
        sqe.op_flags = AT_ONCE as u32;
        sqe.flags = abi::SQE_CQE_SKIP_SUCCESS;
        let number = self.push(sqe);
        self.lent.push_back(Lent { number, user_data, len, memory });
    }

    /// Sends bytes, `most` of them at most, as soon as there is room for some. One waiting send per token at a time.
    pub fn send_waiting(&mut self, connection: impl AsFd, token: u64, rest: Rest, most: usize) {
        let user_data = Kind::SendWaiting.with(token);
        let mut sqe = operation(abi::OP_SEND, &connection, user_data);
        sqe.addr = rest.unsent().as_ptr() as u64;
        sqe.len = short(rest.unsent().len().min(most));
        sqe.op_flags = libc::MSG_NOSIGNAL as u32;
        let other = self.waiting.insert(user_data, (rest, sqe.len));
        assert!(other.is_none(), "one waiting send per token at a time");
        self.begin(sqe);
    }

    /// Cancels an accept.
    pub fn cancel_accept(&mut self) {
        self.cancel(Kind::Accept.with(0));
    }

    /// Cancels the receive of that token; its last completion says `ECANCELED`, unless it was over already.
    pub fn cancel_receive(&mut self, token: u64) {
        self.cancel(Kind::Receive.with(token));
    }

    /// Cancels the waiting send of that token.
    pub fn cancel_send(&mut self, token: u64) {
        self.cancel(Kind::SendWaiting.with(token));
    }

    /// Cancels everything that is in flight. For each of them the kernel goes through all of them: thousands take it seconds.
    pub fn cancel_all(&mut self) {
        let op_flags = abi::CANCEL_ANY | abi::CANCEL_ALL;
        self.push(Sqe { op_flags, ..cancellation(0) });
    }

    fn cancel(&mut self, user_data: u64) {
        self.push(cancellation(user_data));
    }

    fn begin(&mut self, sqe: Sqe) {
        self.flights += 1;
        self.push(sqe);
    }
}

fn operation(opcode: u8, fd: &impl AsFd, user_data: u64) -> Sqe {
    Sqe { opcode, fd: fd.as_fd().as_raw_fd(), user_data, ..Sqe::default() }
}

fn cancellation(user_data: u64) -> Sqe {
    Sqe {
        opcode: abi::OP_ASYNC_CANCEL,
        flags: abi::SQE_CQE_SKIP_SUCCESS,
        fd: -1,
        addr: user_data,
        user_data: Kind::Cancel.with(0),
        ..Sqe::default()
    }
}

/// A length for the kernel: the rest of what is longer follows as the rest of a short send.
fn short(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(1 << 30)
}
