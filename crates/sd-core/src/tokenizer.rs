//! CLIP's tokenizer: byte-pair encoding of lower-cased words (Radford et al. 2021, arXiv:2103.00020).

use std::{io::Read, ops::Range, path::Path};

use tokenizers::{
    AddedToken, Tokenizer,
    models::bpe::{BPE, Vocab},
    normalizers::{Lowercase, NFC, Replace, Sequence, replace::ReplacePattern},
    pre_tokenizers::{
        byte_level::ByteLevel,
        sequence::Sequence as PreSequence,
        split::{Split, SplitPattern},
    },
    tokenizer::SplitDelimiterBehavior,
};

use crate::{Error, Result, error::shown, weights::Folder};

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";

/// The files that may name the padding token, the first that does so wins.
const SPECIAL_FILES: [&str; 2] = ["special_tokens_map.json", "tokenizer_config.json"];

/// OpenAI CLIP's 48,894 merges (MIT, see NOTICE), one a line; the vocabulary follows from them.
static MERGES: &[u8] = include_bytes!("../data/clip_merges.txt.gz");

/// Splits texts into token ids as CLIP's text encoder expects them.
pub struct ClipTokenizer {
    inner: Tokenizer,
    origin: String,
    start: u32,
    end: u32,
    pad: u32,
    vocab_size: usize,
}

impl std::fmt::Debug for ClipTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClipTokenizer({})", self.origin)
    }
}

impl ClipTokenizer {
    /// The tokenizer of OpenAI's CLIP, with 49,408 tokens, compiled into this crate: for checkpoints that carry none.
    pub fn embedded() -> Self {
        let (vocab, merges) = embedded_vocab(&embedded_merges());
        Self::new("embedded".into(), vocab, merges, END).expect("the merges are part of this crate")
    }

    /// The same as the contents of `vocab.json` and `merges.txt`.
    pub(crate) fn embedded_files() -> (String, String) {
        let text = embedded_merges();
        let (vocab, _) = embedded_vocab(&text);
        let mut tokens: Vec<(String, u32)> = vocab.into_iter().collect();
        tokens.sort_unstable_by_key(|(_, id)| *id);
        let pair = |(token, id): &(String, u32)| format!("{}: {id}", serde_json::Value::from(token.as_str()));
        let pairs: Vec<String> = tokens.iter().map(pair).collect();
        // transformers passes over the first line, whatever it is.
        let header = if text.starts_with("#version") {
            ""
        } else {
            "#version: 0.2\n"
        };
        (format!("{{{}}}", pairs.join(", ")), format!("{header}{text}"))
    }

