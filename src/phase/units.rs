//! Times and sizes as a person reads them.

use std::fmt;

/// Nanoseconds, printed with three or four significant digits: `820 ns`, `4.1 us`, `1.203 s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nanos(pub u64);

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0 as f64;
        let text = match self.0 {
            0..1_000 => format!("{} ns", self.0),
            1_000..99_950 => format!("{:.1} us", ns / 1e3),
            99_950..999_500 => format!("{:.0} us", ns / 1e3),
            999_500..99_950_000 => format!("{:.1} ms", ns / 1e6),
            99_950_000..999_500_000 => format!("{:.0} ms", ns / 1e6),
            _ => format!("{:.3} s", ns / 1e9),
        };
        // `pad` honours the width that a table asks for.
        f.pad(&text)
    }
}

/// Bytes with a unit of 1024: `512 B`, `1.4 KiB`, `512 MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        let mut amount = self.0 as f64;
        let mut unit = "B";
        for next in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
            // What would be printed as 1024 is 1.0 of the next.
            if amount < 1023.5 {
                break;
            }
            (amount, unit) = (amount / 1024.0, next);
        }
        let digits = usize::from(amount < 9.95);
        f.pad(&format!("{amount:.digits$} {unit}"))
    }
}

/// Seconds since 1970, printed as `2026-11-25 10:11Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Utc(pub u64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, rest) = (self.0 / 86_400, self.0 % 86_400);
        // From days to a date: H. Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        write!(f, "{year}-{month:02}-{day:02} {:02}:{:02}Z", rest / 3_600, rest / 60 % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::{Nanos, Utc};

    #[test]
    fn times_are_dates() {
        let time = |seconds| Utc(seconds).to_string();
        assert_eq!(time(0), "1970-01-01 00:00Z");
        assert_eq!(time(951_782_400), "2000-02-29 00:00Z");
        assert_eq!(time(1_764_065_460), "2025-11-25 10:11Z");
        assert_eq!(time(u64::from(u32::MAX)), "2106-02-07 06:28Z");
    }

    #[test]
    fn each_unit_rolls_over_without_a_fifth_digit() {
        let shown = |ns| Nanos(ns).to_string();
        assert_eq!(shown(999), "999 ns");
        assert_eq!(shown(4_100), "4.1 us");
        assert_eq!(shown(99_949), "99.9 us");
        assert_eq!(shown(99_950), "100 us");
        assert_eq!(shown(999_500), "1.0 ms");
        assert_eq!(shown(999_499_999), "999 ms");
        assert_eq!(shown(1_203_000_000), "1.203 s");
        assert_eq!(format!("{:>8}|", Nanos(5)), "    5 ns|");
    }
}
