//! The blocks between a U-Net's first and last convolution.

use std::borrow::Cow;

use burn_tensor::Tensor;
use sd_kernels::Padding;

use super::CrossAttentionCache;
use crate::{
    config::{BlockKind, UnetBlock, UnetConfig, Way},
    models::{
        resnet::{Downsample, ResnetBlock, ResnetSpec, Upsample},
        transformer::{SelfAttention, SpatialTransformer, TransformerSpec},
    },
    weights::Params,
};

pub(super) enum Block {
    Residual(Box<Residual>),
    Downsample(Downsample),
    Upsample(Upsample),
}

/// A residual block, and the transformer behind it with its place among all of the network's.
pub(super) struct Residual(ResnetBlock, Option<(usize, SpatialTransformer)>);

/// The conditions that all blocks share in one evaluation.
pub(super) struct Conditions<'a> {
    /// The embedding of timesteps and added vectors, `[batch, time_width]`, SiLU already applied.
    pub time: Tensor<2>,
    pub text: Cow<'a, CrossAttentionCache>,
    pub token_merging: f64,
    /// Height and width of the latents: tokens are merged at this resolution alone.
    pub size: [usize; 2],
}

impl Block {
    pub fn new(p: &Params, config: &UnetConfig, block: &UnetBlock) -> Self {
        let at = p.at(&block.path);
        match block.kind {
            BlockKind::Residual => Self::Residual(Box::new(Residual::new(p, config, block))),
            BlockKind::Downsample => Self::Downsample(Downsample::new(&at, block.output, Padding::Even(1))),
            BlockKind::Upsample => Self::Upsample(Upsample::new(&at, block.output)),
        }
    }

    /// All blocks of one way, in their order.
    pub fn all(p: &Params, config: &UnetConfig, way: Way) -> Vec<Self> {
        let blocks = config.blocks().into_iter().filter(|block| block.way == way);
        blocks.map(|block| Self::new(p, config, &block)).collect()
    }

    /// `size` is the height and width behind an upsampler, if not twice those of `x`.
    pub fn forward(&self, x: Tensor<4>, conditions: &Conditions, size: Option<[usize; 2]>) -> Tensor<4> {
        match self {
            Self::Residual(residual) => residual.forward(x, conditions),
            Self::Downsample(downsample) => downsample.forward(x),
            Self::Upsample(upsample) => upsample.forward(x, size),
        }
    }

    /// The transformer, if it has one.
    pub fn transformer(&self) -> Option<&SpatialTransformer> {
        match self {
            Self::Residual(residual) => residual.1.as_ref().map(|(_, it)| it),
            _ => None,
        }
    }
}

impl Residual {
    fn new(p: &Params, config: &UnetConfig, block: &UnetBlock) -> Self {
        let spec = ResnetSpec {
            groups: config.norm_num_groups,
            eps: config.norm_eps,
            time_width: Some(config.time_width()),
        };
        let resnet = ResnetBlock::new(&p.at(&block.path), block.input + block.skip, block.output, spec);
        let transformer = block.transformer.as_ref().map(|it| {
            let spec = TransformerSpec {
                channels: block.output,
                heads: it.heads,
                depth: it.depth,
                context_width: config.cross_attention_dim,
                linear_projection: config.use_linear_projection,
                groups: config.norm_num_groups,
            };
            (it.place, SpatialTransformer::new(&p.at(&it.path), spec))
        });
        Self(resnet, transformer)
    }

    fn forward(&self, x: Tensor<4>, conditions: &Conditions) -> Tensor<4> {
        let x = self.0.forward(x, Some(&conditions.time));
        match &self.1 {
            Some((place, transformer)) => {
                let [_, h, w, _] = x.dims();
                let self_attention = conditions.self_attention([h, w]);
                transformer.forward(x, &conditions.text.layers[*place], self_attention)
            }
            None => x,
        }
    }
}

impl Conditions<'_> {
    fn self_attention(&self, size: [usize; 2]) -> SelfAttention {
        match size == self.size {
            true => SelfAttention::Merged {
                share: self.token_merging,
                size,
            },
            false => SelfAttention::Whole,
        }
    }
}

/// The way down: what goes in, and what each block makes of it, are the skips.
pub(super) fn down(blocks: &[Block], x: Tensor<4>, conditions: &Conditions) -> Vec<Tensor<4>> {
    let mut skips = vec![x];
    for block in blocks {
        let x = last(&skips);
        skips.push(block.forward(x, conditions, None));
    }
    skips
}

/// The last skip.
pub(super) fn last(skips: &[Tensor<4>]) -> Tensor<4> {
    skips.last().cloned().expect("the first convolution's, at least")
}

/// The middle, which some networks lack.
pub(super) fn middle(blocks: &[Block], x: Tensor<4>, conditions: &Conditions) -> Tensor<4> {
    blocks
        .iter()
        .fold(x, |x, block| block.forward(x, conditions, None))
}

/// The way up: each residual block sees the last skip that is left beside what comes from below.
pub(super) fn up(
    blocks: &[Block],
    mut x: Tensor<4>,
    skips: &mut Vec<Tensor<4>>,
    conditions: &Conditions,
) -> Tensor<4> {
    for block in blocks {
        if let Block::Residual(_) = block {
            let skip = skips
                .pop()
                .expect("one skip for each residual block on the way up");
            x = sd_kernels::concatenate(x, skip);
        }
        let size = skips.last().map(|skip| [skip.dims()[1], skip.dims()[2]]);
        x = block.forward(x, conditions, size);
    }
    x
}
