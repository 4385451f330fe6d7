//! JSON, as much of it as reports need: written by `--json` and `--report`, read back by `compare`.
//!
//! Whole numbers stay exact (counts and nanoseconds are `u64`); the order of an object's members is kept.

use std::fmt::{self, Write as _};

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`: not measured.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number that is not negative.
    Count(u64),
    /// Any other number; one that is not finite is written as `null`.
    Number(f64),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Value>),
    /// An object, in order.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// An object of these members.
    pub fn object<K: Into<String>>(members: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Object(members.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    /// The member of that name, or the one at the end of a path: `"phases.wait.p50_ns"`.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(self, |value, name| match value {
            Self::Object(members) => members.iter().find(|(key, _)| key == name).map(|(_, v)| v),
            _ => None,
        })
    }

    /// The whole number at the end of a path.
    #[must_use]
    pub fn count(&self, path: &str) -> Option<u64> {
        match self.get(path) {
            Some(&Self::Count(n)) => Some(n),
            _ => None,
        }
    }

    /// The members of the object at the end of a path; none where there is no object.
    pub fn members(&self, path: &str) -> impl Iterator<Item = (&str, &Value)> {
        let members = match self.get(path) {
            Some(Self::Object(members)) => members.as_slice(),
            _ => &[],
        };
        members.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Reads one JSON text.
    ///
    /// # Errors
    /// A sentence that names the byte where it stops being JSON.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
        let value = reader.value(0)?;
        reader.space();
        if reader.at == text.len() { Ok(value) } else { Err(reader.wrong("the end")) }
    }
}

impl From<u64> for Value {
    fn from(n: u64) -> Self {
        Self::Count(n)
    }
}

impl From<f64> for Value {
    fn from(n: f64) -> Self {
        Self::Number(n)
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Self::Bool(b)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(list: Vec<T>) -> Self {
        Self::List(list.into_iter().map(Into::into).collect())
    }
}

/// Compact; with `{:#}` indented by two spaces.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

impl Value {
    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(b) => write!(f, "{b}"),
            Self::Count(n) => write!(f, "{n}"),
            Self::Number(n) if n.is_finite() => write!(f, "{n}"),
            Self::Number(_) => f.write_str("null"),
            Self::Text(text) => write_text(f, text),
            Self::List(list) => {
                // Lists of plain values (buckets) stay on one line.
                let nested = list.iter().any(|v| matches!(v, Self::Object(_)));
                write_all(f, depth, nested, '[', ']', list, |f, value| value.write(f, depth + 1))
            }
            Self::Object(members) => {
                write_all(f, depth, true, '{', '}', members, |f, (key, value)| {
                    write_text(f, key)?;
                    f.write_str(if f.alternate() { ": " } else { ":" })?;
                    value.write(f, depth + 1)
                })
            }
        }
    }
}

