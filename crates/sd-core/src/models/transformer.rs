//! The spatial transformer: where the U-Net looks at itself and at the text.

use burn::tensor::Tensor;

use super::nn::{Attention, Conv2d, GroupNorm, LayerNorm, Linear, to_picture, to_tokens};
use crate::weights::Params;

/// One spatial transformer of a U-Net, as data.
#[derive(Clone, Copy)]
pub(crate) struct TransformerSpec {
    pub channels: usize,
    pub heads: usize,
    pub depth: usize,
    pub context_width: usize,
    /// Projections in and out as linear layers on tokens (SD2, SDXL), or as 1x1 convolutions (SD1).
    pub linear_projection: bool,
    pub groups: usize,
}

/// Group norm, projection in, transformer blocks over the pixels as tokens, projection out, around a shortcut.
pub(crate) struct SpatialTransformer {
    norm: GroupNorm,
    project_in: Projection,
    blocks: Vec<TransformerBlock>,
    project_out: Projection,
}

enum Projection {
    Linear(Linear),
    Conv(Conv2d),
}

struct TransformerBlock {
    norm1: LayerNorm,
    self_attention: Attention,
    norm2: LayerNorm,
    cross_attention: Attention,
    norm3: LayerNorm,
    feed_forward_in: Linear,
    feed_forward_out: Linear,
}

impl SpatialTransformer {
    pub fn new(p: &Params, spec: TransformerSpec) -> Self {
        let c = spec.channels;
        let projection = |name: &str| match spec.linear_projection {
            true => Projection::Linear(Linear::new(&p.at(name), c, c)),
            false => Projection::Conv(Conv2d::same(&p.at(name), c, c, 1)),
        };
        Self {
            norm: GroupNorm::new(&p.at("norm"), c, spec.groups, 1e-6),
            project_in: projection("proj_in"),
            blocks: (0..spec.depth)
                .map(|i| TransformerBlock::new(&p.at(format_args!("transformer_blocks.{i}")), spec))
                .collect(),
            project_out: projection("proj_out"),
        }
    }

    /// `x` is `[batch, c, h, w]`, `context` is `[batch, m, context_width]`.
    pub fn forward(&self, x: Tensor<4>, context: &Tensor<3>) -> Tensor<4> {
        let [_, _, h, w] = x.dims();
        let normed = self.norm.forward(x.clone());
        let mut tokens = match &self.project_in {
            Projection::Linear(linear) => linear.forward(to_tokens(normed)),
            Projection::Conv(conv) => to_tokens(conv.forward(normed)),
        };
        for block in &self.blocks {
            tokens = block.forward(tokens, context);
        }
        x + match &self.project_out {
            Projection::Linear(linear) => to_picture(linear.forward(tokens), h, w),
            Projection::Conv(conv) => conv.forward(to_picture(tokens, h, w)),
        }
    }
}

impl TransformerBlock {
    fn new(p: &Params, spec: TransformerSpec) -> Self {
        let c = spec.channels;
        let attention = |name: &str, context: usize| {
            let p = p.at(name);
            Attention {
                q: Linear::without_bias(&p.at("to_q"), c, c),
                k: Linear::without_bias(&p.at("to_k"), context, c),
                v: Linear::without_bias(&p.at("to_v"), context, c),
                out: Linear::new(&p.at("to_out.0"), c, c),
                heads: spec.heads,
            }
        };
        Self {
            norm1: LayerNorm::new(&p.at("norm1"), c, 1e-5),
            self_attention: attention("attn1", c),
            norm2: LayerNorm::new(&p.at("norm2"), c, 1e-5),
            cross_attention: attention("attn2", spec.context_width),
            norm3: LayerNorm::new(&p.at("norm3"), c, 1e-5),
            feed_forward_in: Linear::new(&p.at("ff.net.0.proj"), c, 8 * c),
            feed_forward_out: Linear::new(&p.at("ff.net.2"), 4 * c, c),
        }
    }

    fn forward(&self, x: Tensor<3>, context: &Tensor<3>) -> Tensor<3> {
        let x = x.clone() + self.self_attention.forward(self.norm1.forward(x), None, false);
        let x = x.clone()
            + self
                .cross_attention
                .forward(self.norm2.forward(x), Some(context.clone()), false);
        let inner = sd_kernels::geglu(self.feed_forward_in.forward(self.norm3.forward(x.clone())));
        x + self.feed_forward_out.forward(inner)
    }
}
