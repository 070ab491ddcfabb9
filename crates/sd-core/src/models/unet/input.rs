//! The inputs of a U-Net, and its features.

use burn_tensor::Tensor;
use sd_kernels::Axes;

use super::{FreeU, Perturbation, SelfAttentionLayers, shape_error};
use crate::{
    Result,
    models::{nn::broadcast_rows, transformer::MergedParts},
};

/// The input of one evaluation.
#[derive(Debug, Clone)]
pub struct UnetInput<'a> {
    /// The latents, `[batch, c, h, w]` in any float type. Where they are the same for all rows of the text, `[1, c, h, w]`: what comes before
    /// the text is computed once then, and the output is the same, to the bit where layers give each row the same in every batch. Where they
    /// are those of several [`pictures`](Self::pictures), one row for each of these. `timesteps`, `guidance` and `concat` have as many rows as
    /// they do.
    pub latents: Tensor<4>,
    /// A number for each row, 0 to 1000, fractions allowed.
    pub timesteps: &'a [f64],
    /// The text that cross-attention sees.
    pub text: TextInput<'a>,
    /// The number of pictures that each row of the text is for: 1, but where several pictures are drawn with the same texts. The batch is then
    /// the first text with each picture, the second text with each, and so on.
    pub pictures: usize,
    /// The vector that is embedded beside the timestep, `[batch, added_width]`, for the families that have it (SDXL): one for each row of
    /// the text.
    pub added: Option<Tensor<2>>,
    /// The embedding of the guidance's scale, `[batch, time_cond_proj_dim]`, for models that take it:
    /// [`guidance_embedding`](super::guidance_embedding). Without it they go without it, as in diffusers.
    pub guidance: Option<Tensor<2>>,
    /// Channels behind those of the latents, `[batch, in_channels - c, h, w]`: mask and masked image of an inpainting model, or the
    /// image of InstructPix2Pix.
    pub concat: Option<Tensor<4>>,
    /// The residuals of a control network, which are added to the features of the encoder.
    pub residuals: Option<&'a UnetFeatures>,
    /// The share of the pixels, 0 to 1, that self-attention merges with others, at the resolution of the latents:
    /// [`TokenMerging`](sd_kernels::TokenMerging).
    pub token_merging: f64,
    /// What sees merged tokens in the same places, beside self-attention.
    pub merged_parts: MergedParts,
    /// What self-attention does in some layers in place of its own.
    pub perturbed: Option<(Perturbation, &'a SelfAttentionLayers)>,
    /// The factors of FreeU, if it acts.
    pub free_u: Option<FreeU>,
    /// Whether [`UnetOutput::received`](super::UnetOutput::received) is wanted.
    pub watch_middle: bool,
    /// The axes along which latents go on at their opposite edges, in all convolutions: so pictures become tiles without seams.
    pub wrap: Axes,
}

impl<'a> UnetInput<'a> {
    /// Latents, timesteps and text alone.
    pub fn new(latents: Tensor<4>, timesteps: &'a [f64], text: impl Into<TextInput<'a>>) -> Self {
        Self {
            latents,
            timesteps,
            text: text.into(),
            pictures: 1,
            added: None,
            guidance: None,
            concat: None,
            residuals: None,
            token_merging: 0.0,
            merged_parts: MergedParts::default(),
            perturbed: None,
            free_u: None,
            watch_middle: false,
            wrap: Axes::default(),
        }
    }

    /// The rows of the text.
    pub(super) fn texts(&self) -> usize {
        match &self.text {
            TextInput::Context(context) => context.dims()[0],
            TextInput::Cache(cache) => cache.rows,
        }
    }

    /// The rows of the output: each picture with each text.
    pub(super) fn batch(&self) -> usize {
        self.texts().saturating_mul(self.pictures)
    }

    /// Adds the residuals to the skips, of which the first alone may be there.
    pub(super) fn control_skips(&self, skips: &mut [Tensor<4>]) -> Result<()> {
        let Some(UnetFeatures { skips: residuals, .. }) = self.residuals else {
            return Ok(());
        };
        if residuals.len() < skips.len() {
            let expected = format!("{} skips", skips.len());
            return shape_error("residuals", expected, &[residuals.len()]);
        }
        for (skip, residual) in skips.iter_mut().zip(residuals) {
            *skip = sum(broadcast_rows(skip.clone(), self.batch()), residual)?;
        }
        Ok(())
    }

    /// Adds the residual of the middle.
    pub(super) fn control_middle(&self, x: Tensor<4>) -> Result<Tensor<4>> {
        match self.residuals {
            Some(residuals) => sum(x, &residuals.middle),
            None => Ok(x),
        }
    }
}

/// The text that cross-attention sees.
// There is one of them for a call.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone)]
pub enum TextInput<'a> {
    /// The encoded text, `[batch, m, cross_attention_dim]`.
    Context(Tensor<3>),
    /// Its keys and values, computed before.
    Cache(&'a CrossAttentionCache),
}

impl From<Tensor<3>> for TextInput<'_> {
    fn from(context: Tensor<3>) -> Self {
        Self::Context(context)
    }
}

impl<'a> From<&'a CrossAttentionCache> for TextInput<'a> {
    fn from(cache: &'a CrossAttentionCache) -> Self {
        Self::Cache(cache)
    }
}

/// The keys and values of a context for every cross-attention of a network. They don't depend on the timestep. Made by
/// [`UNet::cross_attention_cache`](super::UNet::cross_attention_cache).
#[derive(Debug, Clone)]
pub struct CrossAttentionCache {
    pub(super) rows: usize,
    /// By the place of the transformer, for each of its blocks.
    pub(super) layers: Vec<Vec<[Tensor<3>; 2]>>,
}

impl CrossAttentionCache {
    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        let tensors = self.layers.iter().flatten().flatten();
        tensors
            .map(|t| t.dims().iter().product::<usize>() * t.dtype().size())
            .sum()
    }
}

/// The features of a U-Net's encoder, or residuals of their shapes. A control network (Zhang et al. 2023, arXiv:2302.05543) is an
/// encoder whose features are projected to residuals.
#[derive(Debug, Clone)]
pub struct UnetFeatures {
    /// The skips, `[batch, h, w, c]`: of the first convolution, then of each block on the way down.
    pub skips: Vec<Tensor<4>>,
    /// The features behind the middle, `[batch, h, w, c]`.
    pub middle: Tensor<4>,
}

fn sum(x: Tensor<4>, residual: &Tensor<4>) -> Result<Tensor<4>> {
    if residual.dims() != x.dims() {
        return shape_error("residual", format!("{:?}", x.dims()), &residual.dims());
    }
    let dtype = x.dtype();
    Ok(x + residual.clone().cast(dtype))
}
