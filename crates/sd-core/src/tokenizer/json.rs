//! `tokenizer.json`: what of it makes a CLIP tokenizer. Anything else is refused by name.

use serde::Deserialize;
use serde_json::{Value, json};
use tokenizers::{AddedToken, NormalizerWrapper, models::bpe::Vocab};

use super::parts::{Names, Parts, SPACES, read};
use crate::error::shown;

/// CLIP's own pattern of words: contractions, runs of letters, single digits, runs of anything else but space.
pub const WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
/// The tokens that transformers writes before it; these are found earlier.
const SPECIAL_WORDS: &str = r"<\|startoftext\|>|<\|endoftext\|>|";

#[derive(Deserialize)]
struct File {
    model: Model,
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    padding: Value,
}

#[derive(Deserialize)]
struct Model {
    #[serde(default)]
    r#type: Option<String>,
    vocab: Vocab,
    merges: Vec<Merge>,
    unk_token: Option<String>,
    end_of_word_suffix: Option<String>,
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    fuse_unk: bool,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    dropout: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected two symbols")]
enum Merge {
    Pair(String, String),
    Line(String),
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    #[serde(flatten)]
    token: AddedToken,
}

/// The contents of `tokenizer.json`.
pub fn parts(text: &str) -> Result<Parts, String> {
    let file: File = read(text)?;
    let model = file.model;
    let clip = [
        ("type", model.r#type.as_deref().is_none_or(|kind| kind == "BPE")),
        (
            "end_of_word_suffix",
            model.end_of_word_suffix.as_deref() == Some("</w>"),
        ),
        (
            "continuing_subword_prefix",
            model
                .continuing_subword_prefix
                .is_none_or(|prefix| prefix.is_empty()),
        ),
        ("fuse_unk", !model.fuse_unk),
        ("byte_fallback", !model.byte_fallback),
        ("ignore_merges", !model.ignore_merges),
        ("dropout", model.dropout.is_none_or(|dropout| dropout == 0.0)),
    ];
    if let Some((field, _)) = clip.iter().find(|(_, as_clip)| !as_clip) {
        return Err(format!(
            "model.{field} is not that of a CLIP tokenizer, which alone can be used"
        ));
    }
    check_words(&file.pre_tokenizer)?;
    let merge = |(i, merge)| match merge {
        Merge::Pair(a, b) => Ok((a, b)),
        Merge::Line(line) => match line.split_once(' ') {
            Some((a, b)) => Ok((a.to_owned(), b.to_owned())),
            None => Err(format!("model.merges[{i}]: expected two symbols")),
        },
    };
    let mut parts = Parts {
        vocab: model.vocab,
        merges: model
            .merges
            .into_iter()
            .enumerate()
            .map(merge)
            .collect::<Result<_, _>>()?,
        names: Names {
            start: first_text(&file.post_processor["cls"]),
            end: first_text(&file.post_processor["sep"]),
            unknown: model.unk_token,
            pad: None,
        },
        padding: file.padding["pad_token"].as_str().map(str::to_owned),
        clip_normalizers: file.normalizer == clip_normalizers_json(),
        normalizers: normalizers(file.normalizer)?,
        ..Parts::default()
    };
    for Added { id, token } in file.added_tokens {
        parts.add(id, token)?;
    }
    Ok(parts)
}

/// The token of a pair of token and id.
fn first_text(pair: &Value) -> Option<String> {
    pair[0].as_str().map(str::to_owned)
}

/// CLIP's normalizers as transformers writes them.
fn clip_normalizers_json() -> Value {
    json!({ "type": "Sequence", "normalizers": [
        { "type": "NFC" },
        { "type": "Replace", "pattern": { "Regex": SPACES }, "content": " " },
        { "type": "Lowercase" },
    ] })
}

/// The normalizers in their order. A pattern of the file's own could take for ever.
fn normalizers(value: Value) -> Result<Vec<NormalizerWrapper>, String> {
    let list = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Object(mut object) if object.get("type").is_some_and(|kind| kind == "Sequence") => {
            match object.remove("normalizers") {
                Some(Value::Array(list)) => list,
                _ => return Err("normalizer: expected a list of normalizers".into()),
            }
        }
        one => vec![one],
    };
    let normalizer = |value: Value| {
        let kind = value["type"].as_str().unwrap_or_default().to_owned();
        let pattern = &value["pattern"];
        let known = match kind.as_str() {
            "NFC" | "NFD" | "NFKC" | "NFKD" | "Lowercase" => true,
            "Replace" => pattern["String"].is_string() || pattern["Regex"] == SPACES,
            _ => false,
        };
        if !known {
            return Err(format!(
                "normalizer: '{}' is not supported; known are NFC, NFD, NFKC, NFKD, Lowercase, and Replace of a text or of '{SPACES}'",
                shown(&kind)
            ));
        }
        serde_json::from_value(value).map_err(|e| format!("normalizer: {e}"))
    };
    list.into_iter().map(normalizer).collect()
}

/// Words must be CLIP's.
fn check_words(value: &Value) -> Result<(), String> {
    let steps = &value["pretokenizers"];
    let (split, bytes) = (&steps[0], &steps[1]);
    let pattern = split["pattern"]["Regex"].as_str().unwrap_or_default();
    let as_clip = value["type"] == "Sequence"
        && steps.as_array().is_some_and(|steps| steps.len() == 2)
        && split["type"] == "Split"
        && pattern.strip_prefix(SPECIAL_WORDS).unwrap_or(pattern) == WORDS
        && split["behavior"] == "Removed"
        && split["invert"] == true
        && bytes["type"] == "ByteLevel"
        && bytes["add_prefix_space"] == false;
    match as_clip {
        true => Ok(()),
        false => Err(
            "pre_tokenizer: it doesn't split texts into words as CLIP's does, which alone can be used".into(),
        ),
    }
}
