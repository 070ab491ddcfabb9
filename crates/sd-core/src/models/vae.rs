//! The KL autoencoder of latent diffusion (Rombach et al. 2022, arXiv:2112.10752): pictures to latents and back.
//!
//! Where pictures are large it works in bands ([`Bands`]), layer by layer, with the statistics of the whole picture.

use burn_tensor::{DType, Tensor};
use sd_kernels::{Axes, Bands, Conv2d, ConvExtras, GroupNorm, Padding, Prologue};

use super::{
    nn::{Attention, channels_first, channels_last, conv, group_norm, linear, to_tokens},
    resnet::{Downsample, ResnetBlock, ResnetSpec, Upsample},
};
use crate::{
    Error, Result,
    config::VaeConfig,
    weights::{Model, Params, PartWeights, Target, load},
};

/// The KL autoencoder, or one half of it, where the weights hold no more. Latents here are the autoencoder's own; the U-Net's are these times `scaling_factor`.
pub struct Vae {
    config: VaeConfig,
    target: Target,
    /// Pixels of the bands that pictures go through in.
    band_pixels: usize,
    /// Its name in errors.
    origin: String,
    /// One of the halves may be missing.
    encoder: Option<Encoder>,
    quant: Option<Conv2d>,
    post_quant: Option<Conv2d>,
    decoder: Option<Decoder>,
}

/// The Gaussian that a picture is encoded to, each `[batch, latent_channels, h / f, w / f]` in `f32`.
pub struct Moments {
    /// The mean, which is also the most likely latent.
    pub mean: Tensor<4>,
    /// The logarithm of the variance, clamped to -30 to 20.
    pub logvar: Tensor<4>,
}

struct Encoder {
    conv_in: Conv2d,
    levels: Vec<(Vec<ResnetBlock>, Option<Downsample>)>,
    middle: Middle,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

struct Decoder {
    conv_in: Conv2d,
    middle: Middle,
    levels: Vec<(Vec<ResnetBlock>, Option<Upsample>)>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

struct Middle {
    first: ResnetBlock,
    attention: Option<(GroupNorm, Attention)>,
    second: ResnetBlock,
}

impl Model for Vae {
    type Config = VaeConfig;

    fn config(&self) -> &VaeConfig {
        &self.config
    }

    fn build(config: &VaeConfig, p: &Params, target: &Target) -> Self {
        let z = config.latent_channels;
        let [encoder, decoder] = ["encoder", "decoder"].map(|half| p.at(half).any("conv_in.weight"));
        // Of nothing at all everything is missing.
        let (encodes, decodes) = (encoder || !decoder, decoder || !encoder);
        // A half's file may or may not have the other half's.
        let has = |used: bool, half: bool, name: &str| used && (half || p.at(name).any("weight"));
        Self {
            encoder: encodes.then(|| Encoder::new(config, &p.at("encoder"))),
            quant: has(config.use_quant_conv, encodes, "quant_conv")
                .then(|| conv(&p.at("quant_conv"), 2 * z, 2 * z, 1)),
            post_quant: has(config.use_post_quant_conv, decodes, "post_quant_conv")
                .then(|| conv(&p.at("post_quant_conv"), z, z, 1)),
            decoder: decodes.then(|| Decoder::new(config, &p.at("decoder"))),
            origin: p.origin().to_owned(),
            config: config.clone(),
            band_pixels: match target.device.is_cpu() {
                true => CPU_BAND,
                false => usize::MAX,
            },
            target: target.clone(),
        }
    }
}

impl Vae {
    /// Loads the autoencoder.
    ///
    /// # Errors
    /// [`Error::Weights`] if the weights don't fit `config`.
    pub fn load(config: &VaeConfig, weights: &PartWeights, target: &Target) -> Result<Self> {
        load(weights, target, |p| Self::build(config, p, target))
    }

