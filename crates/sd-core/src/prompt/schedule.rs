//! Prompt editing `[from:to:when]` and alternation `[a|b]`: which text holds at which step.
//!
//! The WebUI reads this language with a parser that tries everything. What it finds is this: a group is a pair of brackets whose
//! inside is made of text and groups only, and that has one of the forms below; any other bracket, and any colon outside of
//! groups, is text. A bar outside of an alternation, or a backslash with nothing to escape, makes the whole prompt text. Where it
//! hesitates (a group within brackets that are text, `[[a]:[b:3]:x]`), it decides by chance; here a group is a group.

use std::{collections::BTreeSet, fmt};

use super::{
    Excerpt,
    groups::{Parser, Unparsable},
    items::{Group, GroupKind, Item, ItemKind, Steps},
};

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
