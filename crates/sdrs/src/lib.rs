//! Stable Diffusion inference as a library.
//!
//! ```
//! # fn main() -> Result<(), sdrs::Error> {
//! # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/demo/base");
//! let pipeline = sdrs::Pipeline::builder().checkpoint(model).build()?; // a single file or a diffusers folder
//! let output = pipeline.txt2img("a red circle above a blue square").steps(4).seed(1).run()?;
//! let png: Vec<u8> = output.images[0].png()?; // or save_png("out.png"), or rgb
//! # assert!(png.starts_with(b"\x89PNG"));
//! # Ok(())
//! # }
//! ```
//!
//! The book in `docs/` explains it from the beginning: what a checkpoint is, what each setting does, recipes, and the reference.
//!
//! A [`Pipeline`] holds a checkpoint's weights and nothing of a run: it is `Send + Sync`, and any number of threads may generate from one
//! at the same time. No type of the tensor library shows in this interface.

#[cfg(all(doctest, feature = "demo"))]
mod book;
mod cancel;
mod error;
mod interrogate;
mod lora;
mod model;
mod params;
mod picture;
mod pipeline;
mod replay;
mod run;
mod speed;
mod text;
pub mod trace;
mod upscale;

pub use cancel::CancelToken;
pub use error::{Error, ErrorCode, Result};
pub use interrogate::{
    AestheticPredictor, CaptionParams, Interrogate, InterrogateMode, InterrogateProgress, InterrogateStage,
    Interrogation, Interrogator, InterrogatorBuilder, PhraseCategory, Phrases, RankedPhrase,
};
pub use lora::{Lora, LoraSchedule, When};
pub use model::{Array, EncodedImages, LogLevel, MemoryPlan, ModelSizes, parse_memory};
pub use params::{
    ClipSkipRule, ConditioningParams, EmptyNegativeRule, GenerateParams, Given, GuidanceParams, HiresParams,
    ImageParams, MaskedContent, NetworkParams, NoiseParams, Recommended, ResizeMode, Rng, SamplingParams,
    Setting, SettingKind, SettingValue, SizeParams, SpeedParams, StrengthRule, TextParams, TileParams,
    TiledDiffusion, parse_emphasis, parse_prompt_dialect, settings,
};
pub use picture::{
    Image, Interpolation, Picture, PictureFormat, Plane, Preview, PreviewMethod, Resample, SaveOptions,
    infotext,
};
pub use pipeline::{Pipeline, PipelineBuilder};
pub use replay::Replay;
pub use run::{Latents, Output, Progress, Request, RunState};
pub use sd_core::{
    DeviceClass, DeviceInfo, DeviceMemory, Dtype, Quantization, WeightDtype, available_devices,
    checkpoint::{Inspection, Kind, Layout, PartInspection},
    config::{Family, Part},
    devices, machine_memory,
    prompt::{self, Emphasis, PromptDialect, TimeRule},
    weights::ModelHash,
};
pub use sd_kernels::OperationTime;
pub use sd_lora::{
    BlockWeights, BundledEmbedding, Diagnosis, Kind as AdapterKind, ModuleDiagnosis, Network, Strengths,
    Unmatched,
};
pub use sd_sched::{Prediction, Sampler, Schedule, parse_sampler};
pub use speed::{TypeSpeed, type_speeds};
pub use text::{
    PlannedLora, PlannedPart, PlannedTag, PlannedText, PlannedToken, PromptPlan, plan_prompts,
    plan_prompts_with,
};
pub use upscale::{Upscale, UpscaleProgress, Upscaler, UpscalerBuilder};

/// The version of this crate.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Describes a file or diffusers folder (family, parts, types, prediction type), reading nothing but headers.
///
/// # Errors
/// [`Error::Core`] if it can't be read.
pub fn inspect(path: impl AsRef<std::path::Path>) -> Result<Inspection> {
    Ok(sd_core::checkpoint::inspect(path.as_ref())?)
}

/// Examines a LoRA or another adapter: its kind, ranks and training notes, the change that each of its tensors makes and its size, and the
/// misfits. `model` is a checkpoint to compare it with; without one it is compared with the family that it was made for.
///
/// # Errors
/// [`Error::Lora`] if the file is no adapter, [`Error::Core`] if the model can't be read. Faults of the adapter stand in the diagnosis.
pub fn lora_doctor(file: impl AsRef<std::path::Path>, model: Option<&std::path::Path>) -> Result<Diagnosis> {
    let file = sd_lora::AdapterFile::open(file.as_ref())?;
    let model = model.map(sd_core::checkpoint::Checkpoint::open).transpose()?;
    Ok(sd_lora::doctor(&file, model.as_ref())?)
}

/// Reads a whole file and hashes it, as people name models: seconds for a checkpoint.
///
/// # Errors
/// [`Error::Core`] if it can't be read.
pub fn model_hash(path: impl AsRef<std::path::Path>) -> Result<ModelHash> {
    Ok(sd_core::weights::model_hash(path.as_ref())?)
}