    /// The same network, working in bands of about so many pixels. Results don't depend on them but for roundings.
    pub fn with_band_pixels(mut self, pixels: usize) -> Self {
        self.band_pixels = pixels;
        self
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &VaeConfig {
        &self.config
    }

    fn encoder(&self) -> Result<&Encoder> {
        self.encoder
            .as_ref()
            .ok_or_else(|| self.lacks("encoder", "encode pictures"))
    }

    fn decoder(&self) -> Result<&Decoder> {
        self.decoder
            .as_ref()
            .ok_or_else(|| self.lacks("decoder", "make pictures of latents"))
    }

    fn lacks(&self, half: &str, purpose: &str) -> Error {
        Error::Incomplete {
            origin: self.origin.clone(),
            reason: format!("has no {half}, so it can't {purpose}; give a whole VAE with vae (--vae)"),
        }
    }

    /// Whether it can encode: whether its weights hold the encoder.
    ///
    /// # Errors
    /// [`Error::Incomplete`] if not.
    pub fn can_encode(&self) -> Result<()> {
        self.encoder().map(drop)
    }

    /// Whether it can decode: whether its weights hold the decoder.
    ///
    /// # Errors
    /// [`Error::Incomplete`] if not.
    pub fn can_decode(&self) -> Result<()> {
        self.decoder().map(drop)
    }

    /// Encodes pictures, `[batch, in_channels, h, w]` with values -1 to 1, whose sides are multiples of
    /// [`VaeConfig::downscale`].
    ///
    /// # Errors
    /// [`Error::Shape`] for other shapes, [`Error::Incomplete`] if it has no encoder.
    pub fn encode(&self, pictures: Tensor<4>) -> Result<Moments> {
        self.encode_wrapped(pictures, Axes::default())
    }

    /// The same for pictures that go on at their opposite edges along some axes.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_wrapped(&self, pictures: Tensor<4>, wrap: Axes) -> Result<Moments> {
        let encoder = self.encoder()?;
        let [batch, c, h, w] = pictures.dims();
        let f = self.config.downscale();
        if c != self.config.in_channels || batch * h * w == 0 || h % f != 0 || w % f != 0 {
            return Err(Error::Shape {
                name: "pictures",
                expected: format!(
                    "[batch, {}, height, width], sides multiples of {f}",
                    self.config.in_channels
                ),
                got: pictures.dims().to_vec(),
            });
        }
        let pictures = pictures.cast(self.target.dtype.burn());
        let x = one_by_one(pictures, |picture| {
            let x = encoder.forward(Bands::new(picture, self.band_pixels).wrapped(wrap), wrap);
            match &self.quant {
                Some(quant) => quant.forward(x, ConvExtras::default()),
                None => x,
            }
        });
        let x = channels_first(x).cast(DType::F32);
        let z = self.config.latent_channels;
        let (mean, logvar) = (x.clone().narrow(1, 0, z), x.narrow(1, z, z));
        Ok(Moments {
            mean,
            logvar: logvar.clamp(-30.0, 20.0),
        })
    }

    /// Decodes latents, `[batch, latent_channels, h, w]`, to pictures `[batch, out_channels, f h, f w]` in `f32`; values -1 to 1,
    /// or a little beyond.
    ///
    /// # Errors
    /// [`Error::Shape`] for other shapes, [`Error::Incomplete`] if it has no decoder.
    pub fn decode(&self, latents: Tensor<4>) -> Result<Tensor<4>> {
        self.decode_wrapped(latents, Axes::default())
    }

    /// The same for latents that go on at their opposite edges along some axes.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_wrapped(&self, latents: Tensor<4>, wrap: Axes) -> Result<Tensor<4>> {
        let decoder = self.decoder()?;
        let [batch, c, h, w] = latents.dims();
        if c != self.config.latent_channels || batch * h * w == 0 {
            return Err(Error::Shape {
                name: "latents",
                expected: format!("[batch, {}, height, width], none 0", self.config.latent_channels),
                got: latents.dims().to_vec(),
            });
        }
        let latents = latents.cast(self.target.dtype.burn());
        let x = one_by_one(latents, |mut x| {
            if let Some(post_quant) = &self.post_quant {
                x = post_quant.forward(x, ConvExtras::default());
            }
            decoder.forward(x, self.band_pixels, wrap)
        });
        Ok(channels_first(x).cast(DType::F32))
    }
}

/// Runs pictures `[batch, c, h, w]` through a network for one, `[1, h, w, c]`, since these need the most memory of all.
fn one_by_one(pictures: Tensor<4>, network: impl Fn(Tensor<4>) -> Tensor<4>) -> Tensor<4> {
    let pictures = channels_last(pictures);
    match pictures.dims()[0] {
        1 => network(pictures),
        batch => {
            let one = |i| network(pictures.clone().narrow(0, i, 1));
            Tensor::cat((0..batch).map(one).collect(), 0)
        }
    }
}

fn wrapped(wrap: Axes) -> ConvExtras {
    ConvExtras {
        wrap,
        ..ConvExtras::default()
    }
}

fn spec(config: &VaeConfig) -> ResnetSpec {
    ResnetSpec {
        groups: config.norm_num_groups,
        eps: EPS,
        time_width: None,
    }
}

const EPS: f64 = 1e-6;

/// Pixels of a band on the CPU: few enough for a band to stay near, many enough to keep threads busy. A GPU wants all at once.
pub(super) const CPU_BAND: usize = 32_768;

impl Encoder {
    fn new(config: &VaeConfig, p: &Params) -> Self {
        let widths = &config.block_out_channels;
        let (mut c, last, z) = (widths[0], widths[widths.len() - 1], config.latent_channels);
        let mut levels = Vec::new();
        for (i, &width) in widths.iter().enumerate() {
            let p = p.at(format_args!("down_blocks.{i}"));
            let resnet = |j: usize| {
                let input = if j == 0 { c } else { width };
                ResnetBlock::new(&p.at(format_args!("resnets.{j}")), input, width, spec(config))
            };
            let resnets = (0..config.layers_per_block).map(resnet).collect();
            let halves = i + 1 < widths.len();
            levels.push((
                resnets,
                halves.then(|| Downsample::new(&p.at("downsamplers.0.conv"), width, Padding::RightBottom)),
            ));
            c = width;
        }
        Self {
            conv_in: conv(&p.at("conv_in"), config.in_channels, widths[0], 3),
            levels,
            middle: Middle::new(config, last, &p.at("mid_block")),
            norm_out: group_norm(&p.at("conv_norm_out"), last, config.norm_num_groups, EPS),
            conv_out: conv(&p.at("conv_out"), last, 2 * z, 3),
        }
    }

