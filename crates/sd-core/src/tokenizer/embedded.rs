//! The tokenizer of OpenAI's CLIP, compiled in.

use std::io::Read;

use tokenizers::models::bpe::Vocab;

use super::{
    END, START,
    parts::{Names, Parts, parse_merges},
    symbols,
};

/// OpenAI CLIP's 48,894 merges (MIT, see NOTICE), one a line; the vocabulary follows from them.
static MERGES: &[u8] = include_bytes!("../../data/clip_merges.txt.gz");

/// The merges as text.
pub fn merges() -> String {
    let mut text = String::new();
    let read = flate2::read::GzDecoder::new(MERGES).read_to_string(&mut text);
    read.expect("the merges are part of this crate");
    text
}

/// The whole tokenizer, with its padding token if that is not CLIP's.
pub fn parts(padding: Option<&str>) -> Parts {
    let (vocab, merges) = vocab(&merges());
    Parts {
        vocab,
        merges,
        names: Names {
            pad: padding.map(str::to_owned),
            ..Names::default()
        },
        ..Parts::default()
    }
}

/// The vocabulary, and the merges as pairs.
pub fn vocab(merges: &str) -> (Vocab, Vec<(String, String)>) {
    let merges = parse_merges(merges).expect("the merges are part of this crate");
    let mut vocab = Vocab::default();
    let mut add = |token: String| {
        let id = vocab.len() as u32;
        vocab.insert(token, id);
    };
    symbols::in_order().for_each(|symbol| add(symbol.to_string()));
    symbols::in_order().for_each(|symbol| add(format!("{symbol}</w>")));
    merges.iter().for_each(|(a, b)| add(format!("{a}{b}")));
    add(START.into());
    add(END.into());
    (vocab, merges)
}
