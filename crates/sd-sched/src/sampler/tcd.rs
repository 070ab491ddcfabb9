//! Trajectory consistency sampling (Zheng et al. 2024, arXiv:2402.19159, algorithm 4), as diffusers has it: jump to a point
//! `(1 - eta)` of the way back, then diffuse to the next timestep. eta is the paper's gamma.

use super::{TimestepPlan, TimestepStart};
use crate::program::{Builder, START};
use crate::{Error, ModelSampling, PlanOptions, Result};

pub(super) fn plan(steps: usize, model: &ModelSampling, eta: f64, o: &PlanOptions) -> Result<TimestepPlan> {
    if eta > 1.0 {
        return Err(Error::param(
            "eta",
            format!("must be at most 1 for TCD, not {eta}"),
        ));
    }
    let start = TimestepStart::distilled(steps, model, o)?;
    let alphas = model.alphas_cumprod();
    let sigma = |t: usize| model.sigmas()[t];
    let timestep = |_: f64| 0.0;
    let mut b = Builder::new(&timestep);
    let mut x = START;
    for i in (0..start.timesteps.len()).rev() {
        let t = start.timesteps[i];
        let next = if i > 0 { start.timesteps[i - 1] } else { 0 };
        let jump = ((1.0 - eta) * next as f64) as usize;
        let denoised = b.eval_at(x, sigma(t), t as f64);
        let r = sigma(jump) / sigma(t);
        let mut terms = vec![(r, x), (1.0 - r, denoised)];
        if eta > 0.0 && i > 0 {
            let spread = ((1.0 - alphas[next] / alphas[jump]) / alphas[next])
                .max(0.0)
                .sqrt();
            terms.push((o.s_noise * spread, b.noise(sigma(t), sigma(next))));
        }
        x = b.lin(&terms);
        b.end_step(x, denoised, sigma(t));
    }
    // The last jump goes to (1 - eta) of timestep 0, which is 0 itself.
    Ok(start.finish_at(b, x, model, alphas[0]))
}
