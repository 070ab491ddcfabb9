//! Emphasis: `(a)`, `(a:1.3)`, `[a]`, and the word BREAK.

use super::{
    Excerpt,
    chars::{decimal, digit, is_space, run, words},
};

const ROUND: f64 = 1.1;
const SQUARE: f64 = 1.0 / 1.1;

/// The most multiplications of weights that a prompt may ask for; what goes beyond has no finite weight anyway, as each is by more
/// brackets than numbers have digits.
const MOST_MULTIPLICATIONS: usize = 1 << 26;

/// Text of one weight.
#[derive(Debug, Clone, PartialEq)]
pub struct Fragment {
    /// Without brackets and backslashes.
    pub text: Excerpt,
    /// A factor for the encoder's output.
    pub weight: f64,
}

impl Fragment {
    /// Whether it says that a new chunk begins. A BREAK within brackets is the word.
    pub fn is_break(&self) -> bool {
        self.weight == -1.0 && self.text.as_str() == "BREAK"
    }
}

/// Splits a text where its weight changes, in the WebUI's manner: round and square brackets are matched apart from one another,
/// one that closes nothing is text, and one that is never closed applies to the end. Never empty.
pub fn attention(text: &Excerpt) -> Vec<Fragment> {
    let mut reader = Reader {
        text,
        out: Vec::new(),
        budget: MOST_MULTIPLICATIONS,
    };
    reader.read();
    let mut merged: Vec<Fragment> = Vec::with_capacity(reader.out.len().max(1));
    for fragment in reader.out {
        match merged.last_mut() {
            Some(last) if last.weight == fragment.weight => {
                last.text.push(&fragment.text, 0..fragment.text.len())
            }
            _ => merged.push(fragment),
        }
    }
    if merged.is_empty() {
        merged.push(Fragment {
            text: Excerpt::default(),
            weight: 1.0,
        });
    }
    merged
}

struct Reader<'a> {
    text: &'a Excerpt,
    out: Vec<Fragment>,
    budget: usize,
}

impl Reader<'_> {
    fn read(&mut self) {
        let text = self.text.as_str();
        let (mut round, mut square) = (Vec::new(), Vec::new());
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            let begin = at;
            match c {
                '\\' => {
                    // A backslash that escapes nothing is dropped.
                    let escapes = text[at + 1..].starts_with(['(', ')', '[', ']', '\\']);
                    at += 1 + usize::from(escapes);
                    self.plain(begin + 1, at);
                }
                '(' | '[' => {
                    let stack = if c == '(' { &mut round } else { &mut square };
                    stack.push(self.out.len());
                    at += 1;
                }
                ')' if !round.is_empty() => {
                    self.multiply(round.pop(), ROUND);
                    at += 1;
                }
                ']' if !square.is_empty() => {
                    self.multiply(square.pop(), SQUARE);
                    at += 1;
                }
                ':' | ')' | ']' => match weight(&text[at..]).filter(|_| !round.is_empty()) {
                    Some((length, value)) => {
                        self.multiply(round.pop(), value);
                        at += length;
                    }
                    None => {
                        at += 1;
                        self.plain(begin, at);
                    }
                },
                _ => {
                    at += run(&text[at..], |c| !matches!(c, '\\' | '(' | ')' | '[' | ']' | ':'));
                    self.broken(begin, at);
                }
            }
        }
        round
            .into_iter()
            .for_each(|from| self.multiply(Some(from), ROUND));
        square
            .into_iter()
            .for_each(|from| self.multiply(Some(from), SQUARE));
    }

    fn plain(&mut self, begin: usize, end: usize) {
        let text = self.text.slice(begin..end);
        self.out.push(Fragment { text, weight: 1.0 });
    }

    /// Text that may hold the word BREAK, which takes the white space around it along.
    fn broken(&mut self, begin: usize, end: usize) {
        let text = self.text.as_str();
        let mut from = begin;
        for word in words(&text[begin..end], "BREAK") {
            let (start, stop) = (begin + word.start, begin + word.end);
            let before = text[from..start].trim_end_matches(is_space).len();
            self.plain(from, from + before);
            self.out.push(Fragment {
                text: self.text.slice(start..stop),
                weight: -1.0,
            });
            from = stop + run(&text[stop..end], is_space);
        }
        self.plain(from, end);
    }

    fn multiply(&mut self, from: Option<usize>, by: f64) {
        let from = from.unwrap_or(self.out.len());
        let Some(left) = self.budget.checked_sub(self.out.len() - from) else {
            return;
        };
        self.budget = left;
        self.out[from..]
            .iter_mut()
            .for_each(|fragment| fragment.weight *= by);
    }
}

/// `:1.3)` at the beginning of a text: its length, and the number. "1.2.3", at which the original fails, is none.
fn weight(text: &str) -> Option<(usize, f64)> {
    if !text.starts_with(':') {
        return None;
    }
    let begin = 1 + run(&text[1..], is_space);
    let sign = usize::from(text[begin..].starts_with(['+', '-']));
    let digits = run(&text[begin + sign..], |c| c == '.' || digit(c).is_some());
    let end = begin + sign + digits;
    let close = end + run(&text[end..], is_space);
    let found = digits > 0 && text[close..].starts_with(')');
    let value = decimal(&text[begin..end]).filter(|_| found)?;
    Some((close + 1, value))
}
