//! Reading weights: files, the names in them, and the way to a model's tensors.
//!
//! The canonical name of a parameter is its key in a diffusers folder. Other layouts are tables of names ([`names`]).

mod cast;
mod checkpoint;
mod classify;
mod configs;
mod contents;
mod file;
mod folder;
mod gguf;
mod hash;
mod header;
mod inspect;
mod layers;
pub mod names;
mod opening;
mod params;
mod parts;
mod patch;
mod pickle;
mod prediction;
mod quant;
mod save;
mod scaled;
mod words;

pub use checkpoint::{Checkpoint, Layout, Part};
pub use classify::adapter_family;
pub use configs::{Configs, Given};
pub use file::{StoredDtype, TensorFile, TensorInfo};
pub use folder::{Folder, files_below};
pub use hash::{FileId, ModelHash, adapter_hash, model_hash};
pub use inspect::{Family, Inspection, Kind, PartInspection, inspect};
pub use layers::{Loaded, Model};
pub use params::{Params, PartWeights, Target, load, weight_bytes};
pub use patch::WeightPatch;
pub use quant::BlockType;
pub use words::Wanted;

pub(crate) use params::parameters;
