//! Reading weights: files, the names in them, and the way to a model's tensors.
//!
//! The canonical name of a parameter is its key in a diffusers folder. Other layouts are tables of names ([`names`]).

mod cast;
mod file;
mod folder;
mod gguf;
mod hash;
mod header;
mod kept;
mod layers;
mod model;
pub mod names;
mod params;
mod part_weights;
mod patch;
mod pickle;
mod quant;
mod scaled;
mod synthetic;
mod target;
mod tensor;

pub use file::TensorFile;
pub(crate) use folder::in_part;
pub use folder::{Folder, files_below};
pub use hash::{FileId, ModelHash, adapter_hash, digest, model_hash, old_model_hash, sha256};
pub use kept::Kept;
pub use model::{Loaded, Model};
pub use params::{Params, load};
pub use part_weights::{PartWeights, Stored};
pub use patch::WeightPatch;
pub use quant::BlockType;
pub use target::{Target, WeightDtype};
pub use tensor::{StoredDtype, TensorInfo};

pub(crate) use cast::Element;
pub(crate) use model::{Fit, fit, parameters, unshared_bytes, weight_bytes};
pub(crate) use part_weights::transpose_into;
