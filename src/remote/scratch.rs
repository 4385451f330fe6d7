//! Room to read into, one for each thread: what has come is taken out of it as long as it is. Whoever waits holds none, and nothing is
//! made, and zeroed, for each read.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

/// What one read brings at most: a packet's worth.
const PIECE: usize = 32 * 1024;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The room, up to its drop. Of two at a time the second is a new one.
pub(super) struct Scratch(Vec<u8>);

impl Scratch {
    pub(super) fn lent() -> Self {
        // Past the thread's end there is none to be had.
        let mut room = SPARE.try_with(Cell::take).unwrap_or_default();
        // Nothing to do where it has its length already.
        room.resize(PIECE, 0);
        Self(room)
    }
}

impl Deref for Scratch {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let room = std::mem::take(&mut self.0);
        let _ = SPARE.try_with(|spare| spare.set(room));
    }
}
