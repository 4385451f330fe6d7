//! A time axis that is linear where little happens and magnified where much does.

/// A stretch of time between two moments at which somebody's state changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) from: u64,
    pub(super) to: u64,
    /// Something is copied meanwhile: this must be seen.
    pub(super) busy: bool,
}

/// How wide the magnified steps are, in the units of the width.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub(super) width: f64,
    pub(super) busy: f64,
    pub(super) quiet: f64,
    /// Widths are whole numbers: characters.
    pub(super) whole: bool,
}

/// A stretch of the axis with one scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Zone {
    pub(super) from: u64,
    pub(super) to: u64,
    /// Its place.
    pub(super) left: f64,
    pub(super) right: f64,
    /// Its steps have a width each, whatever they took.
    pub(super) magnified: bool,
}

/// From times to places.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// Moments and their places, both growing.
    marks: Vec<(u64, f64)>,
    pub(super) zones: Vec<Zone>,
}

impl Axis {
    /// An axis over these steps, which follow one another. A step of less than a sixtieth of the whole is magnified.
    pub(super) fn new(steps: &[Step], scale: Scale) -> Self {
        let total: u64 = steps.iter().map(|step| step.to - step.from).sum();
        let long = |step: &Step| (step.to - step.from) * 60 >= total;
        let natural: Vec<f64> = steps
            .iter()
            .map(|step| match long(step) {
                true => 0.0,
                false if step.busy => scale.busy,
                false => scale.quiet,
            })
            .collect();
        // A magnified stretch in which nothing is copied is still to be seen.
        let mut widths = natural;
        let mut at = 0;
        for group in steps.chunk_by(|one, other| long(one) == long(other)) {
            let width: f64 = widths[at..at + group.len()].iter().sum();
            if !long(&group[0]) && width == 0.0 {
                widths[at] = scale.busy;
            }
            at += group.len();
        }
        let magnified: f64 = widths.iter().sum();
        // Characters cannot shrink: then the long steps have what is left.
        let (most, least) = (0.7 * scale.width, 0.15 * scale.width);
        let shrink = if magnified > most && !scale.whole { most / magnified } else { 1.0 };
        let left = (scale.width - magnified * shrink).max(least);
        let linear: u64 =
            steps.iter().filter(|step| long(step)).map(|step| step.to - step.from).sum();
        let rounded = |width: f64| if scale.whole { width.round() } else { width };
        let (mut short, mut longer) = (0.0, 0.0);
        let mut marks = vec![(steps.first().map_or(0, |step| step.from), 0.0)];
        for (step, width) in steps.iter().zip(&widths) {
            if long(step) {
                longer += left * (step.to - step.from) as f64 / linear.max(1) as f64;
            } else {
                short += width * shrink;
            }
            // Rounded in sum, so that the ends meet.
            marks.push((step.to, short + rounded(longer)));
        }
        let mut zones: Vec<Zone> = Vec::new();
        for (n, step) in steps.iter().enumerate() {
            let magnified = !long(step);
            match zones.last_mut() {
                Some(zone) if zone.magnified && magnified => {
                    (zone.to, zone.right) = (step.to, marks[n + 1].1);
                }
                _ => zones.push(Zone {
                    from: step.from,
                    to: step.to,
                    left: marks[n].1,
                    right: marks[n + 1].1,
                    magnified,
                }),
            }
        }
        Self { marks, zones }
    }

    /// Where a moment lies; before the first and behind the last, at the ends.
    pub(super) fn place(&self, time: u64) -> f64 {
        let after = self.marks.partition_point(|(mark, _)| *mark < time);
        let (Some(&(to, right)), true) = (self.marks.get(after), after > 0) else {
            return self.marks[after.min(self.marks.len() - 1)].1;
        };
        let (from, left) = self.marks[after - 1];
        left + (right - left) * (time - from) as f64 / (to - from).max(1) as f64
    }

    /// Its whole width.
    pub(super) fn width(&self) -> f64 {
        self.marks.last().map_or(0.0, |(_, place)| *place)
    }
}

#[cfg(test)]
mod tests {
    use super::{Axis, Scale, Step};

    #[test]
    fn short_steps_are_magnified_and_long_ones_share_the_rest() {
        let step = |from, to, busy| Step { from, to, busy };
        let steps = [
            step(0, 1_000_000, false),
            step(1_000_000, 1_000_010, true),
            step(1_000_010, 1_000_012, false),
            step(1_000_012, 4_000_012, false),
        ];
        let scale = Scale { width: 100.0, busy: 12.0, quiet: 8.0, whole: false };
        let axis = Axis::new(&steps, scale);
        assert_eq!(
            [0, 1_000_000, 1_000_010, 1_000_012].map(|t| axis.place(t)),
            [0.0, 20.0, 32.0, 40.0]
        );
        assert_eq!(
            (axis.place(2_500_012), axis.place(9_000_000), axis.width()),
            (70.0, 100.0, 100.0)
        );
        let zones: Vec<_> = axis.zones.iter().map(|zone| (zone.from, zone.magnified)).collect();
        assert_eq!(zones, [(0, false), (1_000_000, true), (1_000_012, false)]);
    }

    #[test]
    fn many_short_steps_leave_room_for_the_long_ones() {
        let mut steps: Vec<_> = (0..100).map(|n| Step { from: n, to: n + 1, busy: true }).collect();
        steps.push(Step { from: 100, to: 1_000_000, busy: false });
        let scale = Scale { width: 100.0, busy: 12.0, quiet: 8.0, whole: false };
        let axis = Axis::new(&steps, scale);
        assert!((axis.place(100) - 70.0).abs() < 1e-6 && (axis.width() - 100.0).abs() < 1e-6);
    }
}
