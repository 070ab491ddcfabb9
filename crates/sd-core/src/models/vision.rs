//! Vision transformers (Dosovitskiy et al. 2020, arXiv:2010.11929), as CLIP and BLIP see pictures.

use burn_tensor::Tensor;
use sd_kernels::{LayerNorm, Linear};

use super::{
    encoder::{EncoderLayer, EncoderSpec},
    nn::layer_norm,
};
use crate::{
    Error, Result,
    config::VisionConfig,
    weights::{Params, Target},
};

/// The model that a vision transformer is a half of. They differ in what surrounds the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VisionKind {
    /// Radford et al. 2021, arXiv:2103.00020: squares are projected without a bias, and a norm comes before the layers.
    Clip,
    /// Li et al. 2022, arXiv:2201.12086.
    Blip,
}

/// Squares of a picture as tokens, and one for the whole, through transformer layers.
pub(crate) struct VisionTransformer {
    config: VisionConfig,
    target: Target,
    /// `[1, width]`.
    class: Tensor<2>,
    squares: Linear,
    /// `[tokens, width]`.
    positions: Tensor<2>,
    pre_norm: Option<LayerNorm>,
    layers: Vec<EncoderLayer>,
    post_norm: LayerNorm,
}

impl VisionTransformer {
    pub fn new(kind: VisionKind, config: &VisionConfig, p: &Params, target: &Target) -> Self {
        let (width, tokens, eps) = (config.hidden_size, config.tokens(), config.layer_norm_eps);
        let embeddings = p.at("embeddings");
        let (class, positions) = match kind {
            VisionKind::Clip => (
                embeddings.tensor("class_embedding", [width]).unsqueeze(),
                embeddings.tensor("position_embedding.weight", [tokens, width]),
            ),
            VisionKind::Blip => (
                embeddings.tensor("class_embedding", [1, 1, width]).flatten(0, 1),
                embeddings
                    .tensor("position_embedding", [1, tokens, width])
                    .flatten(0, 1),
            ),
        };
        let spec = EncoderSpec {
            width,
            inner: config.intermediate_size,
            heads: config.num_attention_heads,
            eps,
            activation: config.hidden_act,
        };
        let pre_norm = || layer_norm(&p.at("pre_layrnorm"), width, eps);
        Self {
            class,
            squares: squares(kind, config, &embeddings.at("patch_embedding")),
            positions,
            pre_norm: (kind == VisionKind::Clip).then(pre_norm),
            layers: (0..config.num_hidden_layers)
                .map(|i| EncoderLayer::new(&p.at(format_args!("encoder.layers.{i}")), spec))
                .collect(),
            post_norm: layer_norm(&p.at("post_layernorm"), width, eps),
            config: config.clone(),
            target: target.clone(),
        }
    }

    /// The last hidden state of pictures `[batch, side, side, 3]`, `[batch, tokens, width]`; each state before it is given to `see` as
    /// [`hidden_states`](Self::hidden_states) lists them.
    fn forward(&self, pictures: Tensor<4>, mut see: impl FnMut(&Tensor<3>)) -> Result<Tensor<3>> {
        let [batch, height, width, channels] = pictures.dims();
        let VisionConfig {
            image_size: side,
            patch_size: patch,
            hidden_size,
            ..
        } = self.config;
        if [height, width, channels] != [side, side, 3] || batch == 0 {
            return Err(Error::Shape {
                name: "pictures",
                expected: format!("[batch, {side}, {side}, 3]"),
                got: pictures.dims().to_vec(),
            });
        }
        let grid = self.config.grid();
        let seen = grid * patch;
        // A square's values in the order of a convolution's weights: channels, rows, columns.
        let squares = pictures
            .cast(self.target.dtype.burn())
            .slice([0..batch, 0..seen, 0..seen, 0..3])
            .reshape([batch, grid, patch, grid, patch, 3])
            .permute([0, 1, 3, 5, 2, 4])
            .reshape([batch, grid * grid, 3 * patch * patch]);
        let class = self.class.clone().reshape([1, 1, hidden_size]);
        let tokens = vec![class.repeat_dim(0, batch), self.squares.forward(squares)];
        let mut x = Tensor::cat(tokens, 1) + self.positions.clone().unsqueeze();
        if let Some(norm) = &self.pre_norm {
            x = norm.forward(x);
        }
        for layer in &self.layers {
            see(&x);
            x = layer.forward(x);
        }
        Ok(x)
    }

    /// All hidden states of pictures: `layers + 1` tensors `[batch, tokens, width]`, what goes into the first layer, then the output of every
    /// layer, without the final norm.
    pub fn hidden_states(&self, pictures: Tensor<4>) -> Result<Vec<Tensor<3>>> {
        let mut states = Vec::with_capacity(self.layers.len() + 1);
        let last = self.forward(pictures, |x| states.push(x.clone()))?;
        states.push(last);
        Ok(states)
    }

    /// The last state behind the final norm, `[batch, tokens, width]`.
    pub fn encode(&self, pictures: Tensor<4>) -> Result<Tensor<3>> {
        Ok(self.post_norm.forward(self.forward(pictures, |_| {})?))
    }

    /// That of the first token alone, `[batch, width]`.
    pub fn pooled(&self, pictures: Tensor<4>) -> Result<Tensor<2>> {
        let last = self.forward(pictures, |_| {})?;
        Ok(self.post_norm.forward(last.narrow(1, 0, 1)).flatten(1, 2))
    }
}

/// A convolution whose windows don't overlap: a linear layer over squares.
fn squares(kind: VisionKind, config: &VisionConfig, p: &Params) -> Linear {
    let (width, patch) = (config.hidden_size, config.patch_size);
    p.layer(|p| {
        let weight = p.tensor("weight", [width, 3, patch, patch]).flatten(1, 3);
        let bias = match kind {
            VisionKind::Clip => None,
            VisionKind::Blip => Some(p.tensor("bias", [width])),
        };
        Linear::new(weight, bias, p.quantization())
    })
}
