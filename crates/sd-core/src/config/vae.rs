use serde::Deserialize;

use super::{
    MAX_BLOCKS, MAX_LEVELS, MAX_WIDTH, divides,
    others::{Others, Plain, SILU},
    within,
};
use crate::{Error, Result};

/// The KL autoencoder as data, in the words of diffusers' `AutoencoderKL`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct VaeConfig {
    /// Channels of a picture.
    pub in_channels: usize,
    /// Channels of a decoded picture.
    pub out_channels: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Width of each level, from the picture's resolution down.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks in a level of the encoder; the decoder has one more.
    pub layers_per_block: usize,
    /// Groups of the group norms.
    pub norm_num_groups: usize,
    /// The U-Net's latents are the autoencoder's times this.
    pub scaling_factor: f64,
    /// The mean of each channel of the autoencoder's latents, and their standard deviation, for a U-Net that works on latents brought to
    /// 0 and `scaling_factor` (Playground v2.5).
    pub latents_mean: Option<Vec<f64>>,
    /// See [`latents_mean`](Self::latents_mean): both are there, or neither.
    pub latents_std: Option<Vec<f64>>,
    /// Whether a 1x1 convolution follows the encoder.
    pub use_quant_conv: bool,
    /// Whether a 1x1 convolution precedes the decoder.
    pub use_post_quant_conv: bool,
    /// Whether the middle has an attention layer.
    pub mid_block_add_attention: bool,
}

static OTHERS: Others = Others {
    only: &[
        SILU,
        ("down_block_types", &[Plain::Text("DownEncoderBlock2D")]),
        ("up_block_types", &[Plain::Text("UpDecoderBlock2D")]),
        ("shift_factor", &[]),
    ],
    harmless: &["sample_size", "force_upcast"],
};

impl Default for VaeConfig {
    /// diffusers' defaults, for what a file leaves out.
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            latent_channels: 4,
            block_out_channels: vec![64],
            layers_per_block: 1,
            norm_num_groups: 32,
            scaling_factor: 0.18215,
            latents_mean: None,
            latents_std: None,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
        }
    }
}

impl VaeConfig {
    /// Reads a `vae/config.json`; `origin` names it in errors.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not such a file, [`Error::Config`] for values that no model can have.
    pub fn from_json(json: &str, origin: &str) -> Result<Self> {
        let config: Self = OTHERS.parse(json, origin)?;
        within(
            config.block_out_channels.len(),
            1..=MAX_LEVELS,
            origin,
            "block_out_channels",
        )?;
        for &channels in &config.block_out_channels {
            within(channels, 1..=MAX_WIDTH, origin, "block_out_channels")?;
            divides(config.norm_num_groups, channels, origin, "norm_num_groups")?;
        }
        for (field, value) in [
            ("in_channels", config.in_channels),
            ("out_channels", config.out_channels),
            ("latent_channels", config.latent_channels),
        ] {
            within(value, 1..=1024, origin, field)?;
        }
        within(
            config.layers_per_block,
            1..=MAX_BLOCKS,
            origin,
            "layers_per_block",
        )?;
        if !(config.scaling_factor.is_finite() && config.scaling_factor > 0.0) {
            return Err(Error::config(
                origin,
                "scaling_factor",
                "must be a positive number",
            ));
        }
        config.check_latents(origin)?;
        Ok(config)
    }

    /// Whether mean and deviation of the latents are possible.
    pub(crate) fn check_latents(&self, origin: &str) -> Result<()> {
        let channels = self.latent_channels;
        for (field, values, other) in [
            ("latents_mean", &self.latents_mean, &self.latents_std),
            ("latents_std", &self.latents_std, &self.latents_mean),
        ] {
            let Some(values) = values else { continue };
            let least = if field == "latents_std" {
                f64::MIN_POSITIVE
            } else {
                f64::MIN
            };
            let possible = values.iter().all(|value| (least..=f64::MAX).contains(value));
            if values.len() != channels || !possible || other.is_none() {
                let reason = format!(
                    "must be a number for each of {channels} channels, deviations over 0, with both latents_mean and latents_std or neither"
                );
                return Err(Error::config(origin, field, reason));
            }
        }
        Ok(())
    }

    /// Pixels of a picture's side that one latent stands for.
    pub fn downscale(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }
}
