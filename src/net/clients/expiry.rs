//! What time alone does: who was idle for too long is closed, and a wait ends for that.

use super::super::idle::{TICK, ticks};
use super::{Call, Clients, Clock, Connection, Duration, End, Front, Id, Observer, sys};

impl Clients {
    /// How long the model may wait: until the next connection may be idle for too long or the
    /// listener's rest ends. `None`, for ever, without either, and then no clock is read.
    #[must_use]
    pub fn timeout(&mut self, front: &Front) -> Option<Duration> {
        // Where a ring accepts, nobody has asked about the rest before.
        if !self.timed && !front.rests() {
            return None;
        }
        self.timed = self.idle.is_some() || front.rests();
        let idle = self.idle.as_ref().filter(|_| !self.slab.is_empty());
        let idle = idle.map(|idle| idle.zero + TICK * idle.next);
        let next = [idle, front.rests_until()].into_iter().flatten().min()?;
        Some(next.saturating_sub(sys::clock_gettime(Clock::Monotonic)))
    }

    /// Whether a wait may have to end by itself: only then [`expire`](Self::expire) and [`Front::wakes`] have something to do.
    #[must_use]
    #[inline]
    pub fn timed(&self) -> bool {
        self.timed
    }

    /// Closes the connections on which no byte has moved for `--idle-timeout`. Looks at all of them, but
    /// at most 16 times per time-out: a connection is closed up to 1/16 and two ticks late, never early.
    pub fn expire<O: Observer>(&mut self, observer: &mut O) {
        for id in self.expired(observer) {
            self.close(id, End::TimedOut, observer);
        }
    }

    /// Those that [`expire`](Self::expire) closes.
    pub(in super::super) fn expired<O: Observer>(&mut self, observer: &mut O) -> Vec<Id> {
        let Some(idle) = &mut self.idle else { return Vec::new() };
        let now = idle.now();
        if now < idle.next {
            return Vec::new();
        }
        let limit = ticks(idle.limit.saturating_add(TICK - Duration::from_nanos(1))).max(1);
        let mut next = now + limit;
        let mut over = Vec::new();
        for (id, connection) in self.slab.iter() {
            // One more tick: the stamp was rounded down.
            let end = connection.moved + limit + 1;
            if end <= now { over.push(id) } else { next = next.min(end) }
        }
        idle.next = next.max(now + limit / 16).max(now + 1);
        over.retain(|&id| {
            // A stalled connection is reported only when a third of its buffer is free. Its reader may be
            // slow and not idle: then the peer has acknowledged more than at the last look.
            let connection = self.slab.get(id).filter(|connection| connection.stalled());
            let reads = connection.is_some_and(|connection| {
                observer.called(Call::Ioctl);
                sys::siocoutq(connection).is_ok_and(|n| n < connection.unacknowledged as usize)
            });
            if reads {
                self.moved(id);
            }
            !reads
        });
        over
    }
}

/// Before a connection that was idle for too long is closed. One whose peer does not read is reset: behind what cannot be delivered an
/// end would not come either, and a writer over there would hang on.
pub(super) fn cut<O: Observer>(connection: &Connection, observer: &mut O) {
    observer.called(Call::Ioctl);
    let undelivered = sys::siocoutq(connection).is_ok_and(|bytes| bytes > 0);
    if undelivered || connection.stalled() {
        observer.called(Call::Setsockopt);
        // It fails where the peer is gone, and nobody is to be told.
        let _ = sys::set_linger(connection, 0);
    }
}
