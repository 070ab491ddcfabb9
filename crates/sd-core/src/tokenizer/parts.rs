//! The parts of a tokenizer, whichever files they come from.

use std::collections::BTreeMap;

use serde::Deserialize;
use tokenizers::{
    AddedToken, NormalizerWrapper,
    models::bpe::Vocab,
    normalizers::{Lowercase, NFC, Replace, replace::ReplacePattern},
};

use super::{END, START};
use crate::error::shown;

/// The white space that CLIP's tokenizers make one space.
pub(super) const SPACES: &str = r"\s+";

/// The parts of a tokenizer.
pub(super) struct Parts {
    pub vocab: Vocab,
    pub merges: Vec<(String, String)>,
    /// Tokens that are found before texts are split into words, by content, with their ids.
    pub added: BTreeMap<String, (u32, AddedToken)>,
    pub names: Names,
    /// The padding token where nothing else names one.
    pub padding: Option<String>,
    /// The normalizers that texts go through first, in this order.
    pub normalizers: Vec<NormalizerWrapper>,
    /// Whether these are CLIP's.
    pub clip_normalizers: bool,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            vocab: Vocab::default(),
            merges: Vec::new(),
            added: BTreeMap::new(),
            names: Names::default(),
            padding: None,
            normalizers: clip_normalizers(),
            clip_normalizers: true,
        }
    }
}

impl Parts {
    /// Adds a token, which must not have another id already.
    pub fn add(&mut self, id: u32, token: AddedToken) -> Result<(), String> {
        if token.content.is_empty() {
            return Err(format!("the added token {id} is empty"));
        }
        if let Some(other) = self.id(&token.content).filter(|&other| other != id) {
            let content = shown(&token.content);
            return Err(format!("'{content}' has the id {id}, but {other} elsewhere"));
        }
        self.added.entry(token.content.clone()).or_insert((id, token));
        Ok(())
    }

    pub fn id(&self, token: &str) -> Option<u32> {
        let added = self.added.get(token).map(|&(id, _)| id);
        added.or_else(|| self.vocab.get(token).copied())
    }

    /// The token that fills a sequence up to its length.
    pub fn pad(&self) -> &str {
        let pad = self.names.pad.as_deref().or(self.padding.as_deref());
        pad.unwrap_or(END)
    }

    /// Whether texts are lower-cased.
    pub fn lowers(&self) -> bool {
        let mut normalizers = self.normalizers.iter();
        normalizers.any(|normalizer| matches!(normalizer, NormalizerWrapper::Lowercase(_)))
    }

    /// One more than the highest id.
    pub fn size(&self) -> usize {
        let added = self.added.values().map(|&(id, _)| id);
        let ids = self.vocab.values().copied().chain(added);
        ids.max().map_or(0, |id| id as usize + 1)
    }

    pub fn next_id(&self) -> u32 {
        u32::try_from(self.size()).unwrap_or(u32::MAX)
    }
}

/// Tokens with a task; `None` is CLIP's.
#[derive(Default)]
pub(super) struct Names {
    pub start: Option<String>,
    pub end: Option<String>,
    pub unknown: Option<String>,
    pub pad: Option<String>,
}

impl Names {
    pub fn start(&self) -> &str {
        self.start.as_deref().unwrap_or(START)
    }

    pub fn end(&self) -> &str {
        self.end.as_deref().unwrap_or(END)
    }

    pub fn unknown(&self) -> &str {
        self.unknown.as_deref().unwrap_or(END)
    }

    pub fn has(&self, token: &str) -> bool {
        let all = [&self.start, &self.end, &self.unknown, &self.pad];
        all.into_iter().any(|name| name.as_deref() == Some(token))
    }
}

/// CLIP's normalizers, which compose characters, make white space one space, and lower-case.
pub(super) fn clip_normalizers() -> Vec<NormalizerWrapper> {
    let spaces = Replace::new(ReplacePattern::Regex(SPACES.into()), " ").expect("the pattern is one");
    vec![NFC.into(), spaces.into(), Lowercase.into()]
}

/// JSON; errors say where in it something is wrong.
pub(super) fn read<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|e| e.to_string())?;
    json.end().map_err(|e| e.to_string())?;
    Ok(value)
}

/// Merges, one a line, two symbols each; a first line that begins with "#version" is skipped.
pub(super) fn parse_merges(text: &str) -> Result<Vec<(String, String)>, String> {
    let lines = text.lines().enumerate();
    let merges = lines.filter(|(_, line)| !line.starts_with("#version") && !line.trim().is_empty());
    merges
        .map(|(i, line)| {
            let pair = line
                .split_once(' ')
                .map(|(a, b)| (a.to_owned(), b.trim_end().to_owned()));
            pair.ok_or_else(|| format!("line {}: expected two symbols", i + 1))
        })
        .collect()
}

/// No token may begin with white space that another one takes away (`rstrip`): the tokenizers crate would cut the text at a place
/// behind which it is already.
pub(super) fn check_added(parts: &Parts) -> Result<(), String> {
    let mut added = parts.added.values().map(|(_, token)| token);
    let Some(taking) = added.clone().find(|token| token.rstrip) else {
        return Ok(());
    };
    match added.find(|token| token.content.starts_with(char::is_whitespace)) {
        None => Ok(()),
        Some(token) => Err(format!(
            "'{}' begins with white space, which belongs to '{}' where it stands before it (rstrip)",
            shown(&token.content),
            shown(&taking.content)
        )),
    }
}

/// Both symbols of every merge, and what they make, must be tokens: the BPE model relies on it.
pub(super) fn check_merges(vocab: &Vocab, merges: &[(String, String)]) -> Result<(), String> {
    let lacks = |token: &str| !vocab.contains_key(token);
    for (a, b) in merges {
        let merged = format!("{a}{b}");
        if let Some(token) = [a, b, &merged].into_iter().find(|token| lacks(token)) {
            let pair = [a, b, token].map(|symbol| shown(symbol));
            return Err(format!(
                "the merge of '{}' and '{}' needs '{}', which the vocabulary lacks",
                pair[0], pair[1], pair[2]
            ));
        }
    }
    Ok(())
}
