//! Arrays of the host, and the calls of networks on them that a run makes as well.

use burn_tensor::{DType, Tensor, TensorData, Transaction};
use sd_core::{models::guidance_embedding, weights::Target};
use sd_kernels::Axes;

use super::{Autoencoder, Model, Runtime};
use crate::{Error, Interpolation, Result, picture::interpolate};

/// Values with their shape, row-major.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Array {
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// The values, as many as the shape holds.
    pub values: Vec<f32>,
}

impl Array {
    /// The last two axes, `[.., h, w]`, brought to another size: latents for a second pass, say.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if there are no two axes, one has no length, or shape and values disagree.
    pub fn interpolate(&self, [height, width]: [usize; 2], interpolation: Interpolation) -> Result<Self> {
        let fault = |reason: String| Err(Error::parameter("latents", reason));
        let shape = &self.shape;
        if self.values.len() != shape.iter().product::<usize>() {
            return fault(format!("{} values are not of shape {shape:?}", self.values.len()));
        }
        let [.., h, w] = shape[..] else {
            return fault(format!("shape {shape:?}; [.., h, w] is needed"));
        };
        if h * w == 0 || height * width == 0 || height.max(width) > MAX_SIDE {
            return fault(format!(
                "planes of {h}x{w} can't become {height}x{width}: sides have 1 to {MAX_SIDE} values"
            ));
        }
        let mut shape = shape.clone();
        let axes = shape.len();
        shape[axes - 2..].copy_from_slice(&[height, width]);
        Ok(Self {
            shape,
            values: interpolate(&self.values, [h, w], [height, width], interpolation),
        })
    }
}

/// A side of latents that no picture reaches.
const MAX_SIDE: usize = 65_535;

/// The Gaussian that a picture is encoded to, each `[batch, latent_channels, h, w]`: a latent of the U-Net is `mean + std * noise`. Both are
/// the autoencoder's own times [`Pipeline::scaling_factor`](crate::Pipeline::scaling_factor).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EncodedImages {
    /// The mean, which is also the most likely latent.
    pub mean: Array,
    /// The standard deviation.
    pub std: Array,
}

/// The sizes that the arrays of a model have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelSizes {
    /// Channels of a latent.
    pub latent_channels: usize,
    /// Pixels of a side for each value of a latent's side.
    pub downscale: usize,
    /// Side in pixels of the pictures that the model was trained on.
    pub default_side: usize,
    /// Tokens of one chunk of the context, start and end token included.
    pub context_length: usize,
    /// Values of the context for each token.
    pub context_width: usize,
    /// The largest `clip_skip`: layers of the text encoder, for SDXL one less than the smaller one has.
    pub text_layers: usize,
    /// One more than the largest token id.
    pub vocabulary: usize,
    /// The part of the context that the first text encoder makes: all of it where there is one.
    pub text_width: usize,
    /// The part that a second text encoder makes; 0 without one.
    pub text_width_2: usize,
    /// Values of a pooled text; 0 where no text encoder gives one.
    pub pooled_width: usize,
    /// Values of the vector that the U-Net takes beside the timestep, a pooled text and sizes; 0 where it takes none.
    pub added_width: usize,
    /// Channels that the U-Net takes: `latent_channels`, and those behind them of inpainting, depth and editing models.
    pub unet_channels: usize,
}

impl Model {
    /// The sizes that this model's arrays have.
    pub fn sizes(&self) -> ModelSizes {
        let (text, limits) = (self.text_encoder().network.config(), self.limits());
        let second = self.text_encoders.get(1);
        ModelSizes {
            latent_channels: self.vae.config().latent_channels,
            downscale: limits.downscale as usize,
            default_side: limits.default_side as usize,
            context_length: text.max_position_embeddings,
            context_width: self.unet.config().cross_attention_dim,
            text_layers: limits.layers,
            vocabulary: text.vocab_size,
            text_width: text.hidden_size,
            text_width_2: second.map_or(0, |second| second.network.config().hidden_size),
            pooled_width: self.pooled_width().unwrap_or(0),
            added_width: self.unet.config().added_width.unwrap_or(0),
            unet_channels: self.unet.config().in_channels,
        }
    }

    /// Encodes pictures, `[batch, 3, f h, f w]`, to latents of the U-Net.
    pub fn encode(&self, images: Vec<f32>, shape: [usize; 4], runtime: &Runtime) -> Result<EncodedImages> {
        self.encode_wrapped(images, (shape, Axes::default()), runtime)
    }

