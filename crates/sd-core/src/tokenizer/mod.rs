//! CLIP's tokenizer: byte-pair encoding of lower-cased words (Radford et al. 2021, arXiv:2103.00020).

mod embedded;
mod files;
mod json;
mod parts;
mod repaired;
mod save;
mod symbols;
mod word_piece;

use std::{ops::Range, path::Path};

pub use files::TokenizerFiles;
use parts::{Names, Parts};
use repaired::Repaired;
pub(crate) use save::SavedTokenizer;
use tokenizers::{
    AddedToken, Tokenizer,
    models::bpe::BPE,
    normalizers::Sequence,
    pre_tokenizers::{
        byte_level::ByteLevel,
        sequence::Sequence as PreSequence,
        split::{Split, SplitPattern},
    },
    tokenizer::SplitDelimiterBehavior,
};
pub use word_piece::BertTokenizer;

use crate::{Error, Result, error::shown, weights::digest};

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";
/// The padding of OpenCLIP: the token 0.
const OPEN_CLIP_PADDING: &str = "!";

/// Splits texts into token ids as CLIP's text encoder expects them.
///
/// There are two ways to read a text. One repairs it first as ftfy does (typographic quotes, ligatures, widths, texts in wrong
/// encodings), as OpenAI's CLIP did in training, and transformers' slow tokenizer where ftfy is installed, as beside the WebUI. The other
/// takes it as it is, like transformers' fast tokenizer, which is the only one of transformers 5. Most texts are alike to both.
pub struct ClipTokenizer {
    inner: Tokenizer,
    repaired: Repaired,
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
        Self::new("embedded".into(), embedded::parts(None)).expect("the merges are part of this crate")
    }

    /// The same with OpenCLIP's padding, the token 0: for the text encoders of SD2 and the second ones of SDXL.
    pub fn embedded_open_clip() -> Self {
        let embedded = Self::embedded();
        let pad = embedded.inner.token_to_id(OPEN_CLIP_PADDING);
        Self {
            // In texts it is a token like others, which a named padding token would not be.
            pad: pad.expect("every byte is a token"),
            ..embedded
        }
    }

    /// A tokenizer's folder: `tokenizer.json`, or `vocab.json` and `merges.txt`; tokens that were added (`added_tokens.json`) and special
    /// ones (`special_tokens_map.json`, `tokenizer_config.json`). A pipeline's folder is taken too, and so is a `tokenizer.json` by itself.
    ///
    /// # Errors
    /// [`Error::Io`] if there is no such folder or file, [`Error::Tokenizer`] if the files don't make a CLIP tokenizer.
    pub fn open(path: &Path) -> Result<Self> {
        Self::from_files(&path.display().to_string(), &TokenizerFiles::open(path)?)
    }

    /// The same from the files' contents; `origin` names them in errors.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if they don't make a CLIP tokenizer.
    pub fn from_files(origin: &str, files: &TokenizerFiles) -> Result<Self> {
        Self::new(origin.to_owned(), files.parts(origin)?)
    }

    fn new(origin: String, parts: Parts) -> Result<Self> {
        let fail = |reason: String| Error::Tokenizer {
            origin: origin.clone(),
            reason,
        };
        let id = |token: &str| {
            let id = parts.id(token);
            id.ok_or_else(|| fail(format!("the vocabulary lacks {}", shown(token))))
        };
        let names = &parts.names;
        let (start, end, pad) = (id(names.start())?, id(names.end())?, id(parts.pad())?);
        id(names.unknown())?;
        let vocab_size = parts.size();
        let added = special_and_added(&parts);
        let repaired = Repaired::new(names, &added, parts.lowers()).map_err(|e| fail(e.to_string()))?;
        let inner = fast(parts, added.into_iter().map(|(_, token)| token));
        Ok(Self {
            inner: inner.map_err(|e| fail(e.to_string()))?,
            repaired,
            origin,
            start,
            end,
            pad,
            vocab_size,
        })
    }

    /// The ids of a text as it is, without start and end token.
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

    /// The ids of a text that is repaired first, each with the bytes of the original that it stands for.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the tokenizer fails, which no text should make it do.
    pub fn encode_repaired(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
        let model = self.inner.get_model();
        self.repaired.encode(model, text).map_err(|e| self.fail(e))
    }

    /// A hash of all that decides a text's ids.
    pub(crate) fn hash(&self) -> String {
        let all = (&self.inner, self.start, self.end, self.repaired.lowers());
        let all = serde_json::to_vec(&all).expect("names and numbers are JSON");
        digest([all.into()])
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

    /// One more than the highest id, special tokens included: the rows that an embedding needs.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The folder or file it was read from, or "embedded".
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

/// All tokens that are found in a text before it is split into words: added tokens, and tokens with a task.
fn special_and_added(parts: &Parts) -> Vec<(u32, AddedToken)> {
    let names = &parts.names;
    let mut added = parts.added.clone();
    for name in [names.start(), names.end(), names.unknown(), parts.pad()] {
        let Some(id) = parts.id(name) else { continue };
        // A prompt may contain these in exactly this spelling, as with transformers.
        let token = AddedToken::from(name, true).normalized(false);
        added.entry(name.to_owned()).or_insert((id, token));
    }
    let mut added: Vec<_> = added.into_values().collect();
    added.sort_by_key(|&(id, _)| id);
    added
}

/// The parts of transformers' fast tokenizer.
fn fast(parts: Parts, added: impl Iterator<Item = AddedToken>) -> tokenizers::Result<Tokenizer> {
    let mut vocab = parts.vocab;
    // Added tokens keep the ids that they have.
    vocab.extend(parts.added.into_iter().map(|(token, (id, _))| (token, id)));
    let bpe = BPE::builder()
        .vocab_and_merges(vocab, parts.merges)
        .unk_token(parts.names.unknown().to_owned())
        .end_of_word_suffix("</w>".into())
        .build()?;
    let mut inner = Tokenizer::new(bpe);
    inner.with_normalizer(Some(Sequence::new(parts.normalizers)))?;
    let words = Split::new(
        SplitPattern::Regex(json::WORDS.into()),
        SplitDelimiterBehavior::Removed,
        true,
    )?;
    let bytes = ByteLevel::new(false, true, false);
    inner.with_pre_tokenizer(Some(PreSequence::new(vec![words.into(), bytes.into()])));
    inner.add_tokens(added)?;
    Ok(inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::repair::tests::{goldens, unpacked};

    #[derive(serde::Deserialize)]
    struct Golden {
        text: String,
        ids: Vec<u32>,
    }

    #[derive(serde::Deserialize)]
    struct File {
        cases: Vec<Golden>,
    }

    fn assert_none(wrong: &[String], of: usize) {
        let first = wrong.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
        assert!(wrong.is_empty(), "{} of {of}:\n{first}", wrong.len());
    }

    #[test]
    fn agrees_with_transformers() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../goldens/tokenizer/clip.json");
        let file: File = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(file.cases.len() >= 150);
        let tokenizer = ClipTokenizer::embedded();
        assert_eq!(tokenizer.vocab_size(), 49_408);
        assert_eq!(
            (tokenizer.start(), tokenizer.end(), tokenizer.pad()),
            (49_406, 49_407, 49_407)
        );
        let mut wrong = Vec::new();
        for golden in &file.cases {
            let mut ids = vec![tokenizer.start()];
            ids.extend(tokenizer.encode(&golden.text).unwrap());
            ids.push(tokenizer.end());
            if ids != golden.ids {
                wrong.push(format!("{:?}: {ids:?}, should be {:?}", golden.text, golden.ids));
            }
        }
        assert_none(&wrong, file.cases.len());
    }

    #[test]
    fn repaired_agrees_with_the_slow_tokenizer() {
        let goldens = goldens();
        assert!(goldens.len() >= 2000);
        let tokenizer = ClipTokenizer::embedded();
        let mut wrong = Vec::new();
        for golden in &goldens {
            let tokens = tokenizer.encode_repaired(&golden.text).unwrap();
            let ids: Vec<u32> = tokens.into_iter().map(|(id, _)| id).collect();
            if ids != golden.ids {
                wrong.push(format!("{:?}: {ids:?}, should be {:?}", golden.text, golden.ids));
            }
        }
        assert_none(&wrong, goldens.len());
    }

    #[derive(serde::Deserialize)]
    struct Folders {
        cases: Vec<Case>,
    }

    #[derive(serde::Deserialize)]
    struct Case {
        name: String,
        files: BTreeMap<String, String>,
        pad: u32,
        size: usize,
        texts: Vec<Texts>,
    }

    #[derive(serde::Deserialize)]
    struct Texts {
        text: String,
        as_is: Vec<u32>,
        repaired: Option<Vec<u32>>,
    }

    #[test]
    fn folders_of_all_writers() {
        let folders: Folders = serde_json::from_str(&unpacked("folders.json.gz")).unwrap();
        assert!(folders.cases.len() >= 10);
        let mut wrong = Vec::new();
        for case in &folders.cases {
            let folder = tempfile::tempdir().unwrap();
            for (name, text) in &case.files {
                std::fs::write(folder.path().join(name), text).unwrap();
            }
            let tokenizer = ClipTokenizer::open(folder.path()).unwrap();
            assert_eq!(
                (tokenizer.pad(), tokenizer.vocab_size()),
                (case.pad, case.size),
                "{}",
                case.name
            );
            // What is saved of it is read again as the same.
            let files = TokenizerFiles::open(folder.path()).unwrap();
            let saved = SavedTokenizer::of_files("x", &files, 77).unwrap();
            let again = tempfile::tempdir().unwrap();
            for (name, text) in saved.files() {
                std::fs::write(again.path().join(name), text).unwrap();
            }
            let again = ClipTokenizer::open(again.path()).unwrap();
            for Texts {
                text,
                as_is,
                repaired,
            } in &case.texts
            {
                for (tokenizer, place) in [(&tokenizer, ""), (&again, " saved")] {
                    let ids = tokenizer.encode(text).unwrap();
                    if ids != *as_is {
                        let name = &case.name;
                        wrong.push(format!("{name}{place}: {text:?}: {ids:?}, should be {as_is:?}"));
                    }
                    let Some(repaired) = repaired else { continue };
                    let tokens = tokenizer.encode_repaired(text).unwrap();
                    let ids: Vec<u32> = tokens.into_iter().map(|(id, _)| id).collect();
                    if ids != *repaired {
                        let name = &case.name;
                        wrong.push(format!(
                            "{name}{place}, repaired: {text:?}: {ids:?}, should be {repaired:?}"
                        ));
                    }
                }
            }
        }
        assert_none(&wrong, folders.cases.len());
    }

    #[test]
    fn tokens_know_their_places() {
        let tokenizer = ClipTokenizer::embedded();
        let places = |text: &str| -> Vec<(u32, String)> {
            let tokens = tokenizer.encode_repaired(text).unwrap().into_iter();
            tokens.map(|(id, span)| (id, text[span].to_owned())).collect()
        };
        let pairs = |pairs: &[(u32, &str)]| -> Vec<(u32, String)> {
            pairs.iter().map(|&(id, text)| (id, text.to_owned())).collect()
        };
        assert_eq!(
            places("It\u{2019}ll"),
            pairs(&[(585, "It"), (1342, "\u{2019}ll")])
        );
        assert_eq!(
            places("a<|endoftext|>\u{ff41} &amp; b"),
            pairs(&[
                (320, "a"),
                (49_407, "<|endoftext|>"),
                (320, "\u{ff41}"),
                (261, "&amp;"),
                (321, "b")
            ])
        );
        // Plain texts are alike to both.
        for text in ["a red circle, (blue:1.2) square", "Don't 3d", "  a\tb "] {
            assert_eq!(
                tokenizer.encode_repaired(text).unwrap(),
                tokenizer.encode_spans(text).unwrap()
            );
        }
    }
}
