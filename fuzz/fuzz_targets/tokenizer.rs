//! Tokenizer files and texts, parted by null characters: a text, then the files in the order of their names in `TokenizerFiles`. No id is
//! outside the vocabulary, and no place outside the text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sd_core::{ClipTokenizer, TokenizerFiles};

fuzz_target!(|input: &str| {
    let mut parts = input.split('\0');
    let text = parts.next().unwrap_or_default();
    let mut next = || parts.next().filter(|text| !text.is_empty()).map(str::to_owned);
    let files = TokenizerFiles {
        tokenizer: next(),
        vocab: next(),
        merges: next(),
        added_tokens: next(),
        special_tokens_map: next(),
        tokenizer_config: next(),
    };
    if let Ok(tokenizer) = ClipTokenizer::from_files("fuzz", &files) {
        let tokens = tokenizer.encode_spans(text).unwrap();
        for (id, span) in tokens.into_iter().chain(tokenizer.encode_repaired(text).unwrap()) {
            assert!((id as usize) < tokenizer.vocab_size());
            assert!(text.get(span).is_some());
        }
    }
});
