use serde::Deserialize;

use super::{
    MAX_BLOCKS, MAX_LAYERS, MAX_LEVELS, MAX_WIDTH, divides, one_of,
    others::{Others, Plain, SILU},
    within,
};
use crate::{Error, Result};

/// The U-Net as data: a row for each level.
#[derive(Debug, Clone, PartialEq)]
pub struct UnetConfig {
    /// Channels of the input: 4, or with concatenated conditions 8 (InstructPix2Pix) or 9 (inpainting).
    pub in_channels: usize,
    /// Channels of the prediction.
    pub out_channels: usize,
    /// The levels, from the latents' resolution down; the way up mirrors them.
    pub levels: Vec<UnetLevel>,
    /// The middle, at the last level's width; small distilled models have none.
    pub middle: Option<UnetMiddle>,
    /// Width of the context, the text encoder's hidden states.
    pub cross_attention_dim: usize,
    /// Whether the transformers' projections are linear layers (SD2, SDXL) or 1x1 convolutions (SD1).
    pub use_linear_projection: bool,
    /// Groups of the group norms.
    pub norm_num_groups: usize,
    /// Epsilon of the residual blocks' group norms.
    pub norm_eps: f64,
    /// Whether the timestep's cosines come before its sines.
    pub flip_sin_to_cos: bool,
    /// Shift of the timestep's frequencies.
    pub freq_shift: f64,
    /// Side of the latents it was trained on, which gives a picture's default size.
    pub sample_size: usize,
    /// Width of the vector that is embedded beside the timestep (SDXL: pooled text and sizes).
    pub added_width: Option<usize>,
    /// Width of the embedding of the guidance's scale that is added to the timestep's, for models that guidance was distilled into (Meng
    /// et al. 2022, arXiv:2210.03142).
    pub time_cond_proj_dim: Option<usize>,
}

/// One level of the U-Net.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnetLevel {
    /// Width.
    pub channels: usize,
    /// Attention heads of its transformers.
    pub heads: usize,
    /// The residual blocks of the way down: for each, the transformer blocks behind it, or 0 for none.
    pub down: Vec<usize>,
    /// Those of the way up, one more.
    pub up: Vec<usize>,
}

/// The middle of the U-Net.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnetMiddle {
    /// One residual block.
    Residual,
    /// Two residual blocks, and a transformer between them.
    Transformer {
        /// Transformer blocks.
        depth: usize,
        /// Attention heads of each.
        heads: usize,
    },
}

impl UnetLevel {
    /// A level whose residual blocks, `layers` on the way down, all have transformers of one depth behind them.
    pub fn even(channels: usize, heads: usize, layers: usize, depth: usize) -> Self {
        Self {
            channels,
            heads,
            down: vec![depth; layers],
            up: vec![depth; layers + 1],
        }
    }
}

/// One number for all levels, or one for each.
#[derive(Deserialize, Clone)]
#[serde(
    untagged,
    expecting = "expected a whole number, or a list of one for each level"
)]
enum PerLevel {
    All(usize),
    Each(Vec<usize>),
}

/// One side, or height and width.
#[derive(Deserialize, Clone, Copy)]
#[serde(untagged, expecting = "expected a side, or height and width")]
enum SampleSize {
    Square(usize),
    Sides([usize; 2]),
}

impl PerLevel {
    fn levels(&self, n: usize, origin: &str, field: &str) -> Result<Vec<usize>> {
        match self {
            Self::All(value) => Ok(vec![*value; n]),
            Self::Each(values) if values.len() == n => Ok(values.clone()),
            Self::Each(values) => Err(Error::config(
                origin,
                field,
                format!("has {} values for {n} levels", values.len()),
            )),
        }
    }
}

/// Transformer blocks: one number for all levels, or one for each, or one for each residual block of a level.
#[derive(Deserialize, Clone)]
#[serde(
    untagged,
    expecting = "expected a whole number, or a list of one, or of several, for each level"
)]
enum Depths {
    All(usize),
    Each(Vec<PerLevel>),
}

