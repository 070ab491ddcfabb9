//! Euler's method (Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models",
//! arXiv:2206.00364, algorithm 2 without the second-order correction), with its churn.

use super::Ctx;
use crate::Dialect;
use crate::program::{Builder, Reg, START};

pub(super) fn emit(b: &mut Builder<'_>, ctx: &Ctx<'_>) -> Reg {
    let mut x = START;
    for (i, w) in ctx.sigmas.windows(2).enumerate() {
        let (hat, sigma) = churn(b, ctx, i, x);
        let denoised = b.eval(hat, sigma);
        // x + (x - denoised) / sigma * (next - sigma)
        let r = w[1] / sigma;
        x = b.lin(&[(r, hat), (1.0 - r, denoised)]);
        b.end_step(x, denoised, w[0]);
    }
    x
}

/// Raises the noise level of a step within `s_tmin..=s_tmax` by the factor `1 + gamma`; returns the latent and its new sigma.
///
/// The k-diffusion that the WebUI pins draws noise in every step, used or not. That shows only where some steps churn and
/// others don't, so the WebUI dialect draws in every step as soon as `s_churn` is over 0.
pub(super) fn churn(b: &mut Builder<'_>, ctx: &Ctx<'_>, i: usize, x: Reg) -> (Reg, f64) {
    let (o, sigma) = (ctx.options, ctx.sigmas[i]);
    if o.s_churn <= 0.0 {
        return (x, sigma);
    }
    let inside = o.s_tmin <= sigma && sigma <= o.s_tmax;
    let steps = (ctx.sigmas.len() - 1) as f64;
    let gamma = if inside {
        (o.s_churn / steps).min(2f64.sqrt() - 1.0)
    } else {
        0.0
    };
    let hat = sigma * (gamma + 1.0);
    if gamma == 0.0 {
        if o.dialect == Dialect::WebUi {
            b.noise(sigma, sigma);
        }
        return (x, sigma);
    }
    let noise = b.noise(hat, sigma);
    (
        b.lin(&[(1.0, x), (o.s_noise * (hat * hat - sigma * sigma).sqrt(), noise)]),
        hat,
    )
}
