//! BERT's tokenizer: words, cut into the longest pieces that a vocabulary has (Devlin et al. 2019, arXiv:1810.04805).

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::{
    AddedToken, Tokenizer,
    decoders::wordpiece::WordPiece as Joined,
    models::{bpe::Vocab, wordpiece::WordPiece},
    normalizers::BertNormalizer,
    pre_tokenizers::bert::BertPreTokenizer,
};

use super::parts::read;
use crate::{
    Error, Result,
    error::shown,
    weights::{Folder, in_part},
};

/// Splits texts into token ids as BERT's decoders expect them, and makes texts of ids.
pub struct BertTokenizer {
    inner: Tokenizer,
    origin: String,
    vocab_size: usize,
}

const UNKNOWN: &str = "[UNK]";
/// The beginning of a piece that goes on with a word.
const CONTINUED: &str = "##";
/// Longer words are unknown.
const LONGEST_WORD: usize = 100;
/// Tokens that are no words: they stand in no caption. The last two are BLIP's.
const SPECIAL: [&str; 7] = ["[PAD]", UNKNOWN, "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]"];

const JSON: &str = "tokenizer.json";
const VOCABULARY: &str = "vocab.txt";

/// How words are made of a text.
#[derive(Deserialize, Clone, Copy)]
#[serde(default)]
struct Words {
    clean_text: bool,
    #[serde(alias = "tokenize_chinese_chars")]
    handle_chinese_chars: bool,
    strip_accents: Option<bool>,
    #[serde(alias = "do_lower_case")]
    lowercase: bool,
}

impl Default for Words {
    fn default() -> Self {
        Self {
            clean_text: true,
            handle_chinese_chars: true,
            strip_accents: None,
            lowercase: true,
        }
    }
}

#[derive(Deserialize)]
struct File {
    model: Model,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    added_tokens: Vec<Added>,
}

#[derive(Deserialize)]
struct Model {
    r#type: Option<String>,
    vocab: Vocab,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    max_input_chars_per_word: Option<usize>,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
}

impl std::fmt::Debug for BertTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BertTokenizer({})", self.origin)
    }
}

impl BertTokenizer {
    /// A folder with `vocab.txt` or `tokenizer.json`, or one of the two by itself.
    ///
    /// # Errors
    /// [`Error::Io`] if there is no such folder or file, [`Error::Tokenizer`] if it makes no tokenizer of BERT's.
    pub fn open(path: &Path) -> Result<Self> {
        if std::fs::metadata(path).map_err(|e| Error::io(path, e))?.is_dir() {
            return Self::of_folder(&Folder::Disk(path.to_owned()), "");
        }
        let folder = Folder::Disk(path.parent().unwrap_or(Path::new("")).to_owned());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let (text, origin) = (folder.text(&name)?, path.display().to_string());
        match text.trim_start().starts_with('{') {
            true => Self::from_json(&text, &origin),
            false => Self::from_vocabulary(&text, &origin, Words::default()),
        }
    }

