use std::sync::OnceLock;

use burn::tensor::{DType, Tensor, TensorData};
use sd_core::{
    ClipTokenizer,
    models::{ClipTextModel, UNet, Vae},
    weights::{Checkpoint, Layout, Part, Target},
};
use sd_sched::{BetaSchedule, Dialect, ModelSampling, Prediction};

use crate::{
    Error, GenerateParams, PipelineBuilder, Result, Txt2Img, conditioning::Embeddings, encoder::RowCache,
    params::Limits, preview::LinearPreview, prompt_plan::LoadedLora, runtime::Runtime,
};

/// A loaded checkpoint, ready to draw.
///
/// `Send + Sync`: share it by reference or in an `Arc` and generate from several threads at once; each gets what it would get alone.
pub struct Pipeline {
    pub(crate) tokenizer: ClipTokenizer,
    pub(crate) text_encoder: ClipTextModel,
    pub(crate) unet: UNet,
    pub(crate) vae: Vae,
    pub(crate) sampling: ModelSampling,
    pub(crate) target: Target,
    pub(crate) embeddings: Embeddings,
    pub(crate) loras: Vec<LoadedLora>,
    pub(crate) rows: RowCache,
    pub(crate) runtime: Runtime,
    /// Made when a run first asks for it.
    pub(crate) linear_preview: OnceLock<LinearPreview>,
    name: String,
    layout: Layout,
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
        checkpoint: &Checkpoint,
        target: Target,
        prediction: Option<Prediction>,
        loras: Vec<LoadedLora>,
        runtime: Runtime,
    ) -> Result<Self> {
        let configs = checkpoint.configs();
        if configs.unet.in_channels != configs.vae.latent_channels {
            let (has, wants) = (configs.unet.in_channels, configs.vae.latent_channels);
            let reason = format!(
                "a U-Net of {has} input channels is for editing pictures; txt2img needs one of {wants}"
            );
            return Err(Error::parameter("checkpoint", reason));
        }
        let sampling = sampling(&configs.scheduler, prediction)?;
        let tokenizer = checkpoint.tokenizer()?;
        let (on, weights) = (&target, |part| checkpoint.weights(part));
        let text_encoder = runtime.timed("loaded the text encoder", || {
            Ok(ClipTextModel::load(
                &configs.text_encoder,
                weights(Part::TextEncoder),
                on,
            )?)
        })?;
        let unet = runtime.timed("loaded the U-Net", || {
            Ok(UNet::load(&configs.unet, weights(Part::Unet), on)?)
        })?;
        let vae = runtime.timed("loaded the VAE", || {
            Ok(Vae::load(&configs.vae, weights(Part::Vae), on)?)
        })?;
        runtime.info(|| {
            let (device, prediction) = (target.device.name(), sampling.prediction());
            format!(
                "computing on {device} in {}, the U-Net predicts {prediction}",
                target.dtype
            )
        });
        let layout = checkpoint.layout();
        let name = model_name(checkpoint.origin());
        let text = text_encoder.config();
        Ok(Self {
            rows: RowCache::new(text.max_position_embeddings * text.hidden_size),
            embeddings: Embeddings::default(),
            linear_preview: OnceLock::new(),
            runtime,
            loras,
            tokenizer,
            text_encoder,
            unet,
            vae,
            sampling,
            target,
            name,
            layout,
        })
    }

    /// Starts to describe a picture.
    pub fn txt2img(&self, prompt: impl Into<String>) -> Txt2Img<'_> {
        Txt2Img::new(
            self,
            GenerateParams {
                prompt: prompt.into(),
                ..GenerateParams::default()
            },
        )
    }

    /// The checkpoint's name: its file's or folder's, without extension.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How the checkpoint is laid out.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The device it computes on, "auto" resolved.
    pub fn device(&self) -> &str {
        self.target.device.name()
    }

    /// The type it computes in.
    pub fn dtype(&self) -> sd_core::Dtype {
        self.target.dtype
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
