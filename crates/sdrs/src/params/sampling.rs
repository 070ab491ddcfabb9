use sd_sched::{ModelSampling, PlanOptions, ScheduleOptions, Start};

use super::SamplingParams;
use crate::Result;

impl SamplingParams {
    /// A model's noise levels as these settings have them.
    pub(crate) fn noise_levels(&self, model: &ModelSampling) -> Result<ModelSampling> {
        let mut model = model.clone();
        if self.half_alphas {
            model = model.with_half_alphas()?;
        }
        if self.zero_terminal_snr {
            model = model.with_zero_terminal_snr();
        }
        Ok(model)
    }

    /// The options of a plan that begins so; `sdxl` chooses between tables.
    pub(crate) fn plan_options(&self, start: Start, sdxl: bool) -> PlanOptions {
        // 0 is the model's own.
        let given = |value: f64| (value > 0.0).then_some(value);
        PlanOptions {
            eta: self.eta,
            start,
            schedule: ScheduleOptions {
                sigma_min: given(self.sigma_min),
                sigma_max: given(self.sigma_max),
                rho: given(self.rho),
                beta_alpha: Some(self.beta_alpha),
                beta_beta: Some(self.beta_beta),
                sdxl,
            },
            discard_next_to_last_sigma: self.discard_penultimate_sigma.then_some(true),
            s_churn: self.s_churn,
            s_tmin: self.s_tmin,
            s_tmax: given(self.s_tmax).unwrap_or(f64::INFINITY),
            s_noise: self.s_noise,
            sgm_noise_multiplier: self.sgm_noise_multiplier,
            ..PlanOptions::default()
        }
    }
}
