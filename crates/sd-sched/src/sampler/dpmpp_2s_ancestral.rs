//! DPM-Solver++(2S) (Lu et al. 2022, arXiv:2211.01095, algorithm 1) with ancestral noise (k-diffusion).

use super::{Ctx, ancestral};
use crate::program::{Builder, Reg, START};

pub(super) fn emit(b: &mut Builder<'_>, ctx: &Ctx<'_>) -> Reg {
    let mut x = START;
    for w in ctx.sigmas.windows(2) {
        let (sigma, next) = (w[0], w[1]);
        let denoised = b.eval(x, sigma);
        let (down, up) = ancestral::split(sigma, next, ctx.eta);
        let (r, used) = if down == 0.0 {
            (0.0, denoised)
        } else {
            // Halfway in lambda = -ln(sigma).
            let mid = (sigma * down).sqrt();
            let half = b.lin(&[(mid / sigma, x), (1.0 - mid / sigma, denoised)]);
            (down / sigma, b.eval(half, mid))
        };
        let mut terms = vec![(r, x), (1.0 - r, used)];
        if up > 0.0 {
            terms.push((ctx.options.s_noise * up, b.noise(sigma, next)));
        }
        x = b.lin(&terms);
        b.end_step(x, denoised, sigma);
    }
    x
}
