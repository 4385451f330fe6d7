//! As much SVG as figures and charts need: elements with attributes, text that is escaped, coordinates that are
//! written the same way every time.

use std::fmt::{self, Display, Write as _};

/// A picture, built from top to bottom: what comes later lies above what came earlier.
#[derive(Debug)]
pub struct Svg {
    width: f64,
    height: f64,
    label: String,
    body: String,
}

/// A length or position in user units, written with one decimal at most, so that figures compare as text.
#[derive(Clone, Copy, Debug)]
pub struct At(pub f64);

impl Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 0 has one sign.
        let tenths = (self.0 * 10.0).round() + 0.0;
        if tenths % 10.0 == 0.0 {
            write!(f, "{:.0}", tenths / 10.0)
        } else {
            write!(f, "{:.1}", tenths / 10.0)
        }
    }
}

/// Text as SVG and HTML take it, in content and in attributes.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'t>(pub &'t str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                // XML 1.0 has no other control characters, escaped or not.
                '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

impl Svg {
    /// An empty picture of that size; `label` is what it shows, for those who cannot see it.
    #[must_use]
    pub fn new(width: f64, height: f64, label: &str) -> Self {
        Self { width, height, label: label.to_owned(), body: String::new() }
    }

    /// Adds an element without content: `rect`, `line`, `path`.
    pub fn add(&mut self, name: &str, attributes: &[(&str, &dyn Display)]) {
        self.open(name, attributes);
        self.body.truncate(self.body.len() - 1);
        self.body.push_str("/>\n");
    }

    /// Adds an element with text.
    pub fn text(&mut self, name: &str, attributes: &[(&str, &dyn Display)], content: &str) {
        self.open(name, attributes);
        let _ = writeln!(self.body, "{}</{name}>", Escaped(content));
    }

    /// Begins an element that holds others, until [`close`](Self::close).
    pub fn group(&mut self, attributes: &[(&str, &dyn Display)]) {
        self.open("g", attributes);
        self.body.push('\n');
    }

    /// Ends the last group.
    pub fn close(&mut self) {
        self.body.push_str("</g>\n");
    }

    fn open(&mut self, name: &str, attributes: &[(&str, &dyn Display)]) {
        // Writing to a String cannot fail, here and above.
        let _ = write!(self.body, "<{name}");
        for (attribute, value) in attributes {
            let _ = write!(self.body, " {attribute}=\"{}\"", Escaped(&value.to_string()));
        }
        self.body.push('>');
    }

    /// The picture as part of a page, whose style sheet it uses.
    #[must_use]
    pub fn inline(&self) -> String {
        self.element("")
    }

    /// The picture as a file of its own, with a style sheet.
    #[must_use]
    pub fn standalone(&self, style: &str) -> String {
        self.element(style)
    }

    fn element(&self, style: &str) -> String {
        let Self { width, height, label, body } = self;
        let (width, height, label) = (At(*width), At(*height), Escaped(label));
        let style =
            if style.is_empty() { String::new() } else { format!("<style>{style}</style>\n") };
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             aria-label=\"{label}\">\n<title>{label}</title>\n{style}{body}</svg>\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{At, Svg};

    #[test]
    fn text_is_escaped_and_numbers_are_written_one_way() {
        let mut svg = Svg::new(10.0, 20.25, "a < b & \"c\"");
        svg.add("rect", &[("x", &At(1.0)), ("y", &At(-0.04)), ("class", &"a\"b")]);
        svg.text("text", &[("x", &At(2.25))], "1 < 2\u{1}");
        let text = svg.standalone("text{fill:red}");
        assert!(text.contains("viewBox=\"0 0 10 20.3\""), "{text}");
        assert!(text.contains("<title>a &lt; b &amp; &quot;c&quot;</title>"), "{text}");
        assert!(text.contains("<rect x=\"1\" y=\"0\" class=\"a&quot;b\"/>"), "{text}");
        assert!(text.contains("<text x=\"2.3\">1 &lt; 2\u{fffd}</text>"), "{text}");
        assert!(text.contains("<style>text{fill:red}</style>"), "{text}");
    }
}
