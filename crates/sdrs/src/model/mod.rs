//! A loaded checkpoint: its networks, its tokenizer, its noise schedule, and its device and types.

mod added;
mod autoencoder;
#[cfg(feature = "demo")]
mod demo;
mod machine;
mod memory;
mod networks;
mod preview;
mod runtime;
mod save;
mod source;
mod text_network;
mod wide_vae;

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

use sd_core::{
    ClipTokenizer,
    checkpoint::Checkpoint,
    config::{Part, PredictionType},
    models::{TinyVae, UNet, Vae},
    weights::{Kept, Loaded, Target, TensorFile, WeightPatch},
};
use sd_sched::{BetaSchedule, Dialect, ModelSampling, Prediction};

use crate::{
    Error, Result,
    params::{Limits, Recommended},
};
use added::check_added_width;
use preview::LinearDecoder;
pub(crate) use text_network::TextNetwork;
use wide_vae::WideVae;

pub(crate) use added::AddedNumbers;
pub(crate) use autoencoder::{Autoencoder, tiny, tiny_file};
#[cfg(feature = "demo")]
pub(crate) use demo::{folder as demo_folder, seeing as demo_seeing};
pub(crate) use machine::{Machine, machine_setters};
pub(crate) use memory::{MemoryLimit, Models, Work};
pub use memory::{MemoryPlan, parse_memory};
#[cfg(test)]
pub(crate) use networks::traffic;
pub use networks::{Array, EncodedImages, ModelSizes};
pub(crate) use networks::{all_values, tensor, values};
pub use runtime::LogLevel;
pub(crate) use runtime::{Log, Runtime};
pub(crate) use save::{check_file, check_folder};
pub(crate) use source::Source;

/// Patches of a model's weights, in the order in which they are applied.
pub(crate) type Patches = Vec<Arc<dyn WeightPatch>>;

/// A checkpoint's networks and their surroundings. A clone shares everything; a model with other weights shares all unchanged ones.
#[derive(Clone)]
pub(crate) struct Model {
    pub checkpoint: Arc<Checkpoint>,
    /// The stack of text encoders, whose states lie side by side in a context.
    pub text_encoders: Vec<TextEncoder>,
    pub unet: Arc<Loaded<UNet>>,
    pub vae: Autoencoder,
    wide_vae: Arc<WideVae>,
    pub sampling: ModelSampling,
    pub recommended: Recommended,
    pub target: Target,
    pub name: Arc<str>,
    pub unet_extra: UnetExtra,
    /// Fitted when a run first asks for it.
    linear_decoder: Arc<OnceLock<LinearDecoder>>,
    /// For previews, if there is one.
    tiny_vae: Option<Arc<TinyVae>>,
}

/// The channels that a U-Net takes behind those of the latents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnetExtra {
    None,
    /// A mask, and the latents of the picture without what it covers.
    Inpaint,
    /// A picture of depths.
    Depth,
    /// The latents of a picture that is edited by instruction (InstructPix2Pix).
    Image,
}

impl UnetExtra {
    fn of(checkpoint: &Checkpoint) -> Result<Self> {
        let configs = checkpoint.configs();
        let (has, latent) = (configs.unet.in_channels, configs.vae.latent_channels);
        match has.checked_sub(latent) {
            Some(0) => Ok(Self::None),
            Some(1) => Ok(Self::Depth),
            Some(extra) if extra == latent + 1 => Ok(Self::Inpaint),
            Some(extra) if extra == latent => Ok(Self::Image),
            _ => Err(Error::InvalidFile {
                path: checkpoint.origin().to_owned(),
                reason: format!(
                    "a U-Net of {has} input channels over latents of {latent}; {latent}, {} (inpainting), {} (edits by instruction) and {} \
                     (depth) are known",
                    2 * latent + 1,
                    2 * latent,
                    latent + 1
                ),
            }),
        }
    }
}

/// A text encoder with its tokenizer.
#[derive(Clone)]
pub(crate) struct TextEncoder {
    pub part: Part,
    pub network: TextNetwork,
    pub tokenizer: Arc<ClipTokenizer>,
}