    /// A diffusers folder's own tokenizer: `vocab.json`, `merges.txt`, and for the padding token `special_tokens_map.json` or
    /// `tokenizer_config.json`.
    ///
    /// # Errors
    /// [`Error::Io`] if a file is missing, [`Error::Tokenizer`] if the files don't make a CLIP tokenizer.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        Self::read(&Folder::Disk(folder.to_owned()), "")
    }

    /// Like [`ClipTokenizer::from_folder`]; `inner` is where in the folder the files are, "" or with a slash at its end.
    pub(crate) fn read(folder: &Folder, inner: &str) -> Result<Self> {
        let text = |name: &str| folder.text(&format!("{inner}{name}"));
        let mut special = Vec::new();
        for name in SPECIAL_FILES {
            let there = folder.has(&format!("{inner}{name}"));
            special.push(there.then(|| text(name)).transpose()?);
        }
        Self::from_files(
            &folder.origin(inner),
            &text("vocab.json")?,
            &text("merges.txt")?,
            &special,
        )
    }

    /// Like [`ClipTokenizer::from_folder`], from the files' contents; `origin` names them in errors. `special` are the contents of the
    /// files that may name the padding token, in the order of their say.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if they don't make a CLIP tokenizer.
    pub fn from_files(origin: &str, vocab: &str, merges: &str, special: &[Option<String>]) -> Result<Self> {
        let fail = |reason: String| Error::Tokenizer {
            origin: origin.to_owned(),
            reason,
        };
        let vocab: Vocab = serde_json::from_str(vocab).map_err(|e| fail(format!("vocab.json: {e}")))?;
        let merges = parse_merges(merges).map_err(|e| fail(format!("merges.txt: {e}")))?;
        check_merges(&vocab, &merges).map_err(|e| fail(format!("merges.txt: {e}")))?;
        let mut pad = None;
        for json in special.iter().flatten() {
            let named = pad_token(json).map_err(|e| fail(format!("the special tokens' file: {e}")))?;
            pad = pad.or(named);
        }
        Self::new(origin.to_owned(), vocab, merges, pad.as_deref().unwrap_or(END))
    }

    fn new(origin: String, vocab: Vocab, merges: Vec<(String, String)>, pad: &str) -> Result<Self> {
        let fail = |reason: String| Error::Tokenizer {
            origin: origin.clone(),
            reason,
        };
        let id = |token: &str| {
            vocab
                .get(token)
                .copied()
                .ok_or_else(|| fail(format!("the vocabulary lacks {}", shown(token))))
        };
        let (start, end, pad) = (id(START)?, id(END)?, id(pad)?);
        let vocab_size = vocab.values().max().map_or(0, |&id| id as usize + 1);
        let bpe = BPE::builder()
            .vocab_and_merges(vocab, merges)
            .unk_token(END.into())
            .end_of_word_suffix("</w>".into())
            .build()
            .map_err(|e| fail(e.to_string()))?;
        let mut inner = Tokenizer::new(bpe);
        let spaces =
            Replace::new(ReplacePattern::Regex(r"\s+".into()), " ").map_err(|e| fail(e.to_string()))?;
        let normalizer = Sequence::new(vec![NFC.into(), spaces.into(), Lowercase.into()]);
        inner
            .with_normalizer(Some(normalizer))
            .map_err(|e| fail(e.to_string()))?;
        // CLIP's own pattern: contractions, runs of letters, single digits, runs of anything else but space.
        let words = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
        let words = Split::new(
            SplitPattern::Regex(words.into()),
            SplitDelimiterBehavior::Removed,
            true,
        )
        .map_err(|e| fail(e.to_string()))?;
        let bytes = ByteLevel::new(false, true, false);
        inner.with_pre_tokenizer(Some(PreSequence::new(vec![words.into(), bytes.into()])));
        // In a prompt these are what they say, spelt exactly so, as they are for transformers.
        let special = [START, END].map(|token| AddedToken::from(token, true).normalized(false));
        inner
            .add_special_tokens(special)
            .map_err(|e| fail(e.to_string()))?;
        Ok(Self {
            inner,
            origin,
            start,
            end,
            pad,
            vocab_size,
        })
    }

    /// The ids of a text, without start and end token.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the tokenizer fails, which no text should make it do.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(|e| self.fail(e))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The same, each with the bytes of the text that it stands for.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the tokenizer fails, which no text should make it do.
    pub fn encode_spans(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
        let encoding = self.inner.encode(text, false).map_err(|e| self.fail(e))?;
        let spans = encoding.get_offsets().iter().map(|&(begin, end)| begin..end);
        Ok(encoding.get_ids().iter().copied().zip(spans).collect())
    }

    fn fail(&self, e: tokenizers::Error) -> Error {
        Error::Tokenizer {
            origin: self.origin.clone(),
            reason: e.to_string(),
        }
    }

    /// The comma's token at the end of a word, which prompts are preferably cut after; small vocabularies may lack it.
    pub fn comma(&self) -> Option<u32> {
        self.inner.token_to_id(",</w>")
    }

    /// The token that opens every sequence.
    pub fn start(&self) -> u32 {
        self.start
    }

    /// The token that closes every sequence.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// The token that fills a sequence up to its length.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// The same as text.
    pub(crate) fn pad_token(&self) -> String {
        self.inner.id_to_token(self.pad).unwrap_or_else(|| END.into())
    }

    /// One more than the highest id, special tokens included: the rows that an embedding needs.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The folder or file it was read from, or "embedded".
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

/// A tokenizer as the files that a folder has.
pub(crate) struct TokenizerFiles {
    /// Whether it is CLIP's own, which is compiled in.
    pub embedded: bool,
    /// `vocab.json`.
    pub vocab: String,
    /// `merges.txt`.
    pub merges: String,
    /// The token that fills a sequence up to its length.
    pub pad: String,
    /// Tokens of the longest text, start and end included.
    pub length: usize,
}

impl TokenizerFiles {
    /// `special_tokens_map.json`.
    pub fn special_tokens(&self) -> String {
        format!("{:#}\n", self.special())
    }

