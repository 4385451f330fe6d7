//! Sentences in lines that fit.

/// A terminal's width: what is not asked for its own fits this.
pub(crate) const TERMINAL: usize = 80;

/// The columns that a text takes in a terminal: ideographs and the signs that go with them take two (UAX #11, as far as the notes need it).
pub(crate) fn columns(text: &str) -> usize {
    text.chars().map(|c| if is_wide(c) { 2 } else { 1 }).sum()
}

/// Lines of at most that many columns, broken between words and between ideographs; a word that is longer than a line has one of its own.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        for (n, piece) in pieces(word).into_iter().enumerate() {
            let line = lines.last_mut().expect("there is one from the beginning");
            let gap = if n == 0 && !line.is_empty() { " " } else { "" };
            if line.is_empty() || columns(line) + gap.len() + columns(piece) <= width {
                line.push_str(gap);
                line.push_str(piece);
            } else {
                lines.push(piece.to_owned());
            }
        }
    }
    lines
}

/// Lines of at most that many columns, broken at this separator only; its blanks are left out at a line's end.
pub(crate) fn wrapped_at(separator: &str, text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for (n, part) in text.split(separator).enumerate() {
        let line = lines.last_mut().expect("there is one from the beginning");
        if n == 0 {
            line.push_str(part);
        } else if columns(line) + columns(separator) + columns(part) < width {
            line.push_str(separator);
            line.push_str(part);
        } else {
            line.push_str(separator.trim_end());
            lines.push(part.to_owned());
        }
    }
    lines
}

/// What of a word stays together: beside an ideograph a line may break, but not before what closes or after what opens.
fn pieces(word: &str) -> Vec<&str> {
    /// Of both widths.
    const CLOSES: &str = ",.;:!?)]\"\u{201d}\u{2019}\u{ff0c}\u{3002}\u{3001}\u{ff1b}\u{ff1a}\u{ff01}\u{ff1f}\u{ff09}\u{300b}";
    const OPENS: &str = "([\u{201c}\u{2018}\u{ff08}\u{300a}";
    let mut pieces = Vec::new();
    let mut from = 0;
    for ((_, before), (at, after)) in word.char_indices().zip(word.char_indices().skip(1)) {
        let breaks = (is_wide(before) || is_wide(after))
            && !CLOSES.contains(after)
            && !OPENS.contains(before);
        if breaks {
            pieces.push(&word[from..at]);
            from = at;
        }
    }
    pieces.push(&word[from..]);
    pieces
}

/// CJK radicals to Hangul, compatibility ideographs, full-width forms, and the planes of rare ideographs.
fn is_wide(c: char) -> bool {
    matches!(c, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}' | '\u{20000}'..='\u{3fffd}')
}

#[cfg(test)]
mod tests {
    use super::{columns, wrapped, wrapped_at};

    #[test]
    fn lines_break_between_words_and_between_ideographs() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a-word-longer-than-that is", 7), ["a-word-longer-than-that", "is"]);
        assert_eq!(columns("在linux中"), 9);
        assert_eq!(wrapped("在linux中,默认情况下", 10), ["在linux中,", "默认情况下"]);
        // Nothing that closes begins a line, nothing that opens ends one.
        assert_eq!(wrapped("两个阶段(等待)都", 10), ["两个阶段", "(等待)都"]);
        assert_eq!(wrapped("", 10), [""]);
    }

    #[test]
    fn figures_stay_with_their_units() {
        assert_eq!(
            wrapped_at(", ", "copy 2 us, after 3 us, x", 13),
            ["copy 2 us,", "after 3 us,", "x"]
        );
        assert_eq!(wrapped_at("  ", "wait 2 us  copy 3 us", 20), ["wait 2 us", "copy 3 us"]);
        assert_eq!(wrapped_at("  ", "wait 2 us  copy 3 us", 21), ["wait 2 us  copy 3 us"]);
    }
}
