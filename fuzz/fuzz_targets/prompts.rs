//! Prompts: any text is read, printed back, and packed into chunks of the encoder's length.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sd_core::{
    ClipTokenizer,
    prompt::{EmbeddingNames, Prompt, PromptDialect, PromptOptions, Side, Steps, encoder_inputs},
};

static TOKENIZER: LazyLock<ClipTokenizer> = LazyLock::new(ClipTokenizer::embedded);

fuzz_target!(|text: &str| {
    for dialect in [PromptDialect::WebUi, PromptDialect::Comfy] {
        let mut options = PromptOptions::default();
        options.dialect = dialect;
        for side in [Side::Positive, Side::Negative] {
            for part in &Prompt::parse(text, side, &options).parts {
                assert_eq!(part.tree.to_string(), part.tree.text().as_str());
                for variant in part.tree.variants(&Steps::new(3)) {
                    let chunks = encoder_inputs(
                        &variant.text,
                        &TOKENIZER,
                        &EmbeddingNames::default(),
                        75,
                        &options,
                    );
                    assert!(
                        chunks
                            .expect("any text can be tokenised")
                            .iter()
                            .all(|c| c.tokens.len() == 77)
                    );
                }
            }
        }
    }
});
