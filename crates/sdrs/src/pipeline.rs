use std::{
    path::Path,
    sync::{Arc, Mutex, OnceLock},
};

use burn_tensor::{DType, Tensor, TensorData};
use sd_core::{
    ClipTokenizer,
    checkpoint::{Checkpoint, Layout},
    config::Part,
    models::{ClipTextModel, UNet, Vae},
    weights::{Loaded, Target, TensorFile},
};
use sd_sched::{BetaSchedule, Dialect, ModelSampling, Prediction};

use crate::{
    Error, GenerateParams, PipelineBuilder, Result, Txt2Img,
    conditioning::Embeddings,
    encoder::RowCache,
    lora::{self, Applied},
    lora_tags::LoraFolders,
    params::Limits,
    preview::LinearPreview,
    recommended::Recommended,
    runtime::Runtime,
};

/// A loaded checkpoint, ready to draw.
///
/// `Send + Sync`: share it by reference or in an `Arc` and generate from several threads at once; each gets what it would get alone.
///
/// Pipelines that differ in some parts or weights share the others: [`with_loras`](Self::with_loras), [`with_vae`](Self::with_vae).
/// To change the checkpoint, build another pipeline and drop this one, whose memory is then free. The checkpoint's files stay mapped
/// (or its bytes kept) as long as a pipeline needs them.
pub struct Pipeline {
    pub(crate) checkpoint: Arc<Checkpoint>,
    pub(crate) tokenizer: Arc<ClipTokenizer>,
    pub(crate) text_encoder: Arc<Loaded<ClipTextModel>>,
    pub(crate) unet: Arc<Loaded<UNet>>,
    pub(crate) vae: Arc<Loaded<Vae>>,
    pub(crate) sampling: ModelSampling,
    recommended: Recommended,
    pub(crate) target: Target,
    /// Those that it was given, and with them those that come along with its LoRAs.
    pub(crate) own_embeddings: Arc<Embeddings>,
    pub(crate) embeddings: Arc<Embeddings>,
    /// In the order in which they are added.
    pub(crate) loras: Vec<Arc<Applied>>,
    pub(crate) lora_folders: Arc<LoraFolders>,
    /// What the last prompt with LoRA tags was drawn with.
    pub(crate) tagged: Mutex<Option<Arc<Pipeline>>>,
    pub(crate) rows: Arc<RowCache>,
    pub(crate) runtime: Runtime,
    /// Made when a run first asks for it.
    pub(crate) linear_preview: Arc<OnceLock<LinearPreview>>,
    name: Arc<str>,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Pipeline({}, {}, {})",
            self.name,
            self.target.device.name(),
            self.target.dtype
        )
    }
}

impl Pipeline {
    /// Starts to describe a pipeline.
    pub fn builder() -> PipelineBuilder {
        PipelineBuilder::default()
    }

    /// Loads every part of an opened checkpoint.
    pub(crate) fn load(
        checkpoint: Checkpoint,
        target: Target,
        prediction: Option<Prediction>,
        loras: Vec<Arc<Applied>>,
        runtime: Runtime,
    ) -> Result<Self> {
        let configs = checkpoint.configs();
        if configs.unet.in_channels != configs.vae.latent_channels {
            let (has, wants) = (configs.unet.in_channels, configs.vae.latent_channels);
            let reason = format!(
                "a U-Net of {has} input channels is for editing pictures; txt2img needs one of {wants}"
            );
            return Err(Error::InvalidFile {
                path: checkpoint.origin().to_owned(),
                reason,
            });
        }
        let sampling = sampling(&configs.scheduler, prediction)?;
        let recommended = recommended(&checkpoint, &runtime)?;
        let tokenizer = checkpoint.tokenizer()?.into();
        let (on, patches) = (&target, lora::patches(&loras));
        let weights = |part| checkpoint.weights(part).with_patches(&patches);
        let text_encoder = runtime.timed("loaded the text encoder", || {
            let weights = weights(Part::TextEncoder);
            Ok(Loaded::<ClipTextModel>::load(
                configs.text_encoder(),
                weights,
                on,
            )?)
        })?;
        let unet = runtime.timed("loaded the U-Net", || {
            Ok(Loaded::<UNet>::load(&configs.unet, weights(Part::Unet), on)?)
        })?;
        let vae = runtime.timed("loaded the VAE", || {
            Ok(Loaded::<Vae>::load(&configs.vae, weights(Part::Vae), on)?)
        })?;
        runtime.info(|| {
            let (device, prediction) = (target.device.name(), sampling.prediction());
            let reason = checkpoint.prediction_reason();
            let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            format!(
                "computing on {device} in {}, the U-Net predicts {prediction}{reason}",
                target.dtype
            )
        });
        let pipeline = Self {
            recommended,
            rows: rows(&text_encoder),
            own_embeddings: Arc::default(),
            embeddings: Arc::default(),
            lora_folders: Arc::default(),
            tagged: Mutex::default(),
            linear_preview: Arc::default(),
            runtime,
            loras,
            tokenizer,
            text_encoder: text_encoder.into(),
            unet: unet.into(),
            vae: vae.into(),
            sampling,
            target,
            name: model_name(checkpoint.origin()).into(),
            checkpoint: checkpoint.into(),
        };
        if let Some((origin, _)) = pipeline.checkpoint.recommended() {
            recommended.check(&pipeline.limits(), origin)?;
        }
        Ok(pipeline)
    }

