//! Arrays of the host, and the calls of networks on them that a run makes as well.

use burn_tensor::{DType, Tensor, TensorData};
use sd_kernels::Axes;

use super::{Model, Runtime};
use crate::{Error, Result};

/// Values with their shape, row-major.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Array {
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// The values, as many as the shape holds.
    pub values: Vec<f32>,
}

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
    /// Layers of the text encoder: the largest `clip_skip`.
    pub text_layers: usize,
    /// One more than the largest token id.
    pub vocabulary: usize,
}

impl Model {
    /// The sizes that this model's arrays have.
    pub fn sizes(&self) -> ModelSizes {
        let (text, limits) = (self.text_encoder().network.config(), self.limits());
        ModelSizes {
            latent_channels: self.vae.config().latent_channels,
            downscale: limits.downscale as usize,
            default_side: limits.default_side as usize,
            context_length: text.max_position_embeddings,
            context_width: self.unet.config().cross_attention_dim,
            text_layers: limits.layers,
            vocabulary: text.vocab_size,
        }
    }

    /// Encodes pictures, `[batch, 3, f h, f w]`, to latents of the U-Net.
    pub fn encode(&self, images: Vec<f32>, shape: [usize; 4], runtime: &Runtime) -> Result<EncodedImages> {
        let factor = self.vae.config().scaling_factor;
        runtime.compute(|| {
            let moments = self.vae.encode(self.tensor(images, shape))?;
            let shape = moments.mean.dims().to_vec();
            let mean = values(moments.mean * factor)?;
            let std = values((moments.logvar * 0.5).exp() * factor)?;
            Ok(EncodedImages {
                mean: Array {
                    shape: shape.clone(),
                    values: mean,
                },
                std: Array { shape, values: std },
            })
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
        runtime.compute(|| {
            let latents = self.tensor(latents, shape) / self.vae.config().scaling_factor;
            values(self.vae.decode_wrapped(latents, wrap)?)
        })
    }

    /// Values as a tensor on the model's device.
    pub fn tensor<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
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