    fn special(&self) -> serde_json::Value {
        serde_json::json!({ "bos_token": START, "eos_token": END, "pad_token": self.pad, "unk_token": END })
    }

    /// All files, by name.
    pub fn files(&self) -> [(&'static str, String); 4] {
        let mut config = self.special();
        config["tokenizer_class"] = "CLIPTokenizer".into();
        config["do_lower_case"] = true.into();
        config["add_prefix_space"] = false.into();
        config["errors"] = "replace".into();
        config["model_max_length"] = self.length.into();
        [
            ("vocab.json", self.vocab.clone()),
            ("merges.txt", self.merges.clone()),
            ("special_tokens_map.json", self.special_tokens()),
            ("tokenizer_config.json", format!("{config:#}\n")),
        ]
    }
}

fn embedded_merges() -> String {
    let mut text = String::new();
    let read = flate2::read::GzDecoder::new(MERGES).read_to_string(&mut text);
    read.expect("the merges are part of this crate");
    text
}

fn embedded_vocab(merges: &str) -> (Vocab, Vec<(String, String)>) {
    let merges = parse_merges(merges).expect("the merges are part of this crate");
    let mut vocab = Vocab::default();
    let mut add = |token: String| {
        let id = vocab.len() as u32;
        vocab.insert(token, id);
    };
    byte_symbols().for_each(|symbol| add(symbol.to_string()));
    byte_symbols().for_each(|symbol| add(format!("{symbol}</w>")));
    merges.iter().for_each(|(a, b)| add(format!("{a}{b}")));
    add(START.into());
    add(END.into());
    (vocab, merges)
}

/// Merges, one a line, two symbols each; a first line that begins with "#version" is skipped.
fn parse_merges(text: &str) -> std::result::Result<Vec<(String, String)>, String> {
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
                "the merge of '{}' and '{}' needs '{}', which vocab.json lacks",
                pair[0], pair[1], pair[2]
            ));
        }
    }
    Ok(())
}

/// The padding token's text, which transformers' files give as a string or as an object.
fn pad_token(json: &str) -> std::result::Result<Option<String>, serde_json::Error> {
    #[derive(serde::Deserialize)]
    #[serde(
        untagged,
        expecting = "pad_token: expected a string, or an object with its content"
    )]
    enum Token {
        Text(String),
        Object { content: String },
    }
    #[derive(serde::Deserialize)]
    struct File {
        pad_token: Option<Token>,
    }
    let file: File = serde_json::from_str(json)?;
    Ok(file.pad_token.map(|token| match token {
        Token::Text(text) | Token::Object { content: text } => text,
    }))
}

/// The printable stand-ins of the 256 byte values, in the order of their ids (GPT-2's table): first the bytes that are printable
/// themselves, then the others, shifted to U+0100 and up.
fn byte_symbols() -> impl Iterator<Item = char> {
    let printable = (0x21..=0x7e).chain(0xa1..=0xac).chain(0xae..=0xff);
    let others = (0x00..=0x20)
        .chain(0x7f..=0xa0)
        .chain(0xad..=0xad)
        .zip(0x100u32..)
        .map(|(_, c)| c);
    printable.chain(others).filter_map(char::from_u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Golden {
        text: String,
        ids: Vec<u32>,
    }

    #[derive(serde::Deserialize)]
    struct File {
        cases: Vec<Golden>,
    }

    #[test]
    fn agrees_with_transformers() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../goldens/tokenizer/clip.json");
        let file: File = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let goldens = file.cases;
        assert!(goldens.len() >= 150);
        let tokenizer = ClipTokenizer::embedded();
        assert_eq!(tokenizer.vocab_size(), 49_408);
        assert_eq!(
            (tokenizer.start(), tokenizer.end(), tokenizer.pad()),
            (49_406, 49_407, 49_407)
        );
        let mut wrong = Vec::new();
        for golden in &goldens {
            let mut ids = vec![tokenizer.start()];
            ids.extend(tokenizer.encode(&golden.text).unwrap());
            ids.push(tokenizer.end());
            if ids != golden.ids {
                wrong.push(format!("{:?}: {ids:?}, should be {:?}", golden.text, golden.ids));
            }
        }
        assert!(
            wrong.is_empty(),
            "{} of {}:\n{}",
            wrong.len(),
            goldens.len(),
            wrong.join("\n")
        );
    }
}
