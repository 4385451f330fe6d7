//! One connection of the load: its endless row of messages, sent and compared piece by piece.

use super::payload::Place;
use super::worker::{Desk, Times, again};
use crate::sys::{self, Interest};
use std::os::fd::OwnedFd;

/// What a receive brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Took {
    /// Nothing, or a part of an answer.
    Part,
    /// The ends of so many answers, from that message on.
    Answers(u64, u64),
    /// A byte that is not the answer's, or one that nobody asked for.
    Wrong,
    /// The end of the connection.
    End,
}

/// A connection, or the place for one.
#[derive(Debug)]
pub(super) struct Stream {
    /// Its number in the run, which its messages carry.
    pub(super) number: u32,
    pub(super) socket: Option<OwnedFd>,
    /// The handshake is under way.
    pub(super) connecting: bool,
    /// It waits for room to send, and is registered for it.
    stalled: bool,
    /// Has had an answer.
    pub(super) served: bool,
    /// Stands in the queue of free ones.
    pub(super) queued: bool,
    /// Has ended, and is not made again.
    pub(super) retired: bool,
    /// Messages granted.
    asked: u64,
    sent: Place,
    received: Place,
    /// Of those in flight, each at its number modulo the depth.
    times: Box<[Times]>,
}

impl Stream {
    pub(super) fn new(number: u32, depth: usize) -> Self {
        Self {
            number,
            socket: None,
            connecting: false,
            stalled: false,
            served: false,
            queued: false,
            retired: false,
            asked: 0,
            sent: Place::default(),
            received: Place::default(),
            times: vec![Times::default(); depth].into(),
        }
    }

    /// Messages that wait for their answer.
    pub(super) fn in_flight(&self) -> usize {
        (self.asked - self.received.message) as usize
    }

    /// Whether another message may be asked for.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight() < self.times.len()
    }

    /// Takes a message on; [`Stream::send`] sends it.
    pub(super) fn ask(&mut self, times: Times) {
        let place = (self.asked % self.times.len() as u64) as usize;
        self.times[place] = times;
        self.asked += 1;
    }

    pub(super) fn times(&self, message: u64) -> Times {
        self.times[(message % self.times.len() as u64) as usize]
    }

    /// A new connection in the place of one whose messages are all answered.
    pub(super) fn renew(&mut self) {
        self.socket = None;
        (self.connecting, self.stalled) = (false, false);
    }

    /// Sends what has been asked for, as far as there is room; false when the connection is dead.
    #[inline]
    pub(super) fn send(&mut self, desk: &mut Desk<'_>, token: u64) -> bool {
        let end = Place { message: self.asked, offset: 0 };
        let mut stalled = false;
        while self.sent.message < self.asked && !stalled {
            let left = desk.payload.between(self.sent, end);
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(desk.scratch.len());
            let Some(taken) = self.put(desk, n) else { return false };
            stalled = taken < n;
        }
        self.arm(desk, token, stalled)
    }

    /// Sends one byte more, of a message that is begun if need be; false when the connection is dead.
    pub(super) fn dribble(&mut self, desk: &mut Desk<'_>) -> bool {
        if self.socket.is_none() || self.connecting {
            return true;
        }
        self.asked = self.asked.max(self.sent.message + 1);
        self.put(desk, 1).is_some()
    }

    /// Sends up to `n` bytes from where we are; how many were taken, `None` when the connection is dead.
    #[inline]
    fn put(&mut self, desk: &mut Desk<'_>, n: usize) -> Option<usize> {
        let socket = self.socket.as_ref()?;
        let bytes = &mut desk.scratch[..n];
        desk.payload.write(self.number, self.sent, bytes);
        let taken = match sys::send(socket, bytes) {
            Ok(taken) => taken,
            Err(error) if again(&error) => 0,
            Err(_) => return None,
        };
        self.sent = desk.payload.after(self.sent, taken);
        desk.sent(taken);
        Some(taken)
    }

    /// Registers for room, or no longer: no call where nothing changes, which is always for small messages.
    fn arm(&mut self, desk: &Desk<'_>, token: u64, stalled: bool) -> bool {
        if stalled == self.stalled {
            return true;
        }
        self.stalled = stalled;
        let interest = if stalled { Interest::BOTH } else { Interest::READ };
        self.socket
            .as_ref()
            .is_some_and(|socket| desk.epoll.modify(socket, interest, token).is_ok())
    }

    pub(super) fn stalled(&self) -> bool {
        self.stalled
    }

    /// Receives once, and compares.
    #[inline]
    pub(super) fn receive(&mut self, desk: &mut Desk<'_>) -> Took {
        let Some(socket) = &self.socket else { return Took::Part };
        let n = match sys::recv(socket, &mut desk.buffer) {
            Ok(0) => return Took::End,
            Ok(n) => n,
            Err(error) if again(&error) => return Took::Part,
            Err(_) => return Took::End,
        };
        desk.received(n);
        let owed = desk.payload.between(self.received, self.sent);
        let bytes = &desk.buffer[..n];
        if n as u64 > owed || !desk.payload.answers(self.number, self.received, bytes) {
            return Took::Wrong;
        }
        let first = self.received.message;
        self.received = desk.payload.after(self.received, n);
        match self.received.message - first {
            0 => Took::Part,
            answers => Took::Answers(first, answers),
        }
    }
}
