//! Ancestral sampling with Euler steps (k-diffusion; the noise is that of Song et al. 2020, arXiv:2010.02502, eq. 16).

use super::{Ctx, ancestral};
use crate::program::{Builder, Reg, START};

pub(super) fn emit(b: &mut Builder<'_>, ctx: &Ctx<'_>) -> Reg {
    let mut x = START;
    for w in ctx.sigmas.windows(2) {
        let (sigma, next) = (w[0], w[1]);
        let denoised = b.eval(x, sigma);
        let (down, up) = ancestral::split(sigma, next, ctx.eta);
        let r = down / sigma;
        x = if up > 0.0 {
            let noise = b.noise(sigma, next);
            b.lin(&[(r, x), (1.0 - r, denoised), (ctx.options.s_noise * up, noise)])
        } else {
            b.lin(&[(r, x), (1.0 - r, denoised)])
        };
        b.end_step(x, denoised, sigma);
    }
    x
}
