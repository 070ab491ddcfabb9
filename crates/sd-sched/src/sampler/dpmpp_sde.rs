//! DPM-Solver++ for the stochastic differential equation, single step of order 2 (Lu et al. 2022, arXiv:2211.01095;
//! k-diffusion's form with ancestral noise in both halves).

use super::{Ctx, ancestral};
use crate::program::{Builder, Reg, START};

pub(super) fn emit(b: &mut Builder<'_>, ctx: &Ctx<'_>) -> Reg {
    let mut x = START;
    for w in ctx.sigmas.windows(2) {
        let (sigma, next) = (w[0], w[1]);
        let denoised = b.eval(x, sigma);
        x = if next == 0.0 {
            b.lin(&[(1.0, denoised)])
        } else {
            let mid = (sigma * next).sqrt();
            let half = part(b, ctx, x, denoised, sigma, mid);
            let second = b.eval(half, mid);
            // The weight of the first is 1 - 1/(2r) = 0 at r = 1/2.
            part(b, ctx, x, second, sigma, next)
        };
        b.end_step(x, denoised, sigma);
    }
    x
}

/// From `sigma` down to `to` with `denoised` held, noise included.
fn part(b: &mut Builder<'_>, ctx: &Ctx<'_>, x: Reg, denoised: Reg, sigma: f64, to: f64) -> Reg {
    let (down, up) = ancestral::split(sigma, to, ctx.eta);
    let r = down / sigma;
    let mut terms = vec![(r, x), (1.0 - r, denoised)];
    if up > 0.0 {
        terms.push((ctx.options.s_noise * up, b.noise(sigma, to)));
    }
    b.lin(&terms)
}
