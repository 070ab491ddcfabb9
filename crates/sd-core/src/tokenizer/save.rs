//! A tokenizer as files.

use serde_json::{Map, Value, json};
use tokenizers::AddedToken;

use super::{
    OPEN_CLIP_PADDING, TokenizerFiles, embedded,
    parts::{Names, Parts},
    special_and_added,
};
use crate::Result;

/// A tokenizer as the files that a folder has.
pub(crate) struct SavedTokenizer {
    /// `tokenizer.json`, if it had one.
    pub json: Option<String>,
    /// `vocab.json`.
    pub vocab: String,
    /// `merges.txt`.
    pub merges: String,
    names: Map<String, Value>,
    /// Added tokens by id, as `tokenizer_config.json` has them.
    added: Map<String, Value>,
    /// `added_tokens.json`: those that the vocabulary lacks.
    new: Map<String, Value>,
    /// Whether its normalizers are CLIP's.
    clip: bool,
    /// Tokens of the longest text, start and end included.
    length: usize,
}

impl SavedTokenizer {
    /// CLIP's own, for texts of `length` tokens, or the same with OpenCLIP's padding.
    pub fn embedded(length: usize, open_clip: bool) -> Self {
        let parts = embedded::parts(open_clip.then_some(OPEN_CLIP_PADDING));
        Self::new(&TokenizerFiles::default(), &parts, length)
    }

    /// One that was read from files.
    ///
    /// # Errors
    /// As [`ClipTokenizer::from_files`](super::ClipTokenizer::from_files).
    pub fn of_files(origin: &str, files: &TokenizerFiles, length: usize) -> Result<Self> {
        Ok(Self::new(files, &files.parts(origin)?, length))
    }

    fn new(files: &TokenizerFiles, parts: &Parts, length: usize) -> Self {
        // What an older writer said stays as it was said.
        let plain = files.tokenizer.is_none();
        let stated = |text: &Option<String>| text.clone().filter(|_| plain);
        let names = names(&parts.names, parts.pad());
        let mut all = special_and_added(parts);
        if parts.added.is_empty() {
            // The names say it all.
            all.clear();
        }
        let new = all
            .iter()
            .filter(|(_, token)| !parts.vocab.contains_key(&token.content));
        Self {
            json: files.tokenizer.clone(),
            vocab: stated(&files.vocab).unwrap_or_else(|| vocab_text(parts)),
            merges: stated(&files.merges).unwrap_or_else(|| merges_text(parts)),
            names,
            new: new
                .map(|(id, token)| (token.content.clone(), (*id).into()))
                .collect(),
            added: all
                .iter()
                .map(|(id, token)| (id.to_string(), described(token)))
                .collect(),
            clip: parts.clip_normalizers,
            length,
        }
    }

    /// `special_tokens_map.json` with the added tokens in it, which only a reader of this project looks for there.
    pub fn special_tokens(&self) -> String {
        let mut special = self.names.clone();
        if !self.added.is_empty() {
            special.insert("added_tokens_decoder".into(), self.added.clone().into());
        }
        Value::Object(special).to_string()
    }

    /// The class of the tokenizer in transformers: CLIPTokenizer has normalizers of its own, whatever `tokenizer.json` says.
    pub fn class(&self) -> &'static str {
        match self.clip {
            true => "CLIPTokenizer",
            false => "PreTrainedTokenizerFast",
        }
    }

    /// All files, by name.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        let mut config = self.names.clone();
        config.insert("tokenizer_class".into(), self.class().into());
        config.insert("do_lower_case".into(), true.into());
        config.insert("add_prefix_space".into(), false.into());
        config.insert("errors".into(), "replace".into());
        config.insert("model_max_length".into(), self.length.into());
        if !self.added.is_empty() {
            config.insert("added_tokens_decoder".into(), self.added.clone().into());
        }
        let mut files = vec![
            ("vocab.json", self.vocab.clone()),
            ("merges.txt", self.merges.clone()),
            ("special_tokens_map.json", pretty(&self.names)),
            ("tokenizer_config.json", pretty(&config)),
        ];
        if !self.new.is_empty() {
            files.push(("added_tokens.json", pretty(&self.new)));
        }
        files.extend(self.json.clone().map(|json| (TokenizerFiles::JSON, json)));
        files
    }
}

fn names(names: &Names, pad: &str) -> Map<String, Value> {
    let pairs = [
        ("bos_token", names.start()),
        ("eos_token", names.end()),
        ("pad_token", pad),
        ("unk_token", names.unknown()),
    ];
    pairs
        .into_iter()
        .map(|(name, token)| (name.to_owned(), token.into()))
        .collect()
}

fn described(token: &AddedToken) -> Value {
    json!({
        "content": token.content,
        "lstrip": token.lstrip,
        "normalized": token.normalized,
        "rstrip": token.rstrip,
        "single_word": token.single_word,
        "special": token.special,
    })
}

fn vocab_text(parts: &Parts) -> String {
    let mut tokens: Vec<(&String, &u32)> = parts.vocab.iter().collect();
    tokens.sort_unstable_by_key(|&(token, id)| (id, token));
    let pair = |(token, id): (&String, &u32)| format!("{}: {id}", Value::from(token.as_str()));
    let pairs: Vec<String> = tokens.into_iter().map(pair).collect();
    format!("{{{}}}", pairs.join(", "))
}

fn merges_text(parts: &Parts) -> String {
    // transformers passes over the first line, whatever it is.
    let mut text = String::from("#version: 0.2\n");
    for (a, b) in &parts.merges {
        text.extend([a.as_str(), " ", b.as_str(), "\n"]);
    }
    text
}

fn pretty(json: &Map<String, Value>) -> String {
    format!("{:#}\n", Value::Object(json.clone()))
}
