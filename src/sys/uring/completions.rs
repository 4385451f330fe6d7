//! What a ring has done.

use super::abi::{self, Cqe, Offsets};
use super::buffers::Taken;
use super::mapping::Mapping;
use super::operations::{Kind, Memory, Rest};
use super::setup::Uring;
use crate::sys::Packet;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

/// One completion.
#[derive(Debug)]
pub enum Completion {
    /// Of [`Uring::accept`]. Errors: six classes, see [`accept_failure`](crate::sys::accept_failure).
    Accepted {
        /// Who has come; its socket is blocking and close-on-exec.
        client: io::Result<OwnedFd>,
        /// Whether there may be more without another operation.
        more: bool,
    },
    /// Of [`Uring::poll`]: readable, or the poll was cancelled.
    Ready,
    /// Of [`Uring::receive`].
    Received {
        /// Whose.
        token: u64,
        /// `None` is the peer's end of file. Errors: those of recv(2); `ENOBUFS` (no buffer is left), `ECANCELED`.
        input: io::Result<Option<Taken>>,
        /// Whether there may be more without another operation.
        more: bool,
    },
    /// Of [`Uring::receive_packets`].
    Packet {
        /// A datagram, and the buffer with its bytes. Errors: those of recvmsg(2); `ENOBUFS`, `ECANCELED`.
        input: io::Result<(Packet, Taken)>,
        /// Whether there may be more without another operation.
        more: bool,
    },
}

/// A send that is over.
#[derive(Debug)]
pub struct Sent {
    /// Whose.
    pub token: u64,
    /// How many bytes it was to send.
    pub len: usize,
    /// How many it has sent. Errors: those of send(2); `EAGAIN`: there was no room, and it was not to wait.
    pub result: io::Result<usize>,
    /// Whether it has waited for room.
    pub waited: bool,
    /// Whether it was a datagram, which has no token.
    pub packet: bool,
    /// What is not sent; of a send that was whole, what it was not to send.
    pub rest: Rest,
}

/// A send at once that was not whole: whose, and what the kernel said.
pub(super) type Failed = (u64, i32);

/// The ring of completions.
#[derive(Debug)]
pub(super) struct Cq {
    head: *const AtomicU32,
    tail: *const AtomicU32,
    mask: u32,
    cqes: *const Cqe,
}

impl Cq {
    pub(super) fn new(rings: &Mapping, offsets: &Offsets) -> Self {
        let word = |offset: u32| rings.at::<AtomicU32>(offset as usize, 1).cast_const();
        // SAFETY: the kernel has written these words before the mapping was made, and never again.
        let constant = |offset| unsafe { &*word(offset) }.load(Ordering::Relaxed);
        let entries = constant(offsets.ring_entries);
        Self {
            head: word(offsets.head),
            tail: word(offsets.tail),
            mask: constant(offsets.ring_mask),
            cqes: rings.at::<Cqe>(offsets.sixth as usize, entries as usize),
        }
    }
}

impl Uring {
    /// Takes the completions that are there, and the sends that are over by now, in the order in which they ended. Those of the sends come
    /// first: what else has come of a connection, came after them.
    pub fn collect(&mut self, sent: &mut Vec<Sent>, completions: &mut VecDeque<Completion>) {
        // Asked before the tail is read: what is not aside by now, is in the ring.
        let aside = self.aside();
        // SAFETY: it lies in the rings, mapped as long as `self`; both sides use it atomically.
        let head = unsafe { &*self.cq.head };
        // SAFETY: as above.
        let tail = unsafe { &*self.cq.tail };
        // Ours alone to write.
        let mut next = head.load(Ordering::Relaxed);
        let end = tail.load(Ordering::Acquire);
        while next != end {
            let cqe = self.cq.cqes.wrapping_add((next & self.cq.mask) as usize);
            // SAFETY: the masked index lies in the ring, and the kernel has written everything before the tail.
            let cqe = unsafe { *cqe };
            self.sort(cqe, sent, completions);
            next = next.wrapping_add(1);
        }
        head.store(end, Ordering::Release);
        if !aside {
            self.settle(sent);
        }
    }

    /// Takes what has come and was never collected, when nobody will: a client that the kernel has accepted has a descriptor, which
    /// would stay open for the rest of this process.
    pub(super) fn reap(&mut self) {
        loop {
            let (mut sent, mut completions) = (Vec::new(), VecDeque::new());
            // A call does some twenty of what is to be done, and brings what was aside as far as there is room.
            let looked = self.look();
            self.collect(&mut sent, &mut completions);
            let came = !completions.is_empty() || !sent.is_empty();
            let again = match looked {
                Ok(()) => came || self.aside(),
                Err(error) => error.kind() == io::ErrorKind::Interrupted,
            };
            if !again {
                return;
            }
        }
    }

