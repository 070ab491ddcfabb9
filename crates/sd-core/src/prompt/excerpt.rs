//! Text that remembers where it came from.

use std::{borrow::Borrow, ops::Range};

/// Text put together from pieces of a prompt, in their order, that knows for each byte where in the prompt it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Excerpt {
    text: String,
    /// The beginning of each piece in `text` and in the prompt; a piece ends where the next begins.
    pieces: Vec<(usize, usize)>,
}

impl Excerpt {
    /// The whole of a prompt.
    pub fn new(prompt: impl Into<String>) -> Self {
        let text = prompt.into();
        let pieces = if text.is_empty() { vec![] } else { vec![(0, 0)] };
        Self { text, pieces }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// A part of it; `range` is in bytes and on character boundaries.
    pub fn slice(&self, range: Range<usize>) -> Self {
        let mut out = Self::default();
        out.push(self, range);
        out
    }

    /// Appends a part of another excerpt of the same prompt.
    pub fn push(&mut self, other: &Self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        let first = other.pieces.partition_point(|&(at, _)| at <= range.start) - 1;
        for (i, &(at, source)) in other.pieces.iter().enumerate().skip(first) {
            if at >= range.end {
                break;
            }
            let begin = at.max(range.start);
            let next = other.pieces.get(i + 1).map_or(other.text.len(), |p| p.0);
            let source = source + (begin - at);
            let follows = self
                .pieces
                .last()
                .is_some_and(|&(at, from)| from + (self.text.len() - at) == source);
            if !follows {
                self.pieces.push((self.text.len(), source));
            }
            self.text.push_str(&other.text[begin..next.min(range.end)]);
        }
    }

    /// The part of the prompt, in bytes, from the first to the last byte of a part of this; text that was left out between them is within.
    pub fn span(&self, range: Range<usize>) -> Range<usize> {
        let source = |byte: usize| {
            let piece = self.pieces.partition_point(|&(at, _)| at <= byte);
            piece
                .checked_sub(1)
                .map_or(0, |i| self.pieces[i].1 + (byte - self.pieces[i].0))
        };
        if range.is_empty() {
            let at = if range.start < self.text.len() {
                source(range.start)
            } else {
                self.end()
            };
            return at..at;
        }
        source(range.start)..source(range.end - 1) + 1
    }

    /// The end of the last byte in the prompt.
    fn end(&self) -> usize {
        self.pieces
            .last()
            .map_or(0, |&(at, source)| source + (self.text.len() - at))
    }
}

impl Borrow<str> for Excerpt {
    fn borrow(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_survive_cutting_and_joining() {
        let whole = Excerpt::new("one [two|three] four");
        let mut cut = whole.slice(0..4);
        cut.push(&whole, 9..14);
        cut.push(&whole, 15..20);
        assert_eq!(cut.as_str(), "one three four");
        assert_eq!(cut.span(0..3), 0..3);
        assert_eq!(cut.span(4..9), 9..14);
        assert_eq!(cut.span(2..6), 2..11);
        assert_eq!(cut.span(14..14), 20..20);
        let again = cut.slice(3..10);
        assert_eq!((again.as_str(), again.span(1..6)), (" three ", 9..14));
        assert_eq!(again.slice(0..0), Excerpt::default());
        assert_eq!(Excerpt::new("").span(0..0), 0..0);
    }
}
