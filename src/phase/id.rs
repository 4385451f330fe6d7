//! Who is meant: a slot and its generation.

/// A connection's identity: the slot it lives in and how often the slot was taken before.
///
/// A descriptor's number is new again as soon as it is closed; an event or a list entry that
/// was made for the earlier holder then speaks of a stranger. The generation tells the two apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id {
    /// Index into the table of connections.
    pub slot: u32,
    /// Incremented each time the slot is given to somebody else.
    pub generation: u32,
}

impl Id {
    /// Not a connection: the listener.
    pub const LISTENER: Self = Self { slot: u32::MAX, generation: 0 };
    /// Not a connection: the stop's event counter.
    pub const STOP: Self = Self { slot: u32::MAX, generation: 1 };

    /// The 64 bits that travel through the kernel in an epoll event.
    #[must_use]
    pub const fn token(self) -> u64 {
        ((self.generation as u64) << 32) | self.slot as u64
    }

    /// The identity in a token.
    #[must_use]
    pub const fn of_token(token: u64) -> Self {
        Self { slot: token as u32, generation: (token >> 32) as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::Id;

    #[test]
    fn a_token_carries_both_halves() {
        for id in [Id { slot: 7, generation: u32::MAX }, Id { slot: 0, generation: 3 }, Id::STOP] {
            assert_eq!(Id::of_token(id.token()), id);
        }
        assert_ne!(Id::LISTENER.token(), Id::STOP.token());
    }
}
