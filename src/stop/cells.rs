//! A cell for each flow: as many as there are flows, found by a signal handler without a lock.

use crate::sys::Published;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Cells of the first chunk; each further chunk has twice as many.
const FIRST: u32 = 32;
/// Enough for 2^31 flows.
const CHUNKS: usize = 26;

/// Cells in chunks that never move, so that whoever walks them needs no lock.
#[derive(Debug, Default)]
pub(super) struct Cells {
    chunks: [OnceLock<Box<[Published]>>; CHUNKS],
    /// Only flows come here, never a handler.
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    free: Vec<u32>,
    made: u32,
}

impl Cells {
    /// Takes a cell that nobody has.
    pub(super) fn take(&self) -> u32 {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.free.pop().unwrap_or_else(|| {
            places.made += 1;
            places.made - 1
        });
        let (chunk, _) = locate(place);
        self.chunks[chunk].get_or_init(|| (0..FIRST << chunk).map(|_| Published::new()).collect());
        place
    }

    /// Gives it back; nothing is published in it.
    pub(super) fn give_back(&self, place: u32) {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).free.push(place);
    }

    /// A cell that was taken.
    pub(super) fn get(&self, place: u32) -> &Published {
        let (chunk, at) = locate(place);
        &self.chunks[chunk].get().expect("its chunk was made when it was taken")[at]
    }

    /// All cells, taken or not. Async-signal-safe: a chunk that is being made has no flow yet that published in it.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Published> {
        self.chunks.iter().map_while(OnceLock::get).flatten()
    }
}

/// Which chunk, and where in it.
fn locate(place: u32) -> (usize, usize) {
    let chunk = (place / FIRST + 1).ilog2();
    (chunk as usize, (place - FIRST * ((1 << chunk) - 1)) as usize)
}

#[cfg(test)]
mod tests {
    use super::{Cells, locate};

    #[test]
    fn places_fill_the_chunks_without_a_gap() {
        let mut expected = (0, 0);
        for place in 0..100_000 {
            assert_eq!(locate(place), expected);
            expected.1 += 1;
            if expected.1 == 32 << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
    }

    #[test]
    fn a_cell_has_one_owner_and_is_used_again() {
        let cells = Cells::default();
        let taken: Vec<_> = (0..100).map(|_| cells.take()).collect();
        assert_eq!(taken, (0..100).collect::<Vec<_>>());
        cells.give_back(7);
        assert_eq!((cells.take(), cells.take()), (7, 100));
        // 32, 64, 128.
        assert_eq!(cells.iter().count(), 224);
        assert!(std::ptr::eq(cells.get(33), cells.iter().nth(33).unwrap()));
    }
}
