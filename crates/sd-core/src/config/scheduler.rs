//! The noise levels that a checkpoint was trained with, as a scheduler's configuration says them.

use super::{
    PredictionType, one_of,
    others::{Others, Plain},
    within,
};
use crate::{Error, Result};

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
    /// The range of noise levels of a model that is trained on these themselves; betas say nothing then.
    pub edm: Option<EdmConfig>,
}

/// The noise levels and the preconditioning of Karras et al. 2022 (arXiv:2206.00364), where the network is given `ln(sigma) / 4`. An
/// epsilon-prediction is its output `F` there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EdmConfig {
    /// The smallest sigma.
    pub sigma_min: f64,
    /// The largest sigma.
    pub sigma_max: f64,
    /// The standard deviation that is assumed of clean latents.
    pub sigma_data: f64,
}

impl EdmConfig {
    /// Playground v2.5's (Li et al. 2024, arXiv:2402.17245), and the defaults of diffusers' EDM schedulers.
    pub const PLAYGROUND: Self = Self {
        sigma_min: 0.002,
        sigma_max: 80.0,
        sigma_data: 0.5,
    };

    /// Whether these are numbers that noise levels can be.
    pub(crate) fn is_possible(&self) -> bool {
        let Self {
            sigma_min,
            sigma_max,
            sigma_data,
        } = *self;
        let range = 0.0 < sigma_min && sigma_min < sigma_max && sigma_max <= 1e6;
        range && 0.0 < sigma_data && sigma_data <= 1e6
    }
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
            edm: None,
        }
    }
}

/// Fields of a scheduler's configuration that say how it samples are not read: sampler and schedule are the caller's choice.
static OTHERS: Others = Others {
    only: &[
        ("trained_betas", &[]),
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
        "sigma_schedule",
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
            #[serde(rename = "_class_name", default)]
            class: String,
            timestep_type: Option<String>,
            sigma_min: Option<f64>,
            sigma_max: Option<f64>,
            sigma_data: Option<f64>,
        }
        let (raw, default): (Raw, _) = (OTHERS.parse(json, origin)?, Self::default());
        let prediction_type = match &raw.prediction_type {
            None => default.prediction_type,
            Some(name) => {
                let names = PredictionType::ALL.map(PredictionType::name);
                one_of(name, &names, origin, "prediction_type")?;
                PredictionType::from_name(name).unwrap_or_default()
            }
        };
        if let Some(kind) = &raw.timestep_type {
            one_of(kind, &["discrete", "continuous"], origin, "timestep_type")?;
        }
        let usual = EdmConfig::PLAYGROUND;
        let edm = match raw.timestep_type.as_deref() {
            _ if raw.class.starts_with("EDM") => Some(EdmConfig {
                sigma_min: raw.sigma_min.unwrap_or(usual.sigma_min),
                sigma_max: raw.sigma_max.unwrap_or(usual.sigma_max),
                sigma_data: raw.sigma_data.unwrap_or(usual.sigma_data),
            }),
            // EulerDiscreteScheduler's way of saying it, which goes with v alone.
            Some("continuous") if prediction_type == PredictionType::V => Some(EdmConfig {
                sigma_min: raw.sigma_min.unwrap_or(0.0),
                sigma_max: raw.sigma_max.unwrap_or(0.0),
                sigma_data: 1.0,
            }),
            Some("continuous") => {
                let reason = "'continuous' is supported with v_prediction alone";
                return Err(Error::config(origin, "timestep_type", reason));
            }
            _ => {
                let others = [
                    ("sigma_min", raw.sigma_min),
                    ("sigma_max", raw.sigma_max),
                    ("sigma_data", raw.sigma_data),
                ];
                if let Some((field, Some(value))) = others.into_iter().find(|(_, value)| value.is_some()) {
                    let reason = format!("{value:?} is not supported; supported: null");
                    return Err(Error::config(origin, field, reason));
                }
                None
            }
        };
        if edm.is_some() && prediction_type == PredictionType::Sample {
            let reason = "'sample' is not supported over continuous noise levels";
            return Err(Error::config(origin, "prediction_type", reason));
        }
        if edm.is_some_and(|edm| !edm.is_possible()) {
            let reason = "must be 0 < sigma_min < sigma_max, and sigma_data over 0";
            return Err(Error::config(origin, "sigma_min, sigma_max, sigma_data", reason));
        }
        let config = Self {
            prediction_type,
            // diffusers' own defaults where the file is silent.
            beta_schedule: raw.beta_schedule.unwrap_or_else(|| "linear".into()),
            beta_start: raw.beta_start.unwrap_or(0.0001),
            beta_end: raw.beta_end.unwrap_or(0.02),
            num_train_timesteps: raw.num_train_timesteps.unwrap_or(1000),
            rescale_betas_zero_snr: raw.rescale_betas_zero_snr,
            edm,
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
