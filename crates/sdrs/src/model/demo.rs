//! The demo model, compiled in.

use sd_core::weights::Folder;

macro_rules! files {
    ($($name:literal)*) => {
        [$(($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/demo/base/", $name)).as_slice())),*]
    };
}

/// `models/demo/base`, a diffusers folder.
pub(crate) fn folder() -> Folder {
    let files = files! {
        "scheduler/scheduler_config.json"
        "sdrs_recommended.json"
        "text_encoder/config.json"
        "text_encoder/model.safetensors"
        "tokenizer/merges.txt"
        "tokenizer/special_tokens_map.json"
        "tokenizer/tokenizer_config.json"
        "tokenizer/vocab.json"
        "unet/config.json"
        "unet/diffusion_pytorch_model.safetensors"
        "vae/config.json"
        "vae/diffusion_pytorch_model.safetensors"
    };
    Folder::Static("demo", files.into_iter().collect())
}
