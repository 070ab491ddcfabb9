//! The differences between the families of models, as data: read from diffusers' `config.json` files, or from the table of known
//! families where a single-file checkpoint carries none.

mod clip;
mod families;
mod others;
mod part;
mod preparation;
mod scheduler;
mod topology;
mod unet;
mod vae;
mod vision;
mod write;

pub(crate) use clip::WITH_PROJECTION;
pub use clip::{Activation, ClipTextConfig};
pub use families::{
    sd1_text_encoder, sd1_unet, sd1_vae, sd2_text_encoder, sd2_unet, sdxl_refiner_unet, sdxl_text_encoder,
    sdxl_text_encoder_2, sdxl_unet, sdxl_vae,
};
pub use others::{Others, Plain};
pub use part::{Family, Part};
pub use preparation::{Fit, Preparation};
pub use scheduler::{EdmConfig, SchedulerConfig};
pub use topology::{BlockKind, UnetBlock, UnetTransformer, Way};
pub use unet::{UnetConfig, UnetLevel, UnetMiddle};
pub use vae::VaeConfig;
pub use vision::{BlipConfig, BlipTextConfig, ClipConfig, VisionConfig};
pub(crate) use write::Fields;

use std::borrow::Cow;

use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// The quantity that a U-Net predicts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PredictionType {
    /// The noise.
    #[default]
    Epsilon,
    /// The velocity (Salimans and Ho 2022, arXiv:2202.00512).
    V,
    /// The clean latents.
    Sample,
}

impl PredictionType {
    const ALL: [Self; 3] = [Self::Epsilon, Self::V, Self::Sample];

    /// The one of a name in diffusers' configurations.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its name in diffusers' configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Epsilon => "epsilon",
            Self::V => "v_prediction",
            Self::Sample => "sample",
        }
    }
}

/// Parses a configuration, with errors that name the file and the field. `ignored` is given the name of each field that is not read.
fn parse<T: DeserializeOwned>(json: &str, origin: &str, ignored: &mut dyn FnMut(String)) -> Result<T> {
    // A real one has a few thousand bytes. What serde sets aside while it decides takes many times the text.
    const MAX: usize = 1 << 20;
    if json.len() > MAX {
        let reason = format!("{} bytes are too many for a configuration", json.len());
        return Err(Error::malformed(origin, reason));
    }
    let json = standard(json);
    let mut from = serde_json::Deserializer::from_str(&json);
    let mut ignored = |path: serde_ignored::Path| ignored(path.to_string());
    let parsed = serde_path_to_error::deserialize(serde_ignored::Deserializer::new(&mut from, &mut ignored));
    let parsed = parsed.map_err(|e| {
        let (path, e) = (e.path().to_string(), e.inner());
        match e.is_data() && path != "." {
            true => Error::config(origin, path, e.to_string()),
            false => not_json(origin, e),
        }
    })?;
    from.end().map_err(|e| not_json(origin, &e))?;
    Ok(parsed)
}

/// JSON as Python writes it, with null for the numbers that JSON lacks: `-Infinity` stands in the configuration of every
/// `DPMSolverMultistepScheduler`.
fn standard(json: &str) -> Cow<'_, str> {
    const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    if !WORDS.iter().any(|word| json.contains(word)) {
        return Cow::Borrowed(json);
    }
    let (mut out, mut rest) = (String::with_capacity(json.len()), json);
    loop {
        // What stands before a text, then the text.
        let (plain, text) = rest.split_at(rest.find('"').unwrap_or(rest.len()));
        out.push_str(
            &WORDS
                .iter()
                .fold(plain.to_owned(), |plain, word| plain.replace(word, "null")),
        );
        let mut escaped = false;
        let end = text.bytes().skip(1).position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        let Some(end) = end else {
            out.push_str(text);
            return Cow::Owned(out);
        };
        out.push_str(&text[..end + 2]);
        rest = &text[end + 2..];
    }
}

/// JSON of another shape than wanted, or none at all.
pub(crate) fn not_json(origin: &str, e: &serde_json::Error) -> Error {
    Error::malformed(origin, format!("not the JSON expected here: {e}"))
}

/// Upper bounds that no real model comes near: a lying configuration must not make us allocate or loop without end.
const MAX_WIDTH: usize = 1 << 16;
const MAX_LEVELS: usize = 8;
/// Of residual blocks in a level.
const MAX_BLOCKS: usize = 16;
/// Of transformer layers, in a text encoder or behind one residual block.
const MAX_LAYERS: usize = 64;

fn within(value: usize, range: std::ops::RangeInclusive<usize>, origin: &str, field: &str) -> Result<usize> {
    if range.contains(&value) {
        return Ok(value);
    }
    let reason = format!("must be {} to {}, not {value}", range.start(), range.end());
    Err(Error::config(origin, field, reason))
}

fn one_of(value: &str, known: &[&str], origin: &str, field: &str) -> Result<()> {
    if known.contains(&value) {
        return Ok(());
    }
    Err(Error::config(
        origin,
        field,
        format!("'{value}' is not supported; supported: {}", known.join(", ")),
    ))
}

/// `part` heads or groups of equal width, in `whole` channels.
fn divides(part: usize, whole: usize, origin: &str, field: &str) -> Result<()> {
    if part > 0 && whole.is_multiple_of(part) {
        return Ok(());
    }
    Err(Error::config(
        origin,
        field,
        format!("{part} does not divide {whole} channels"),
    ))
}