impl Model {
    /// Loads every part of an opened checkpoint, but for an autoencoder that is `shared` with another model, or that a tiny one stands for.
    /// One that is only `described` knows all but its weights, and nothing can be computed with it.
    pub fn load(
        checkpoint: Checkpoint,
        target: Target,
        prediction: Option<Prediction>,
        patches: &Patches,
        (shared, tiny): (Option<&Autoencoder>, Option<TinyVae>),
        (runtime, described): (&Runtime, bool),
    ) -> Result<Self> {
        let configs = checkpoint.configs();
        let unet_extra = UnetExtra::of(&checkpoint)?;
        check_added_width(&checkpoint)?;
        let sampling = sampling(&configs.scheduler, prediction)?;
        let recommended = recommended(&checkpoint, runtime)?;
        let weights = |part| checkpoint.weights(part).with_patches(patches);
        let encoders = configs.text_encoders.iter().map(|(&part, config)| {
            let tokenizer = checkpoint.tokenizer(part)?.into();
            let network = TextNetwork::new(part, config, weights(part), &target)?;
            if !described && runtime.keeps_text_encoders() {
                network.get(runtime)?;
            }
            Ok(TextEncoder {
                part,
                network,
                tokenizer,
            })
        });
        let text_encoders: Vec<TextEncoder> = encoders.collect::<Result<_>>()?;
        let unet = match described {
            true => Loaded::<UNet>::described(&configs.unet, weights(Part::Unet), &target)?,
            false => runtime.timed("loaded the U-Net", || {
                Ok(Loaded::<UNet>::load(&configs.unet, weights(Part::Unet), &target)?)
            })?,
        };
        tell_kept(Part::Unet.title(), unet.kept(), runtime);
        let vae = match (shared, tiny) {
            (Some(shared), _) => shared.clone(),
            (None, Some(network)) => Autoencoder::Tiny(configs.vae.clone().into(), network.into()),
            (None, None) if described => {
                let vae = Loaded::<Vae>::described(&configs.vae, weights(Part::Vae), &target)?;
                Autoencoder::Kl(vae.into())
            }
            (None, None) => runtime.timed("loaded the VAE", || {
                let vae = Loaded::<Vae>::load(&configs.vae, weights(Part::Vae), &target)?;
                Ok(Autoencoder::Kl(vae.into()))
            })?,
        };
        // A GPU tells late what it has no room for.
        if !described {
            runtime.finish()?;
        }
        runtime.info(|| {
            let (device, prediction) = (target.device.name(), sampling.prediction());
            let reason = checkpoint.prediction_reason();
            let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            format!(
                "computing on {device} in {}, the U-Net predicts {prediction}{reason}",
                target.dtype
            )
        });
        let model = Self {
            recommended,
            linear_decoder: Arc::default(),
            tiny_vae: None,
            text_encoders,
            unet: unet.into(),
            vae,
            wide_vae: Arc::default(),
            sampling,
            target,
            name: name(checkpoint.origin()).into(),
            unet_extra,
            checkpoint: checkpoint.into(),
        };
        if let Some((origin, _)) = model.checkpoint.recommended() {
            model.recommended.check(&model.limits(), origin)?;
        }
        Ok(model)
    }

    /// The same model with the autoencoder of another checkpoint.
    pub fn with_vae(&self, checkpoint: Checkpoint, runtime: &Runtime) -> Result<Self> {
        let weights = checkpoint.weights(Part::Vae).clone();
        let vae = runtime.timed("loaded another VAE", || {
            Ok(Loaded::<Vae>::load(
                &checkpoint.configs().vae,
                weights,
                &self.target,
            )?)
        })?;
        Ok(Self {
            vae: Autoencoder::Kl(vae.into()),
            wide_vae: Arc::default(),
            checkpoint: checkpoint.into(),
            linear_decoder: Arc::default(),
            ..self.clone()
        })
    }

    /// The same model with a tiny autoencoder in place of its own.
    pub fn with_tiny_vae_for_own(&self, file: TensorFile, runtime: &Runtime) -> Result<Self> {
        let config = self.vae.config();
        let network = autoencoder::tiny(file, config, &self.target, runtime)?;
        Ok(Self {
            vae: Autoencoder::Tiny(config.clone().into(), network.into()),
            linear_decoder: Arc::default(),
            ..self.clone()
        })
    }