    /// The same pipeline, sharing everything.
    fn sibling(&self) -> Self {
        Self {
            checkpoint: self.checkpoint.clone(),
            tokenizer: self.tokenizer.clone(),
            text_encoder: self.text_encoder.clone(),
            unet: self.unet.clone(),
            vae: self.vae.clone(),
            sampling: self.sampling.clone(),
            recommended: self.recommended,
            target: self.target.clone(),
            own_embeddings: self.own_embeddings.clone(),
            embeddings: self.embeddings.clone(),
            loras: self.loras.clone(),
            lora_folders: self.lora_folders.clone(),
            tagged: Mutex::default(),
            rows: self.rows.clone(),
            runtime: self.runtime.clone(),
            linear_preview: self.linear_preview.clone(),
            name: self.name.clone(),
        }
    }

    /// The same pipeline with another autoencoder: a single file with a VAE in it, or a diffusers folder, of a VAE or of a whole
    /// pipeline. Everything else is shared.
    ///
    /// # Errors
    /// [`Error::Core`] if it can't be read or doesn't fit.
    pub fn with_vae(&self, path: impl AsRef<Path>) -> Result<Self> {
        let mut checkpoint = Checkpoint::clone(&self.checkpoint);
        checkpoint.replace_part(Part::Vae, path.as_ref())?;
        self.with_vae_of(checkpoint)
    }

    /// The same with a file's bytes; `name` stands for it in errors.
    ///
    /// # Errors
    /// As [`with_vae`](Self::with_vae).
    pub fn with_vae_bytes(&self, name: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Result<Self> {
        let mut checkpoint = Checkpoint::clone(&self.checkpoint);
        checkpoint.replace_part_by_file(Part::Vae, TensorFile::from_bytes(name, bytes)?)?;
        self.with_vae_of(checkpoint)
    }

    fn with_vae_of(&self, checkpoint: Checkpoint) -> Result<Self> {
        let weights = checkpoint.weights(Part::Vae).clone();
        let vae = self.runtime.timed("loaded another VAE", || {
            Ok(Loaded::<Vae>::load(
                &checkpoint.configs().vae,
                weights,
                &self.target,
            )?)
        })?;
        Ok(Self {
            vae: vae.into(),
            checkpoint: checkpoint.into(),
            linear_preview: Arc::default(),
            ..self.sibling()
        })
    }

    pub(crate) fn with_applied(&self, loras: Vec<Arc<Applied>>) -> Result<Self> {
        let patches = lora::patches(&loras);
        let mut sibling = self.sibling();
        sibling.text_encoder = Loaded::with_patches(&self.text_encoder, &patches)?;
        sibling.unet = Loaded::with_patches(&self.unet, &patches)?;
        sibling.embeddings = self.bundled(&loras)?;
        sibling.loras = loras;
        if !Arc::ptr_eq(&sibling.text_encoder, &self.text_encoder)
            || !Arc::ptr_eq(&sibling.embeddings, &self.embeddings)
        {
            sibling.rows = rows(&sibling.text_encoder);
        }
        Ok(sibling)
    }

    pub(crate) fn set_applied(&mut self, loras: Vec<Arc<Applied>>) -> Result<()> {
        let patches = lora::patches(&loras);
        let embeddings = self.bundled(&loras)?;
        // Both are asked before either is changed; what only shows then is undone.
        self.unet.check_patches(&patches)?;
        Loaded::set_patches(&mut self.text_encoder, &patches)?;
        if let Err(error) = Loaded::set_patches(&mut self.unet, &patches) {
            Loaded::set_patches(&mut self.text_encoder, &lora::patches(&self.loras))?;
            return Err(error.into());
        }
        self.loras = loras;
        self.embeddings = embeddings;
        self.tagged = Mutex::default();
        self.rows = rows(&self.text_encoder);
        Ok(())
    }

    /// Starts to describe a picture: with what the checkpoint recommends ([`recommended`](Self::recommended)) where nothing else is said,
    /// else the WebUI's defaults.
    pub fn txt2img(&self, prompt: impl Into<String>) -> Txt2Img<'_> {
        Txt2Img::new(
            self,
            GenerateParams {
                prompt: prompt.into(),
                ..GenerateParams::default()
            },
        )
    }

