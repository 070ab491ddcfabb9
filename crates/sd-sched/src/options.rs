//! The options of a plan.

use crate::{Dialect, Error, Result, ScheduleOptions};

/// The beginning of sampling.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Start {
    /// From noise alone (txt2img).
    #[default]
    Noise,
    /// From an image's latent with noise added (img2img).
    Image {
        /// The share of the schedule that is run, 0..=1.
        strength: f64,
        /// Run exactly the steps asked for, of a longer schedule (the WebUI's hires pass, and its option for img2img).
        /// ComfyUI always does; diffusers never.
        exact_steps: bool,
    },
    /// From an image's latent with noise added, where this many first steps are left out, fewer than there are: what diffusers' pipelines
    /// do, for strength and for a share that another model has made. In diffusers' dialect alone.
    Later {
        /// The steps that are left out.
        skipped: usize,
    },
}

/// Everything about a plan besides sampler, schedule and steps. The defaults are the WebUI's.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanOptions {
    /// The program whose rules count.
    pub dialect: Dialect,
    /// The beginning.
    pub start: Start,
    /// The amount of fresh noise that replaces old; `None` is the sampler's own ([`default_eta`](super::Sampler::default_eta)). At least 0.
    pub eta: Option<f64>,
    /// Karras' churn of Euler, Heun and DPM2: at least 0.
    pub s_churn: f64,
    /// Churn only from this sigma on.
    pub s_tmin: f64,
    /// Churn only up to this sigma (may be infinite).
    pub s_tmax: f64,
    /// Factor of all noise that a sampler adds; at least 0.
    pub s_noise: f64,
    /// The schedule's own numbers.
    pub schedule: ScheduleOptions,
    /// The user's own sigmas in place of a schedule: strictly falling, finite, the last may be 0. `steps` is then ignored.
    pub sigmas: Option<Vec<f64>>,
    /// Make one sigma more and drop the last but one; `None` is the sampler's own habit
    /// ([`discards_next_to_last_sigma`](super::Sampler::discards_next_to_last_sigma)).
    pub discard_next_to_last_sigma: Option<bool>,
    /// The WebUI's dialect: begin with noise of `sqrt(1 + sigma^2)` in place of `sigma`, as Stability's own program does ("SGM noise
    /// multiplier").
    pub sgm_noise_multiplier: bool,
    /// Order of LMS (4), DEIS (3; diffusers 2), UniPC (3; diffusers 2), SA-Solver's predictor (3), DPM adaptive (3): 1..=4.
    /// `None` is the sampler's own.
    pub order: Option<usize>,
    /// DPM adaptive's step control.
    pub adaptive: AdaptiveOptions,
    /// diffusers' DDIM: end at alpha 1 and not at the table's first.
    pub set_alpha_to_one: bool,
}

/// The step control of DPM adaptive (k-diffusion's names and defaults).
#[derive(Debug, Clone, PartialEq)]
pub struct AdaptiveOptions {
    /// Relative tolerance, over 0.
    pub rtol: f64,
    /// Absolute tolerance, over 0.
    pub atol: f64,
    /// The first step, in `ln(sigma)`, over 0.
    pub h_init: f64,
    /// The controller's proportional part.
    pub pcoeff: f64,
    /// The controller's integral part.
    pub icoeff: f64,
    /// The controller's derivative part.
    pub dcoeff: f64,
    /// Steps are accepted when they would be lengthened by this factor or more; over 0.
    pub accept_safety: f64,
}

impl Default for AdaptiveOptions {
    fn default() -> Self {
        Self {
            rtol: 0.05,
            atol: 0.0078,
            h_init: 0.05,
            pcoeff: 0.0,
            icoeff: 1.0,
            dcoeff: 0.0,
            accept_safety: 0.81,
        }
    }
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            dialect: Dialect::WebUi,
            start: Start::Noise,
            eta: None,
            s_churn: 0.0,
            s_tmin: 0.0,
            s_tmax: f64::INFINITY,
            s_noise: 1.0,
            schedule: ScheduleOptions::default(),
            sigmas: None,
            discard_next_to_last_sigma: None,
            sgm_noise_multiplier: false,
            order: None,
            adaptive: AdaptiveOptions::default(),
            set_alpha_to_one: false,
        }
    }
}

/// Every number in its range.
pub(crate) fn check(o: &PlanOptions) -> Result<()> {
    let at_least_0 = |name: &'static str, v: f64, finite: bool| {
        if v >= 0.0 && (v.is_finite() || !finite) {
            return Ok(());
        }
        Err(Error::param(name, format!("must be at least 0, not {v}")))
    };
    at_least_0("eta", o.eta.unwrap_or(0.0), true)?;
    at_least_0("s_churn", o.s_churn, true)?;
    at_least_0("s_tmin", o.s_tmin, true)?;
    at_least_0("s_tmax", o.s_tmax, false)?;
    at_least_0("s_noise", o.s_noise, true)?;
    if let Some(order) = o.order.filter(|order| !(1..=4).contains(order)) {
        return Err(Error::param("order", format!("must be from 1 to 4, not {order}")));
    }
    if let Start::Image { strength, .. } = o.start
        && !(0.0..=1.0).contains(&strength)
    {
        return Err(Error::param(
            "strength",
            format!("must lie in 0..=1, not {strength}"),
        ));
    }
    if matches!(o.start, Start::Later { .. }) && o.dialect != Dialect::Diffusers {
        return Err(Error::param(
            "skipped_steps",
            "steps are left out in diffusers' dialect alone",
        ));
    }
    Ok(())
}