    /// The same model with a tiny autoencoder for previews.
    ///
    /// # Errors
    /// [`Error::Core`] if the file can't be read or has no decoder, [`Error::InvalidFile`] if it is for other latents.
    pub fn with_tiny_vae(self, path: &Path, runtime: &Runtime) -> Result<Self> {
        let network = autoencoder::tiny_at(path, self.vae.config(), &self.target, runtime)?;
        Ok(Self {
            tiny_vae: Some(network.into()),
            ..self
        })
    }

    /// The same model with the tiny autoencoder of another for previews, if that has one.
    pub fn with_tiny_vae_of(self, other: &Self) -> Self {
        Self {
            tiny_vae: other.tiny_vae.clone(),
            ..self
        }
    }

    /// The tiny autoencoder.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if there is none.
    pub fn tiny_vae(&self) -> Result<&TinyVae> {
        let lacks = || {
            let reason =
                "a preview by TAESD wants its file: give it to the pipeline's builder with taesd (--taesd)";
            Error::parameter("previews", reason)
        };
        self.tiny_vae.as_deref().ok_or_else(lacks)
    }

    /// The same model with these patches in place of its own. Layers that neither touch are shared.
    pub fn with_patches(&self, patches: &Patches) -> Result<Self> {
        let mut other = self.clone();
        for encoder in &mut other.text_encoders {
            encoder.network = encoder.network.with_patches(patches)?;
        }
        other.unet = Loaded::with_patches(&self.unet, patches)?;
        Ok(other)
    }

    /// Replaces the patches `before` by others, each old layer gone before the new one is made, if a `sibling` has none like it. If that
    /// fails, nothing has changed.
    pub fn set_patches(&mut self, before: &Patches, patches: &Patches, sibling: Option<&Self>) -> Result<()> {
        // All are asked before any is changed; what only shows then is undone.
        self.unet.check_patches(patches)?;
        for encoder in &self.text_encoders {
            encoder.network.check_patches(patches)?;
        }
        let changed = self.change_patches(patches, sibling);
        if changed.is_err() {
            self.change_patches(before, sibling)?;
        }
        changed
    }

    fn change_patches(&mut self, patches: &Patches, sibling: Option<&Self>) -> Result<()> {
        for (i, encoder) in self.text_encoders.iter_mut().enumerate() {
            let sibling = sibling.map(|sibling| &sibling.text_encoders[i].network);
            encoder.network.set_patches(patches, sibling)?;
        }
        let sibling = sibling.map(|sibling| &*sibling.unet);
        Ok(Loaded::set_patches(&mut self.unet, patches, sibling)?)
    }

    /// The first text encoder, by which texts are cut into chunks.
    pub fn text_encoder(&self) -> &TextEncoder {
        &self.text_encoders[0]
    }

    /// Lets go of the text encoders' weights; whether any were there.
    pub fn let_go_text_encoders(&self) -> bool {
        let stack = self.text_encoders.iter();
        stack.filter(|encoder| encoder.network.let_go()).count() > 0
    }

    /// Whether `clip_skip` counts: not with OpenCLIP's encoders, nor where there are two (WebUI).
    pub fn heeds_clip_skip(&self) -> bool {
        let [only] = &self.text_encoders[..] else {
            return false;
        };
        !only.network.config().is_open_clip()
    }

    /// Schedules that are tables have one for SDXL, whose U-Net takes a vector beside the timestep, and whatever was distilled from it.
    pub fn has_sdxl_schedules(&self) -> bool {
        self.unet.config().added_width.is_some()
    }

    /// The checkpoint with these patches, to be saved.
    pub fn merged(&self, patches: &Patches) -> Checkpoint {
        let mut checkpoint = Checkpoint::clone(&self.checkpoint);
        checkpoint.set_patches(patches);
        checkpoint
    }

