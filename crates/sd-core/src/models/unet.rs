//! The U-Net of latent diffusion (Rombach et al. 2022, arXiv:2112.10752), as a table of blocks read from its configuration.

use burn::tensor::{Tensor, TensorData, activation};
use sd_kernels::Padding;

use super::{
    nn::{Conv2d, GroupNorm, Linear},
    resnet::{Downsample, ResnetBlock, ResnetSpec, Upsample},
    transformer::{SpatialTransformer, TransformerSpec},
};
use crate::{
    Error, Result,
    config::UnetConfig,
    weights::{Model, Params, PartWeights, Target, load},
};

/// The denoising network: latents, timesteps and a context in, a prediction of the latents' shape out.
pub struct UNet {
    config: UnetConfig,
    target: Target,
    conv_in: Conv2d,
    time: [Linear; 2],
    added: Option<[Linear; 2]>,
    down: Vec<DownLevel>,
    middle: (ResnetBlock, Option<SpatialTransformer>, ResnetBlock),
    up: Vec<UpLevel>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

/// A residual block and, where the level has them, the transformer behind it.
struct Layer(ResnetBlock, Option<SpatialTransformer>);

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
    /// [`Error::Weights`] if the weights don't fit `config`.
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
            let p = p.at(name);
            [
                Linear::new(&p.at("linear_1"), input, time_width),
                Linear::new(&p.at("linear_2"), time_width, time_width),
            ]
        };
        let transformer = |p: &Params, channels: usize, heads: usize, depth: usize| {
            (depth > 0).then(|| {
                SpatialTransformer::new(
                    p,
                    TransformerSpec {
                        channels,
                        heads,
                        depth,
                        context_width: config.cross_attention_dim,
                        linear_projection: config.use_linear_projection,
                        groups: config.norm_num_groups,
                    },
                )
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
        let middle = {
            let (p, spec_mid) = (p.at("mid_block"), &config.middle);
            (
                ResnetBlock::new(&p.at("resnets.0"), last, last, spec),
                transformer(
                    &p.at("attentions.0"),
                    last,
                    spec_mid.heads,
                    spec_mid.transformer_depth,
                ),
                ResnetBlock::new(&p.at("resnets.1"), last, last, spec),
            )
        };
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
            conv_in: Conv2d::same(&p.at("conv_in"), config.in_channels, first, 3),
            time: mlp("time_embedding", first),
            added: config.added_width.map(|width| mlp("add_embedding", width)),
            down,
            middle,
            up,
            norm_out: GroupNorm::new(&p.at("conv_norm_out"), first, spec.groups, spec.eps),
            conv_out: Conv2d::same(&p.at("conv_out"), first, config.out_channels, 3),
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

    /// One evaluation.
    ///
    /// `latents` is `[batch, in_channels, h, w]` in any float type, `timesteps` has one value (0 to 1000, fractions allowed) for each
    /// row, `context` is `[batch, m, cross_attention_dim]`, `added` is `[batch, added_width]` for the families that have it (SDXL).
    /// The prediction is `[batch, out_channels, h, w]` in `f32`.
    ///
    /// # Errors
    /// [`Error::Shape`] if an argument's shape is not as above.
    pub fn forward(
        &self,
        latents: Tensor<4>,
        timesteps: &[f64],
        context: Tensor<3>,
        added: Option<Tensor<2>>,
    ) -> Result<Tensor<4>> {
        let [batch, c, h, w] = latents.dims();
        self.check(&latents, timesteps, &context, added.as_ref())?;
        debug_assert!(c == self.config.in_channels && h > 0 && w > 0);
        let dtype = self.target.dtype.burn();
        let mlp = |[one, two]: &[Linear; 2], x: Tensor<2>| two.forward(sd_kernels::silu(one.forward(x)));

        let sinusoids = timestep_embedding(timesteps, self.config.levels[0].channels, &self.config);
        let sinusoids = TensorData::new(sinusoids, [batch, self.config.levels[0].channels]);
        let sinusoids =
            Tensor::<2>::from_data(sinusoids, (self.target.device.burn(), burn::tensor::DType::F32));
        let mut time = mlp(&self.time, sinusoids.cast(dtype));
        if let (Some(layers), Some(added)) = (&self.added, added) {
            time = time + mlp(layers, added.cast(dtype));
        }
        // Every residual block would apply SiLU first.
        let time = activation::silu(time);
        let context = context.cast(dtype);

        let mut x = self.conv_in.forward(latents.cast(dtype));
        let mut skips = vec![x.clone()];
        for level in &self.down {
            for layer in &level.layers {
                x = layer.forward(x, &time, &context);
                skips.push(x.clone());
            }
            if let Some(downsample) = &level.downsample {
                x = downsample.forward(x);
                skips.push(x.clone());
            }
        }
        let (first, transformer, second) = &self.middle;
        x = first.forward(x, Some(&time));
        if let Some(transformer) = transformer {
            x = transformer.forward(x, &context);
        }
        x = second.forward(x, Some(&time));
        for level in &self.up {
            for layer in &level.layers {
                let skip = skips.pop().expect("one skip for each layer on the way up");
                x = layer.forward(Tensor::cat(vec![x, skip], 1), &time, &context);
            }
            if let Some(upsample) = &level.upsample {
                let size = skips.last().map(|skip| [skip.dims()[2], skip.dims()[3]]);
                x = upsample.forward(x, size);
            }
        }
        Ok(self
            .conv_out
            .forward(self.norm_out.forward_silu(x))
            .cast(burn::tensor::DType::F32))
    }

    fn check(
        &self,
        latents: &Tensor<4>,
        timesteps: &[f64],
        context: &Tensor<3>,
        added: Option<&Tensor<2>>,
    ) -> Result<()> {
        let shape = |name, expected: String, got: &[usize]| {
            Err(Error::Shape {
                name,
                expected,
                got: got.to_vec(),
            })
        };
        let [batch, c, h, w] = latents.dims();
        if c != self.config.in_channels || batch * h * w == 0 {
            let expected = format!("[batch, {}, height, width], none 0", self.config.in_channels);
            return shape("latents", expected, &latents.dims());
        }
        if timesteps.len() != batch || !timesteps.iter().all(|t| t.is_finite()) {
            return shape("timesteps", format!("{batch} finite numbers"), &[timesteps.len()]);
        }
        let [rows, m, width] = context.dims();
        if rows != batch || m == 0 || width != self.config.cross_attention_dim {
            let expected = format!("[{batch}, tokens, {}]", self.config.cross_attention_dim);
            return shape("context", expected, &context.dims());
        }
        match (self.config.added_width, added.map(|a| a.dims())) {
            (None, None) => Ok(()),
            (Some(width), Some(dims)) if dims == [batch, width] => Ok(()),
            (expected, got) => shape(
                "additional embedding",
                expected.map_or("none".into(), |width| format!("[{batch}, {width}]")),
                &got.unwrap_or_default(),
            ),
        }
    }
}

impl Layer {
    fn forward(&self, x: Tensor<4>, time: &Tensor<2>, context: &Tensor<3>) -> Tensor<4> {
        let x = self.0.forward(x, Some(time));
        match &self.1 {
            Some(transformer) => transformer.forward(x, context),
            None => x,
        }
    }
}

/// Sinusoids of the timesteps, a row of `width` for each (Vaswani et al. 2017, arXiv:1706.03762), cosines first where the
/// configuration flips them.
///
/// In `f32` like the reference implementations: at timestep 999 the rounding of the arguments shows in the fifth digit, so exact
/// arithmetic would be further from them.
pub fn timestep_embedding(timesteps: &[f64], width: usize, config: &UnetConfig) -> Vec<f32> {
    let half = width / 2;
    let step = -(10_000f64.ln()) as f32;
    let mut out = Vec::with_capacity(timesteps.len() * width);
    for &t in timesteps {
        let argument = |i: usize| {
            let exponent = step * i as f32 / (half as f32 - config.freq_shift as f32);
            t as f32 * f64::from(exponent).exp() as f32
        };
        let sines = (0..half).map(|i| argument(i).sin());
        let cosines = (0..half).map(|i| argument(i).cos());
        if config.flip_sin_to_cos {
            out.extend(cosines.chain(sines));
        } else {
            out.extend(sines.chain(cosines));
        }
        out.extend(std::iter::repeat_n(0.0, width % 2));
    }
    out
}
