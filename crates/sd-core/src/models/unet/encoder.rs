//! The half of a U-Net that a control network has too: first convolution, way down and middle.

use std::borrow::Cow;

use burn_tensor::{DType, Tensor, TensorData};
use sd_kernels::{Activation, Conv2d, ConvExtras, Linear};

use super::{
    CrossAttentionCache, TextInput, UnetFeatures, UnetInput,
    block::{Block, Conditions, down, last, middle},
    shape_error,
};
use crate::{
    Result,
    config::{UnetConfig, Way},
    models::{
        nn::{broadcast_rows, channels_last, conv, each_row, linear, linear_without_bias},
        transformer::SpatialTransformer,
    },
    weights::{Model, Params, PartWeights, Target, load},
};

/// The encoder of a U-Net: latents, timesteps and text in, features of every resolution out.
pub struct UnetEncoder {
    pub(super) config: UnetConfig,
    pub(super) target: Target,
    conv_in: Conv2d,
    time: [Linear; 2],
    /// From the guidance's embedding to what is added to the timestep's sinusoids.
    guidance: Option<Linear>,
    added: Option<[Linear; 2]>,
    pub(super) down: Vec<Block>,
    pub(super) middle: Vec<Block>,
}

impl Model for UnetEncoder {
    type Config = UnetConfig;

    fn config(&self) -> &UnetConfig {
        &self.config
    }

    fn build(config: &UnetConfig, p: &Params, target: &Target) -> Self {
        let first = config.levels[0].channels;
        let mlp = |name: &str, input: usize| {
            let (p, width) = (p.at(name).sensitive(), config.time_width());
            [
                linear(&p.at("linear_1"), input, width),
                linear(&p.at("linear_2"), width, width),
            ]
        };
        Self {
            down: Block::all(p, config, Way::Down),
            middle: Block::all(p, config, Way::Middle),
            conv_in: conv(&p.at("conv_in").sensitive(), config.in_channels, first, 3),
            time: mlp("time_embedding", first),
            guidance: config.time_cond_proj_dim.map(|width| {
                let p = p.at("time_embedding.cond_proj").sensitive();
                linear_without_bias(&p, width, first)
            }),
            added: config.added_width.map(|width| mlp("add_embedding", width)),
            config: config.clone(),
            target: target.clone(),
        }
    }
}

impl UnetEncoder {
    /// Loads the encoder alone.
    ///
    /// # Errors
    /// [`Error::Weights`](crate::Error::Weights) if the weights don't fit `config`; those of a whole U-Net need
    /// [`PartWeights::allow_unexpected`].
    pub fn load(config: &UnetConfig, weights: &PartWeights, target: &Target) -> Result<Self> {
        load(weights, target, |p| Self::build(config, p, target))
    }

    /// The features for an input; its residuals are not read.
    ///
    /// # Errors
    /// As [`UNet::forward`](super::UNet::forward).
    pub fn forward(&self, input: &UnetInput) -> Result<UnetFeatures> {
        let (x, conditions) = self.enter(input, &[])?;
        let skips = down(&self.down, vec![x], &conditions);
        let (middle, _) = middle(&self.middle, last(&skips), &conditions);
        let skips = skips.into_iter().map(|skip| broadcast_rows(skip, input.batch()));
        Ok(UnetFeatures {
            skips: skips.collect(),
            middle,
        })
    }

    /// The keys and values of a context, `[batch, m, cross_attention_dim]`, for every cross-attention, at any timestep.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if its shape is not as above.
    pub fn cross_attention_cache(&self, context: Tensor<3>) -> Result<CrossAttentionCache> {
        self.cache(&[], context)
    }

    /// The same where a network has blocks behind the encoder's.
    pub(super) fn cache(&self, behind: &[Block], context: Tensor<3>) -> Result<CrossAttentionCache> {
        let [rows, m, width] = context.dims();
        if rows * m == 0 || width != self.config.cross_attention_dim {
            let expected = format!("[batch, tokens, {}], none 0", self.config.cross_attention_dim);
            return shape_error("context", expected, &context.dims());
        }
        let context = context.cast(self.target.dtype.burn());
        let layers = self.transformers(behind).map(|t| t.keys_values(&context));
        Ok(CrossAttentionCache {
            rows,
            layers: layers.collect(),
        })
    }

    fn transformers<'a>(&'a self, behind: &'a [Block]) -> impl Iterator<Item = &'a SpatialTransformer> {
        let blocks = self.down.iter().chain(&self.middle).chain(behind);
        blocks.filter_map(Block::transformer)
    }

