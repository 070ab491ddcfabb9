//! Prompt editing `[from:to:when]` and alternation `[a|b]`: which text holds at which step.
//!
//! The WebUI reads this language with a parser that tries everything. What it finds is this: a group is a pair of brackets whose
//! inside is made of text and groups only, and that has one of the forms below; any other bracket, and any colon outside of
//! groups, is text. A bar outside of an alternation, or a backslash with nothing to escape, makes the whole prompt text. Where it
//! hesitates (a group within brackets that are text, `[[a]:[b:3]:x]`), it decides by chance; here a group is a group.

use std::{collections::BTreeSet, fmt, ops::Range};

use super::{
    Excerpt,
    chars::is_space,
    groups::{Parser, Unparsable},
};

/// How many steps there are, and how numbers are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// Calls of the first pass: its steps, doubled for samplers that make two calls a step.
    pub base: usize,
    /// Calls of the second pass, if it is the one that the prompt is for.
    pub hires: Option<usize>,
    /// Which numbers are fractions.
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

/// Which numbers are fractions of the steps.
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

/// What a pair of brackets means.
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
    /// What it means.
    pub kind: GroupKind,
    /// Which item opens it.
    pub open: usize,
    /// Which items separate its parts.
    pub separators: Vec<usize>,
    /// Which item closes it.
    pub close: usize,
}

/// What an item is; groups are given by their index in [`Tree::groups`].
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
    /// Where in the tree's text, in bytes.
    pub span: Range<usize>,
    /// What it is.
    pub kind: ItemKind,
}

/// A prompt's groups. Kept flat, in the order of the text, so that no depth of brackets can exhaust a stack; items follow upon
/// one another without a gap, and printing a tree gives its text.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    text: Excerpt,
    items: Vec<Item>,
    groups: Vec<Group>,
}

/// A text and the last step, counted from 1, that it holds for.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// The last step.
    pub end: usize,
    /// The text.
    pub text: Excerpt,
}

impl Tree {
    /// Reads a prompt, in time linear in its length.
    pub fn parse(text: Excerpt) -> Self {
        match Parser::new(text.as_str()).parse() {
            Ok((items, groups)) => Self { text, items, groups },
            Err(Unparsable) => Self::plain(text),
        }
    }

    /// A text in which nothing has a meaning.
    pub fn plain(text: Excerpt) -> Self {
        let all = Item {
            span: 0..text.len(),
            kind: ItemKind::Text,
        };
        Self {
            items: if text.is_empty() { vec![] } else { vec![all] },
            groups: vec![],
            text,
        }
    }

    /// The text that was read.
    pub fn text(&self) -> &Excerpt {
        &self.text
    }

    /// All there is, in the order of the text.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The groups, in the order of their opening brackets.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The texts of all steps, the last of which ends at `steps.count()`. Made one by one: all of them may be much longer than the
    /// prompt.
    pub fn variants(&self, steps: &Steps) -> impl Iterator<Item = Variant> + '_ {
        let count = steps.count();
        let mut ends = BTreeSet::from([count]);
        for group in &self.groups {
            match group.kind {
                GroupKind::Emphasis => {}
                GroupKind::Alternation => ends.extend(1..=count),
                GroupKind::Edit(when) => {
                    ends.extend(usize::try_from(when.last_step(steps)).ok().filter(|&s| s >= 1))
                }
            }
        }
        let steps = *steps;
        ends.into_iter().map(move |end| Variant {
            end,
            text: self.at(end, &steps),
        })
    }

    /// The text of a step, counted from 1.
    pub fn at(&self, step: usize, steps: &Steps) -> Excerpt {
        let mut out = Excerpt::default();
        let mut i = 0;
        while let Some(item) = self.items.get(i) {
            let group = match item.kind {
                ItemKind::Text => None,
                ItemKind::Open(g) | ItemKind::Separator(g) | ItemKind::Close(g) => Some(&self.groups[g]),
            };
            i = match (group, item.kind) {
                (None, _)
                | (
                    Some(Group {
                        kind: GroupKind::Emphasis,
                        ..
                    }),
                    _,
                ) => {
                    out.push(&self.text, item.span.clone());
                    i + 1
                }
                // Whichever part was chosen ends here.
                (Some(group), ItemKind::Separator(_) | ItemKind::Close(_)) => group.close + 1,
                (Some(group), _) => {
                    let part = match group.kind {
                        GroupKind::Edit(when) => {
                            let after = group.separators.len() - 1;
                            if step as i64 > when.last_step(steps) {
                                Some(after)
                            } else {
                                after.checked_sub(1)
                            }
                        }
                        _ => Some(step.saturating_sub(1) % (group.separators.len() + 1)),
                    };
                    match part {
                        Some(0) => i + 1,
                        Some(part) => group.separators[part - 1] + 1,
                        None => group.close + 1,
                    }
                }
            };
        }
        out
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text.as_str();
        self.items
            .iter()
            .try_for_each(|item| f.write_str(&text[item.span.clone()]))
    }
}
