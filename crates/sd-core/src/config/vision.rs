//! Vision transformers, alone and in the pairs with a text model: CLIP's, and BLIP's for captions.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::{
    Activation, ClipTextConfig, MAX_LAYERS, MAX_WIDTH,
    clip::HARMLESS,
    divides,
    others::{Others, Plain},
    parse, within,
};
use crate::{Error, Result};

/// A vision transformer as data, in the words of transformers' `CLIPVisionConfig` and `BlipVisionConfig`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct VisionConfig {
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Width inside the feed-forward networks.
    pub intermediate_size: usize,
    /// Number of transformer layers.
    pub num_hidden_layers: usize,
    /// Attention heads of each layer.
    pub num_attention_heads: usize,
    /// Pixels of a picture's side.
    pub image_size: usize,
    /// Pixels of the side of a square that becomes one token.
    pub patch_size: usize,
    /// Activation of the feed-forward networks.
    pub hidden_act: Activation,
    /// Epsilon of the layer norms.
    pub layer_norm_eps: f64,
}

impl VisionConfig {
    /// Squares of a side.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Tokens of a picture: one for each square, and the first for the whole.
    pub fn tokens(&self) -> usize {
        self.grid() * self.grid() + 1
    }

    /// Whether a model can have these sizes.
    pub(crate) fn check(&self, origin: &str) -> Result<()> {
        for (field, value, most) in [
            ("hidden_size", self.hidden_size, MAX_WIDTH),
            ("intermediate_size", self.intermediate_size, MAX_WIDTH),
            ("num_hidden_layers", self.num_hidden_layers, MAX_LAYERS),
            ("image_size", self.image_size, MAX_IMAGE),
            ("patch_size", self.patch_size, self.image_size),
        ] {
            within(value, 1..=most, origin, field)?;
        }
        within(self.grid(), 1..=MAX_GRID, origin, "image_size / patch_size")?;
        divides(
            self.num_attention_heads,
            self.hidden_size,
            origin,
            "num_attention_heads",
        )?;
        epsilon(self.layer_norm_eps, origin)
    }
}

/// No model sees larger pictures, or more squares of a side.
const MAX_IMAGE: usize = 4096;
const MAX_GRID: usize = 256;

/// CLIP as data: its text model, its vision model, and the space that both project to.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipConfig {
    /// The text model's, with its projection.
    pub text: ClipTextConfig,
    /// The vision model's.
    pub vision: VisionConfig,
    /// Width of the space in which texts and pictures are compared.
    pub projection: usize,
}

/// BLIP's text decoder as data, in the words of transformers' `BlipTextConfig`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BlipTextConfig {
    /// Number of tokens.
    pub vocab_size: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Width inside the feed-forward networks.
    pub intermediate_size: usize,
    /// Number of transformer layers.
    pub num_hidden_layers: usize,
    /// Attention heads of each layer.
    pub num_attention_heads: usize,
    /// Longest text in tokens.
    pub max_position_embeddings: usize,
    /// Activation of the feed-forward networks.
    pub hidden_act: Activation,
    /// Epsilon of the layer norms.
    pub layer_norm_eps: f64,
    /// The token that opens a text.
    pub bos_token_id: u32,
    /// The token that closes it.
    pub sep_token_id: u32,
    /// The token that fills texts up.
    pub pad_token_id: u32,
    /// Whether the last layer has the words' vectors as its weights, whatever the file has there.
    pub tie_word_embeddings: bool,
}

/// BLIP for captions as data.
#[derive(Debug, Clone, PartialEq)]
pub struct BlipConfig {
    /// The vision model's.
    pub vision: VisionConfig,
    /// The text decoder's.
    pub text: BlipTextConfig,
}

static VISION: Others = Others {
    only: &[
        (
            "model_type",
            &[Plain::Text("clip_vision_model"), Plain::Text("blip_vision_model")],
        ),
        ("num_channels", &[Plain::Number(3.0)]),
    ],
    harmless: HARMLESS,
};

static BLIP_TEXT: Others = Others {
    only: &[
        ("model_type", &[Plain::Text("blip_text_model")]),
        ("is_decoder", &[Plain::Bool(true)]),
    ],
    harmless: HARMLESS,
};

static PAIR: Others = Others {
    only: &[("model_type", &[Plain::Text("clip"), Plain::Text("blip")])],
    harmless: HARMLESS,
};

/// The file of two models. The fields that end in `_dict` are those of an older writer, and count where both are there.
#[derive(Deserialize)]
struct Pair {
    #[serde(default)]
    text_config: Option<Map<String, Value>>,
    #[serde(default)]
    text_config_dict: Option<Map<String, Value>>,
    #[serde(default)]
    vision_config: Option<Map<String, Value>>,
    #[serde(default)]
    vision_config_dict: Option<Map<String, Value>>,
    #[serde(default)]
    projection_dim: Option<usize>,
    #[serde(default)]
    tie_word_embeddings: Option<bool>,
}

/// One of the two, with the class's defaults for what it leaves out.
fn inner(
    plain: Option<Map<String, Value>>,
    dict: Option<Map<String, Value>>,
    defaults: Value,
) -> Map<String, Value> {
    let Value::Object(mut all) = defaults else {
        return Map::new();
    };
    all.extend(plain.unwrap_or_default());
    all.extend(dict.unwrap_or_default());
    all
}

