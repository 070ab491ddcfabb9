//! The spatial transformer: the U-Net's attention to itself and to the text.

use burn_tensor::Tensor;

use sd_kernels::{GroupNorm, LayerNorm, Linear, TokenMerging};

use super::{
    blur::blurred,
    nn::{
        Attention, broadcast_rows, gated_linear, group_norm, layer_norm, linear, linear_without_bias,
        pixelwise_linear, to_tokens,
    },
};
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

/// What self-attention does with the pixels of pictures; `size` is height and width.
#[derive(Clone, Copy)]
pub(crate) enum SelfAttention {
    /// Each sees all.
    Whole,
    /// Each sees all, of which a share is merged with others first; other parts of the block may see them merged as well.
    Merged {
        share: f64,
        size: [usize; 2],
        also: MergedParts,
    },
    /// Each sees itself alone.
    Identity,
    /// Each sees all, by queries that are blurred.
    BlurredQueries { sigma: f64, size: [usize; 2] },
}

/// The parts of a transformer's block that may see merged tokens, beside self-attention.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MergedParts {
    /// Its attention to the text.
    pub cross_attention: bool,
    /// Its feed-forward network.
    pub feed_forward: bool,
}

/// Group norm, projection in, transformer blocks over the pixels as tokens, projection out, around a shortcut. The projections of
/// SD1 are convolutions of one pixel, which are linear layers by another name.
pub(crate) struct SpatialTransformer {
    norm: GroupNorm,
    project_in: Linear,
    blocks: Vec<TransformerBlock>,
    project_out: Linear,
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
            true => linear(&p.at(name), c, c),
            false => pixelwise_linear(&p.at(name), c, c),
        };
        Self {
            norm: group_norm(&p.at("norm"), c, spec.groups, 1e-6),
            project_in: projection("proj_in"),
            blocks: (0..spec.depth)
                .map(|i| TransformerBlock::new(&p.at(format_args!("transformer_blocks.{i}")), spec))
                .collect(),
            project_out: projection("proj_out"),
        }
    }

    /// The keys and values of a context, `[batch, m, context_width]`, one pair for each block.
    pub fn keys_values(&self, context: &Tensor<3>) -> Vec<[Tensor<3>; 2]> {
        let of = |block: &TransformerBlock| block.cross_attention.keys_values(context.clone());
        self.blocks.iter().map(of).collect()
    }

    /// `x` is `[batch, h, w, c]`; `keys_values` are a context's, which has as many rows, or several where `x` has one: what doesn't depend
    /// on the text is computed once then. Where each row of the context is for several `pictures`, `x` has a row for each of these, or one for
    /// each text with each picture. Each block is asked for what its self-attention does.
    pub fn forward(
        &self,
        x: Tensor<4>,
        keys_values: &[[Tensor<3>; 2]],
        pictures: usize,
        self_attention: impl Fn(usize) -> SelfAttention,
    ) -> Tensor<4> {
        let [_, h, w, c] = x.dims();
        let mut tokens = self.enter(x.clone());
        for (i, (block, keys_values)) in self.blocks.iter().zip(keys_values).enumerate() {
            tokens = block.forward(tokens, keys_values.clone(), pictures, self_attention(i));
        }
        let batch = tokens.dims()[0];
        let x = to_tokens(broadcast_rows(x, batch));
        self.project_out.forward_onto(tokens, x).reshape([batch, h, w, c])
    }

    /// What the first block's self-attention gives each pixel of `x`, the sum over all pixels that look at it, on the mean of the heads:
    /// `[batch, h, w]` in `f32`.
    pub fn received(&self, x: &Tensor<4>) -> Tensor<3> {
        let [batch, h, w, _] = x.dims();
        let block = &self.blocks[0];
        let normed = block.norm1.forward(self.enter(x.clone()));
        block.self_attention.received(normed).reshape([batch, h, w])
    }

    fn enter(&self, x: Tensor<4>) -> Tensor<3> {
        self.project_in.forward(to_tokens(self.norm.forward(x)))
    }
}

