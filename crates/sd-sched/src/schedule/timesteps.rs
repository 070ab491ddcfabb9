//! Whole timesteps for the samplers that work over them.

use super::{Schedule, linspace};
use crate::{Error, Result};

/// The WebUI's, rising: every `train/steps`-th from 0 on, plus 1, at most `train - 1`. Not always `steps` of them.
pub(crate) fn webui(steps: usize, train: usize) -> Result<Vec<usize>> {
    let stride = train / steps;
    if stride == 0 {
        return Err(Error::param(
            "steps",
            format!("must be at most {train} for this sampler, not {steps}"),
        ));
    }
    Ok((0..train)
        .step_by(stride)
        .map(|t| (t + 1).min(train - 1))
        .collect())
}

/// The habits of a scheduler in diffusers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Euler, Heun, LMS, ...: as many timesteps as steps, not always whole, latents variance exploding.
    Plain,
    /// DDIM, DDPM, ...: the same, always whole, latents variance preserving.
    Whole,
    /// The DPM-Solver family: one timestep more, the lowest dropped.
    Multistep,
    /// DEIS and SA-Solver: the same, but ending at the table's smallest sigma and not at 0.
    MultistepToMin,
}

impl Style {
    pub fn is_multistep(self) -> bool {
        matches!(self, Self::Multistep | Self::MultistepToMin)
    }
}

/// diffusers' spacings, falling: "leading" with offset 1, "trailing", or "linspace" rounded (for [`Schedule::Uniform`]).
pub(crate) fn diffusers(schedule: Schedule, style: Style, steps: usize, train: usize) -> Result<Vec<f64>> {
    if steps >= train {
        return Err(Error::param(
            "steps",
            format!("must be under {train} for this spacing, not {steps}"),
        ));
    }
    let more = usize::from(style.is_multistep());
    let max = (train - 1) as f64;
    let points = steps + more;
    Ok(match schedule {
        Schedule::Automatic | Schedule::Leading => {
            let stride = train / points;
            (more..points)
                .rev()
                .map(|i| ((i * stride + 1) as f64).min(max))
                .collect()
        }
        Schedule::Trailing => {
            let stride = train as f64 / steps as f64;
            (0..steps)
                .map(|i| (train as f64 - i as f64 * stride).round_ties_even() - 1.0)
                .collect()
        }
        Schedule::Uniform => linspace(0.0, max, points)
            .rev()
            .take(steps)
            .map(f64::round_ties_even)
            .collect(),
        _ => {
            let reason = "must be leading, trailing or uniform for a sampler that works over timesteps";
            return Err(Error::param("schedule", reason));
        }
    })
}
