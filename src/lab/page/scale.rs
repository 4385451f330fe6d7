//! Logarithmic axes: where a value lies, and where the ticks are.

/// A logarithmic axis between two values, drawn between two coordinates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// `low` is drawn at `from`, `high` at `to`.
    #[must_use]
    pub(super) fn new([low, high]: [f64; 2], [from, to]: [f64; 2]) -> Self {
        // Two equal ends are a decade wide, their value in the middle.
        if high > low {
            Self { low, high, from, to }
        } else {
            Self { low: low / 3.2, high: low * 3.2, from, to }
        }
    }

    /// Where a value is drawn. 0 has no logarithm: it is drawn where the axis begins.
    #[must_use]
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = (value.max(self.low) / self.low).ln() / (self.high / self.low).ln();
        self.from + share * (self.to - self.from)
    }
}

/// A range that holds all of these values, its ends at 1, 2 or 5 of a decade; `None` of none.
#[must_use]
pub(super) fn range(values: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
    let positive: Vec<f64> = values.filter(|v| *v > 0.0 && v.is_finite()).collect();
    let least = positive.iter().copied().reduce(f64::min)?;
    let most = positive.iter().copied().reduce(f64::max)?;
    let low = steps(least).rev().find(|step| *step <= least * 1.0001).unwrap_or(least);
    let high = steps(most).find(|step| *step >= most * 0.9999).unwrap_or(most);
    Some([low, if high > low { high } else { low * 2.0 }])
}

/// 1, 2 and 5 of the decade of a value and of its neighbours.
fn steps(near: f64) -> impl DoubleEndedIterator<Item = f64> {
    let decade = near.log10().floor() as i32;
    (decade - 1..=decade + 1).flat_map(|decade| [1.0, 2.0, 5.0].map(|step| exactly(step, decade)))
}

/// `step` times ten to the `decade`, without the error of a division by ten that is repeated.
fn exactly(step: f64, decade: i32) -> f64 {
    let power = 10f64.powi(decade.abs());
    if decade < 0 { step / power } else { step * power }
}

/// The values at which a range has its ticks: each 1, 2 and 5; where these are too many each 1 and 3, or each decade.
#[must_use]
pub(super) fn ticks([low, high]: [f64; 2]) -> Vec<f64> {
    let decades = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
    let within = |steps: &'static [f64]| {
        let all =
            decades.clone().flat_map(|decade| steps.iter().map(move |&step| exactly(step, decade)));
        all.filter(|tick| (low * 0.9999..=high * 1.0001).contains(tick)).collect::<Vec<_>>()
    };
    let few = |ticks: &Vec<f64>| ticks.len() <= 7;
    let fine = Some(within(&[1.0, 2.0, 5.0])).filter(few);
    fine.or_else(|| Some(within(&[1.0, 3.0])).filter(few)).unwrap_or_else(|| within(&[1.0]))
}

/// Moves labels apart: each `(wanted, height)` gets a centre, in the order of what was wanted, within `top` and `bottom` where
/// all of them fit.
#[must_use]
pub(super) fn apart(wanted: &[(f64, f64)], [top, bottom]: [f64; 2]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|&a, &b| wanted[a].0.total_cmp(&wanted[b].0));
    let mut centres = vec![0.0; wanted.len()];
    let mut edge = top;
    for &i in &order {
        let (at, height) = wanted[i];
        centres[i] = f64::max(at, edge + height / 2.0);
        edge = centres[i] + height / 2.0;
    }
    let mut edge = bottom;
    for &i in order.iter().rev() {
        let height = wanted[i].1;
        centres[i] = f64::min(centres[i], edge - height / 2.0);
        edge = centres[i] - height / 2.0;
    }
    centres
}

#[cfg(test)]
mod tests {
    use super::{Scale, apart, range, ticks};

    #[test]
    fn a_range_ends_at_round_values_and_holds_all() {
        assert_eq!(range([].into_iter()), None);
        assert_eq!(range([0.0, f64::NAN].into_iter()), None);
        assert_eq!(range([7_100.0, 105_000.0].into_iter()), Some([5_000.0, 200_000.0]));
        assert_eq!(range([1000.0].into_iter()), Some([1000.0, 2000.0]));
        assert_eq!(range([0.03, 0.2].into_iter()), Some([0.02, 0.2]));
    }

    #[test]
    fn ticks_are_few_and_within() {
        assert_eq!(ticks([5_000.0, 200_000.0]), [5e3, 1e4, 2e4, 5e4, 1e5, 2e5]);
        assert_eq!(ticks([2_000.0, 500_000.0]), [3e3, 1e4, 3e4, 1e5, 3e5]);
        assert_eq!(ticks([1.0, 1e6]), [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6]);
    }

    #[test]
    fn an_axis_is_logarithmic_and_begins_with_nought() {
        let scale = Scale::new([10.0, 1000.0], [0.0, 200.0]);
        assert_eq!(
            [0.0, 10.0, 100.0, 1000.0].map(|v| scale.at(v).round()),
            [0.0, 0.0, 100.0, 200.0]
        );
        assert_eq!(Scale::new([5.0, 5.0], [0.0, 200.0]).at(5.0).round(), 100.0);
    }

    #[test]
    fn labels_do_not_lie_upon_each_other() {
        let wanted = [(50.0, 14.0), (52.0, 14.0), (10.0, 14.0), (99.0, 14.0)];
        let mut centres = apart(&wanted, [0.0, 100.0]);
        assert!(centres[0] < centres[1], "in the order of what was wanted");
        centres.sort_by(f64::total_cmp);
        assert!(centres.windows(2).all(|pair| pair[1] - pair[0] >= 14.0), "{centres:?}");
        assert!(centres[3] <= 93.0 && centres[0] >= 7.0, "{centres:?}");
    }
}