impl SelfAttention {
    /// `x + attention` of the normalised `x` to itself.
    fn forward_onto(self, attention: &Attention, x: Tensor<3>, normed: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Whole | Self::Merged { .. } => attention.forward_onto(x, normed, None, false),
            Self::Identity => attention.out.forward_onto(attention.v.forward(normed), x),
            Self::BlurredQueries { sigma, size } => {
                let queries = blurred(attention.q.forward(normed.clone()), size, sigma);
                let [keys, values] = attention.keys_values(normed);
                let seen = sd_kernels::attention(queries, keys, values, attention.heads, false);
                attention.out.forward_onto(seen, x)
            }
        }
    }
}

impl TransformerBlock {
    fn new(p: &Params, spec: TransformerSpec) -> Self {
        let c = spec.channels;
        let attention = |name: &str, context: usize| {
            let p = p.at(name);
            Attention {
                q: linear_without_bias(&p.at("to_q"), c, c),
                k: linear_without_bias(&p.at("to_k"), context, c),
                v: linear_without_bias(&p.at("to_v"), context, c),
                out: linear(&p.at("to_out.0"), c, c),
                heads: spec.heads,
            }
        };
        Self {
            norm1: layer_norm(&p.at("norm1"), c, 1e-5),
            self_attention: attention("attn1", c),
            norm2: layer_norm(&p.at("norm2"), c, 1e-5),
            cross_attention: attention("attn2", spec.context_width),
            norm3: layer_norm(&p.at("norm3"), c, 1e-5),
            feed_forward_in: gated_linear(&p.at("ff.net.0.proj"), c, 4 * c),
            feed_forward_out: linear(&p.at("ff.net.2"), 4 * c, c),
        }
    }

    fn forward(
        &self,
        x: Tensor<3>,
        keys_values: [Tensor<3>; 2],
        pictures: usize,
        self_attention: SelfAttention,
    ) -> Tensor<3> {
        let batch = keys_values[0].dims()[0] * pictures;
        // What goes together is decided once, for all parts.
        let (merging, also) = match self_attention {
            SelfAttention::Merged { share, size, also } => (TokenMerging::new(&x, size, share), also),
            _ => (None, MergedParts::default()),
        };
        let normed = self.norm1.forward(x.clone());
        let x = match &merging {
            Some(merging) => {
                let seen = self.self_attention.forward(merging.merge(normed), None);
                merging.unmerge_onto(seen, x)
            }
            None => self_attention.forward_onto(&self.self_attention, x, normed),
        };
        let normed = self.norm2.forward(x.clone());
        let x = match merging.as_ref().filter(|_| also.cross_attention) {
            Some(merging) => {
                let normed = joined(merging.merge(normed), pictures);
                let seen = self.cross_attention.forward(normed, Some(keys_values));
                let seen = parted(seen, pictures);
                merging.rows(batch).unmerge_onto(seen, broadcast_rows(x, batch))
            }
            None => {
                let (x, normed) = (joined(x, pictures), joined(normed, pictures));
                let x = self
                    .cross_attention
                    .forward_onto(x, normed, Some(keys_values), false);
                parted(x, pictures)
            }
        };
        let normed = self.norm3.forward(x.clone());
        match merging.as_ref().filter(|_| also.feed_forward) {
            Some(merging) => {
                let merging = merging.rows(batch);
                let inner = self.feed_forward_in.forward(merging.merge(normed));
                merging.unmerge_onto(self.feed_forward_out.forward(inner), x)
            }
            None => {
                let inner = self.feed_forward_in.forward(normed);
                self.feed_forward_out.forward_onto(inner, x)
            }
        }
    }
}

/// Pictures that see the same text as one: nothing in attention to a text goes from one query to another, so keys and values are there once.
fn joined(x: Tensor<3>, pictures: usize) -> Tensor<3> {
    let [rows, tokens, width] = x.dims();
    match pictures {
        1 => x,
        _ => x.reshape([rows / pictures, pictures * tokens, width]),
    }
}

/// The inverse of [`joined`].
fn parted(x: Tensor<3>, pictures: usize) -> Tensor<3> {
    let [rows, tokens, width] = x.dims();
    match pictures {
        1 => x,
        _ => x.reshape([rows * pictures, tokens / pictures, width]),
    }
}