    /// The settings that the checkpoint recommends; most don't.
    pub fn recommended(&self) -> &Recommended {
        &self.recommended
    }

    /// The checkpoint's name: its file's or folder's, without extension.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How the checkpoint is laid out.
    pub fn layout(&self) -> Layout {
        self.checkpoint.layout()
    }

    /// The device it computes on, "auto" resolved.
    pub fn device(&self) -> &str {
        self.target.device.name()
    }

    /// The type it computes in.
    pub fn dtype(&self) -> sd_core::Dtype {
        self.target.dtype
    }

    /// What each kind of operation took on the CPU so far, the longest first; empty without [`PipelineBuilder::profile`].
    pub fn profile(&self) -> Vec<sd_kernels::OperationTime> {
        self.runtime.account()
    }

    /// What the U-Net predicts.
    pub fn prediction(&self) -> Prediction {
        self.sampling.prediction()
    }

    pub(crate) fn limits(&self) -> Limits {
        let downscale = self.vae.config().downscale() as u32;
        Limits {
            downscale,
            default_side: self.unet.config().sample_size as u32 * downscale,
            layers: self.text_encoder.config().num_hidden_layers,
            branches: self.unet.branches(),
        }
    }

    /// Tokens of one input of the text encoder, start and end token excepted; configurations have room for one at least.
    pub(crate) fn chunk_length(&self) -> usize {
        self.text_encoder.config().max_position_embeddings - 2
    }

    /// Decodes latents as the U-Net has them, `[1, c, h, w]` row-major, to values of a picture `[1, 3, f h, f w]`.
    pub(crate) fn decode(&self, latents: Vec<f32>, shape: [usize; 4]) -> Result<Vec<f32>> {
        self.runtime.compute(|| {
            let latents = self.tensor(latents, shape) / self.vae.config().scaling_factor;
            values(self.vae.decode(latents)?)
        })
    }

    pub(crate) fn tensor<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(
            TensorData::new(values, shape),
            (self.target.device.burn(), DType::F32),
        )
    }
}

/// What the checkpoint recommends. What is not known here is told in the log.
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

/// What a text encoder gives for each input is kept.
fn rows(text_encoder: &ClipTextModel) -> Arc<RowCache> {
    let text = text_encoder.config();
    Arc::new(RowCache::new(text.max_position_embeddings * text.hidden_size))
}

/// A tensor's values on the host.
pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    tensor
        .cast(DType::F32)
        .try_into_vec_as::<f32>()
        .map_err(|_| Error::NotFinite {
            what: "the device's result",
            advice: "the device failed; try a smaller picture, or the CPU",
        })
}

fn sampling(
    config: &sd_core::config::SchedulerConfig,
    prediction: Option<Prediction>,
) -> Result<ModelSampling> {
    let (start, end) = (config.beta_start, config.beta_end);
    let betas = match config.beta_schedule.as_str() {
        "linear" => BetaSchedule::Linear { start, end },
        "squaredcos_cap_v2" => BetaSchedule::Cosine,
        _ => BetaSchedule::ScaledLinear { start, end },
    };
    let prediction = prediction.unwrap_or(match config.prediction_type.as_str() {
        "v_prediction" => Prediction::V,
        "sample" => Prediction::Sample,
        _ => Prediction::Epsilon,
    });
    let sampling = ModelSampling::from_betas(betas, config.num_train_timesteps, prediction, Dialect::WebUi)?;
    Ok(if config.rescale_betas_zero_snr {
        sampling.with_zero_terminal_snr()
    } else {
        sampling
    })
}

fn model_name(origin: &str) -> String {
    let path = std::path::Path::new(origin);
    let name = if path.is_dir() {
        path.file_name()
    } else {
        path.file_stem()
    };
    name.map_or_else(|| origin.to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    fn shared<T: Send + Sync>() {}

    #[test]
    fn a_pipeline_is_shared_between_threads() {
        shared::<super::Pipeline>();
    }
}
