//! Texts that are repaired first, as transformers' slow tokenizer reads them: added tokens are cut out, spelt exactly as they are; what
//! lies between is repaired, lower-cased and split into words.

use std::ops::Range;

use regex::Regex;
use tokenizers::{AddedToken, Model, ModelWrapper, Result};

use super::{Names, json::WORDS, symbols};
use crate::repair::{Char, repaired};

pub struct Repaired {
    /// Added tokens, of those that begin at one place the longest first.
    added: Regex,
    tokens: Vec<(u32, AddedToken)>,
    /// Words, start and end token among them.
    words: Regex,
    special: [(String, u32); 2],
    /// Whether words are lower-cased, as CLIP's are.
    lower: bool,
}

impl Repaired {
    pub fn new(names: &Names, added: &[(u32, AddedToken)], lower: bool) -> Result<Self> {
        let mut tokens = added.to_vec();
        tokens.sort_by_key(|(_, token)| std::cmp::Reverse(token.content.len()));
        let alternatives: Vec<String> = tokens
            .iter()
            .map(|(_, token)| regex::escape(&token.content))
            .collect();
        let [start, end] = [names.start(), names.end()];
        let id = |name: &str| {
            let found = tokens.iter().find(|(_, token)| token.content == name);
            found.map_or(0, |&(id, _)| id)
        };
        Ok(Self {
            added: Regex::new(&alternatives.join("|"))?,
            words: Regex::new(&format!(
                "(?i){}|{}|{WORDS}",
                regex::escape(start),
                regex::escape(end)
            ))?,
            special: [(start.to_owned(), id(start)), (end.to_owned(), id(end))],
            tokens,
            lower,
        })
    }

    /// Whether words are lower-cased.
    pub fn lowers(&self) -> bool {
        self.lower
    }

    pub fn encode(&self, model: &ModelWrapper, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
        let mut out = Vec::new();
        let mut at = 0;
        for found in self.added.find_iter(text) {
            let token = self
                .tokens
                .iter()
                .find(|(_, token)| token.content == found.as_str());
            let Some((id, token)) = token else { continue };
            if token.single_word && !stands_alone(text, found.range()) {
                continue;
            }
            self.words_of(model, &text[at..found.start()], at, &mut out)?;
            out.push((*id, found.range()));
            at = found.end();
        }
        self.words_of(model, &text[at..], at, &mut out)?;
        Ok(out)
    }

    /// The ids of a text without added tokens, which stands at `begin`.
    fn words_of(
        &self,
        model: &ModelWrapper,
        text: &str,
        begin: usize,
        out: &mut Vec<(u32, Range<usize>)>,
    ) -> Result<()> {
        let lowered = Lowered::new(repaired(text), self.lower);
        for word in self.words.find_iter(&lowered.text) {
            if let Some((_, id)) = self.special.iter().find(|(name, _)| name == word.as_str()) {
                out.push((*id, lowered.span(word.range(), begin)));
                continue;
            }
            let bytes = word.as_str().bytes();
            let symbols: String = bytes.map(|byte| symbols::OF_BYTES[usize::from(byte)]).collect();
            let mut at = word.start();
            for token in model.tokenize(&symbols)? {
                // Each symbol is a byte.
                let length = symbols[token.offsets.0..token.offsets.1].chars().count();
                out.push((token.id, lowered.span(at..at + length, begin)));
                at += length;
            }
        }
        Ok(())
    }
}

/// A text, in lower case if it is to be, that knows where its characters come from.
struct Lowered {
    text: String,
    /// The range that each byte of the text comes from.
    origins: Vec<(usize, usize)>,
}

impl Lowered {
    fn new(chars: Vec<Char>, lower: bool) -> Self {
        let mut text: String = chars.iter().map(|char| char.c).collect();
        if lower {
            // All at once, since the last sigma of a word is another letter.
            text = text.to_lowercase();
        }
        let mut origins = Vec::with_capacity(text.len());
        let mut now = text.chars();
        for Char { c, start, end } in chars {
            let count = if lower { c.to_lowercase().count() } else { 1 };
            for c in now.by_ref().take(count) {
                origins.extend((0..c.len_utf8()).map(|_| (start, end)));
            }
        }
        Self { text, origins }
    }

    fn span(&self, range: Range<usize>, begin: usize) -> Range<usize> {
        begin + self.origins[range.start].0..begin + self.origins[range.end - 1].1
    }
}

/// Whether there is no letter or digit beside a part of a text.
fn stands_alone(text: &str, part: Range<usize>) -> bool {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    !text[..part.start].ends_with(in_word) && !text[part.end..].starts_with(in_word)
}
