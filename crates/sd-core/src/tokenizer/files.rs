//! The files of a tokenizer: those of older writers, and the one that transformers 5 writes.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use tokenizers::{AddedToken, NormalizerWrapper, models::bpe::Vocab};

use super::{END, START, json};
use crate::{Error, Result, error::shown, weights::Folder};

/// The contents of a tokenizer's files, by their names in a folder.
#[derive(Debug, Clone, Default)]
pub struct TokenizerFiles {
    /// `tokenizer.json`, which says all that `vocab.json`, `merges.txt` and `added_tokens.json` say; these are then passed over but for
    /// added tokens.
    pub tokenizer: Option<String>,
    /// `vocab.json`.
    pub vocab: Option<String>,
    /// `merges.txt`.
    pub merges: Option<String>,
    /// `added_tokens.json`.
    pub added_tokens: Option<String>,
    /// `special_tokens_map.json`; in what it says it comes before `tokenizer_config.json`.
    pub special_tokens_map: Option<String>,
    /// `tokenizer_config.json`.
    pub tokenizer_config: Option<String>,
}

impl TokenizerFiles {
    /// The name of the file that transformers 5 writes.
    pub(crate) const JSON: &str = "tokenizer.json";
    const NAMES: [&str; 6] = [
        Self::JSON,
        "vocab.json",
        "merges.txt",
        "added_tokens.json",
        "special_tokens_map.json",
        "tokenizer_config.json",
    ];

    /// Those of a tokenizer's folder, or of a pipeline's, or a `tokenizer.json` by itself.
    ///
    /// # Errors
    /// [`Error::Io`] if there is no such folder or file, [`Error::Malformed`] if it is no text.
    pub fn open(path: &Path) -> Result<Self> {
        if !std::fs::metadata(path).map_err(|e| Error::io(path, e))?.is_dir() {
            // A file's folder and its name.
            let folder = Folder::Disk(path.parent().unwrap_or(Path::new("")).to_owned());
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            return Ok(Self {
                tokenizer: Some(folder.text(&name)?),
                ..Self::default()
            });
        }
        let folder = Folder::Disk(path.to_owned());
        let inner = if Self::are_in(&folder, "tokenizer/") {
            "tokenizer/"
        } else {
            ""
        };
        Self::of_folder(&folder, inner)
    }

    /// Whether a folder has any of them; `inner` is where in it, "" or with a slash at its end.
    pub(crate) fn are_in(folder: &Folder, inner: &str) -> bool {
        Self::NAMES
            .iter()
            .any(|name| folder.has(&format!("{inner}{name}")))
    }

    /// Those of a folder, as [`TokenizerFiles::are_in`] finds them.
    pub(crate) fn of_folder(folder: &Folder, inner: &str) -> Result<Self> {
        let text = |name: &str| {
            let name = format!("{inner}{name}");
            folder.has(&name).then(|| folder.text(&name)).transpose()
        };
        let [tokenizer, vocab, merges, added, special, config] = Self::NAMES;
        Ok(Self {
            tokenizer: text(tokenizer)?,
            vocab: text(vocab)?,
            merges: text(merges)?,
            added_tokens: text(added)?,
            special_tokens_map: text(special)?,
            tokenizer_config: text(config)?,
        })
    }

    /// What they say together.
    pub(super) fn parts(&self, origin: &str) -> Result<Parts> {
        let fail = |name: &str, reason: String| Error::Tokenizer {
            origin: origin.to_owned(),
            reason: format!("{name}: {reason}"),
        };
        let mut parts = match &self.tokenizer {
            Some(text) => json::parts(text).map_err(|e| fail(Self::JSON, e))?,
            None => self.plain(&fail)?,
        };
        check_merges(&parts.vocab, &parts.merges).map_err(|e| fail("merges", e))?;
        let mut named = Vec::new();
        for (name, text) in [
            ("special_tokens_map.json", &self.special_tokens_map),
            ("tokenizer_config.json", &self.tokenizer_config),
        ] {
            let Some(text) = text else { continue };
            let special: Special = read(text).map_err(|e| fail(name, e))?;
            if special
                .tokenizer_class
                .is_some_and(|class| class.starts_with("CLIPTokenizer"))
            {
                // transformers 5 makes these itself then, whatever `tokenizer.json` says.
                parts.normalizers = json::clip_normalizers();
                parts.clip_normalizers = true;
            }
            let names = &mut parts.names;
            for (to, from) in [
                (&mut names.start, special.bos_token),
                (&mut names.end, special.eos_token),
                (&mut names.unknown, special.unk_token),
                (&mut names.pad, special.pad_token),
            ] {
                if to.is_none() {
                    *to = from.map(|token| token.content().to_owned());
                }
            }
            for (id, token) in special.added_tokens_decoder {
                let id = id
                    .parse::<u32>()
                    .map_err(|e| fail(name, format!("added_tokens_decoder: {e}")))?;
                parts.add(id, token.added()).map_err(|e| fail(name, e))?;
            }
            named.extend(special.additional_special_tokens.tokens());
            named.extend(special.extra_special_tokens.tokens());
        }
        if let Some(text) = &self.added_tokens {
            let fail = |reason| fail("added_tokens.json", reason);
            let added: BTreeMap<String, u32> = read(text).map_err(&fail)?;
            for (token, id) in added {
                // It says of none whether it is special; those that are named are.
                let special = parts.names.has(&token) || named.iter().any(|other| other.content() == token);
                parts.add(id, AddedToken::from(token, special)).map_err(&fail)?;
            }
        }
        // Tokens that are named and have no id yet get the next ones, as from transformers.
        for token in named {
            let token = AddedToken::from(token.content().to_owned(), true).normalized(false);
            let id = parts.id(&token.content).unwrap_or(parts.next_id());
            parts.add(id, token).map_err(|e| fail("special tokens", e))?;
        }
        Ok(parts)
    }

