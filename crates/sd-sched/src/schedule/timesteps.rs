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

/// diffusers' spacings, falling: "leading" with offset 1, "trailing", or "linspace" rounded (for
/// [`Schedule::Uniform`]).
pub(crate) fn diffusers(schedule: Schedule, steps: usize, train: usize) -> Result<Vec<f64>> {
    if steps > train {
        return Err(Error::param(
            "steps",
            format!("must be at most {train} for this sampler, not {steps}"),
        ));
    }
    let stride = (train / steps) as f64;
    let max = (train - 1) as f64;
    Ok(match schedule {
        Schedule::Automatic | Schedule::Leading => (0..steps)
            .rev()
            .map(|i| (i as f64 * stride + 1.0).min(max))
            .collect(),
        Schedule::Trailing => {
            let stride = train as f64 / steps as f64;
            (0..steps)
                .map(|i| (train as f64 - i as f64 * stride).round_ties_even() - 1.0)
                .collect()
        }
        Schedule::Uniform => linspace(0.0, max, steps)
            .rev()
            .map(f64::round_ties_even)
            .collect(),
        _ => {
            let reason = "must be leading, trailing or uniform for a sampler that works over timesteps";
            return Err(Error::param("schedule", reason));
        }
    })
}
