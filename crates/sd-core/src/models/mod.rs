//! The networks of Stable Diffusion, each built from its configuration.

mod blur;
mod clip;
mod memory;
mod nn;
mod resnet;
mod tiny_vae;
mod transformer;
mod unet;
mod upscaler;
mod vae;

pub use blur::blur_matrix;
pub use clip::{ClipTextModel, EncodedText};
pub use memory::{decoder_bytes, deep_feature_bytes, unet_bytes};
pub use tiny_vae::TinyVae;
pub use unet::{
    CrossAttentionCache, DeepCache, DeepFeatures, FreeU, FreeUVersion, Perturbation, SelfAttentionLayers,
    TextInput, UNet, UnetEncoder, UnetFeatures, UnetInput, UnetOutput, guidance_embedding,
    timestep_embedding,
};
pub use upscaler::{Upscaler, UpscalerKind, UpscalerStructure};
pub use vae::{Moments, Vae};
