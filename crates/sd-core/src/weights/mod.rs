//! Reading weights: files, the names in them, and the way to a model's tensors.
//!
//! The canonical name of a parameter is its key in a diffusers folder. Other layouts are tables of names ([`names`]).

mod cast;
mod checkpoint;
mod classify;
mod file;
mod folder;
mod gguf;
mod hash;
mod header;
mod inspect;
pub mod names;
mod params;
mod patch;
mod pickle;
mod quant;
mod scaled;

pub use checkpoint::{Checkpoint, Configs, Layout, Part};
pub use classify::adapter_family;
pub use file::{StoredDtype, TensorFile, TensorInfo};
pub use folder::Folder;
pub use hash::{ModelHash, model_hash};
pub use inspect::{Family, Inspection, Kind, PartInspection, inspect};
pub use params::{Params, PartWeights, Target, load};
pub use patch::WeightPatch;
pub use quant::BlockType;

pub(crate) use params::parameters;