    /// The same for pictures that go on at their opposite edges along some axes.
    pub fn encode_wrapped(
        &self,
        images: Vec<f32>,
        (shape, wrap): ([usize; 4], Axes),
        runtime: &Runtime,
    ) -> Result<EncodedImages> {
        let config = self.vae.config();
        let (f, factor) = (config.downscale(), config.scaling_factor);
        let [batch, _, h, w] = shape;
        let encoded = vec![batch, config.latent_channels, h / f, w / f];
        let vae = match &self.vae {
            Autoencoder::Kl(vae) => vae,
            // It has no Gaussian.
            Autoencoder::Tiny(_, vae) => {
                let mean = runtime.compute(|| values(vae.encode(self.tensor(images, shape))?))?;
                let array = |values| Array {
                    shape: encoded.clone(),
                    values,
                };
                return Ok(EncodedImages {
                    std: array(vec![0.0; mean.len()]),
                    mean: array(mean),
                });
            }
        };
        let moments = self.on_vae(vae, &images, runtime, |vae| {
            let moments = vae.encode_wrapped(self.tensor(images.clone(), shape), wrap)?;
            let (mut mean, mut std) = (moments.mean * factor, (moments.logvar * 0.5).exp() * factor);
            if let Some([centre, spread]) = self.latents_range() {
                mean = (mean - centre * factor) / spread.clone();
                std = std / spread;
            }
            Ok([values(mean)?, values(std)?].concat())
        })?;
        let (mean, std) = moments.split_at(moments.len() / 2);
        let array = |values: &[f32]| Array {
            shape: encoded.clone(),
            values: values.to_vec(),
        };
        Ok(EncodedImages {
            mean: array(mean),
            std: array(std),
        })
    }

    /// Decodes latents of the U-Net, `[batch, c, h, w]`, to values of pictures `[batch, 3, f h, f w]`.
    pub fn decode(&self, latents: Vec<f32>, shape: [usize; 4], runtime: &Runtime) -> Result<Vec<f32>> {
        self.decode_wrapped(latents, shape, Axes::default(), runtime)
    }

    /// The same for latents that go on at their opposite edges along some axes.
    pub fn decode_wrapped(
        &self,
        latents: Vec<f32>,
        shape: [usize; 4],
        wrap: Axes,
        runtime: &Runtime,
    ) -> Result<Vec<f32>> {
        let vae = match &self.vae {
            Autoencoder::Kl(vae) => vae,
            Autoencoder::Tiny(_, vae) => {
                return runtime.compute(|| values(vae.decode(self.tensor(latents, shape))?));
            }
        };
        self.on_vae(vae, &latents, runtime, |vae| {
            let mut latents = self.tensor(latents.clone(), shape) / vae.config().scaling_factor;
            if let Some([centre, spread]) = self.latents_range() {
                latents = latents * spread + centre;
            }
            values(vae.decode_wrapped(latents, wrap)?)
        })
    }

    /// The mean and the standard deviation of the autoencoder's latents by channel, `[1, c, 1, 1]` each, where its configuration has them.
    fn latents_range(&self) -> Option<[Tensor<4>; 2]> {
        let config = self.vae.config();
        let row = |values: &Vec<f64>| {
            let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
            let shape = [1, values.len(), 1, 1];
            self.tensor(values, shape)
        };
        Some([
            row(config.latents_mean.as_ref()?),
            row(config.latents_std.as_ref()?),
        ])
    }

    /// The embedding of a scale of guidance, for a U-Net that takes the scale itself, and so needs no negative prompt.
    pub fn guidance_embedding(&self, cfg_scale: f64) -> Option<Vec<f32>> {
        let width = self.unet.config().time_cond_proj_dim?;
        Some(guidance_embedding(cfg_scale, width))
    }

    /// Values as a tensor on the model's device.
    pub fn tensor<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
        tensor(&self.target, values, shape)
    }
}

/// Values as a tensor on a device.
pub(crate) fn tensor<const D: usize>(target: &Target, values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    #[cfg(test)]
    traffic::WRITES.set(traffic::WRITES.get() + 1);
    Tensor::from_data(TensorData::new(values, shape), (target.device.burn(), DType::F32))
}

/// A tensor's values on the host.
pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    #[cfg(test)]
    traffic::READS.set(traffic::READS.get() + 1);
    let values = tensor.cast(DType::F32).try_into_vec_as::<f32>();
    values.map_err(|error| unread(error.to_string()))
}

/// The values of tensors of one device on the host. The device is waited for once.
pub(crate) fn all_values(tensors: impl IntoIterator<Item = Tensor<1>>) -> Result<Vec<Vec<f32>>> {
    #[cfg(test)]
    traffic::READS.set(traffic::READS.get() + 1);
    let tensors = tensors.into_iter().map(|tensor| tensor.cast(DType::F32));
    let reading = tensors.fold(Transaction::default(), Transaction::register);
    let read = reading.try_execute().map_err(|error| unread(error.to_string()))?;
    let values = read.into_iter().map(|data| data.try_into_vec::<f32>());
    values
        .map(|values| values.map_err(|error| unread(error.to_string())))
        .collect()
}

/// Whoever computes knows the device, and tells what is free there.
fn unread(reason: String) -> Error {
    Error::Device {
        device: "the device".into(),
        reason,
    }
}

/// What a thread brought to a device and back, for tests.
#[cfg(test)]
pub(crate) mod traffic {
    use std::cell::Cell;

    thread_local! {
        pub static READS: Cell<usize> = const { Cell::new(0) };
        pub static WRITES: Cell<usize> = const { Cell::new(0) };
    }

    /// Reads and writes during some work of this thread.
    pub fn of(work: impl FnOnce()) -> [usize; 2] {
        READS.set(0);
        WRITES.set(0);
        work();
        [READS.get(), WRITES.get()]
    }
}