impl Depths {
    /// By level, in the order in which they are given.
    fn levels(&self, n: usize, origin: &str, field: &str) -> Result<Vec<PerLevel>> {
        match self {
            Self::All(depth) => Ok(vec![PerLevel::All(*depth); n]),
            Self::Each(depths) if depths.len() == n => Ok(depths.clone()),
            Self::Each(depths) => Err(Error::config(
                origin,
                field,
                format!("has {} values for {n} levels", depths.len()),
            )),
        }
    }

    fn are_alike(&self) -> bool {
        match self {
            Self::All(_) => true,
            Self::Each(depths) => depths.iter().all(|depth| matches!(depth, PerLevel::All(_))),
        }
    }
}

/// Transformer blocks behind each of `n` residual blocks of a level that has attention.
fn in_level(depths: &PerLevel, n: usize, origin: &str, field: &str) -> Result<Vec<usize>> {
    let depths = match depths {
        PerLevel::All(depth) => vec![*depth; n],
        PerLevel::Each(depths) if depths.len() == n => depths.clone(),
        PerLevel::Each(depths) => {
            let reason = format!("has {} values for {n} residual blocks of a level", depths.len());
            return Err(Error::config(origin, field, reason));
        }
    };
    for &depth in &depths {
        within(depth, 1..=MAX_LAYERS, origin, field)?;
    }
    Ok(depths)
}

#[derive(Deserialize)]
struct Raw {
    in_channels: usize,
    sample_size: Option<SampleSize>,
    #[serde(default = "four")]
    out_channels: usize,
    block_out_channels: Vec<usize>,
    layers_per_block: PerLevel,
    down_block_types: Vec<String>,
    up_block_types: Vec<String>,
    /// Absent means the usual one, null none at all.
    #[serde(default = "cross_attention_middle")]
    mid_block_type: Option<String>,
    cross_attention_dim: PerLevel,
    /// Despite its name the number of heads, in every model of this family (diffusers issue 2011).
    #[serde(default = "eight")]
    attention_head_dim: PerLevel,
    num_attention_heads: Option<PerLevel>,
    #[serde(default = "one")]
    transformer_layers_per_block: Depths,
    /// On the way up, from the smallest resolution.
    reverse_transformer_layers_per_block: Option<Depths>,
    #[serde(default)]
    use_linear_projection: bool,
    #[serde(default = "thirty_two")]
    norm_num_groups: usize,
    #[serde(default = "norm_eps")]
    norm_eps: f64,
    #[serde(default = "yes")]
    flip_sin_to_cos: bool,
    #[serde(default)]
    freq_shift: f64,
    addition_embed_type: Option<String>,
    projection_class_embeddings_input_dim: Option<usize>,
    /// Width of the time embedding, if not the usual four times the first level's.
    time_embedding_dim: Option<usize>,
    time_cond_proj_dim: Option<usize>,
}

/// The kinds of middles, by diffusers' names.
pub(super) const MIDDLE: &str = "UNetMidBlock2DCrossAttn";
pub(super) const MIDDLE_RESIDUAL: &str = "UNetMidBlock2D";
const DEPTHS: &str = "transformer_layers_per_block";
const REVERSE: &str = "reverse_transformer_layers_per_block";

static OTHERS: Others = Others {
    only: &[
        SILU,
        ("addition_time_embed_dim", &[Plain::Number(256.0)]),
        ("attention_type", &[Plain::Text("default")]),
        ("center_input_sample", &[Plain::Bool(false)]),
        ("class_embed_type", &[]),
        ("class_embeddings_concat", &[Plain::Bool(false)]),
        ("conv_in_kernel", &[Plain::Number(3.0)]),
        ("conv_out_kernel", &[Plain::Number(3.0)]),
        ("cross_attention_norm", &[]),
        ("downsample_padding", &[Plain::Number(1.0)]),
        ("dual_cross_attention", &[Plain::Bool(false)]),
        ("encoder_hid_dim", &[]),
        ("encoder_hid_dim_type", &[]),
        ("mid_block_only_cross_attention", &[Plain::Bool(false)]),
        ("mid_block_scale_factor", &[Plain::Number(1.0)]),
        ("num_class_embeds", &[]),
        ("only_cross_attention", &[Plain::Bool(false)]),
        ("resnet_out_scale_factor", &[Plain::Number(1.0)]),
        ("resnet_skip_time_act", &[Plain::Bool(false)]),
        ("resnet_time_scale_shift", &[Plain::Text("default")]),
        ("time_embedding_act_fn", &[]),
        ("time_embedding_type", &[Plain::Text("positional")]),
        ("timestep_post_act", &[]),
    ],
    harmless: &[
        // Of a kind of embedding that is refused.
        "addition_embed_type_num_heads",
        "dropout",
        // The type that scores are computed in.
        "upcast_attention",
        // How Flax computes the same.
        "split_head_dim",
        "use_memory_efficient_attention",
    ],
};

