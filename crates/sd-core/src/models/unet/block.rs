//! The blocks between a U-Net's first and last convolution.

use std::borrow::Cow;

use burn_tensor::Tensor;
use sd_kernels::{Axes, Padding};

use super::{CrossAttentionCache, FreeU, Perturbation, SelfAttentionLayers};
use crate::{
    config::{BlockKind, UnetBlock, UnetConfig, Way},
    models::{
        nn::broadcast_rows,
        resnet::{Downsample, ResnetBlock, ResnetSpec, Upsample},
        transformer::{MergedParts, SelfAttention, SpatialTransformer, TransformerSpec},
    },
    weights::Params,
};

pub(super) enum Block {
    Residual(Box<Residual>),
    Downsample(Downsample),
    Upsample(Upsample),
}

/// A residual block, and the transformer behind it.
pub(super) struct Residual {
    resnet: ResnetBlock,
    /// With its place among all of the network's.
    transformer: Option<(usize, SpatialTransformer)>,
    /// Its resolution, counted from the smallest.
    resolution: usize,
}

/// The conditions that all blocks share in one evaluation.
pub(super) struct Conditions<'a> {
    /// The embedding of timesteps and added vectors, `[batch, time_width]`, SiLU already applied; one row where it is the same for all.
    pub time: Tensor<2>,
    /// Its rows, each with each picture, are the batch.
    pub text: Cow<'a, CrossAttentionCache>,
    /// The pictures that each text is for.
    pub pictures: usize,
    pub token_merging: f64,
    pub merged_parts: MergedParts,
    /// Height and width of the latents: tokens are merged at this resolution alone.
    pub size: [usize; 2],
    pub perturbed: Option<(Perturbation, &'a SelfAttentionLayers)>,
    pub free_u: Option<FreeU>,
    /// Whether to note how much the middle's pixels are looked at.
    pub watch_middle: bool,
    /// Channels of the first level.
    pub first: usize,
    /// The axes along which pictures go on at their opposite edges.
    pub wrap: Axes,
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
            Self::Downsample(downsample) => downsample.forward(x, conditions.wrap),
            Self::Upsample(upsample) => upsample.forward(x, size, conditions.wrap),
        }
    }

    /// The transformer, if it has one.
    pub fn transformer(&self) -> Option<&SpatialTransformer> {
        match self {
            Self::Residual(residual) => residual.transformer.as_ref().map(|(_, it)| it),
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
        Self {
            resnet: ResnetBlock::new(&p.at(&block.path), block.input + block.skip, block.output, spec),
            transformer,
            resolution: config.levels.len() - 1 - block.level,
        }
    }

    fn forward(&self, x: Tensor<4>, conditions: &Conditions) -> Tensor<4> {
        self.attend(self.resnet(x, conditions), conditions)
    }

    fn resnet(&self, x: Tensor<4>, conditions: &Conditions) -> Tensor<4> {
        let time = &conditions.time;
        let batch = x.dims()[0].max(time.dims()[0]);
        let time = broadcast_rows(time.clone(), batch);
        self.resnet
            .forward(broadcast_rows(x, batch), Some(&time), conditions.wrap)
    }

    /// The transformer.
    fn attend(&self, x: Tensor<4>, conditions: &Conditions) -> Tensor<4> {
        match &self.transformer {
            Some((place, transformer)) => {
                let [_, h, w, _] = x.dims();
                let self_attention = |block| conditions.self_attention((*place, block), [h, w]);
                let text = &conditions.text.layers[*place];
                transformer.forward(x, text, conditions.pictures, self_attention)
            }
            None => x,
        }
    }
}

impl Conditions<'_> {
    /// What self-attention does in a block of the transformer at a place, on pictures of `size`.
    fn self_attention(&self, (place, block): (usize, usize), size: [usize; 2]) -> SelfAttention {
        match self.perturbed {
            Some((perturbation, layers)) if layers.contains(place, block) => match perturbation {
                Perturbation::Identity => SelfAttention::Identity,
                Perturbation::BlurredQueries { sigma } => SelfAttention::BlurredQueries { sigma, size },
            },
            _ if size == self.size => SelfAttention::Merged {
                share: self.token_merging,
                size,
                also: self.merged_parts,
            },
            _ => SelfAttention::Whole,
        }
    }
}

/// The way down, or some blocks of it, behind the skips so far: what goes in, and what each block makes of it, are the skips. They have one
/// row as long as all rows are the same.
pub(super) fn down(blocks: &[Block], mut skips: Vec<Tensor<4>>, conditions: &Conditions) -> Vec<Tensor<4>> {
    for block in blocks {
        skips.push(block.forward(last(&skips), conditions, None));
    }
    skips
}

/// The last skip.
pub(super) fn last(skips: &[Tensor<4>]) -> Tensor<4> {
    skips.last().cloned().expect("the first convolution's, at least")
}

/// The middle, which some networks lack; and if it is watched, how much each pixel is looked at by all in its first self-attention,
/// `[batch, h, w]`.
pub(super) fn middle(
    blocks: &[Block],
    mut x: Tensor<4>,
    conditions: &Conditions,
) -> (Tensor<4>, Option<Tensor<3>>) {
    let mut received = None;
    for block in blocks {
        x = match block {
            Block::Residual(residual) if conditions.watch_middle && received.is_none() => {
                let x = residual.resnet(x, conditions);
                received = residual.transformer.as_ref().map(|(_, it)| it.received(&x));
                residual.attend(x, conditions)
            }
            _ => block.forward(x, conditions, None),
        };
    }
    let batch = conditions.text.rows * conditions.pictures;
    (
        broadcast_rows(x, batch),
        received.map(|it| broadcast_rows(it, batch)),
    )
}

/// The way up: each residual block sees the last skip that is left beside what comes from below.
pub(super) fn up(
    blocks: &[Block],
    mut x: Tensor<4>,
    skips: &mut Vec<Tensor<4>>,
    conditions: &Conditions,
) -> Tensor<4> {
    for block in blocks {
        if let Block::Residual(residual) = block {
            let mut skip = skips
                .pop()
                .expect("one skip for each residual block on the way up");
            if let Some(free_u) = &conditions.free_u {
                (x, skip) = free_u.apply(residual.resolution, conditions.first, x, skip);
            }
            let skip = broadcast_rows(skip, x.dims()[0]);
            x = sd_kernels::concatenate(x, skip);
        }
        let size = skips.last().map(|skip| [skip.dims()[1], skip.dims()[2]]);
        x = block.forward(x, conditions, size);
    }
    x
}
