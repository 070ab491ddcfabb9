//! Latent consistency sampling (Luo et al. 2023, arXiv:2310.04378): jump to the denoised latent, add fresh noise, repeat.
//!
//! The WebUI and diffusers blend in a trace of the latent (the paper's boundary condition, with timesteps times 10 and
//! sigma_data 0.5); ComfyUI doesn't.

use super::{Ctx, TimestepPlan, TimestepStart};
use crate::program::{Builder, Reg, START};
use crate::{Dialect, ModelSampling, PlanOptions, Result};

/// `(c_skip, c_out)` of the boundary condition.
fn boundary(timestep: f64) -> (f64, f64) {
    let (t, d) = (timestep * 10.0, 0.5);
    (d * d / (t * t + d * d), t / (t * t + d * d).sqrt())
}

/// ComfyUI's and the WebUI's: over sigmas.
pub(super) fn emit(b: &mut Builder<'_>, ctx: &Ctx<'_>) -> Reg {
    let mut x = START;
    for w in ctx.sigmas.windows(2) {
        let (sigma, next) = (w[0], w[1]);
        let denoised = b.eval(x, sigma);
        let (skip, out) = match ctx.options.dialect {
            Dialect::WebUi => boundary(b.timestep(sigma)),
            _ => (0.0, 1.0),
        };
        let mut terms = vec![(out, denoised), (skip, x)];
        if next > 0.0 {
            terms.push((ctx.options.s_noise * next, b.noise(sigma, next)));
        }
        x = b.lin(&terms);
        b.end_step(x, denoised, sigma);
    }
    x
}

/// diffusers': over timesteps picked from the 50 that distillation used.
pub(super) fn diffusers(steps: usize, model: &ModelSampling, o: &PlanOptions) -> Result<TimestepPlan> {
    let start = TimestepStart::distilled(steps, model, o)?;
    let sigma = |t: usize| model.sigmas()[t];
    let timestep = |_: f64| 0.0;
    let mut b = Builder::new(&timestep);
    let mut x = START;
    for i in (0..start.timesteps.len()).rev() {
        let t = start.timesteps[i];
        let denoised = b.eval_at(x, sigma(t), t as f64);
        let (skip, out) = boundary(t as f64);
        let mut terms = vec![(out, denoised), (skip * model.alphas_cumprod()[t].sqrt(), x)];
        if i > 0 {
            let next = sigma(start.timesteps[i - 1]);
            terms.push((o.s_noise * next, b.noise(sigma(t), next)));
        }
        x = b.lin(&terms);
        b.end_step(x, denoised, sigma(t));
    }
    Ok(start.finish_at(b, x, model, 1.0))
}
