//! The files of a tokenizer: those of older writers, and the one that transformers 5 writes.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use tokenizers::AddedToken;

use super::{
    json,
    parts::{Parts, check_added, check_merges, clip_normalizers, parse_merges, read},
};
use crate::{Error, Result, weights::Folder};

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
    /// `special_tokens_map.json`; its values come before those of `tokenizer_config.json`.
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

    /// The parts that they describe together.
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
                parts.normalizers = clip_normalizers();
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
                // The file doesn't say which tokens are special; those with a name of their own are.
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
        check_added(&parts).map_err(|e| fail("added tokens", e))?;
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
