//! What is in flight for each connection of a ring.
//!
//! A connection is closed only when nothing is: an operation holds its socket open whatever the descriptor's owner does, and its completion
//! would find the next tenant of the place.

use crate::phase::{End, Id};

/// A connection's operations: at most one that receives and one that sends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flight {
    /// A receive that goes on by itself.
    pub(super) receiving: bool,
    /// That one was told to end.
    pub(super) cancelled: bool,
    pub(super) sending: Sending,
    /// A waiting send was told to end.
    pub(super) broken_off: bool,
    pub(super) over: Option<Over>,
}

/// The one send of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sending {
    #[default]
    Nothing,
    /// It is over with the next call that hands operations over.
    AtOnce,
    /// It waits for room.
    Waiting,
}

/// The end of a connection is known.
#[derive(Clone, Copy, Debug)]
pub(super) enum Over {
    /// Closed when everything is sent.
    Sent(End),
    /// Closed as soon as nothing is in flight.
    Now(End),
}

/// By slot. Only who has a connection has a flight, so there is no need for generations.
#[derive(Debug, Default)]
pub(super) struct Flights(Vec<Flight>);

impl Flights {
    /// A new connection: nothing is in flight.
    pub(super) fn begin(&mut self, id: Id) {
        let slot = id.slot as usize;
        if slot >= self.0.len() {
            self.0.resize(slot + 1, Flight::default());
        }
        self.0[slot] = Flight::default();
    }

    pub(super) fn of(&mut self, id: Id) -> &mut Flight {
        &mut self.0[id.slot as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::Flight;

    #[test]
    fn a_connection_costs_what_the_docs_say() {
        // docs/models.md states this figure.
        assert_eq!(size_of::<Flight>(), 6);
    }
}
