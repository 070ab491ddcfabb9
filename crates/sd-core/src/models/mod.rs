//! The networks of Stable Diffusion, each built from its configuration.

mod clip;
mod memory;
mod nn;
mod resnet;
mod transformer;
mod unet;
mod vae;

pub use clip::{ClipOutput, ClipTextModel};
pub use memory::{decoder_bytes, unet_bytes};
pub use unet::{Deep, DeepFeatures, TextMemory, UNet, UnetCall, UnetOptions, timestep_embedding};
pub use vae::{Moments, Vae};
