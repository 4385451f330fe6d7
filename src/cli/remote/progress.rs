//! The line that shows how far a copy has come, on a terminal and nowhere else.

use super::show::{Shown, Size};
use crate::remote::sftp::Progress;
use crate::sys;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the line is written.
const PACE: Duration = Duration::from_millis(100);
/// A rate is that of this time, so that it follows the link; and the first one is shown after it.
const WINDOW: Duration = Duration::from_secs(2);

/// One copy's line.
pub(super) struct Bar {
    name: String,
    columns: usize,
    begun: Instant,
    /// When it was last written.
    written: Option<Instant>,
    /// Where the rate's window begins.
    mark: (Instant, u64),
    /// Bytes a second.
    rate: Option<f64>,
    last: Option<Progress>,
}

impl Bar {
    /// A line on standard error, if that is a terminal.
    pub(super) fn new(name: &str) -> Option<Self> {
        let terminal = io::stderr();
        if !terminal.is_terminal() {
            return None;
        }
        let columns = sys::window_size(&terminal).map_or(0, |(columns, _)| columns);
        let columns = if columns == 0 { 80 } else { usize::from(columns) };
        Some(Self::at(name, columns, Instant::now()))
    }

    fn at(name: &str, columns: usize, now: Instant) -> Self {
        let name = Shown(name).to_string();
        Self { name, columns, begun: now, written: None, mark: (now, 0), rate: None, last: None }
    }

    /// Takes note, and writes the line if it is time.
    pub(super) fn tell(&mut self, progress: Progress) {
        let now = Instant::now();
        self.note(progress, now);
        if self.written.is_none_or(|written| now - written >= PACE) {
            self.written = Some(now);
            self.write(&self.line(now), "");
        }
    }

    fn note(&mut self, progress: Progress, now: Instant) {
        let (since, from) = self.mark;
        let span = now - since;
        if span >= WINDOW {
            self.rate = Some((progress.done.saturating_sub(from)) as f64 / span.as_secs_f64());
            self.mark = (now, progress.done);
        }
        self.last = Some(progress);
    }

    /// Makes room for a line of somebody else's.
    pub(super) fn clear(&mut self) {
        if self.written.take().is_some() {
            self.write("", "");
        }
    }

    /// Writes what came of it, and leaves it there.
    pub(super) fn finish(mut self, bytes: u64) {
        let took = self.begun.elapsed();
        let rate = bytes as f64 / took.as_secs_f64().max(1e-9);
        let text = format!("{}  {}/s  {:.1} s", Size(bytes), Size(rate as u64), took.as_secs_f64());
        self.write(&self.fitted(&text), "\n");
        self.written = None;
    }

    /// `location.py  45 %  230 MiB  112 MiB/s  ETA 00:02`
    fn line(&self, now: Instant) -> String {
        let Some(Progress { done, total }) = self.last else { return self.fitted("") };
        let mut text = String::new();
        // Writing to a String cannot fail.
        if let Some(total) = total.filter(|total| *total > 0) {
            let _ =
                write!(text, "{:>3} %  ", u128::from(done.min(total)) * 100 / u128::from(total));
        }
        let _ = write!(text, "{}", Size(done));
        let so_far = done as f64 / (now - self.begun).as_secs_f64().max(1e-9);
        let rate = self.rate.unwrap_or(so_far);
        let _ = write!(text, "  {}/s", Size(rate as u64));
        if let Some(left) = total.and_then(|total| total.checked_sub(done)) {
            if rate >= 1.0 {
                let _ = write!(text, "  ETA {}", clock((left as f64 / rate).ceil() as u64));
            } else {
                text.push_str("  stalled");
            }
        }
        self.fitted(&text)
    }

    /// The name is cut in its middle where the line would not fit.
    fn fitted(&self, text: &str) -> String {
        let room = self.columns.saturating_sub(text.chars().count() + 3);
        let name: Vec<char> = self.name.chars().collect();
        let name: String = if name.len() <= room {
            name.into_iter().collect()
        } else {
            let (head, tail) = (room / 2, room.saturating_sub(room / 2 + 1));
            name[..head].iter().chain(&['~']).chain(&name[name.len() - tail..]).collect()
        };
        format!("{name}  {text}")
    }

    fn write(&self, line: &str, end: &str) {
        // Progress that cannot be shown is not missed.
        let _ = write!(io::stderr(), "\r\x1b[K{line}{end}");
    }
}

/// A copy that was given up: the line makes room for the message that says why.
impl Drop for Bar {
    fn drop(&mut self) {
        self.clear();
    }
}

/// `00:07`, `1:02:03`.
fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes:02}:{seconds:02}"),
        1..100 => format!("{hours}:{minutes:02}:{seconds:02}"),
        _ => "days".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Bar, Progress, clock};
    use std::time::{Duration, Instant};

    #[test]
    fn the_line_has_share_size_rate_and_time_left() {
        let begun = Instant::now();
        let mut bar = Bar::at("a\u{1b}b", 80, begun);
        let after = |seconds| begun + Duration::from_secs(seconds);
        bar.note(Progress { done: 30 << 20, total: Some(100 << 20) }, after(3));
        assert_eq!(bar.line(after(3)), "a\\u{1b}b   30 %  30 MiB  10 MiB/s  ETA 00:07");
        // The rate is the last window's, not that of the whole.
        bar.note(Progress { done: 90 << 20, total: Some(100 << 20) }, after(5));
        assert_eq!(bar.line(after(5)), "a\\u{1b}b   90 %  90 MiB  30 MiB/s  ETA 00:01");
        bar.note(Progress { done: 90 << 20, total: Some(100 << 20) }, after(8));
        assert!(bar.line(after(8)).ends_with("stalled"));
    }

    #[test]
    fn a_size_that_is_not_known_has_no_share() {
        let begun = Instant::now();
        let mut bar = Bar::at("-", 80, begun);
        bar.note(Progress { done: 2048, total: None }, begun + Duration::from_secs(1));
        assert_eq!(bar.line(begun + Duration::from_secs(1)), "-  2.0 KiB  2.0 KiB/s");
    }

    #[test]
    fn a_long_name_is_cut_in_its_middle() {
        let bar = Bar::at("abcdefghijklmnopqrstuvwxyz", 20, Instant::now());
        assert_eq!(bar.fitted("12345"), "abcdef~vwxyz  12345");
        assert_eq!(Bar::at("abc", 3, Instant::now()).fitted("12345"), "~  12345");
    }

    #[test]
    fn times_left_are_clocks() {
        assert_eq!([clock(7), clock(3_723), clock(4_000_000)], ["00:07", "1:02:03", "days"]);
    }
}
