//! The pieces of a prompt that changes with the steps: text, groups of brackets, and the numbers of edits.

use std::ops::Range;

use super::chars::is_space;

/// The number of steps, and the meaning of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// Calls of the first pass: its steps, doubled for samplers that make two calls a step.
    pub base: usize,
    /// Calls of the second pass, if it is the one that the prompt is for.
    pub hires: Option<usize>,
    /// The numbers that are fractions.
    pub rule: TimeRule,
}

impl Steps {
    /// A single pass, by today's rule.
    pub fn new(base: usize) -> Self {
        Self {
            base,
            hires: None,
            rule: TimeRule::Current,
        }
    }

    fn offset(&self) -> (usize, bool) {
        match self.hires {
            Some(hires) if self.rule == TimeRule::Current => (hires, true),
            _ => (self.base, false),
        }
    }

    /// The calls of the pass that the prompt is for.
    pub fn count(&self) -> usize {
        self.offset().0
    }
}

/// The numbers that are fractions of the steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TimeRule {
    /// Those with a point. In a second pass fractions from 1 on and steps from the first pass's number on are meant for it.
    #[default]
    Current,
    /// Those under 1 (before version 1.6 of the WebUI), for either pass.
    Before16,
}

/// The number of an edit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct When {
    /// As written.
    pub value: f64,
    /// Whether it is written with a point.
    pub point: bool,
}

impl When {
    /// The last step, counted from 1, that the text before the change holds for; under 1 there is none.
    pub fn last_step(&self, steps: &Steps) -> i64 {
        let (count, second) = steps.offset();
        let n = count as f64;
        let fraction = match steps.rule {
            TimeRule::Current => self.point,
            TimeRule::Before16 => self.value < 1.0,
        };
        let at = match (fraction, second) {
            (true, true) => (self.value - 1.0) * n,
            (true, false) => self.value * n,
            (false, true) => self.value - steps.base as f64,
            (false, false) => self.value,
        };
        (at as i64).min(count as i64)
    }

    /// `text` with white space around one number, and nothing else.
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = text.trim_matches(is_space);
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let fits = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
        // Rust's floats are written like these, and "inf" and "nan" are no numbers here.
        if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') || !text.chars().all(fits) {
            return None;
        }
        let value = text.parse().ok()?;
        Some(Self {
            value,
            point: text.contains('.'),
        })
    }
}

/// The meaning of a pair of brackets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GroupKind {
    /// `(a)`, `(a:b)`, `[a]`: left for emphasis.
    Emphasis,
    /// `[from:to:when]` or `[to:when]`.
    Edit(When),
    /// `[a|b|..]`.
    Alternation,
}

/// A pair of brackets with a meaning. Its parts lie between `open`, the separators and `close`; an edit's last part is its number.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Its meaning.
    pub kind: GroupKind,
    /// The item that opens it.
    pub open: usize,
    /// The items that separate its parts.
    pub separators: Vec<usize>,
    /// The item that closes it.
    pub close: usize,
}

/// The kind of an item; groups are given by their index in [`Tree::groups`](super::Tree::groups).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemKind {
    /// Text, escapes included.
    Text,
    /// The bracket that opens a group.
    Open(usize),
    /// A colon or bar of a group.
    Separator(usize),
    /// The bracket that closes a group.
    Close(usize),
}

/// A stretch of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its place in the tree's text, in bytes.
    pub span: Range<usize>,
    /// Its kind.
    pub kind: ItemKind,
}
