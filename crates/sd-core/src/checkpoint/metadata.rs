//! Keys of a single file's metadata for texts that a folder holds in files of their own.

use crate::config::Part;

pub const TEXT_ENCODER: &str = "sdrs.text_encoder.config";
pub const TEXT_ENCODER_2: &str = "sdrs.text_encoder_2.config";
pub const UNET: &str = "sdrs.unet.config";
pub const VAE: &str = "sdrs.vae.config";
pub const SCHEDULER: &str = "sdrs.scheduler.config";
pub const RECOMMENDED: &str = "sdrs.recommended";

/// The key of a part's configuration.
pub fn of(part: Part) -> &'static str {
    match part {
        Part::TextEncoder => TEXT_ENCODER,
        Part::TextEncoder2 => TEXT_ENCODER_2,
        Part::Unet => UNET,
        Part::Vae => VAE,
    }
}

/// The keys of a tokenizer's files.
pub struct TokenizerKeys {
    pub json: &'static str,
    pub vocab: &'static str,
    pub merges: &'static str,
    pub special: &'static str,
}

/// The keys of the tokenizer of a text encoder.
pub fn tokenizer(part: Part) -> &'static TokenizerKeys {
    match part {
        Part::TextEncoder2 => &TokenizerKeys {
            json: "sdrs.tokenizer_2.json",
            vocab: "sdrs.tokenizer_2.vocab",
            merges: "sdrs.tokenizer_2.merges",
            special: "sdrs.tokenizer_2.special_tokens_map",
        },
        _ => &TokenizerKeys {
            json: "sdrs.tokenizer.json",
            vocab: "sdrs.tokenizer.vocab",
            merges: "sdrs.tokenizer.merges",
            special: "sdrs.tokenizer.special_tokens_map",
        },
    }
}