    /// The bounds that the model sets to a run's parameters.
    pub fn limits(&self) -> Limits {
        let downscale = self.vae.config().downscale() as u32;
        Limits {
            downscale,
            default_side: self.unet.config().sample_size as u32 * downscale,
            layers: self.layers(),
            branches: self.unet.branches(),
        }
    }

    /// Layers that `clip_skip` may count: those of the smallest text encoder, up to the one that it gives by itself.
    fn layers(&self) -> usize {
        let configs = self.text_encoders.iter().map(|encoder| encoder.network.config());
        let layers = configs.map(|config| config.num_hidden_layers.saturating_sub(config.skipped_layers));
        layers.min().unwrap_or_default()
    }

    /// Tokens of one input of the text encoder, start and end token excepted; configurations have room for one at least.
    pub fn chunk_length(&self) -> usize {
        self.text_encoder().network.config().max_position_embeddings - 2
    }
}

/// Tells in the log in which numbers a part's weights are kept, where these are not the arithmetic's.
fn tell_kept(title: &str, kept: &Kept, runtime: &Runtime) {
    if kept.bytes.len() > 1 || kept.bytes.keys().any(|kind| kind.is_narrow()) {
        runtime.info(|| {
            let kinds = kept.bytes.iter();
            let kinds = kinds.map(|(kind, bytes)| format!("{} ({:.2} GB)", kind.name(), *bytes as f64 / 1e9));
            let kinds: Vec<String> = kinds.collect();
            format!("the {title} keeps its weights in {}", kinds.join(", "))
        });
    }
    if !kept.rounded.is_empty() {
        let types: Vec<&str> = kept.rounded.iter().map(String::as_str).collect();
        runtime.info(|| {
            format!(
                "the {title}'s weights in {} are rounded to 16 bits",
                types.join(", ")
            )
        });
    }
    if kept.too_large > 0 {
        runtime.warn(format_args!(
            "{} of the {title}'s tensors have values beyond f16's range, and are kept in the type of the arithmetic",
            kept.too_large
        ));
    }
}

/// The settings that the checkpoint recommends. Unknown ones are reported in the log.
fn recommended(checkpoint: &Checkpoint, runtime: &Runtime) -> Result<Recommended> {
    let Some((origin, json)) = checkpoint.recommended() else {
        return Ok(Recommended::default());
    };
    let (found, unknown) = Recommended::parse(json, origin)?;
    for key in unknown {
        runtime.warn(format_args!(
            "{origin}: the recommended '{key}' is not known, and not used"
        ));
    }
    Ok(found)
}

fn sampling(
    config: &sd_core::config::SchedulerConfig,
    prediction: Option<Prediction>,
) -> Result<ModelSampling> {
    if let Some(edm) = config.edm {
        let prediction = prediction.unwrap_or(match config.prediction_type {
            PredictionType::Epsilon => Prediction::EdmV,
            PredictionType::V => Prediction::V,
            PredictionType::Sample => Prediction::Sample,
        });
        let (min, max, data) = (edm.sigma_min, edm.sigma_max, edm.sigma_data);
        return Ok(ModelSampling::edm(min, max, data, prediction)?);
    }
    let (start, end) = (config.beta_start, config.beta_end);
    let betas = match config.beta_schedule.as_str() {
        "linear" => BetaSchedule::Linear { start, end },
        "squaredcos_cap_v2" => BetaSchedule::Cosine,
        _ => BetaSchedule::ScaledLinear { start, end },
    };
    let prediction = prediction.unwrap_or(match config.prediction_type {
        PredictionType::Epsilon => Prediction::Epsilon,
        PredictionType::V => Prediction::V,
        PredictionType::Sample => Prediction::Sample,
    });
    let sampling = ModelSampling::from_betas(betas, config.num_train_timesteps, prediction, Dialect::WebUi)?;
    Ok(if config.rescale_betas_zero_snr {
        sampling.with_zero_terminal_snr()
    } else {
        sampling
    })
}

/// A file's or folder's name, without extension.
fn name(origin: &str) -> String {
    let path = std::path::Path::new(origin);
    let name = if path.is_dir() {
        path.file_name()
    } else {
        path.file_stem()
    };
    name.map_or_else(|| origin.to_owned(), |name| name.to_string_lossy().into_owned())
}
