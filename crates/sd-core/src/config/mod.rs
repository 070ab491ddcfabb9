//! What differs between the families of models, as data: read from diffusers' `config.json` files, or from the table of known
//! families where a single-file checkpoint carries none.

mod clip;
mod families;
mod unet;
mod vae;
mod write;

pub use clip::{Activation, ClipTextConfig};
pub use families::{sd1_text_encoder, sd1_unet, sd1_vae};
pub use unet::{UnetConfig, UnetLevel, UnetMiddle};
pub use vae::VaeConfig;
pub(crate) use write::Fields;

use serde::de::{DeserializeOwned, IgnoredAny};

use crate::{Error, Result};

/// The noise schedule and prediction type that a checkpoint was trained with.
#[derive(Debug, Clone, PartialEq)]
pub struct SchedulerConfig {
    /// "epsilon", "v_prediction" or "sample".
    pub prediction_type: String,
    /// "scaled_linear", "linear" or "squaredcos_cap_v2".
    pub beta_schedule: String,
    /// First beta.
    pub beta_start: f64,
    /// Last beta.
    pub beta_end: f64,
    /// How many timesteps were trained on.
    pub num_train_timesteps: usize,
    /// Whether the betas are rescaled so that the last step is pure noise.
    pub rescale_betas_zero_snr: bool,
}

impl Default for SchedulerConfig {
    /// What latent diffusion, and with it every SD1 checkpoint, was trained with.
    fn default() -> Self {
        Self {
            prediction_type: "epsilon".into(),
            beta_schedule: "scaled_linear".into(),
            beta_start: 0.00085,
            beta_end: 0.012,
            num_train_timesteps: 1000,
            rescale_betas_zero_snr: false,
        }
    }
}

impl SchedulerConfig {
    /// Reads a diffusers `scheduler_config.json`; `origin` names it in errors.
    ///
    /// # Errors
    /// [`Error::Config`] for values that no scheduler can have.
    pub fn from_json(json: &str, origin: &str) -> Result<Self> {
        #[derive(serde::Deserialize)]
        struct Raw {
            prediction_type: Option<String>,
            beta_schedule: Option<String>,
            beta_start: Option<f64>,
            beta_end: Option<f64>,
            num_train_timesteps: Option<usize>,
            #[serde(default)]
            rescale_betas_zero_snr: bool,
            trained_betas: Option<IgnoredAny>,
        }
        let (raw, default): (Raw, _) = (parse(json, origin)?, Self::default());
        refuse(&[("trained_betas", raw.trained_betas.is_some())], origin)?;
        let config = Self {
            prediction_type: raw.prediction_type.unwrap_or(default.prediction_type),
            // diffusers' own defaults where the file is silent.
            beta_schedule: raw.beta_schedule.unwrap_or_else(|| "linear".into()),
            beta_start: raw.beta_start.unwrap_or(0.0001),
            beta_end: raw.beta_end.unwrap_or(0.02),
            num_train_timesteps: raw.num_train_timesteps.unwrap_or(1000),
            rescale_betas_zero_snr: raw.rescale_betas_zero_snr,
        };
        one_of(
            &config.prediction_type,
            &["epsilon", "v_prediction", "sample"],
            origin,
            "prediction_type",
        )?;
        let schedules = ["scaled_linear", "linear", "squaredcos_cap_v2"];
        one_of(&config.beta_schedule, &schedules, origin, "beta_schedule")?;
        within(
            config.num_train_timesteps,
            2..=100_000,
            origin,
            "num_train_timesteps",
        )?;
        let ordered =
            0.0 < config.beta_start && config.beta_start <= config.beta_end && config.beta_end < 1.0;
        if !ordered {
            let reason = format!(
                "must be 0 < start <= end < 1, not {} to {}",
                config.beta_start, config.beta_end
            );
            return Err(Error::config(origin, "beta_start, beta_end", reason));
        }
        Ok(config)
    }
}

/// Parses a configuration, with errors that name the file and the field.
pub(crate) fn parse<T: DeserializeOwned>(json: &str, origin: &str) -> Result<T> {
    // A real one has a few thousand bytes. What serde sets aside while it decides takes many times the text.
    const MAX: usize = 1 << 20;
    if json.len() > MAX {
        let reason = format!("{} bytes are too many for a configuration", json.len());
        return Err(Error::malformed(origin, reason));
    }
    let mut from = serde_json::Deserializer::from_str(json);
    let parsed = serde_path_to_error::deserialize(&mut from).map_err(|e| {
        let (path, e) = (e.path().to_string(), e.inner());
        match e.is_data() && path != "." {
            true => Error::config(origin, path, e.to_string()),
            false => not_json(origin, e),
        }
    })?;
    from.end().map_err(|e| not_json(origin, &e))?;
    Ok(parsed)
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

/// Features of other models: leaving them out would be silently wrong.
fn refuse(features: &[(&str, bool)], origin: &str) -> Result<()> {
    match features.iter().find(|(_, present)| *present) {
        Some((field, _)) => Err(Error::config(origin, *field, "is not supported")),
        None => Ok(()),
    }
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