    /// The same of a folder that may be compiled in; `part` is where in it, "" for the folder itself.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn of_folder(folder: &Folder, part: &str) -> Result<Self> {
        let [json, vocabulary, config] =
            [JSON, VOCABULARY, "tokenizer_config.json"].map(|name| in_part(part, name));
        let origin = folder.origin(&vocabulary);
        // A tokenizer.json beside it may be that of another model.
        match (folder.has(&vocabulary), folder.has(&json)) {
            (true, _) => {}
            (false, true) => return Self::from_json(&folder.text(&json)?, &folder.origin(&json)),
            (false, false) => {
                return Err(fail(
                    &folder.origin(part),
                    "has neither vocab.txt nor tokenizer.json; put bert-base-uncased's vocab.txt beside the model, or name it".into(),
                ));
            }
        }
        let words = match folder.has(&config) {
            true => read(&folder.text(&config)?).map_err(|reason| Error::Tokenizer {
                origin: folder.origin(&config),
                reason,
            })?,
            false => Words::default(),
        };
        Self::from_vocabulary(&folder.text(&vocabulary)?, &origin, words)
    }

    /// From a vocabulary, one token a line.
    fn from_vocabulary(text: &str, origin: &str, words: Words) -> Result<Self> {
        let mut vocab = Vocab::default();
        for (id, token) in (0..).zip(text.lines()) {
            let token = token.trim_end().to_owned();
            if let Some(other) = vocab.insert(token.clone(), id) {
                let reason = format!("'{}' is in lines {} and {}", shown(&token), other + 1, id + 1);
                return Err(fail(origin, reason));
            }
        }
        Self::new(vocab, words, origin)
    }

    /// From a `tokenizer.json`, which is read and checked here: the tokenizers crate would take one that is anything else.
    fn from_json(text: &str, origin: &str) -> Result<Self> {
        let file: File = read(text).map_err(|reason| fail(origin, reason))?;
        let model = file.model;
        let berts = [
            ("type", model.r#type.is_none_or(|kind| kind == "WordPiece")),
            ("unk_token", model.unk_token.is_none_or(|token| token == UNKNOWN)),
            (
                "continuing_subword_prefix",
                model.continuing_subword_prefix.is_none_or(|p| p == CONTINUED),
            ),
            (
                "max_input_chars_per_word",
                model.max_input_chars_per_word.is_none_or(|n| n == LONGEST_WORD),
            ),
        ];
        if let Some((field, _)) = berts.iter().find(|(_, as_bert)| !as_bert) {
            let reason = format!("model.{field} is not that of BERT's tokenizer, which alone can be used");
            return Err(fail(origin, reason));
        }
        for (field, value, kind) in [
            ("normalizer", &file.normalizer, "BertNormalizer"),
            ("pre_tokenizer", &file.pre_tokenizer, "BertPreTokenizer"),
        ] {
            if value["type"] != kind {
                return Err(fail(
                    origin,
                    format!("{field} is no {kind}, which alone can be used"),
                ));
            }
        }
        let words: Words = serde_json::from_value(file.normalizer)
            .map_err(|error| fail(origin, format!("normalizer: {error}")))?;
        let mut vocab = model.vocab;
        for Added { id, content } in file.added_tokens {
            if let Some(other) = vocab.insert(content.clone(), id).filter(|other| *other != id) {
                let content = shown(&content);
                return Err(fail(
                    origin,
                    format!("'{content}' has the id {id}, but {other} elsewhere"),
                ));
            }
        }
        Self::new(vocab, words, origin)
    }

    fn new(vocab: Vocab, words: Words, origin: &str) -> Result<Self> {
        if !vocab.contains_key(UNKNOWN) {
            return Err(fail(origin, format!("the vocabulary lacks {UNKNOWN}")));
        }
        let vocab_size = vocab.values().max().map_or(0, |id| *id as usize + 1);
        let special: Vec<_> = SPECIAL
            .into_iter()
            .filter(|token| vocab.contains_key(*token))
            .map(|token| AddedToken::from(token, true).normalized(false))
            .collect();
        let failed = |error: tokenizers::Error| fail(origin, error.to_string());
        let model = WordPiece::builder()
            .vocab(vocab)
            .unk_token(UNKNOWN.into())
            .continuing_subword_prefix(CONTINUED.into())
            .max_input_chars_per_word(LONGEST_WORD)
            .build()
            .map_err(failed)?;
        let mut inner = Tokenizer::new(model);
        let normalizer = BertNormalizer::new(
            words.clean_text,
            words.handle_chinese_chars,
            words.strip_accents,
            words.lowercase,
        );
        inner.with_normalizer(Some(normalizer)).map_err(failed)?;
        inner.with_pre_tokenizer(Some(BertPreTokenizer));
        inner.with_decoder(Some(Joined::new(CONTINUED.into(), true)));
        inner.add_special_tokens(special).map_err(failed)?;
        Ok(Self {
            inner,
            origin: origin.to_owned(),
            vocab_size,
        })
    }

    /// The ids of a text, without tokens that open and close it.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the tokenizer fails, which no text should make it do.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false);
        Ok(encoding
            .map_err(|error| fail(&self.origin, error.to_string()))?
            .get_ids()
            .to_vec())
    }

    /// The text of these ids, without tokens that are no words; ids that the vocabulary lacks are left out.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the tokenizer fails, which no ids should make it do.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let text = self.inner.decode(ids, true);
        text.map_err(|error| fail(&self.origin, error.to_string()))
    }

    /// The id of a token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// One more than the highest id.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The file or folder it was read from.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

fn fail(origin: &str, reason: String) -> Error {
    Error::Tokenizer {
        origin: origin.to_owned(),
        reason,
    }
}