fn read<T: DeserializeOwned>(fields: Map<String, Value>, others: &Others, origin: &str) -> Result<T> {
    others.parse(&Value::Object(fields).to_string(), origin)
}

fn epsilon(eps: f64, origin: &str) -> Result<()> {
    match eps > 0.0 && eps < 1.0 {
        true => Ok(()),
        false => Err(Error::config(origin, "layer_norm_eps", "must be between 0 and 1")),
    }
}

/// Whether a file's words say that it is a pair of this kind.
fn check_kind(json: &str, origin: &str, kind: &str) -> Result<()> {
    let all: Map<String, Value> = parse(json, origin, &mut |_| {})?;
    match all.get("model_type").and_then(Value::as_str) {
        Some(found) if found != kind => Err(Error::config(
            origin,
            "model_type",
            format!(
                "'{}' is not supported here; supported: {kind}",
                crate::shown(found)
            ),
        )),
        _ => Ok(()),
    }
}

impl ClipConfig {
    /// Reads a `config.json` of transformers' `CLIPModel`; `origin` names it in errors. `activation` is that of a half of which it says none.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not such a file, [`Error::Config`] for values that no model can have.
    pub fn from_json(json: &str, origin: &str, activation: Option<Activation>) -> Result<Self> {
        let activation = match activation.unwrap_or(Activation::QuickGelu) {
            Activation::QuickGelu => "quick_gelu",
            Activation::Gelu => "gelu",
        };
        check_kind(json, origin, "clip")?;
        let pair: Pair = PAIR.parse(json, origin)?;
        let projection = within(
            pair.projection_dim.unwrap_or(512),
            1..=MAX_WIDTH,
            origin,
            "projection_dim",
        )?;
        let text = inner(
            pair.text_config,
            pair.text_config_dict,
            json!({
                "vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048,
                "num_hidden_layers": 12, "num_attention_heads": 8, "hidden_act": activation,
            }),
        );
        let of_text = format!("{origin}: text_config");
        let mut text = ClipTextConfig::from_json(&Value::Object(text).to_string(), &of_text)?;
        text.projection = Some(projection);
        let vision = inner(
            pair.vision_config,
            pair.vision_config_dict,
            json!({
                "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
                "image_size": 224, "patch_size": 32, "hidden_act": activation, "layer_norm_eps": 1e-5,
            }),
        );
        let of_vision = format!("{origin}: vision_config");
        let vision: VisionConfig = read(vision, &VISION, &of_vision)?;
        vision.check(&of_vision)?;
        Ok(Self {
            text,
            vision,
            projection,
        })
    }
}

impl BlipConfig {
    /// Reads a `config.json` of transformers' `BlipForConditionalGeneration`; `origin` names it in errors.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not such a file, [`Error::Config`] for values that no model can have.
    pub fn from_json(json: &str, origin: &str) -> Result<Self> {
        check_kind(json, origin, "blip")?;
        let pair: Pair = PAIR.parse(json, origin)?;
        let vision = inner(
            pair.vision_config,
            pair.vision_config_dict,
            json!({
                "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
                "image_size": 384, "patch_size": 16, "hidden_act": "gelu", "layer_norm_eps": 1e-5,
            }),
        );
        let of_vision = format!("{origin}: vision_config");
        let vision: VisionConfig = read(vision, &VISION, &of_vision)?;
        vision.check(&of_vision)?;
        let mut text = inner(
            pair.text_config,
            pair.text_config_dict,
            json!({
                "vocab_size": 30524, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
                "num_attention_heads": 8, "max_position_embeddings": 512, "hidden_act": "gelu",
                "layer_norm_eps": 1e-12, "bos_token_id": 30522, "sep_token_id": 102, "pad_token_id": 0,
                "tie_word_embeddings": pair.tie_word_embeddings.unwrap_or(true),
            }),
        );
        // The vision model's width is what counts, as in transformers.
        text.remove("encoder_hidden_size");
        let of_text = format!("{origin}: text_config");
        let text: BlipTextConfig = read(text, &BLIP_TEXT, &of_text)?;
        text.check(&of_text)?;
        Ok(Self { vision, text })
    }
}

impl BlipTextConfig {
    /// Whether a model can have these sizes.
    pub(crate) fn check(&self, origin: &str) -> Result<()> {
        for (field, value, least, most) in [
            ("vocab_size", self.vocab_size, 2, 1 << 24),
            ("hidden_size", self.hidden_size, 1, MAX_WIDTH),
            ("intermediate_size", self.intermediate_size, 1, MAX_WIDTH),
            ("num_hidden_layers", self.num_hidden_layers, 1, MAX_LAYERS),
            (
                "max_position_embeddings",
                self.max_position_embeddings,
                2,
                MAX_WIDTH,
            ),
        ] {
            within(value, least..=most, origin, field)?;
        }
        for (field, id) in [
            ("bos_token_id", self.bos_token_id),
            ("sep_token_id", self.sep_token_id),
            ("pad_token_id", self.pad_token_id),
        ] {
            within(id as usize, 0..=self.vocab_size - 1, origin, field)?;
        }
        divides(
            self.num_attention_heads,
            self.hidden_size,
            origin,
            "num_attention_heads",
        )?;
        epsilon(self.layer_norm_eps, origin)
    }
}
