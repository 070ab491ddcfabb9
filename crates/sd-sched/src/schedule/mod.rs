//! The noise levels that are visited.

mod beta;
mod spaced;
mod table;
mod tables;
pub(crate) mod timesteps;

use std::borrow::Cow;

use timesteps::Style;

use crate::betas::terminal;
use crate::model::check_range;
use crate::{Dialect, Error, ModelSampling, Result};

/// The most steps a plan may have.
pub const MAX_STEPS: usize = 10_000;

/// A rule that makes falling sigmas from a number of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Schedule {
    /// The schedule that suits the sampler: see [`Sampler::automatic_schedule`](super::Sampler::automatic_schedule).
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
    /// Evenly spaced in `atan(sigma)` (Sabour et al. 2024): the WebUI ends above 0, ComfyUI at 0.
    KlOptimal,
    /// Align Your Steps (Sabour et al. 2024): a table of 11, interpolated; the WebUI adds a 0, ComfyUI replaces the last by it.
    AlignYourSteps,
    /// Align Your Steps, a table of 32, interpolated, then 0 (Forge).
    AlignYourSteps32,
    /// Geometry-inspired time scheduling: a table of 11, interpolated, then 0 (Forge).
    AlignYourStepsGits,
    /// Quantiles of a beta distribution (Lee et al. 2024): over sigma in the WebUI, over timesteps in ComfyUI (where
    /// duplicates are dropped, so that there may be fewer than `n` steps).
    Beta,
    /// Whole timesteps down from the last, for distilled models (Forge); ComfyUI's takes the first of ten.
    Turbo,
    /// Half linear, half quadratic (Genmo; ComfyUI).
    LinearQuadratic,
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
    /// First parameter of the beta distribution (0.6); in 0.01..=100.
    pub beta_alpha: Option<f64>,
    /// Second parameter of the beta distribution (0.6); in 0.01..=100.
    pub beta_beta: Option<f64>,
    /// Tables are SDXL's and not SD1's.
    pub sdxl: bool,
}

/// The numbers that the rules work on.
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
        Schedule::KlOptimal,
        Schedule::AlignYourSteps,
        Schedule::AlignYourSteps32,
        Schedule::AlignYourStepsGits,
        Schedule::Beta,
        Schedule::Turbo,
        Schedule::LinearQuadratic,
        Schedule::Leading,
        Schedule::Trailing,
    ];

    /// The sigmas for `steps` steps: falling, most often `steps + 1` of them with a final 0 (where not, the schedule says so).
    /// [`Schedule::Automatic`] is read as Uniform: the choice depends on a sampler. In diffusers' dialect they are Euler's.
    ///
    /// # Errors
    /// `steps` unless in 1..=[`MAX_STEPS`], or if they are more than the schedule has distinct sigmas for; `sigma_min`,
    /// `sigma_max`, `rho` out of range.
    pub fn sigmas(
        self,
        steps: usize,
        model: &ModelSampling,
        dialect: Dialect,
        o: &ScheduleOptions,
    ) -> Result<Vec<f64>> {
        let model = match dialect {
            Dialect::Diffusers => model.as_in_diffusers(Some(terminal::SMALL)),
            _ => Cow::Borrowed(model),
        };
        self.sigmas_in_style(Style::Plain, steps, &model, dialect, o)
    }

    pub(crate) fn sigmas_in_style(
        self,
        style: Style,
        steps: usize,
        model: &ModelSampling,
        dialect: Dialect,
        o: &ScheduleOptions,
    ) -> Result<Vec<f64>> {
        check_steps(steps)?;
        let train = model.train_steps();
        let (mut low, mut high) = (model.sigma_min(), model.sigma_max());
        if dialect == Dialect::Diffusers && !style.is_multistep() && (2..train).contains(&steps) {
            // These schedulers bend the sigmas of the leading spacing.
            let t = timesteps::diffusers(Self::Leading, style, steps, train)?;
            (low, high) = (
                model.sigmas()[t[steps - 1] as usize],
                model.sigmas()[t[0] as usize],
            );
        }
        let (min, max) = (o.sigma_min.unwrap_or(low), o.sigma_max.unwrap_or(high));
        check_range(min, max)?;
        check_positive("rho", o.rho, f64::MIN_POSITIVE, f64::MAX)?;
        check_positive("beta_alpha", o.beta_alpha, 0.01, 100.0)?;
        check_positive("beta_beta", o.beta_beta, 0.01, 100.0)?;
        let r = Range {
            n: steps,
            min,
            max,
            rho: o.rho,
            model,
        };
        let comfy = dialect == Dialect::Comfy;
        let spacing = |s| timesteps::diffusers(s, style, steps, train);
        let mut sigmas: Vec<f64> = match self {
            Self::Uniform | Self::Automatic if dialect == Dialect::Diffusers => {
                if style == Style::Plain {
                    table::linear_in_sigma(&r, linspace(0.0, (train - 1) as f64, steps).rev())
                } else {
                    table::at_timesteps(&r, &spacing(Self::Uniform)?)
                }
            }
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
            Self::KlOptimal => spaced::kl_optimal(&r, comfy),
            Self::AlignYourSteps | Self::AlignYourSteps32 | Self::AlignYourStepsGits => {
                tables::align_your_steps(self, steps, o.sdxl, comfy)
            }
            Self::Beta => {
                let (a, b) = (o.beta_alpha.unwrap_or(0.6), o.beta_beta.unwrap_or(0.6));
                if comfy {
                    beta::over_indices(&r, a, b)
                } else {
                    beta::over_sigma(&r, a, b)
                }
            }
            Self::Turbo if comfy && steps > 10 => {
                return Err(Error::param(
                    "steps",
                    format!("must be at most 10 for ComfyUI's turbo, not {steps}"),
                ));
            }
            Self::Turbo => table::turbo(&r, comfy),
            Self::LinearQuadratic => spaced::linear_quadratic(&r),
            Self::Leading | Self::Trailing => table::at_timesteps(&r, &spacing(self)?),
        };
        // Not every schedule has as many sigmas as steps.
        check_falling(&sigmas).map_err(|_| {
            Error::param(
                "steps",
                format!("{steps} are more than this schedule has distinct sigmas for"),
            )
        })?;
        if style == Style::MultistepToMin
            && dialect == Dialect::Diffusers
            && let [.., before, last] = &mut sigmas[..]
        {
            // Where the smallest was there already, diffusers has it twice, and a step that changes nothing.
            *last = model.sigma_min().min(*before);
        }
        Ok(sigmas)
    }
}

fn check_positive(name: &'static str, value: Option<f64>, min: f64, max: f64) -> Result<()> {
    match value {
        Some(v) if !(min..=max).contains(&v) => Err(Error::param(
            name,
            format!("must be over 0 (from {min} to {max}), not {v}"),
        )),
        _ => Ok(()),
    }
}

/// Karras' sigmas without the final 0.
pub(crate) fn karras_between(n: usize, min: f64, max: f64) -> Vec<f64> {
    spaced::karras_between(n, min, max, 7.0)
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
