//! Adapters for Stable Diffusion: small files that change a checkpoint's weights.
//!
//! Today it reads LoRA (Hu et al. 2021, arXiv:2106.09685) in kohya's format, on linear layers and convolutions. An [`AdapterFile`] is
//! opened, then bound to a model's names; the [`Adapter`] that this gives is a [`WeightPatch`](sd_core::weights::WeightPatch): it is
//! added to the base weights, in `f32`, while they are loaded.

mod error;
mod file;
mod kohya;
mod names;
mod strengths;

pub use error::{Error, Result};
pub use file::AdapterFile;
pub use kohya::Adapter;
pub use names::ModelNames;
pub use strengths::Strengths;
