//! The demo model, compiled in.

use sd_core::weights::Folder;

macro_rules! files {
    ($folder:literal: $($name:literal)*) => {
        [$(($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/demo/", $folder, $name)).as_slice())),*]
    };
}

/// `models/demo/base`, a diffusers folder.
pub(crate) fn folder() -> Folder {
    let files = files! { "base/":
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

/// `models/demo`'s captioner and CLIP, folders of transformers'.
pub(crate) fn seeing() -> Folder {
    let files = files! { "":
        "captioner/config.json"
        "captioner/model.safetensors"
        "captioner/preprocessor_config.json"
        "captioner/tokenizer_config.json"
        "captioner/vocab.txt"
        "clip/config.json"
        "clip/merges.txt"
        "clip/model.safetensors"
        "clip/preprocessor_config.json"
        "clip/special_tokens_map.json"
        "clip/tokenizer_config.json"
        "clip/vocab.json"
    };
    Folder::Static("demo", files.into_iter().collect())
}
