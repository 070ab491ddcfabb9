//! The differences between the families of models, as data: read from diffusers' `config.json` files, or from the table of known
//! families where a single-file checkpoint carries none.

mod clip;
mod families;
mod others;
mod part;
mod topology;
mod unet;
mod vae;
mod write;

pub(crate) use clip::WITH_PROJECTION;
pub use clip::{Activation, ClipTextConfig};
pub use families::{
    sd1_text_encoder, sd1_unet, sd1_vae, sd2_text_encoder, sd2_unet, sdxl_refiner_unet, sdxl_text_encoder,
    sdxl_text_encoder_2, sdxl_unet, sdxl_vae,
};
pub use others::{Others, Plain};
pub use part::{Family, Part};
pub use topology::{BlockKind, UnetBlock, UnetTransformer, Way};
pub use unet::{UnetConfig, UnetLevel, UnetMiddle};
pub use vae::VaeConfig;
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

    /// Its name in diffusers' configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Epsilon => "epsilon",
            Self::V => "v_prediction",
            Self::Sample => "sample",
        }
    }
}

/// The noise schedule and prediction type that a checkpoint was trained with.
#[derive(Debug, Clone, PartialEq)]
pub struct SchedulerConfig {
    /// The prediction type of the U-Net.
    pub prediction_type: PredictionType,
    /// "scaled_linear", "linear" or "squaredcos_cap_v2".
    pub beta_schedule: String,
    /// First beta.
    pub beta_start: f64,
    /// Last beta.
    pub beta_end: f64,
    /// Number of timesteps in training.
    pub num_train_timesteps: usize,
    /// Whether the betas are rescaled so that the last step is pure noise.
    pub rescale_betas_zero_snr: bool,
}

impl Default for SchedulerConfig {
    /// The schedule of latent diffusion, and with it of every SD1 checkpoint.
    fn default() -> Self {
        Self {
            prediction_type: PredictionType::default(),
            beta_schedule: "scaled_linear".into(),
            beta_start: 0.00085,
            beta_end: 0.012,
            num_train_timesteps: 1000,
            rescale_betas_zero_snr: false,
        }
    }
}

/// Fields of a scheduler's configuration that say how it samples are not read: sampler and schedule are the caller's choice.
static OTHERS: Others = Others {
    only: &[
        ("trained_betas", &[]),
        // Timesteps between the trained ones, or sigmas that don't follow from the betas.
        ("timestep_type", &[Plain::Text("discrete")]),
        ("sigma_min", &[]),
        ("sigma_max", &[]),
        ("use_flow_sigmas", &[Plain::Bool(false)]),
        // Of models whose output holds a variance too.
        (
            "variance_type",
            &[
                Plain::Text("fixed_small"),
                Plain::Text("fixed_small_log"),
                Plain::Text("fixed_large"),
                Plain::Text("fixed_large_log"),
            ],
        ),
        // Of pixels, not latents.
        ("thresholding", &[Plain::Bool(false)]),
        // Before diffusers 0.10, in place of `prediction_type`.
        ("predict_epsilon", &[Plain::Bool(true)]),
    ],
    harmless: &[
        "algorithm_type",
        "clip_sample",
        "clip_sample_range",
        "corrector_order",
        "disable_corrector",
        "dynamic_thresholding_ratio",
        "eta",
        "euler_at_final",
        "final_sigmas_type",
        "flow_shift",
        "interpolation_type",
        "lambda_min_clipped",
        "lower_order_final",
        "noise_sampler_seed",
        "original_inference_steps",
        "predict_x0",
        "predictor_order",
        "rho",
        "sample_max_value",
        "set_alpha_to_one",
        "shift_terminal",
        "skip_prk_steps",
        "solver_order",
        "solver_p",
        "solver_type",
        "steps_offset",
        "tau_func",
        "tensor_format",
        "time_shift_type",
        "timestep_scaling",
        "timestep_spacing",
        "timestep_values",
        "use_beta_sigmas",
        "use_dynamic_shifting",
        "use_exponential_sigmas",
        "use_karras_sigmas",
        "use_lu_lambdas",
    ],
};

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
        }
        let (raw, default): (Raw, _) = (OTHERS.parse(json, origin)?, Self::default());
        let prediction_type = match &raw.prediction_type {
            None => default.prediction_type,
            Some(name) => {
                let names = PredictionType::ALL.map(PredictionType::name);
                one_of(name, &names, origin, "prediction_type")?;
                let found = PredictionType::ALL.into_iter().find(|kind| kind.name() == name);
                found.unwrap_or_default()
            }
        };
        let config = Self {
            prediction_type,
            // diffusers' own defaults where the file is silent.
            beta_schedule: raw.beta_schedule.unwrap_or_else(|| "linear".into()),
            beta_start: raw.beta_start.unwrap_or(0.0001),
            beta_end: raw.beta_end.unwrap_or(0.02),
            num_train_timesteps: raw.num_train_timesteps.unwrap_or(1000),
            rescale_betas_zero_snr: raw.rescale_betas_zero_snr,
        };
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
