//! The models of Stable Diffusion on [Burn](https://burn.dev): text encoder, U-Net, autoencoder, tokenizer, and the reading of their
//! weights.
//!
//! ```
//! use sd_core::{checkpoint::Checkpoint, config::Part};
//!
//! # fn main() -> sd_core::Result<()> {
//! let checkpoint = Checkpoint::open("../../models/demo/base".as_ref())?; // headers and configurations
//! assert_eq!(checkpoint.configs().unet.in_channels, 4);
//! let tokenizer = checkpoint.tokenizer(Part::TextEncoder)?;
//! assert_eq!(tokenizer.encode("a red circle")?.len(), 3);
//! # Ok(())
//! # }
//! ```
//!
//! This crate knows networks and files, not sampling: a U-Net takes latents, timesteps and a context and gives its prediction.
//! `sd-sched` has the samplers, and `sdrs` joins the two.

pub mod checkpoint;
pub mod config;
mod device;
pub mod embedding;
mod error;
mod file_kind;
pub mod input;
pub mod models;
pub mod output;
mod png_text;
pub mod prompt;
mod repair;
mod tokenizer;
pub mod weights;

pub use device::{
    Device, DeviceClass, DeviceInfo, DeviceMemory, Dtype, available as available_devices, devices,
    machine_memory,
};
pub use error::{Error, Misshapen, Result, WeightsError, shown};
pub use file_kind::FileKind;
pub use png_text::{png_text, png_texts};
pub use sd_kernels::{Quantization, WeightType};
pub use tokenizer::{BertTokenizer, ClipTokenizer, TokenizerFiles};
pub use weights::WeightDtype;
