//! Adapters for Stable Diffusion: small files that change a checkpoint's weights.
//!
//! An [`AdapterFile`] is opened, then bound to a model's names; the [`Adapter`] that this gives is a
//! [`WeightPatch`]: it changes the base weights, in `f32`, while they are loaded.
//!
//! ```
//! # fn main() -> sd_lora::Result<()> {
//! use sd_lora::{AdapterFile, ModelNames, Strengths};
//!
//! let mut checkpoint = sd_core::checkpoint::Checkpoint::open("../../models/demo/base".as_ref())?;
//! let names = ModelNames::new(&checkpoint.parameters()?);
//! let file = AdapterFile::open("../../models/demo/outlines.safetensors".as_ref())?;
//! let adapter = file.bind(&names, &Strengths::both(0.8))?;
//! checkpoint.set_patches(&[std::sync::Arc::new(adapter)]); // what is loaded from now on is changed
//! # Ok(())
//! # }
//! ```
//!
//! [`WeightPatch`]: sd_core::weights::WeightPatch

mod adapter;
mod blocks;
mod change;
mod doctor;
mod error;
mod families;
mod file;
mod keys;
mod module;
mod names;
mod page;
mod peft;
mod strengths;

pub use adapter::Adapter;
pub use blocks::BlockWeights;
pub use change::Kind;
pub use doctor::{BundledEmbedding, Diagnosis, ModuleDiagnosis, doctor};
pub use error::{Error, Result, Unmatched};
pub use families::{FamilyParameter, family_parameters};
pub use file::AdapterFile;
pub use names::{ModelNames, Network};
pub use strengths::Strengths;
