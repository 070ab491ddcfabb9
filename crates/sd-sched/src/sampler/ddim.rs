//! Denoising diffusion implicit models (Song, Meng & Ermon 2020, arXiv:2010.02502, eq. 12 and 16), over timesteps; and their
//! CFG++ form (Chung et al. 2024, arXiv:2406.08070), which renoises with the unconditional prediction.
//!
//! Written in the variance-exploding form: the variance-preserving latent of the paper is `sqrt(alpha) * x`, and its `eps` is
//! `(x - denoised) / sigma`.

use super::TimestepPlan;
use crate::program::{Builder, Reg};
use crate::{ModelSampling, PlanOptions, Result, Schedule};

/// sigma of a variance-preserving alpha_cumprod.
fn sigma(alpha: f64) -> f64 {
    ((1.0 - alpha) / alpha).sqrt()
}

/// `plus`: the direction comes from the unconditional prediction.
pub(super) fn plan(
    steps: usize,
    schedule: Schedule,
    model: &ModelSampling,
    eta: f64,
    plus: bool,
    o: &PlanOptions,
) -> Result<TimestepPlan> {
    let step = |b: &mut Builder<'_>, x: Reg, (t, alpha): (usize, f64), (_, alpha_to): (usize, f64)| {
        let s = sigma(alpha);
        let (denoised, base) = if plus {
            b.eval_with_uncond_at(x, s, t as f64)
        } else {
            let d = b.eval_at(x, s, t as f64);
            (d, d)
        };
        let noise = eta
            * ((1.0 - alpha_to) / (1.0 - alpha) * (1.0 - alpha / alpha_to))
                .max(0.0)
                .sqrt();
        let direction = (1.0 - alpha_to - noise * noise).max(0.0).sqrt() / alpha_to.sqrt() / s;
        let mut terms = vec![(direction, x)];
        if plus {
            terms.extend([(1.0, denoised), (-direction, base)]);
        } else {
            terms.push((1.0 - direction, denoised));
        }
        if noise > 0.0 {
            terms.push((noise / alpha_to.sqrt() * o.s_noise, b.noise(s, sigma(alpha_to))));
        }
        let x = b.lin(&terms);
        b.end_step(x, denoised, s);
        x
    };
    TimestepPlan::walk(steps, schedule, model, o, step)
}
