//! A log-linear histogram of nanoseconds: 3 significant digits over all of `u64`, exact to merge.

use crate::json::Value;
use crate::sys::Shared;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Each octave above the linear part is cut into this many steps: the error is below 1/1024.
const STEPS: u64 = 1024;
/// Values below this have a bucket of their own.
const LINEAR: u64 = 2 * STEPS;
/// 2048 linear ones and 1024 for each of the 53 octaves above.
const BUCKETS: usize = 2048 + 53 * 1024;

/// Words before the buckets.
const COUNT: usize = 0;
const SUM: usize = 1;
const MAX: usize = 2;
const HEAD: usize = 3;

/// Counts of values by size, as HdrHistogram cuts them, in memory shared with threads and children.
///
/// It spans 450 KB of addresses, of which only the touched pages become memory. Recording is
/// three additions and allocates nothing.
#[derive(Debug)]
pub struct Histogram {
    words: Shared<[AtomicU64; HEAD + BUCKETS]>,
}

impl Histogram {
    /// An empty histogram.
    ///
    /// # Errors
    /// `ENOMEM` from mmap(2).
    pub fn new() -> io::Result<Self> {
        Ok(Self { words: Shared::new()? })
    }

    /// Adds one value.
    pub fn record(&self, value: u64) {
        self.words[COUNT].fetch_add(1, Relaxed);
        self.words[SUM].fetch_add(value, Relaxed);
        self.words[MAX].fetch_max(value, Relaxed);
        self.words[HEAD + index(value)].fetch_add(1, Relaxed);
    }

    /// Adds all values of another one: the result is the histogram of both, exactly.
    pub fn merge(&self, other: &Self) {
        self.words[MAX].fetch_max(other.max(), Relaxed);
        for (i, (mine, theirs)) in self.words.iter().zip(other.words.iter()).enumerate() {
            let n = theirs.load(Relaxed);
            if i != MAX && n != 0 {
                mine.fetch_add(n, Relaxed);
            }
        }
    }

    /// How many values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.words[COUNT].load(Relaxed)
    }

    /// Their sum, exact (modulo 2^64: 584 years of nanoseconds).
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.words[SUM].load(Relaxed)
    }

    /// The largest, exact; 0 when empty.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.words[MAX].load(Relaxed)
    }

    /// The value that `quantile` (0 to 1) of all values do not exceed: the upper end of its
    /// bucket, so at most 1/1024 too large, and never above the maximum. 0 when empty.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> u64 {
        let rank = ((quantile.clamp(0.0, 1.0) * self.count() as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (i, bucket) in self.buckets().iter().enumerate() {
            seen += bucket.load(Relaxed);
            if seen >= rank {
                return highest(i).min(self.max());
            }
        }
        self.max()
    }

    /// The buckets that hold something: lowest value and count.
    pub fn filled(&self) -> impl Iterator<Item = (u64, u64)> {
        let buckets = self.buckets().iter().enumerate();
        buckets.map(|(i, n)| (lowest(i), n.load(Relaxed))).filter(|&(_, n)| n != 0)
    }

    /// Count, sum, quantiles and raw buckets (`[lowest value, count]`), all times in nanoseconds.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let at = |q| Value::from(self.quantile(q));
        let buckets = self.filled().map(|(value, n)| Value::from(vec![value, n])).collect();
        Value::object([
            ("count", self.count().into()),
            ("total_ns", self.sum().into()),
            ("p50_ns", at(0.5)),
            ("p90_ns", at(0.9)),
            ("p99_ns", at(0.99)),
            ("p999_ns", at(0.999)),
            ("max_ns", self.max().into()),
            ("buckets", Value::List(buckets)),
        ])
    }

    fn buckets(&self) -> &[AtomicU64] {
        &self.words[HEAD..]
    }
}

/// How far values of this size are shifted to keep their 11 leading bits.
const fn shift(value: u64) -> u32 {
    if value < LINEAR { 0 } else { 63 - value.leading_zeros() - STEPS.ilog2() }
}

const fn index(value: u64) -> usize {
    let shift = shift(value);
    (shift as u64 * STEPS + (value >> shift)) as usize
}

const fn lowest(index: usize) -> u64 {
    let index = index as u64;
    let shift = if index < LINEAR { 0 } else { index / STEPS - 1 };
    (index - shift * STEPS) << shift
}

const fn highest(index: usize) -> u64 {
    let index64 = index as u64;
    let width = if index64 < LINEAR { 1 } else { 1 << (index64 / STEPS - 1) };
    lowest(index) + (width - 1)
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, Histogram, highest, index, lowest};
    use proptest::prelude::*;

    fn of(values: &[u64]) -> Histogram {
        let histogram = Histogram::new().unwrap();
        values.iter().for_each(|&v| histogram.record(v));
        histogram
    }

    /// Values of every magnitude, not only large ones.
    fn values() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec((0..64_u32, any::<u64>()).prop_map(|(s, v)| v >> s), 1..200)
    }

    #[test]
    fn buckets_tile_all_of_u64() {
        assert_eq!(index(u64::MAX), BUCKETS - 1);
        assert_eq!(highest(BUCKETS - 1), u64::MAX);
        for i in 1..BUCKETS {
            assert_eq!(lowest(i), highest(i - 1) + 1);
        }
    }

    #[test]
    fn an_empty_one_answers_zero() {
        let empty = of(&[]);
        assert_eq!((empty.count(), empty.quantile(0.5), empty.max()), (0, 0, 0));
    }

    proptest! {
        #[test]
        fn a_bucket_holds_its_value_to_three_digits(value: u64) {
            let (low, high) = (lowest(index(value)), highest(index(value)));
            prop_assert!(low <= value && value <= high);
            prop_assert!((high - low) as f64 <= value as f64 / 1000.0);
        }

        #[test]
        fn merging_is_recording_both(a in values(), b in values()) {
            let merged = of(&a);
            merged.merge(&of(&b));
            let both = of(&[a, b].concat());
            prop_assert_eq!(merged.filled().collect::<Vec<_>>(), both.filled().collect::<Vec<_>>());
            prop_assert_eq!(merged.sum(), both.sum());
            prop_assert_eq!((merged.count(), merged.max()), (both.count(), both.max()));
        }

        #[test]
        fn quantiles_are_those_of_hdrhistogram(
            values in prop::collection::vec((2..62_u32).prop_flat_map(|s| 1..1_u64 << s), 1..200),
            q in 0.001..=1.0_f64,
        ) {
            let mut oracle = hdrhistogram::Histogram::<u64>::new_with_bounds(1, 1 << 62, 3).unwrap();
            values.iter().for_each(|&v| oracle.record(v).unwrap());
            // The oracle knows the maximum only to three digits.
            let max = values.iter().copied().max().unwrap();
            prop_assert_eq!(of(&values).quantile(q), oracle.value_at_quantile(q).min(max));
        }
    }
}
