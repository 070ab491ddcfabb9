use serde::Deserialize;

use super::{MAX_LAYERS, MAX_WIDTH, divides, parse, within};
use crate::{Error, Result};

/// The activation between the two layers of a feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Activation {
    /// `x * sigmoid(1.702 x)`: OpenAI's CLIP, SD1, SDXL's first encoder.
    #[serde(rename = "quick_gelu")]
    QuickGelu,
    /// The exact GELU: OpenCLIP, SD2, SDXL's second encoder.
    #[serde(rename = "gelu")]
    Gelu,
}

impl Activation {
    pub(crate) fn kernel(self) -> sd_kernels::Activation {
        match self {
            Self::QuickGelu => sd_kernels::Activation::QuickGelu,
            Self::Gelu => sd_kernels::Activation::Gelu,
        }
    }
}

/// CLIP's text encoder as data, in the words of transformers' `CLIPTextConfig`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ClipTextConfig {
    /// Number of tokens.
    pub vocab_size: usize,
    /// Width of the hidden states, and so of the context.
    pub hidden_size: usize,
    /// Width inside the feed-forward networks.
    pub intermediate_size: usize,
    /// Number of transformer layers.
    pub num_hidden_layers: usize,
    /// Attention heads of each layer.
    pub num_attention_heads: usize,
    /// Longest text in tokens, start and end included.
    #[serde(default = "default_positions")]
    pub max_position_embeddings: usize,
    /// Activation of the feed-forward networks.
    #[serde(default = "default_activation")]
    pub hidden_act: Activation,
    /// Epsilon of the layer norms.
    #[serde(default = "default_eps")]
    pub layer_norm_eps: f64,
}

fn default_positions() -> usize {
    77
}

fn default_activation() -> Activation {
    Activation::QuickGelu
}

fn default_eps() -> f64 {
    1e-5
}

impl ClipTextConfig {
    /// Reads a `text_encoder/config.json`; `origin` names it in errors.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not such a file, [`Error::Config`] for values that no model can have.
    pub fn from_json(json: &str, origin: &str) -> Result<Self> {
        let config: Self = parse(json, origin)?;
        within(config.vocab_size, 2..=1 << 24, origin, "vocab_size")?;
        within(config.hidden_size, 1..=MAX_WIDTH, origin, "hidden_size")?;
        within(
            config.intermediate_size,
            1..=MAX_WIDTH,
            origin,
            "intermediate_size",
        )?;
        within(
            config.num_hidden_layers,
            1..=MAX_LAYERS,
            origin,
            "num_hidden_layers",
        )?;
        within(
            config.max_position_embeddings,
            3..=MAX_WIDTH,
            origin,
            "max_position_embeddings",
        )?;
        divides(
            config.num_attention_heads,
            config.hidden_size,
            origin,
            "num_attention_heads",
        )?;
        if !(config.layer_norm_eps > 0.0 && config.layer_norm_eps < 1.0) {
            return Err(Error::config(origin, "layer_norm_eps", "must be between 0 and 1"));
        }
        Ok(config)
    }
}
