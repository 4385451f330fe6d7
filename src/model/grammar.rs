//! The grammar of a conversation: which calls a model makes from a client's accept to its close, in order.
//!
//! A grammar is a regular expression over *words*, one word a call: `(epoll_wait recvfrom sendto)*`. Words stand
//! one after the other; `|` separates alternatives; `*`, `+` and `?` follow a word or a group. A word is the family of the call
//! ([`Call::name`](crate::phase::Call::name)), with what makes the difference after a colon: `recvfrom` brought data,
//! `recvfrom:0` the end of file, `recvfrom:EAGAIN` nothing; `epoll_ctl:ADD` registers level-, `epoll_ctl:ADD-ET`
//! edge-triggered.

use std::collections::BTreeSet;

/// Whether the whole of `words` is one sentence of the grammar.
///
/// ```
/// use waitcopy::model::grammar::matches;
///
/// let blocking = "accept4 (recvfrom sendto)* recvfrom:0 close";
/// assert!(matches(blocking, &["accept4", "recvfrom", "sendto", "recvfrom:0", "close"]));
/// assert!(!matches(blocking, &["accept4", "recvfrom", "recvfrom:0", "close"]));
/// ```
///
/// # Panics
/// When the grammar itself is malformed: an error in the catalogue, which its tests find.
#[must_use]
pub fn matches(grammar: &str, words: &[&str]) -> bool {
    deviation(grammar, words).is_none()
}

/// Where words leave a grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation<'g> {
    /// The first word with which no sentence goes on; as many as there are words where the sentence ends too early.
    pub at: usize,
    /// What could stand there, in the order of the grammar; nothing where the sentence was over.
    pub expected: Vec<&'g str>,
}

/// The first word that deviates; `None` where the whole of `words` is one sentence of the grammar.
///
/// ```
/// use waitcopy::model::grammar::deviation;
///
/// let blocking = "accept4 (recvfrom sendto)* recvfrom:0 close";
/// let found = deviation(blocking, &["accept4", "recvfrom", "recvfrom"]).unwrap();
/// assert_eq!((found.at, found.expected), (2, vec!["sendto"]));
/// ```
///
/// # Panics
/// As [`matches()`].
#[must_use]
pub fn deviation<'g>(grammar: &'g str, words: &[&str]) -> Option<Deviation<'g>> {
    let mut tokens = tokens(grammar);
    let expression = alternatives(&mut tokens);
    assert!(tokens.is_empty(), "grammar: '{}' left over", tokens.concat());
    let mut tried = Deviation { at: 0, expected: Vec::new() };
    let ends = expression.ends(words, 0, &mut tried);
    if ends.contains(&words.len()) {
        return None;
    }
    // A sentence that was over before the words were.
    let over = ends.last().copied().unwrap_or(0);
    Some(if over > tried.at { Deviation { at: over, expected: Vec::new() } } else { tried })
}

impl<'g> Deviation<'g> {
    /// A word of the grammar was looked for at that place: everything before it fits.
    fn look(&mut self, at: usize, word: &'g str) {
        if at > self.at {
            *self = Self { at, expected: Vec::new() };
        }
        if at == self.at && !self.expected.contains(&word) {
            self.expected.push(word);
        }
    }
}

