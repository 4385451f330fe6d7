//! How many completions a call waits for.
//!
//! A call that returns with the first one makes a call for nearly each, as long as the server is faster than its clients: it hands two
//! answers over, and by then two requests have come. Where more come within a moment one call can take them all. How many is
//! learnt from what came: fewer than asked for, and it asks for no more than that; as many, and now and then it asks for one more.

use std::time::Duration;

/// Completions that are asked for at most.
const MOST: u32 = 16;
/// How long those are waited for. A call that has waited so long returns with the first one: who comes to an idle server waits for nobody.
pub(super) const WITHIN: Duration = Duration::from_micros(20);
/// Calls that have brought what was asked for, before one asks for more. One of so many may cost a client [`WITHIN`].
const CALLS: u32 = 128;

/// What has been learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gathering {
    count: u32,
    calls: u32,
}

impl Default for Gathering {
    fn default() -> Self {
        Self { count: 1, calls: 0 }
    }
}

impl Gathering {
    /// How many to wait for.
    pub(super) fn count(self) -> u32 {
        self.count
    }

    /// So many have come.
    pub(super) fn came(&mut self, count: usize) {
        let came = u32::try_from(count).unwrap_or(u32::MAX);
        if came < self.count {
            *self = Self { count: came.max(1), calls: 0 };
            return;
        }
        self.calls += 1;
        if self.calls >= CALLS {
            *self = Self { count: (self.count + 1).min(MOST), calls: 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CALLS, Gathering, MOST};

    #[test]
    fn one_client_is_waited_for_alone() {
        let mut gathering = Gathering::default();
        let asked = (0..10 * CALLS).filter(|_| {
            let asked = gathering.count();
            gathering.came(1);
            asked > 1
        });
        assert_eq!(asked.count(), 9);
    }

    #[test]
    fn as_many_are_asked_for_as_come_together() {
        for together in [3, 10, 100] {
            let mut gathering = Gathering::default();
            let mut in_vain = 0;
            for _ in 0..100 * CALLS {
                in_vain += u32::from(gathering.count() > together);
                gathering.came(together as usize);
            }
            assert!(in_vain <= 100, "{in_vain}");
            assert!(gathering.count() >= together.min(MOST));
        }
    }
}
