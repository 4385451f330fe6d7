//! The end of a server: what was received is answered, then each connection is closed.
//!
//! A plain close is not enough. If unread input is there, the kernel turns it into a reset, which overtakes and
//! destroys answers that are still on their way. So for each connection: measure once what has been received
//! (`FIONREAD`), answer exactly that, end our direction (where that is safe), and close when the peer's kernel has
//! acknowledged everything (`SIOCOUTQ` is 0). What a client sends later is not in flight and is not answered.
//!
//! The same for every model, on poll(2): the steady state is over, and the model's own way of waiting with it.

use super::{Clients, Front, Mode, Turn, interrupted_is_none};
use crate::failure::{During, Failure};
use crate::phase::{Call, End, Id, Observer};
use crate::service::Service;
use crate::stop::Stop;
use crate::sys::{self, PollFd, Shutdown};
use std::time::Duration;

/// Nothing reports that a send queue has drained; it is asked for at these intervals.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(20);

/// A connection on its way out.
#[derive(Clone, Copy, Debug)]
enum State {
    /// So many received bytes are not answered yet.
    Answering(usize),
    /// Everything is said; the peer's kernel has not acknowledged it all.
    Acknowledging,
}

impl Clients {
    /// The end of a server: of its front first, then of its connections.
    ///
    /// # Errors
    /// From poll(2): `ENOMEM`; a broken datagram socket.
    #[inline(never)]
    pub fn drain<S: Service + ?Sized, O: Observer>(
        mut self,
        front: Front,
        service: &S,
        observer: &mut O,
        stop: &Stop,
    ) -> Result<(), Failure> {
        match front {
            // Nobody comes in any more.
            Front::Stream(listener) => drop(listener),
            Front::Datagram(socket) => socket.drain(self.scratch(), service, observer)?,
        }
        self.drain_connections(service, observer, stop)
    }

    /// Answers what the connections have received, and closes them; at the stop's deadline those that are
    /// left are cut. Returns with no connection open.
    ///
    /// # Errors
    /// From poll(2): `ENOMEM`.
    pub fn drain_connections<S: Service + ?Sized, O: Observer>(
        mut self,
        service: &S,
        observer: &mut O,
        stop: &Stop,
    ) -> Result<(), Failure> {
        let mut leaving = self.in_flight(observer);
        let mut look = FIRST_LOOK;
        let mut list = Vec::new();
        loop {
            leaving.retain_mut(|(id, state)| self.leave(*id, state, service, observer));
            let left = stop.left().unwrap_or(stop.drain());
            if leaving.is_empty() || left.is_zero() {
                break;
            }
            list.clear();
            let stalled =
                leaving.iter().filter_map(|(id, _)| self.get(*id)).filter(|c| c.stalled());
            list.extend(stalled.map(|connection| PollFd::new(connection, false, true)));
            let waits = observer.wait(Call::Poll, || sys::poll(&mut list, Some(look.min(left))));
            interrupted_is_none(waits, observer).during("poll", "drain")?;
            look = (look * 2).min(LAST_LOOK);
        }
        for (id, _) in leaving {
            self.close(id, End::Cut, observer);
        }
        Ok(())
    }

    /// How much each connection has received at this moment.
    fn in_flight<O: Observer>(&mut self, observer: &mut O) -> Vec<(Id, State)> {
        let received = self.iter().map(|(id, connection)| {
            observer.called(Call::Ioctl);
            // From here on no call may wait, also for the blocking model. Neither call can fail on
            // an open socket; one that did would leave nothing to answer.
            let _ = sys::set_nonblocking(connection, true);
            (id, State::Answering(sys::fionread(connection).unwrap_or(0)))
        });
        received.collect()
    }

    /// Brings a connection as far as it goes without waiting; false when it is closed.
    fn leave<S: Service + ?Sized, O: Observer>(
        &mut self,
        id: Id,
        state: &mut State,
        service: &S,
        observer: &mut O,
    ) -> bool {
        while let State::Answering(left) = *state {
            let Some(connection) = self.get(id) else { return false };
            if left == 0 && !connection.stalled() {
                // The stop has shut the receiving side of a blocking connection. With both sides shut the kernel
                // answers late data with a reset (RFC 1122, 4.2.2.13): so that one is only closed, below.
                if self.mode() != Mode::Blocking {
                    observer.called(Call::Shutdown);
                    if sys::shutdown(connection, Shutdown::Write).is_err() {
                        // ENOTCONN: the peer has reset it, and a call has taken the error already.
                        self.close(id, End::Reset, observer);
                        return false;
                    }
                }
                *state = State::Acknowledging;
                break;
            }
            let most = left.min(self.buffer());
            match self.turn_limited(id, most, service, observer) {
                Turn::Ended(_) => return false,
                Turn::Draining | Turn::StillStalled => return true,
                Turn::Flushed => {}
                Turn::Full => *state = State::Answering(left - most),
                // Less than announced (urgent data ends a receive): look again, and never go back.
                Turn::Short => {
                    let rest = self.get(id).and_then(|c| sys::fionread(c).ok()).unwrap_or(0);
                    *state = State::Answering(rest.min(left - 1));
                }
                Turn::Stalled => {
                    *state = State::Answering(left - most);
                    return true;
                }
                // Announced and gone again: the peer has reset the connection.
                Turn::Empty => *state = State::Answering(0),
            }
        }
        let Some(connection) = self.get(id) else { return false };
        if self.local() {
            // A Unix socket has no way on which an answer could be overtaken.
            self.close(id, End::Drained, observer);
            return false;
        }
        // A reset leaves SIOCOUTQ as it was: only the pending error tells.
        if sys::take_error(connection).is_err() {
            self.close(id, End::Reset, observer);
            return false;
        }
        observer.called(Call::Ioctl);
        let unacknowledged = sys::siocoutq(connection).unwrap_or(0);
        if unacknowledged == 0 {
            self.close(id, End::Drained, observer);
        }
        unacknowledged > 0
    }
}
