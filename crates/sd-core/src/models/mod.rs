//! The networks of Stable Diffusion, each built from its configuration.

mod blip;
mod blur;
mod clip;
mod encoder;
mod memory;
mod nn;
mod resnet;
mod tiny_vae;
mod transformer;
mod unet;
mod upscaler;
mod vae;
mod vision;

pub use blip::{Blip, BlipFiles, CaptionOptions, Captioning, EarlyStopping, EncodedImage};
pub use blur::blur_matrix;
pub use clip::{Clip, ClipFiles, ClipGiven, ClipTextModel, EncodedText, TextStart};
pub use memory::{decoder_bytes, deep_feature_bytes, encoder_bytes, first_block_bytes, unet_bytes};
pub use tiny_vae::TinyVae;
pub use transformer::MergedParts;
pub use unet::{
    CrossAttentionCache, DeepCache, DeepFeatures, FirstBlock, FreeU, FreeUVersion, Perturbation,
    SelfAttentionLayers, TextInput, UNet, UnetEncoder, UnetFeatures, UnetInput, UnetOutput,
    guidance_embedding, timestep_embedding,
};
pub use upscaler::{Upscaler, UpscalerKind, UpscalerStructure};
pub use vae::{Moments, Vae};
