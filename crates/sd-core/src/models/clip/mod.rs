//! CLIP (Radford et al. 2021, arXiv:2103.00020): texts and pictures as vectors of one space.

mod files;
mod structure;
mod text;

use burn_tensor::{DType, Tensor};
use sd_kernels::Linear;

pub(in crate::models) use files::prepared;
pub use files::{ClipFiles, ClipGiven};
pub use text::{ClipTextModel, EncodedText, TextStart};

use super::{
    nn::linear_without_bias,
    vision::{VisionKind, VisionTransformer},
};
use crate::{
    Result,
    config::ClipConfig,
    weights::{Model, Params, Target, load},
};

/// Both halves of CLIP, and their projections to one space.
pub struct Clip {
    config: ClipConfig,
    text: ClipTextModel,
    vision: VisionTransformer,
    visual_projection: Linear,
    logit_scale: Tensor<1>,
}

impl Clip {
    /// Loads both halves.
    ///
    /// # Errors
    /// [`Error::Weights`](crate::Error::Weights) with all that doesn't fit.
    pub fn load(files: &ClipFiles, target: &Target) -> Result<Self> {
        load(&files.weights, target, |p| Self::build(&files.config, p, target))
    }

    fn build(config: &ClipConfig, p: &Params, target: &Target) -> Self {
        let width = config.vision.hidden_size;
        Self {
            text: ClipTextModel::build(&config.text, p, target),
            vision: VisionTransformer::new(VisionKind::Clip, &config.vision, &p.at("vision_model"), target),
            visual_projection: linear_without_bias(&p.at("visual_projection"), width, config.projection),
            logit_scale: p.tensor("logit_scale", [1]),
            config: config.clone(),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &ClipConfig {
        &self.config
    }

    /// The text half.
    pub fn text(&self) -> &ClipTextModel {
        &self.text
    }

    /// The factor of cosines in training, before softmax.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the device fails.
    pub fn logit_scale(&self) -> Result<f32> {
        let values = self.logit_scale.clone().cast(DType::F32).try_into_vec_as::<f32>();
        match values.ok().and_then(|values| values.first().copied()) {
            Some(scale) => Ok(scale.exp()),
            None => Err(crate::Error::Device {
                name: "of CLIP".into(),
                reason: "it gives no results; try the CPU".into(),
            }),
        }
    }

    /// Vectors of texts, `[batch, projection]` in `f32`, as they are: dividing by norms is left to the caller. Rows are of one
    /// length and hold the end token; what stands behind that one doesn't count. Texts that go on behind a
    /// [start](ClipTextModel::start) have it before their rows.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape), as [`ClipTextModel::hidden_states`].
    pub fn embed_texts(&self, start: &TextStart, ids: &[Vec<u32>]) -> Result<Tensor<2>> {
        let pooled = self.text.encode_behind(start, ids, &[], 1)?.pooled;
        Ok(pooled
            .expect("CLIP's text model has a projection")
            .cast(DType::F32))
    }

    /// Vectors of prepared pictures `[batch, side, side, 3]`, `[batch, projection]` in `f32`, as they are.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for pictures of another size.
    pub fn embed_pictures(&self, pictures: Tensor<4>) -> Result<Tensor<2>> {
        let pooled = self.vision.pooled(pictures)?;
        Ok(self.visual_projection.forward(pooled).cast(DType::F32))
    }

    /// All hidden states of prepared pictures: `layers + 1` tensors `[batch, tokens, width]`.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for pictures of another size.
    pub fn vision_states(&self, pictures: Tensor<4>) -> Result<Vec<Tensor<3>>> {
        self.vision.hidden_states(pictures)
    }
}