    /// What a completion is.
    fn sort(&mut self, cqe: Cqe, sent: &mut Vec<Sent>, completions: &mut VecDeque<Completion>) {
        let more = cqe.flags & abi::CQE_MORE != 0;
        let (kind, token) = Kind::of(cqe.user_data);
        let flies =
            !matches!(kind, None | Some(Kind::SendAtOnce | Kind::SendPacket | Kind::Cancel));
        self.flights -= usize::from(flies && !more);
        match kind {
            Some(Kind::Accept) => {
                let client = result(cqe.res).map(|fd| {
                    // SAFETY: the kernel has just made this descriptor and nobody else owns it.
                    unsafe { OwnedFd::from_raw_fd(fd as i32) }
                });
                completions.push_back(Completion::Accepted { client, more });
            }
            Some(Kind::Poll) => completions.push_back(Completion::Ready),
            Some(Kind::Receive) => {
                let input = self.input(cqe);
                completions.push_back(Completion::Received { token, input, more });
            }
            Some(Kind::ReceivePacket) => {
                let input = self.packet(cqe);
                completions.push_back(Completion::Packet { input, more });
            }
            Some(Kind::SendAtOnce | Kind::SendPacket) => self.failed.push((cqe.user_data, cqe.res)),
            Some(Kind::SendWaiting) => {
                let (rest, len) = self.waiting.remove(&cqe.user_data).unwrap_or_default();
                let len = len as usize;
                let result = result(cqe.res);
                let rest = left(rest, *result.as_ref().unwrap_or(&0));
                sent.push(Sent { token, len, result, waited: true, packet: false, rest });
            }
            // One that found nothing to cancel.
            Some(Kind::Cancel) | None => {}
        }
    }

    /// What a receive has brought.
    fn input(&mut self, cqe: Cqe) -> io::Result<Option<Taken>> {
        let buffers = self.buffers.as_mut().filter(|_| cqe.flags & abi::CQE_BUFFER != 0);
        let result = result(cqe.res);
        let Some(buffers) = buffers else { return result.map(|_| None) };
        let id = (cqe.flags >> abi::CQE_BUFFER_SHIFT) as u16;
        let taken = buffers.taken(id, *result.as_ref().unwrap_or(&0) as u32);
        if taken.is_empty() {
            // Chosen, and then not needed.
            buffers.give_back(taken);
            return result.map(|_| None);
        }
        Ok(Some(taken))
    }

    /// What a receive of datagrams has brought.
    fn packet(&mut self, cqe: Cqe) -> io::Result<(Packet, Taken)> {
        let there = result(cqe.res);
        let chosen = self.buffers.as_mut().filter(|_| cqe.flags & abi::CQE_BUFFER != 0);
        let id = (cqe.flags >> abi::CQE_BUFFER_SHIFT) as u16;
        match (there, chosen) {
            (Ok(len), Some(buffers)) => {
                let (taken, out, from) = buffers.packet(id, len as u32);
                let len = out.payloadlen as usize;
                Ok((Packet { len, truncated: len > taken.len(), from, stamp: None }, taken))
            }
            (there, chosen) => {
                if let Some(buffers) = chosen {
                    let unused = buffers.taken(id, 0);
                    buffers.give_back(unused);
                }
                Err(there.err().unwrap_or_else(|| io::Error::from_raw_os_error(libc::ENOBUFS)))
            }
        }
    }

    /// The sends at once whose operations the kernel has read are over. It has spoken of those that were not whole.
    fn settle(&mut self, sent: &mut Vec<Sent>) {
        while self.lent.front().is_some_and(|lent| self.has_read(lent.number)) {
            let Some(lent) = self.lent.pop_front() else { break };
            let failed = self.failed.iter().position(|(whose, _)| *whose == lent.user_data);
            let len = lent.len as usize;
            let result = match failed {
                Some(place) => result(self.failed.swap_remove(place).1),
                None => Ok(len),
            };
            let whole = matches!(result, Ok(n) if n == len);
            let done = *result.as_ref().unwrap_or(&0);
            let rest = match lent.memory {
                Memory::Buffer(mut taken) => {
                    let rest =
                        if whole { Vec::new() } else { self.bytes(&mut taken)[done..len].to_vec() };
                    self.give_back(taken);
                    Rest { bytes: rest, from: 0 }
                }
                Memory::Own(rest) => left(rest, done),
            };
            let (kind, token) = Kind::of(lent.user_data);
            let packet = kind == Some(Kind::SendPacket);
            sent.push(Sent { token, len, result, waited: false, packet, rest });
        }
    }
}

/// What is left when `n` more bytes are sent.
fn left(mut rest: Rest, n: usize) -> Rest {
    rest.from += n;
    if rest.from == rest.bytes.len() { Rest::default() } else { rest }
}

/// The one converter of a completion: a result, or a negative errno.
fn result(res: i32) -> io::Result<usize> {
    usize::try_from(res).map_err(|_| io::Error::from_raw_os_error(-res))
}