#[derive(Debug)]
enum Expression<'g> {
    Word(&'g str),
    Sequence(Vec<Expression<'g>>),
    Either(Vec<Expression<'g>>),
    /// At least `from` times, at most once more than that unless `many`.
    Repeat {
        inner: Box<Expression<'g>>,
        from: usize,
        many: bool,
    },
}

impl<'g> Expression<'g> {
    /// All positions at which a match that begins at `start` can end, in order, each once.
    fn ends(&self, words: &[&str], start: usize, tried: &mut Deviation<'g>) -> Vec<usize> {
        let mut ends = match self {
            Self::Word(word) => {
                tried.look(start, word);
                let fits = words.get(start) == Some(word);
                if fits { vec![start + 1] } else { vec![] }
            }
            Self::Sequence(parts) => parts.iter().fold(vec![start], |starts, part| {
                let mut ends: Vec<_> =
                    starts.iter().flat_map(|&s| part.ends(words, s, tried)).collect();
                ends.sort_unstable();
                ends.dedup();
                ends
            }),
            Self::Either(arms) => {
                arms.iter().flat_map(|arm| arm.ends(words, start, tried)).collect()
            }
            Self::Repeat { inner, from, many } => {
                let mut ends: BTreeSet<_> = (*from == 0).then_some(start).into_iter().collect();
                let mut fresh = vec![start];
                while let Some(position) = fresh.pop() {
                    for end in inner.ends(words, position, tried) {
                        if ends.insert(end) {
                            fresh.extend(many.then_some(end));
                        }
                    }
                }
                ends.into_iter().collect()
            }
        };
        ends.sort_unstable();
        ends.dedup();
        ends
    }
}

/// Words and signs, last one first.
fn tokens(grammar: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    for part in grammar.split_whitespace() {
        let mut rest = part;
        while !rest.is_empty() {
            let word = rest.find(['(', ')', '|', '*', '+', '?']).unwrap_or(rest.len()).max(1);
            let (token, tail) = rest.split_at(word);
            tokens.push(token);
            rest = tail;
        }
    }
    tokens.reverse();
    tokens
}

fn alternatives<'g>(tokens: &mut Vec<&'g str>) -> Expression<'g> {
    let mut arms = vec![sequence(tokens)];
    while tokens.last() == Some(&"|") {
        tokens.pop();
        arms.push(sequence(tokens));
    }
    if arms.len() == 1 { arms.remove(0) } else { Expression::Either(arms) }
}

fn sequence<'g>(tokens: &mut Vec<&'g str>) -> Expression<'g> {
    let mut parts = Vec::new();
    while let Some(&token) = tokens.last() {
        let mut part = match token {
            ")" | "|" => break,
            "(" => {
                tokens.pop();
                let inner = alternatives(tokens);
                assert_eq!(tokens.last(), Some(&")"), "grammar: a group is not closed");
                inner
            }
            "*" | "+" | "?" => panic!("grammar: '{token}' follows nothing"),
            word => Expression::Word(word),
        };
        tokens.pop();
        while let Some(&sign @ ("*" | "+" | "?")) = tokens.last() {
            tokens.pop();
            let (from, many) = (usize::from(sign == "+"), sign != "?");
            part = Expression::Repeat { inner: Box::new(part), from, many };
        }
        parts.push(part);
    }
    Expression::Sequence(parts)
}

#[cfg(test)]
mod tests {
    use super::{deviation, matches};

    fn says(grammar: &str, sentence: &str) -> bool {
        matches(grammar, &sentence.split_whitespace().collect::<Vec<_>>())
    }

    #[test]
    fn groups_alternatives_and_repetitions() {
        assert!(says("a (b c)* d", "a d"));
        assert!(says("a (b c)* d", "a b c b c d"));
        assert!(!says("a (b c)* d", "a b d"));
        assert!(says("(a | b:0)+ c?", "b:0 a c"));
        assert!(!says("(a | b:0)+ c?", "c"));
        assert!(!says("(a | b:0)+ c?", "a c c"));
        assert!(!says("a", "a a"));
        assert!(says("(a?)*", "a a"));
        assert!(says("", ""));
    }

    #[test]
    fn the_first_word_that_deviates_and_what_could_stand_there() {
        let found = |sentence: &str| {
            let words: Vec<_> = sentence.split_whitespace().collect();
            deviation("a (b c | b d)* e", &words).map(|found| (found.at, found.expected.join(" ")))
        };
        assert_eq!(found("a b c b d e"), None);
        assert_eq!(found("a b c b b"), Some((4, "c d".to_owned())));
        assert_eq!(found("a b c"), Some((3, "b e".to_owned())), "too early");
        assert_eq!(found("a e e"), Some((2, String::new())), "it was over");
        assert_eq!(found("x"), Some((0, "a".to_owned())));
        assert_eq!(found(""), Some((0, "a".to_owned())));
    }
}
