//! Finds the groups of a prompt, in one pass and without recursion.

use std::ops::Range;

use super::items::{Group, GroupKind, Item, ItemKind, When};

/// No tree: the whole prompt is text.
pub(super) struct Unparsable;

/// A pair of brackets; `kind` is none for as long as it may be text.
struct Pair {
    round: bool,
    bars: bool,
    kind: Option<GroupKind>,
    separators: Vec<usize>,
}

pub(super) struct Parser<'a> {
    text: &'a str,
    items: Vec<Item>,
    pairs: Vec<Pair>,
    /// The open pairs, outermost first.
    stack: Vec<usize>,
}

impl<'a> Parser<'a> {
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            items: Vec::new(),
            pairs: Vec::new(),
            stack: Vec::new(),
        }
    }

    fn push(&mut self, span: Range<usize>, kind: ItemKind) -> usize {
        if let (
            ItemKind::Text,
            Some(Item {
                span: last,
                kind: ItemKind::Text,
            }),
        ) = (kind, self.items.last_mut())
        {
            last.end = span.end;
        } else {
            self.items.push(Item { span, kind });
        }
        self.items.len() - 1
    }

    pub fn parse(mut self) -> Result<(Vec<Item>, Vec<Group>), Unparsable> {
        let mut chars = self.text.char_indices();
        while let Some((at, c)) = chars.next() {
            let end = at + c.len_utf8();
            match c {
                '\\' => match chars.next() {
                    None | Some((_, '\n')) => return Err(Unparsable),
                    Some((next, escaped)) => drop(self.push(at..next + escaped.len_utf8(), ItemKind::Text)),
                },
                '(' | '[' => {
                    self.push(at..end, ItemKind::Open(self.pairs.len()));
                    self.stack.push(self.pairs.len());
                    self.pairs.push(Pair {
                        round: c == '(',
                        bars: false,
                        kind: None,
                        separators: Vec::new(),
                    });
                }
                ')' | ']' => self.close(at, c == ')')?,
                ':' | '|' => match self.stack.last().copied() {
                    None if c == '|' => return Err(Unparsable),
                    None => drop(self.push(at..end, ItemKind::Text)),
                    Some(pair) => {
                        let item = self.push(at..end, ItemKind::Separator(pair));
                        let pair = &mut self.pairs[pair];
                        pair.bars |= c == '|';
                        pair.separators.push(item);
                    }
                },
                _ => drop(self.push(at..end, ItemKind::Text)),
            }
        }
        self.give_up()?;
        Ok(self.finish())
    }

    fn close(&mut self, at: usize, round: bool) -> Result<(), Unparsable> {
        let kind = self.stack.last().and_then(|&top| self.kind(top, at, round));
        match (kind, self.stack.last().copied()) {
            (Some(kind), Some(top)) => {
                self.stack.pop();
                self.push(at..at + 1, ItemKind::Close(top));
                self.pairs[top].kind = Some(kind);
            }
            _ => {
                // This bracket is text, so none around it can be a group.
                self.give_up()?;
                self.push(at..at + 1, ItemKind::Text);
            }
        }
        Ok(())
    }

    /// The meaning of a pair that is closed here.
    fn kind(&self, pair: usize, at: usize, round: bool) -> Option<GroupKind> {
        let pair = &self.pairs[pair];
        let colons = pair
            .separators
            .iter()
            .filter(|&&s| &self.text[self.items[s].span.clone()] == ":")
            .count();
        match (pair.round, round) {
            (true, true) => (colons <= 1 && !pair.bars).then_some(GroupKind::Emphasis),
            (false, false) if pair.separators.is_empty() => Some(GroupKind::Emphasis),
            (false, false) if pair.bars => (colons == 0).then_some(GroupKind::Alternation),
            (false, false) if colons <= 2 => {
                let last = pair.separators[colons - 1];
                When::read(&self.text[self.items[last].span.end..at]).map(GroupKind::Edit)
            }
            _ => None,
        }
    }

    /// All open pairs are text.
    fn give_up(&mut self) -> Result<(), Unparsable> {
        let bars = self.stack.drain(..).any(|pair| self.pairs[pair].bars);
        if bars { Err(Unparsable) } else { Ok(()) }
    }

    /// Drops the pairs that mean nothing.
    fn finish(self) -> (Vec<Item>, Vec<Group>) {
        let mut index = vec![None; self.pairs.len()];
        let mut groups: Vec<Group> = Vec::new();
        let mut items: Vec<Item> = Vec::new();
        for item in self.items {
            let group = match item.kind {
                ItemKind::Text => None,
                ItemKind::Open(pair) => {
                    index[pair] = self.pairs[pair].kind.map(|kind| {
                        groups.push(Group {
                            kind,
                            open: items.len(),
                            separators: Vec::new(),
                            close: 0,
                        });
                        groups.len() - 1
                    });
                    index[pair]
                }
                ItemKind::Separator(pair) | ItemKind::Close(pair) => index[pair],
            };
            let kind = match (group, item.kind) {
                (None, _) | (_, ItemKind::Text) => ItemKind::Text,
                (Some(g), ItemKind::Open(_)) => ItemKind::Open(g),
                (Some(g), ItemKind::Separator(_)) => {
                    groups[g].separators.push(items.len());
                    ItemKind::Separator(g)
                }
                (Some(g), ItemKind::Close(_)) => {
                    groups[g].close = items.len();
                    ItemKind::Close(g)
                }
            };
            match items.last_mut() {
                Some(last) if kind == ItemKind::Text && last.kind == ItemKind::Text => {
                    last.span.end = item.span.end
                }
                _ => items.push(Item {
                    span: item.span,
                    kind,
                }),
            }
        }
        (items, groups)
    }
}
