//! DPM-Solver-2 (Lu et al. 2022, arXiv:2206.00927) in sigma, with Karras' churn or ancestral noise (k-diffusion).

use super::euler::churn;
use super::{Ctx, ancestral};
use crate::program::{Builder, Reg, START};

pub(super) fn emit(b: &mut Builder<'_>, ctx: &Ctx<'_>) -> Reg {
    let mut x = START;
    for (i, w) in ctx.sigmas.windows(2).enumerate() {
        let (hat, sigma) = churn(b, ctx, i, x);
        let denoised = b.eval(hat, sigma);
        x = midpoint(b, hat, denoised, sigma, w[1]);
        b.end_step(x, denoised, w[0]);
    }
    x
}

pub(super) fn emit_ancestral(b: &mut Builder<'_>, ctx: &Ctx<'_>) -> Reg {
    let mut x = START;
    for w in ctx.sigmas.windows(2) {
        let (sigma, next) = (w[0], w[1]);
        let denoised = b.eval(x, sigma);
        let (down, up) = ancestral::split(sigma, next, ctx.eta);
        x = midpoint(b, x, denoised, sigma, down);
        if up > 0.0 && down > 0.0 {
            let noise = b.noise(sigma, next);
            x = b.lin(&[(1.0, x), (ctx.options.s_noise * up, noise)]);
        }
        b.end_step(x, denoised, sigma);
    }
    x
}

/// A step with the slope at the geometric mean of both sigmas; an Euler step to 0.
fn midpoint(b: &mut Builder<'_>, x: Reg, denoised: Reg, sigma: f64, next: f64) -> Reg {
    if next == 0.0 {
        return b.lin(&[(1.0, denoised)]);
    }
    let mid = (sigma * next).sqrt();
    let r = mid / sigma;
    let half = b.lin(&[(r, x), (1.0 - r, denoised)]);
    let second = b.eval(half, mid);
    let slope = (next - sigma) / mid;
    b.lin(&[(1.0, x), (slope, half), (-slope, second)])
}
