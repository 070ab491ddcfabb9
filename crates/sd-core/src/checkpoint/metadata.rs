//! Keys of a single file's metadata for texts that a folder holds in files of their own.

use crate::config::Part;

pub const TEXT_ENCODER: &str = "sdrs.text_encoder.config";
pub const UNET: &str = "sdrs.unet.config";
pub const VAE: &str = "sdrs.vae.config";
pub const SCHEDULER: &str = "sdrs.scheduler.config";
pub const TOKENIZER: &str = "sdrs.tokenizer.json";
pub const VOCAB: &str = "sdrs.tokenizer.vocab";
pub const MERGES: &str = "sdrs.tokenizer.merges";
pub const RECOMMENDED: &str = "sdrs.recommended";
pub const SPECIAL: &str = "sdrs.tokenizer.special_tokens_map";

/// The key of a part's configuration.
pub fn of(part: Part) -> &'static str {
    match part {
        Part::TextEncoder => TEXT_ENCODER,
        Part::Unet => UNET,
        Part::Vae => VAE,
    }
}