    fn forward(&self, picture: Bands, wrap: Axes) -> Tensor<4> {
        let mut x = picture.conv(&self.conv_in, Prologue::Nothing, None);
        for (resnets, downsample) in &self.levels {
            x = resnets.iter().fold(x, |x, resnet| resnet.forward_bands(x));
            if let Some(downsample) = downsample {
                x = downsample.forward_bands(x);
            }
        }
        let x = self.norm_out.forward_silu(self.middle.forward(x.join(), wrap));
        self.conv_out.forward(x, wrapped(wrap))
    }
}

impl Decoder {
    fn new(config: &VaeConfig, p: &Params) -> Self {
        let widths = &config.block_out_channels;
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        let mut c = last;
        let mut levels = Vec::new();
        for (i, &width) in widths.iter().rev().enumerate() {
            let p = p.at(format_args!("up_blocks.{i}"));
            let resnet = |j: usize| {
                let input = if j == 0 { c } else { width };
                ResnetBlock::new(&p.at(format_args!("resnets.{j}")), input, width, spec(config))
            };
            let resnets = (0..=config.layers_per_block).map(resnet).collect();
            let upsample = || Upsample::new(&p.at("upsamplers.0.conv"), width);
            levels.push((resnets, (i + 1 < widths.len()).then(upsample)));
            c = width;
        }
        Self {
            conv_in: conv(&p.at("conv_in"), config.latent_channels, last, 3),
            middle: Middle::new(config, last, &p.at("mid_block")),
            levels,
            norm_out: group_norm(&p.at("conv_norm_out"), first, config.norm_num_groups, EPS),
            conv_out: conv(&p.at("conv_out"), first, config.out_channels, 3),
        }
    }

    fn forward(&self, latents: Tensor<4>, band_pixels: usize, wrap: Axes) -> Tensor<4> {
        let x = self.conv_in.forward(latents, wrapped(wrap));
        let mut x = Bands::new(self.middle.forward(x, wrap), band_pixels).wrapped(wrap);
        for (resnets, upsample) in &self.levels {
            x = resnets.iter().fold(x, |x, resnet| resnet.forward_bands(x));
            if let Some(upsample) = upsample {
                x = upsample.forward_bands(x);
            }
        }
        x.conv(&self.conv_out, Prologue::NormSilu(&self.norm_out), None)
            .join()
    }
}

impl Middle {
    fn new(config: &VaeConfig, channels: usize, p: &Params) -> Self {
        let attention = config.mid_block_add_attention.then(|| {
            let p = p.at("attentions.0");
            let projection = |name: &str| linear(&p.at(name), channels, channels);
            let norm = group_norm(&p.at("group_norm"), channels, config.norm_num_groups, EPS);
            let (q, k, v) = (projection("to_q"), projection("to_k"), projection("to_v"));
            (
                norm,
                Attention {
                    q,
                    k,
                    v,
                    out: projection("to_out.0"),
                    heads: 1,
                },
            )
        });
        Self {
            first: ResnetBlock::new(&p.at("resnets.0"), channels, channels, spec(config)),
            attention,
            second: ResnetBlock::new(&p.at("resnets.1"), channels, channels, spec(config)),
        }
    }

    fn forward(&self, x: Tensor<4>, wrap: Axes) -> Tensor<4> {
        let mut x = self.first.forward(x, None, wrap);
        if let Some((norm, attention)) = &self.attention {
            let shape = x.dims();
            let normed = to_tokens(norm.forward(x.clone()));
            x = attention
                .forward_onto(to_tokens(x), normed, None, false)
                .reshape(shape);
        }
        self.second.forward(x, None, wrap)
    }
}
