//! Tokenizer files and texts, parted by null characters: vocabulary, merges, special tokens, text. No id is outside the vocabulary.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sd_core::ClipTokenizer;

fuzz_target!(|input: &str| {
    let mut parts = input.splitn(4, '\0');
    let mut next = || parts.next().unwrap_or_default();
    let (vocab, merges, special, text) = (next(), next(), next(), next());
    let special = (!special.is_empty()).then(|| special.to_owned());
    if let Ok(tokenizer) = ClipTokenizer::from_files("fuzz", vocab, merges, &[special]) {
        let ids = tokenizer.encode(text).unwrap();
        assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
    }
});