fn write_all<T>(
    f: &mut fmt::Formatter<'_>,
    depth: usize,
    lines: bool,
    open: char,
    close: char,
    items: &[T],
    mut item: impl FnMut(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    let lines = lines && f.alternate() && !items.is_empty();
    f.write_char(open)?;
    for (i, it) in items.iter().enumerate() {
        if i > 0 {
            f.write_char(',')?;
        }
        if lines {
            write!(f, "\n{:1$}", "", 2 * (depth + 1))?;
        }
        item(f, it)?;
    }
    if lines {
        write!(f, "\n{:1$}", "", 2 * depth)?;
    }
    f.write_char(close)
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            c if c < ' ' => write!(f, "\\u{:04x}", c as u32)?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

/// Deeper texts are refused rather than recursed into.
const DEEPEST: usize = 64;

struct Reader<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl Reader<'_> {
    fn wrong(&self, wanted: &str) -> String {
        format!("JSON: {wanted} expected at byte {}", self.at)
    }

    fn space(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn takes(&mut self, word: &str) -> bool {
        let found = self.bytes[self.at..].starts_with(word.as_bytes());
        if found {
            self.at += word.len();
        }
        found
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > DEEPEST {
            return Err(self.wrong("less nesting"));
        }
        self.space();
        if self.takes("null") {
            Ok(Value::Null)
        } else if self.takes("true") {
            Ok(Value::Bool(true))
        } else if self.takes("false") {
            Ok(Value::Bool(false))
        } else if self.takes("\"") {
            self.text().map(Value::Text)
        } else if self.takes("[") {
            self.items("]", |reader| reader.value(depth + 1)).map(Value::List)
        } else if self.takes("{") {
            self.items("}", |reader| reader.member(depth)).map(Value::Object)
        } else {
            self.number()
        }
    }

    fn items<T>(
        &mut self,
        close: &str,
        mut item: impl FnMut(&mut Self) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let mut items = Vec::new();
        self.space();
        if self.takes(close) {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            self.space();
            if self.takes(close) {
                return Ok(items);
            }
            if !self.takes(",") {
                return Err(self.wrong("a comma"));
            }
        }
    }

    fn member(&mut self, depth: usize) -> Result<(String, Value), String> {
        self.space();
        if !self.takes("\"") {
            return Err(self.wrong("a member's name"));
        }
        let key = self.text()?;
        self.space();
        if !self.takes(":") {
            return Err(self.wrong("a colon"));
        }
        Ok((key, self.value(depth + 1)?))
    }

    fn text(&mut self) -> Result<String, String> {
        let mut text = Vec::new();
        loop {
            let byte = *self.bytes.get(self.at).ok_or_else(|| self.wrong("a quote"))?;
            self.at += 1;
            match byte {
                b'"' => return String::from_utf8(text).map_err(|_| self.wrong("UTF-8")),
                b'\\' => {
                    let c = self.escape()?;
                    text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                byte => text.push(byte),
            }
        }
    }

    /// What follows a backslash. Surrogate pairs are not joined: no report holds them.
    fn escape(&mut self) -> Result<char, String> {
        let byte = *self.bytes.get(self.at).ok_or_else(|| self.wrong("an escape"))?;
        self.at += 1;
        Ok(match byte {
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'u' => {
                let digits =
                    self.bytes.get(self.at..self.at + 4).and_then(|d| std::str::from_utf8(d).ok());
                let code = digits.and_then(|d| u32::from_str_radix(d, 16).ok());
                self.at += 4;
                code.and_then(char::from_u32).ok_or_else(|| self.wrong("four digits"))?
            }
            b'"' | b'\\' | b'/' => byte as char,
            _ => return Err(self.wrong("an escape")),
        })
    }

    fn number(&mut self) -> Result<Value, String> {
        let start = self.at;
        let part = |b: &u8| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E');
        while self.bytes.get(self.at).is_some_and(part) {
            self.at += 1;
        }
        let text = std::str::from_utf8(&self.bytes[start..self.at]).unwrap_or_default();
        if let Ok(count) = text.parse() {
            return Ok(Value::Count(count));
        }
        text.parse().map(Value::Number).map_err(|_| self.wrong("a value"))
    }
}

#[cfg(test)]
mod tests {
    use super::Value;

    #[test]
    fn what_is_written_reads_back() {
        let value = Value::object([
            ("counts", Value::object([("exact", Value::Count(u64::MAX)), ("none", Value::Null)])),
            ("text", "a \"b\"\\\n\u{1}\u{e9}".into()),
            ("list", Value::List(vec![Value::Number(-1.5), true.into(), Value::List(vec![])])),
        ]);
        assert_eq!(Value::parse(&value.to_string()), Ok(value.clone()));
        assert_eq!(Value::parse(&format!("{value:#}")), Ok(value.clone()));
        assert_eq!(value.count("counts.exact"), Some(u64::MAX));
        assert_eq!(value.count("counts.missing"), None);
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        for text in ["", "{", "[1,]", "{\"a\"}", "\"", "nul", "1 2", "\"\\x\"", "[1}", "-"] {
            assert!(Value::parse(text).unwrap_err().starts_with("JSON: "), "{text}");
        }
        assert!(Value::parse(&"[".repeat(100_000)).is_err());
    }
}