    fn plain(&self, fail: &dyn Fn(&str, String) -> Error) -> Result<Parts> {
        let text = |name: &str, text: &Option<String>| {
            let missing = "is missing, and so is tokenizer.json; one of them must say which tokens there are";
            text.clone().ok_or_else(|| fail(name, missing.into()))
        };
        let vocab = text("vocab.json", &self.vocab)?;
        let vocab = read(&vocab).map_err(|e| fail("vocab.json", e))?;
        let merges = parse_merges(&text("merges.txt", &self.merges)?).map_err(|e| fail("merges.txt", e))?;
        Ok(Parts {
            vocab,
            merges,
            ..Parts::default()
        })
    }
}

/// What a tokenizer is made of.
pub(super) struct Parts {
    pub vocab: Vocab,
    pub merges: Vec<(String, String)>,
    /// Tokens that are found before texts are split into words, by content, with their ids.
    pub added: BTreeMap<String, (u32, AddedToken)>,
    pub names: Names,
    /// The padding token where nothing else names one.
    pub padding: Option<String>,
    /// What texts go through first, in this order.
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
            normalizers: json::clip_normalizers(),
            clip_normalizers: true,
        }
    }
}

impl Parts {
    /// Adds a token, which must not have another id already.
    pub fn add(&mut self, id: u32, token: AddedToken) -> std::result::Result<(), String> {
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

    fn next_id(&self) -> u32 {
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

    fn has(&self, token: &str) -> bool {
        let all = [&self.start, &self.end, &self.unknown, &self.pad];
        all.into_iter().any(|name| name.as_deref() == Some(token))
    }
}

/// `special_tokens_map.json` and `tokenizer_config.json`.
#[derive(Deserialize)]
struct Special {
    tokenizer_class: Option<String>,
    bos_token: Option<Token>,
    eos_token: Option<Token>,
    unk_token: Option<Token>,
    pad_token: Option<Token>,
    #[serde(default)]
    additional_special_tokens: Tokens,
    #[serde(default)]
    extra_special_tokens: Tokens,
    #[serde(default)]
    added_tokens_decoder: BTreeMap<String, Token>,
}

/// A token as transformers' files give it.
#[derive(Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a token as a string, or as an object with its content"
)]
enum Token {
    Text(String),
    Object {
        content: String,
        #[serde(default)]
        single_word: bool,
        #[serde(default)]
        lstrip: bool,
        #[serde(default)]
        rstrip: bool,
        normalized: Option<bool>,
        #[serde(default)]
        special: bool,
    },
}

impl Token {
    fn content(&self) -> &str {
        match self {
            Self::Text(content) | Self::Object { content, .. } => content,
        }
    }

    fn added(self) -> AddedToken {
        match self {
            Self::Text(content) => AddedToken::from(content, false),
            Self::Object {
                content,
                single_word,
                lstrip,
                rstrip,
                normalized,
                special,
            } => AddedToken::from(content, special)
                .single_word(single_word)
                .lstrip(lstrip)
                .rstrip(rstrip)
                .normalized(normalized.unwrap_or(!special)),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a list of tokens")]
enum Tokens {
    List(Vec<Token>),
    Named(BTreeMap<String, Token>),
    Null(()),
}

impl Default for Tokens {
    fn default() -> Self {
        Self::Null(())
    }
}

impl Tokens {
    fn tokens(self) -> Vec<Token> {
        match self {
            Self::List(tokens) => tokens,
            Self::Named(tokens) => tokens.into_values().collect(),
            Self::Null(()) => Vec::new(),
        }
    }
}

/// JSON; errors say where in it something is wrong.
pub(super) fn read<'de, T: Deserialize<'de>>(text: &'de str) -> std::result::Result<T, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|e| e.to_string())?;
    json.end().map_err(|e| e.to_string())?;
    Ok(value)
}

/// Merges, one a line, two symbols each; a first line that begins with "#version" is skipped.
pub(super) fn parse_merges(text: &str) -> std::result::Result<Vec<(String, String)>, String> {
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

/// Both symbols of every merge, and what they make, must be tokens: the BPE model relies on it.
fn check_merges(vocab: &Vocab, merges: &[(String, String)]) -> std::result::Result<(), String> {
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
