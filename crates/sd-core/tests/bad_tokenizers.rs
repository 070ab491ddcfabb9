//! Bad tokenizer files: an error that names them, before any id can reach an embedding that has no row for it.

mod common;

use std::path::Path;

use common::{assert_says, put, tiny_copy};
use sd_core::{ClipTokenizer, TokenizerFiles, checkpoint::Checkpoint, config::Part};
use serde_json::{Value, json};

/// Enough of a vocabulary for "ab": ids 0 to 5.
fn vocab() -> Value {
    json!({ "a": 0, "b": 1, "b</w>": 2, "ab</w>": 3, "<|startoftext|>": 4, "<|endoftext|>": 5 })
}

const MERGES: &str = "#version: 0.2\na b</w>\n";

fn with(field: &str, value: Value) -> String {
    let mut vocab = vocab();
    vocab[field] = value;
    vocab.to_string()
}

fn without(token: &str) -> String {
    let mut vocab = vocab();
    vocab.as_object_mut().unwrap().remove(token);
    vocab.to_string()
}

fn reading(vocab: &str, merges: &str, special: &str) -> Result<ClipTokenizer, String> {
    let files = TokenizerFiles {
        vocab: Some(vocab.to_owned()),
        merges: Some(merges.to_owned()),
        special_tokens_map: (!special.is_empty()).then(|| special.to_owned()),
        ..TokenizerFiles::default()
    };
    ClipTokenizer::from_files("folder", &files).map_err(|e| e.to_string())
}

#[test]
fn each_gets_its_error() {
    let good = vocab().to_string();
    reading(&good, MERGES, "").unwrap();
    let long = "x".repeat(1 << 20);
    let cases: [(&str, &str, &str, &[&str]); 20] = [
        ("", MERGES, "", &["vocab.json", "EOF"]),
        ("[]", MERGES, "", &["vocab.json"]),
        ("{}", "", "", &["the vocabulary lacks <|startoftext|>"]),
        (
            &without("<|startoftext|>"),
            MERGES,
            "",
            &["the vocabulary lacks <|startoftext|>"],
        ),
        (
            &without("<|endoftext|>"),
            MERGES,
            "",
            &["the vocabulary lacks <|endoftext|>"],
        ),
        (&with("a", json!(-1)), MERGES, "", &["vocab.json", "-1"]),
        (&with("a", json!(1.5)), MERGES, "", &["vocab.json", "1.5"]),
        (&with("a", json!("0")), MERGES, "", &["vocab.json", "string"]),
        (&with("a", json!(u64::MAX)), MERGES, "", &["vocab.json", "u32"]),
        (&good, "a", "", &["merges.txt", "line 1", "expected two symbols"]),
        (&good, "#version: 0.2\n\na\n", "", &["merges.txt", "line 3"]),
        (&good, "a b c", "", &["merges", "'b c'", "the vocabulary lacks"]),
        (&good, "a c", "", &["merges", "'c'", "the vocabulary lacks"]),
        (&good, "a b", "", &["merges", "'ab'", "the vocabulary lacks"]),
        // What a merge makes is longer than any token: no buffer may be sized by the tokens alone.
        (
            &good,
            "<|startoftext|> <|endoftext|>",
            "",
            &["merges", "'<|startoftext|><|endoftext|>'"],
        ),
        (&good, &format!("a {long}"), "", &["merges", "xxx..."]),
        (&good, MERGES, "{", &["special_tokens_map.json", "EOF"]),
        (
            &good,
            MERGES,
            r#"{"pad_token":5}"#,
            &["special_tokens_map.json", "pad_token"],
        ),
        (
            &good,
            MERGES,
            r#"{"pad_token":"<pad>"}"#,
            &["the vocabulary lacks <pad>"],
        ),
        (
            &good,
            MERGES,
            r#"{"pad_token":{"text":"a"}}"#,
            &["special_tokens_map.json", "pad_token"],
        ),
    ];
    for (vocab, merges, special, words) in cases {
        let message = reading(vocab, merges, special).map(drop).unwrap_err();
        assert_says(&message, words);
        assert_says(&message, &["tokenizer folder: "]);
    }
}

