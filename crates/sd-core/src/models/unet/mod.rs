//! The U-Net of latent diffusion (Rombach et al. 2022, arXiv:2112.10752), as a table of blocks read from its configuration.

mod call;
mod options;

use std::cell::Cell;

use sd_kernels::{Conv2d, GroupNorm, Linear, Padding};

use super::{
    nn::{conv, group_norm, linear},
    resnet::{Downsample, ResnetBlock, ResnetSpec, Upsample},
    transformer::{SpatialTransformer, TransformerSpec},
};
use crate::{
    Result,
    config::UnetConfig,
    weights::{Model, Params, PartWeights, Target, load},
};

pub use call::timestep_embedding;
pub use options::{Deep, DeepFeatures, TextMemory, UnetCall, UnetOptions};

/// The denoising network: latents, timesteps and a context in, a prediction of the latents' shape out.
pub struct UNet {
    config: UnetConfig,
    target: Target,
    conv_in: Conv2d,
    time: [Linear; 2],
    added: Option<[Linear; 2]>,
    down: Vec<DownLevel>,
    middle: Option<Middle>,
    up: Vec<UpLevel>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

/// A residual block and, where the level has them, the transformer behind it.
struct Layer(ResnetBlock, Option<Transformer>);

/// A transformer, and its place among all of the network's.
struct Transformer(SpatialTransformer, usize);

struct Middle {
    first: ResnetBlock,
    transformer: Option<Transformer>,
    second: ResnetBlock,
}

struct DownLevel {
    layers: Vec<Layer>,
    downsample: Option<Downsample>,
}

struct UpLevel {
    layers: Vec<Layer>,
    upsample: Option<Upsample>,
}

impl Model for UNet {
    type Config = UnetConfig;

    fn config(&self) -> &UnetConfig {
        &self.config
    }

    fn build(config: &UnetConfig, p: &Params, target: &Target) -> Self {
        Self::build(config, p, target)
    }
}

impl UNet {
    /// Loads the network.
    ///
    /// # Errors
    /// [`Error::Weights`](crate::Error::Weights) if the weights don't fit `config`.
    pub fn load(config: &UnetConfig, weights: &PartWeights, target: &Target) -> Result<Self> {
        load(weights, target, |p| Self::build(config, p, target))
    }

    pub(crate) fn build(config: &UnetConfig, p: &Params, target: &Target) -> Self {
        let levels = &config.levels;
        let (first, last) = (levels[0].channels, levels[levels.len() - 1].channels);
        let time_width = 4 * first;
        let spec = ResnetSpec {
            groups: config.norm_num_groups,
            eps: config.norm_eps,
            time_width: Some(time_width),
        };
        let mlp = |name: &str, input: usize| {
            let p = p.at(name).unquantized();
            [
                linear(&p.at("linear_1"), input, time_width),
                linear(&p.at("linear_2"), time_width, time_width),
            ]
        };
        let transformers = Cell::new(0);
        let transformer = |p: &Params, channels: usize, heads: usize, depth: usize| {
            (depth > 0).then(|| {
                let spec = TransformerSpec {
                    channels,
                    heads,
                    depth,
                    context_width: config.cross_attention_dim,
                    linear_projection: config.use_linear_projection,
                    groups: config.norm_num_groups,
                };
                let place = transformers.get();
                transformers.set(place + 1);
                Transformer(SpatialTransformer::new(p, spec), place)
            })
        };
        let layer = |p: &Params, j: usize, input: usize, level: &crate::config::UnetLevel| {
            let resnet = ResnetBlock::new(&p.at(format_args!("resnets.{j}")), input, level.channels, spec);
            let attention = transformer(
                &p.at(format_args!("attentions.{j}")),
                level.channels,
                level.heads,
                level.transformer_depth,
            );
            Layer(resnet, attention)
        };

        // What the way down leaves for the way up, innermost last.
        let mut skips = vec![first];
        let mut channels = first;
        let mut down = Vec::new();
        for (i, level) in levels.iter().enumerate() {
            let p = p.at(format_args!("down_blocks.{i}"));
            let mut layers = Vec::new();
            for j in 0..config.layers_per_block {
                layers.push(layer(&p, j, channels, level));
                channels = level.channels;
                skips.push(channels);
            }
            let halves = i + 1 < levels.len();
            if halves {
                skips.push(channels);
            }
            down.push(DownLevel {
                layers,
                downsample: halves.then(|| Downsample::new(&p, channels, Padding::Even(1))),
            });
        }
        let middle = config.middle.map(|middle| {
            let p = p.at("mid_block");
            let attentions = p.at("attentions.0");
            Middle {
                first: ResnetBlock::new(&p.at("resnets.0"), last, last, spec),
                transformer: transformer(&attentions, last, middle.heads, middle.transformer_depth),
                second: ResnetBlock::new(&p.at("resnets.1"), last, last, spec),
            }
        });
        let mut up = Vec::new();
        for (i, level) in levels.iter().rev().enumerate() {
            let p = p.at(format_args!("up_blocks.{i}"));
            let mut layers = Vec::new();
            for j in 0..=config.layers_per_block {
                let skip = skips.pop().expect("one skip for each layer on the way up");
                layers.push(layer(&p, j, channels + skip, level));
                channels = level.channels;
            }
            let upsample = (i + 1 < levels.len()).then(|| Upsample::new(&p, channels));
            up.push(UpLevel { layers, upsample });
        }
        Self {
            conv_in: conv(&p.at("conv_in").unquantized(), config.in_channels, first, 3),
            time: mlp("time_embedding", first),
            added: config.added_width.map(|width| mlp("add_embedding", width)),
            down,
            middle,
            up,
            norm_out: group_norm(&p.at("conv_norm_out"), first, spec.groups, spec.eps),
            conv_out: conv(&p.at("conv_out").unquantized(), first, config.out_channels, 3),
            config: config.clone(),
            target: target.clone(),
        }
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &UnetConfig {
        &self.config
    }

    /// Where and in which type it computes.
    pub fn target(&self) -> &Target {
        &self.target
    }
}
