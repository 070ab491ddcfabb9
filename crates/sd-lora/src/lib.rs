//! Adapters for Stable Diffusion: small files that change a checkpoint's weights.
//!
//! Today it reads LoRA (Hu et al. 2021, arXiv:2106.09685) in kohya's format, on linear layers and convolutions. A [`Lora`] is a
//! [`WeightPatch`](sd_core::weights::WeightPatch): it is added to the base weights, in `f32`, while they are loaded.

mod error;
mod kohya;

pub use error::{Error, Result};
pub use kohya::Lora;