    /// The first convolution, and what all blocks are given: the encoder's, and those `behind` it.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if the input is not as [`UnetInput`] says.
    pub(super) fn enter<'a>(
        &self,
        input: &UnetInput<'a>,
        behind: &[Block],
    ) -> Result<(Tensor<4>, Conditions<'a>)> {
        self.check(input)?;
        let [batch, _, h, w] = input.latents.dims();
        let text = match &input.text {
            TextInput::Context(context) => Cow::Owned(self.cache(behind, context.clone())?),
            TextInput::Cache(cache) => Cow::Borrowed(*cache),
        };
        let pictures = input.pictures;
        let fits = [pictures, input.batch()].contains(&batch);
        if !fits || text.layers.len() != self.transformers(behind).count() {
            let expected = format!("of this network and {batch} rows");
            return shape_error("text", expected, &[input.batch()]);
        }
        let dtype = self.target.dtype.burn();
        let latents = input.latents.clone().cast(dtype);
        let latents = match &input.concat {
            Some(channels) => Tensor::cat(vec![latents, channels.clone().cast(dtype)], 1),
            None => latents,
        };
        let conditions = Conditions {
            time: self.embed(input),
            text,
            pictures,
            token_merging: input.token_merging,
            merged_parts: input.merged_parts,
            size: [h, w],
            perturbed: input.perturbed,
            free_u: input.free_u,
            watch_middle: input.watch_middle,
            first: self.config.levels[0].channels,
            wrap: input.wrap,
        };
        let extras = ConvExtras {
            wrap: input.wrap,
            ..ConvExtras::default()
        };
        let x = self.conv_in.forward(channels_last(latents), extras);
        Ok((x, conditions))
    }

    /// The embedding of timesteps, guidance and an added vector, `[batch, time_width]`.
    fn embed(&self, input: &UnetInput) -> Tensor<2> {
        let (timesteps, added) = (input.timesteps, input.added.clone());
        let (width, dtype) = (self.config.levels[0].channels, self.target.dtype.burn());
        let mlp = |[one, two]: &[Linear; 2], x: Tensor<2>| two.forward(one.forward_then(x, Activation::Silu));
        let sinusoids = timestep_embedding(timesteps, width, &self.config);
        let sinusoids = TensorData::new(sinusoids, [timesteps.len(), width]);
        let sinusoids = Tensor::<2>::from_data(sinusoids, (self.target.device.burn(), DType::F32));
        let mut sinusoids = sinusoids.cast(dtype);
        if let (Some(layer), Some(guidance)) = (&self.guidance, &input.guidance) {
            sinusoids = sinusoids + layer.forward(guidance.clone().cast(dtype));
        }
        let mut time = mlp(&self.time, sinusoids);
        if let (Some(layers), Some(added)) = (&self.added, added) {
            let added = each_row(mlp(layers, added.cast(dtype)), input.pictures);
            time = broadcast_rows(time, added.dims()[0]) + added;
        }
        // Every residual block would apply SiLU first.
        sd_kernels::silu(time)
    }

    fn check(&self, input: &UnetInput) -> Result<()> {
        let [batch, channels, h, w] = input.latents.dims();
        let whole = self.config.in_channels;
        let concat = match &input.concat {
            Some(concat) => concat.dims(),
            None => [batch, 0, h, w],
        };
        if batch * channels * h * w == 0 || channels > whole || input.concat.is_none() && channels != whole {
            let expected = format!("[batch, {whole}, height, width], none 0");
            return shape_error("latents", expected, &input.latents.dims());
        }
        if concat != [batch, whole - channels, h, w] {
            let expected = format!("[{batch}, {}, {h}, {w}]", whole - channels);
            return shape_error("concatenated channels", expected, &concat);
        }
        let timesteps = input.timesteps;
        if timesteps.len() != batch || !timesteps.iter().all(|t| t.is_finite()) {
            return shape_error("timesteps", format!("{batch} finite numbers"), &[timesteps.len()]);
        }
        if let Some(guidance) = input.guidance.as_ref().map(Tensor::dims) {
            let width = self.config.time_cond_proj_dim;
            if width.is_none_or(|width| guidance != [batch, width]) {
                let expected = width.map_or("none".into(), |width| format!("[{batch}, {width}]"));
                return shape_error("guidance embedding", expected, &guidance);
            }
        }
        match (self.config.added_width, input.added.as_ref().map(|a| a.dims())) {
            (None, None) => Ok(()),
            (Some(width), Some(dims)) if dims == [input.texts(), width] => Ok(()),
            (expected, got) => shape_error(
                "additional embedding",
                expected.map_or("none".into(), |width| format!("[{}, {width}]", input.texts())),
                &got.unwrap_or_default(),
            ),
        }
    }
}

/// Sinusoids of the timesteps, a row of `width` for each (Vaswani et al. 2017, arXiv:1706.03762), cosines first where the
/// configuration flips them.
///
/// In `f32` like the reference implementations: at timestep 999 the rounding of the arguments shows in the fifth digit, so exact
/// arithmetic would be further from them.
pub fn timestep_embedding(timesteps: &[f64], width: usize, config: &UnetConfig) -> Vec<f32> {
    let (half, log) = (width / 2, LONGEST.ln() as f32);
    let exponent = |i: usize| -log * i as f32 / (half as f32 - config.freq_shift as f32);
    sinusoids(timesteps, width, config.flip_sin_to_cos, exponent)
}

/// The embedding of a scale of guidance, in `width` values, for models that guidance was distilled into (latent consistency models, Luo
/// et al. 2023, arXiv:2310.04378): sinusoids of 1000 times `cfg_scale - 1`, rounded as diffusers' pipeline rounds them.
pub fn guidance_embedding(cfg_scale: f64, width: usize) -> Vec<f32> {
    let step = LONGEST.ln() as f32 / (width / 2 - 1) as f32;
    let scale = (cfg_scale - 1.0) as f32 * 1000.0;
    sinusoids(&[f64::from(scale)], width, false, |i| i as f32 * -step)
}

/// The longest of the sinusoids' periods, over 2 pi.
const LONGEST: f64 = 10_000.0;

/// A row for each number; the i-th frequency is the exponential of `exponent(i)`.
fn sinusoids(
    numbers: &[f64],
    width: usize,
    cosines_first: bool,
    exponent: impl Fn(usize) -> f32,
) -> Vec<f32> {
    let half = width / 2;
    let mut out = Vec::with_capacity(numbers.len() * width);
    for &number in numbers {
        let argument = |i: usize| number as f32 * f64::from(exponent(i)).exp() as f32;
        let sines = (0..half).map(|i| argument(i).sin());
        let cosines = (0..half).map(|i| argument(i).cos());
        if cosines_first {
            out.extend(cosines.chain(sines));
        } else {
            out.extend(sines.chain(cosines));
        }
        out.extend(std::iter::repeat_n(0.0, width % 2));
    }
    out
}