/// The tokenizers crate panics on such texts as ">  ".
#[test]
fn white_space_belongs_to_one_token() {
    let token = |content: &str, rstrip: bool| json!({ "content": content, "rstrip": rstrip });
    let read = |one: Value, other: Value| {
        let special = json!({ "added_tokens_decoder": { "6": one, "7": other } });
        reading(&vocab().to_string(), MERGES, &special.to_string())
    };
    let message = read(token(" ", false), token(">", true)).unwrap_err();
    assert_says(
        &message,
        &["added tokens", "' ' begins with white space", "'>'", "rstrip"],
    );
    assert!(read(token(" a", true), token(">", false)).is_err());
    let tokenizer = read(token(" ", false), token(">", false)).unwrap();
    tokenizer.encode(">  ").unwrap();
}

#[test]
fn the_padding_token_is_the_one_named() {
    for (special, pad) in [("", 5), ("{}", 5), (r#"{"pad_token":null}"#, 5)] {
        let tokenizer = reading(&vocab().to_string(), MERGES, special).unwrap();
        assert_eq!((tokenizer.pad(), tokenizer.end()), (pad, 5), "{special}");
        // Bytes that this vocabulary lacks count as the end, as they do for transformers.
        assert_eq!(tokenizer.encode("ab é").unwrap(), [3, 5, 5]);
    }
    // One of the vocabulary is found wherever it stands, as by transformers.
    for (special, pad, ids) in [
        (r#"{"pad_token":"a"}"#, 0, [0, 2, 5, 5]),
        (r#"{"pad_token":{"content":"b"}}"#, 1, [5, 1, 5, 5]),
    ] {
        let tokenizer = reading(&vocab().to_string(), MERGES, special).unwrap();
        assert_eq!(tokenizer.pad(), pad);
        assert_eq!(tokenizer.encode("ab é").unwrap(), ids);
    }
}

/// Puts a tokenizer into a copy of the tiny model, whose text encoder knows 49,408 ids.
fn of_checkpoint(vocab: &str) -> Result<ClipTokenizer, String> {
    let folder = tiny_copy();
    put(folder.path(), "tokenizer/vocab.json", vocab.as_bytes());
    put(folder.path(), "tokenizer/merges.txt", MERGES.as_bytes());
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    checkpoint.tokenizer(Part::TextEncoder).map_err(|e| e.to_string())
}

#[test]
fn ids_beyond_the_embedding() {
    // Few tokens, but one id too high: by one, and as high as it goes.
    for id in [49_408, u32::MAX] {
        let message = of_checkpoint(&with("b", json!(id))).map(drop).unwrap_err();
        assert_says(
            &message,
            &[
                "tokenizer",
                &format!("go up to {id}"),
                "vocab_size is 49408",
                "as `tokenizer`",
            ],
        );
    }
    // Gaps do no harm.
    let tokenizer = of_checkpoint(&with("b", json!(49_407))).unwrap();
    assert_eq!(tokenizer.vocab_size(), 49_408);
    // More tokens than rows.
    let mut large = vocab();
    for i in 0..49_500 {
        large[format!("t{i}")] = json!(6 + i);
    }
    let message = of_checkpoint(&large.to_string()).map(drop).unwrap_err();
    assert_says(&message, &["vocab_size is 49408"]);
}

#[test]
fn a_folder_with_files_missing() {
    let folder = tempfile::tempdir().unwrap();
    let says = |words: &[&str]| {
        let message = ClipTokenizer::open(folder.path()).map(drop).unwrap_err();
        assert_says(&message.to_string(), words);
    };
    let file = |name: &str, bytes: &[u8]| put(folder.path(), name, bytes);
    says(&["vocab.json: is missing", "tokenizer.json"]);
    file("vocab.json", vocab().to_string().as_bytes());
    says(&["merges.txt: is missing"]);
    file("merges.txt", b"\xff\xfe");
    says(&["merges.txt", "a text in UTF-16, not a text in UTF-8"]);
    file("merges.txt", MERGES.as_bytes());
    ClipTokenizer::open(folder.path()).map(drop).unwrap();
    ClipTokenizer::open(Path::new("/nowhere")).map(drop).unwrap_err();
    file("special_tokens_map.json", b"{");
    says(&["special_tokens_map.json", "EOF"]);
}
