//! Which noise levels are visited.

mod spaced;
mod table;
pub(crate) mod timesteps;

use crate::model::check_range;
use crate::{Dialect, Error, MAX_STEPS, ModelSampling, Result};

/// A rule that makes falling sigmas from a number of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Schedule {
    /// What suits the sampler: see [`Sampler::automatic_schedule`](crate::Sampler::automatic_schedule).
    #[default]
    Automatic,
    /// Evenly spaced timesteps from the last to the first, then 0 (k-diffusion's `get_sigmas`; ComfyUI's "normal").
    Uniform,
    /// Evenly spaced in `sigma^(1/rho)`, rho 7, then 0 (Karras et al. 2022, arXiv:2206.00364, eq. 5).
    Karras,
    /// Evenly spaced in `ln(sigma)`, then 0.
    Exponential,
    /// A power `rho` of the way in `ln(sigma)`, then 0 (k-diffusion).
    Polyexponential,
    /// Evenly spaced timesteps without the last one, then 0 (Stability's generative-models).
    SgmUniform,
    /// Evenly picked from the table of sigmas, from its end, then 0.
    Simple,
    /// The WebUI's "Normal": as Uniform, but between the chosen smallest and largest sigma.
    Normal,
    /// Every `1000/n`-th sigma from the second on, then 0: not always `n` steps.
    Ddim,
    /// diffusers' "leading" spacing: every `train/n`-th timestep plus 1, from the end, then 0.
    Leading,
    /// diffusers' "trailing" spacing: every `train/n`-th timestep down from the very last, then 0.
    Trailing,
}

/// Numbers a schedule can be bent with; `None` means the schedule's or the model's own.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ScheduleOptions {
    /// Exponent of Karras (7) and Polyexponential (1); over 0.
    pub rho: Option<f64>,
    /// The smallest sigma before the final 0; over 0.
    pub sigma_min: Option<f64>,
    /// The largest sigma; over `sigma_min`.
    pub sigma_max: Option<f64>,
}

/// What the rules see.
pub(crate) struct Range<'a> {
    pub n: usize,
    pub min: f64,
    pub max: f64,
    pub rho: Option<f64>,
    pub model: &'a ModelSampling,
}

impl Schedule {
    /// Every schedule, in the order the WebUI lists them.
    pub const ALL: &'static [Schedule] = &[
        Schedule::Automatic,
        Schedule::Uniform,
        Schedule::Karras,
        Schedule::Exponential,
        Schedule::Polyexponential,
        Schedule::SgmUniform,
        Schedule::Simple,
        Schedule::Normal,
        Schedule::Ddim,
        Schedule::Leading,
        Schedule::Trailing,
    ];

    /// The sigmas for `steps` steps: falling, most often `steps + 1` of them with a final 0 (where not, the schedule says so).
    /// [`Schedule::Automatic`] is read as Uniform: only a sampler can tell.
    ///
    /// # Errors
    /// `steps` unless in 1..=[`MAX_STEPS`], or if they are more than the schedule has distinct sigmas for; `sigma_min`,
    /// `sigma_max`, `rho` out of range.
    pub fn sigmas(
        self,
        steps: usize,
        model: &ModelSampling,
        _dialect: Dialect,
        o: &ScheduleOptions,
    ) -> Result<Vec<f64>> {
        check_steps(steps)?;
        let min = o.sigma_min.unwrap_or(model.sigma_min());
        let max = o.sigma_max.unwrap_or(model.sigma_max());
        check_range(min, max)?;
        if let Some(rho) = o.rho.filter(|r| !(*r > 0.0 && r.is_finite())) {
            return Err(Error::param("rho", format!("must be over 0, not {rho}")));
        }
        let r = Range {
            n: steps,
            min,
            max,
            rho: o.rho,
            model,
        };
        let sigmas = match self {
            Self::Automatic | Self::Uniform => spaced::uniform(&Range {
                min: model.sigma_min(),
                max: model.sigma_max(),
                ..r
            }),
            Self::Normal => spaced::uniform(&r),
            Self::SgmUniform => spaced::sgm_uniform(&r),
            Self::Karras => spaced::karras(&r),
            Self::Exponential => spaced::polyexponential(&Range { rho: None, ..r }),
            Self::Polyexponential => spaced::polyexponential(&r),
            Self::Simple => table::simple(&r),
            Self::Ddim => table::ddim(&r),
            Self::Leading | Self::Trailing => {
                table::at_timesteps(&r, &timesteps::diffusers(self, steps, model.train_steps())?)
            }
        };
        check_falling(&sigmas).map_err(|_| {
            Error::param(
                "steps",
                format!("{steps} are more than this schedule has distinct sigmas for"),
            )
        })?;
        Ok(sigmas)
    }
}

/// 1..=[`MAX_STEPS`].
pub(crate) fn check_steps(steps: usize) -> Result<()> {
    if (1..=MAX_STEPS).contains(&steps) {
        return Ok(());
    }
    Err(Error::param(
        "steps",
        format!("must be from 1 to {MAX_STEPS}, not {steps}"),
    ))
}

/// At least two sigmas, finite, strictly falling, none below 0 (so that only the last can be 0).
pub(crate) fn check_falling(sigmas: &[f64]) -> Result<()> {
    if sigmas.len() < 2 {
        return Err(Error::param(
            "sigmas",
            format!("needs at least 2 values, not {}", sigmas.len()),
        ));
    }
    for (i, s) in sigmas.iter().enumerate() {
        if !s.is_finite() || *s < 0.0 {
            return Err(Error::param(
                "sigmas",
                format!("must be finite and not negative, but value {i} is {s}"),
            ));
        }
        if i > 0 && *s >= sigmas[i - 1] {
            let before = sigmas[i - 1];
            return Err(Error::param(
                "sigmas",
                format!("must fall, but value {i} is {s} after {before}"),
            ));
        }
    }
    Ok(())
}

/// `n` evenly spaced points from `a` to `b`; the first alone if `n` is 1.
pub(crate) fn linspace(a: f64, b: f64, n: usize) -> impl DoubleEndedIterator<Item = f64> + ExactSizeIterator {
    let step = if n > 1 { (b - a) / (n - 1) as f64 } else { 0.0 };
    (0..n).map(move |i| {
        if i > 0 && i == n - 1 {
            b
        } else {
            a + step * i as f64
        }
    })
}