fn one() -> Depths {
    Depths::All(1)
}
fn cross_attention_middle() -> Option<String> {
    Some(MIDDLE.into())
}
fn four() -> usize {
    4
}
fn eight() -> PerLevel {
    PerLevel::All(8)
}
fn thirty_two() -> usize {
    32
}
fn norm_eps() -> f64 {
    1e-5
}
fn yes() -> bool {
    true
}

impl UnetConfig {
    /// Width of the timestep's embedding.
    pub fn time_width(&self) -> usize {
        4 * self.levels[0].channels
    }

    /// Reads a `unet/config.json`; `origin` names it in errors.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not such a file, [`Error::Config`] for values and features that these models don't have.
    pub fn from_json(json: &str, origin: &str) -> Result<Self> {
        let raw: Raw = OTHERS.parse(json, origin)?;
        let n = within(
            raw.block_out_channels.len(),
            1..=MAX_LEVELS,
            origin,
            "block_out_channels",
        )?;
        if let Some(kind) = &raw.mid_block_type {
            one_of(kind, &[MIDDLE, MIDDLE_RESIDUAL], origin, "mid_block_type")?;
        }
        if let Some(kind) = &raw.addition_embed_type {
            one_of(kind, &["text_time"], origin, "addition_embed_type")?;
        }
        let usual = raw.block_out_channels[0].saturating_mul(4);
        if let Some(width) = raw.time_embedding_dim.filter(|width| *width != usual) {
            let reason =
                format!("{width} is not supported; supported: {usual}, four times the first level's width");
            return Err(Error::config(origin, "time_embedding_dim", reason));
        }

        let down = attention_levels(
            &raw.down_block_types,
            ["DownBlock2D", "CrossAttnDownBlock2D"],
            n,
            origin,
        )?;
        let mut up = attention_levels(
            &raw.up_block_types,
            ["UpBlock2D", "CrossAttnUpBlock2D"],
            n,
            origin,
        )?;
        up.reverse();
        if down != up {
            return Err(Error::config(
                origin,
                "up_block_types",
                "do not mirror down_block_types",
            ));
        }
        let depths = raw.transformer_layers_per_block.levels(n, origin, DEPTHS)?;
        let (mut up_depths, up_field) = match &raw.reverse_transformer_layers_per_block {
            Some(given) => (given.levels(n, origin, REVERSE)?, REVERSE),
            None if raw.transformer_layers_per_block.are_alike() => {
                (depths.iter().rev().cloned().collect(), DEPTHS)
            }
            None => {
                let reason = format!("has a list for a level; {REVERSE} must say what the way up has");
                return Err(Error::config(origin, DEPTHS, reason));
            }
        };
        up_depths.reverse();
        let (field, heads) = match &raw.num_attention_heads {
            Some(heads) => ("num_attention_heads", heads),
            None => ("attention_head_dim", &raw.attention_head_dim),
        };
        let heads = heads.levels(n, origin, field)?;
        let single = |value: &PerLevel, field| {
            let values = value.levels(n, origin, field)?;
            match values.iter().all(|v| *v == values[0]) {
                true => Ok(values[0]),
                false => Err(Error::config(
                    origin,
                    field,
                    "differs between levels, which is not supported",
                )),
            }
        };
        let layers = raw.layers_per_block.levels(n, origin, "layers_per_block")?;
        let context = single(&raw.cross_attention_dim, "cross_attention_dim")?;
        for &layers in &layers {
            within(layers, 1..=MAX_BLOCKS, origin, "layers_per_block")?;
        }
        within(context, 1..=MAX_WIDTH, origin, "cross_attention_dim")?;
        within(raw.in_channels, 1..=1024, origin, "in_channels")?;
        let sample_size = match raw.sample_size {
            Some(SampleSize::Square(side) | SampleSize::Sides([side, _])) => side,
            None => 64,
        };
        within(sample_size, 1..=4096, origin, "sample_size")?;
        within(raw.out_channels, 1..=1024, origin, "out_channels")?;
        if !(raw.norm_eps > 0.0 && raw.norm_eps < 1.0) {
            return Err(Error::config(origin, "norm_eps", "must be between 0 and 1"));
        }
        // The frequencies' exponents are divided by half the width less this shift.
        let half = (raw.block_out_channels[0] / 2).max(1) as f64;
        if !(raw.freq_shift >= 0.0 && raw.freq_shift < half) {
            return Err(Error::config(origin, "freq_shift", "must be 0 or a little more"));
        }
        let mut levels = Vec::with_capacity(n);
        for i in 0..n {
            let channels = within(
                raw.block_out_channels[i],
                1..=MAX_WIDTH,
                origin,
                "block_out_channels",
            )?;
            divides(raw.norm_num_groups, channels, origin, "norm_num_groups")?;
            let count = layers[i];
            let (down, up) = match down[i] {
                true => (
                    in_level(&depths[i], count, origin, DEPTHS)?,
                    in_level(&up_depths[i], count + 1, origin, up_field)?,
                ),
                false => (vec![0; count], vec![0; count + 1]),
            };
            if down[0] > 0 {
                divides(heads[i], channels, origin, field)?;
            }
            levels.push(UnetLevel {
                channels,
                heads: heads[i],
                down,
                up,
            });
        }
        // diffusers gives the middle the last level's depth and heads, even where that level has no attention itself.
        let middle = match raw.mid_block_type.as_deref() {
            None => None,
            Some(MIDDLE_RESIDUAL) => Some(UnetMiddle::Residual),
            Some(_) => {
                divides(heads[n - 1], levels[n - 1].channels, origin, field)?;
                let depth = match &depths[n - 1] {
                    PerLevel::All(depth) => *depth,
                    PerLevel::Each(depths) => depths.first().copied().unwrap_or(0),
                };
                Some(UnetMiddle::Transformer {
                    depth: within(depth, 1..=MAX_LAYERS, origin, DEPTHS)?,
                    heads: heads[n - 1],
                })
            }
        };
        if let Some(width) = raw.time_cond_proj_dim {
            within(width, 4..=MAX_WIDTH, origin, "time_cond_proj_dim")?;
        }
        let added_width = match raw.addition_embed_type.as_deref() {
            None => None,
            Some(_) => {
                let width = raw.projection_class_embeddings_input_dim.unwrap_or(0);
                Some(within(
                    width,
                    1..=MAX_WIDTH,
                    origin,
                    "projection_class_embeddings_input_dim",
                )?)
            }
        };
        Ok(Self {
            in_channels: raw.in_channels,
            out_channels: raw.out_channels,
            levels,
            middle,
            cross_attention_dim: context,
            use_linear_projection: raw.use_linear_projection,
            norm_num_groups: raw.norm_num_groups,
            norm_eps: raw.norm_eps,
            flip_sin_to_cos: raw.flip_sin_to_cos,
            freq_shift: raw.freq_shift,
            sample_size,
            added_width,
            time_cond_proj_dim: raw.time_cond_proj_dim,
        })
    }
}

/// The levels that have attention, from the names of their block types `[without, with]`.
fn attention_levels(types: &[String], names: [&str; 2], n: usize, origin: &str) -> Result<Vec<bool>> {
    let field = if names[0].starts_with("Down") {
        "down_block_types"
    } else {
        "up_block_types"
    };
    if types.len() != n {
        return Err(Error::config(
            origin,
            field,
            format!("has {} values for {n} levels", types.len()),
        ));
    }
    types
        .iter()
        .map(|t| one_of(t, &names, origin, field).map(|()| t == names[1]))
        .collect()
}
