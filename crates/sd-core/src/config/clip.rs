use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    MAX_LAYERS, MAX_WIDTH, divides,
    others::{Others, Plain},
    parse, within,
};
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
    /// Layers behind the hidden state that is the context: 0 for the last one, 1 for the one before (SDXL).
    #[serde(skip)]
    pub skipped_layers: usize,
    /// Whether the final norm follows on the context (SD1, SD2) or not (SDXL).
    #[serde(skip, default = "default_norm")]
    pub final_norm: bool,
    /// Width of the pooled text, which is projected from the state of the end token; `None` without a projection.
    #[serde(skip)]
    pub projection: Option<usize>,
}

impl ClipTextConfig {
    /// Whether it is one of OpenCLIP's, which have the exact GELU, and not OpenAI's.
    pub fn is_open_clip(&self) -> bool {
        self.hidden_act == Activation::Gelu
    }
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

fn default_norm() -> bool {
    true
}

/// The class of an encoder with a projection.
pub(crate) const WITH_PROJECTION: &str = "CLIPTextModelWithProjection";

/// The fields that transformers keeps for all its models: training, generation of text, labels, results of a call.
pub(super) const HARMLESS: &[&str] = &[
    "add_cross_attention",
    "architectures",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dropout",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout_prob",
    "id2label",
    "image_text_hidden_size",
    "initializer_factor",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "label2id",
    "label_smoothing",
    "length_penalty",
    "logit_scale_init_value",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "prefix",
    "problem_type",
    "projection_dim",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tie_word_embeddings",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torchscript",
    "transformers_version",
    "typical_p",
    "use_bfloat16",
    "use_cache",
];

static OTHERS: Others = Others {
    only: &[(
        "model_type",
        &[Plain::Text("clip_text_model"), Plain::Text("clip")],
    )],
    harmless: HARMLESS,
};

impl ClipTextConfig {
    /// Reads a `text_encoder/config.json`; `origin` names it in errors.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not such a file, [`Error::Config`] for values that no model can have.
    pub fn from_json(json: &str, origin: &str) -> Result<Self> {
        let mut config: Self = OTHERS.parse(json, origin)?;
        let all: Map<String, Value> = parse(json, origin, &mut |_| {})?;
        let classes = all.get("architectures").map(Value::to_string);
        if classes.is_some_and(|classes| classes.contains(WITH_PROJECTION)) {
            let width = all.get("projection_dim").map_or(Some(512), Value::as_u64);
            let width = width.and_then(|width| usize::try_from(width).ok()).unwrap_or(0);
            config.projection = Some(within(width, 1..=MAX_WIDTH, origin, "projection_dim")?);
        }
        config.check(origin)?;
        Ok(config)
    }

    /// Whether a model can have these sizes.
    pub(crate) fn check(&self, origin: &str) -> Result<()> {
        within(self.vocab_size, 2..=1 << 24, origin, "vocab_size")?;
        within(self.hidden_size, 1..=MAX_WIDTH, origin, "hidden_size")?;
        within(self.intermediate_size, 1..=MAX_WIDTH, origin, "intermediate_size")?;
        within(
            self.num_hidden_layers,
            1..=MAX_LAYERS,
            origin,
            "num_hidden_layers",
        )?;
        within(
            self.max_position_embeddings,
            3..=MAX_WIDTH,
            origin,
            "max_position_embeddings",
        )?;
        divides(
            self.num_attention_heads,
            self.hidden_size,
            origin,
            "num_attention_heads",
        )?;
        if !(self.layer_norm_eps > 0.0 && self.layer_norm_eps < 1.0) {
            return Err(Error::config(origin, "layer_norm_eps", "must be between 0 and 1"));
        }
        Ok(())
    }
}
