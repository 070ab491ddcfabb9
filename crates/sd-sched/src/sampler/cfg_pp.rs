//! CFG++ (Chung et al. 2024, arXiv:2406.08070) with Euler steps: to the guided denoised latent the noise that the
//! unconditional prediction sees is added again. Deterministic, or with ancestral noise (ComfyUI).

use super::{Ctx, ancestral};
use crate::program::{Builder, Reg, START};

pub(super) fn emit(b: &mut Builder<'_>, ctx: &Ctx<'_>, eta: f64) -> Reg {
    let mut x = START;
    for w in ctx.sigmas.windows(2) {
        let (sigma, next) = (w[0], w[1]);
        let (denoised, uncond) = b.eval_with_uncond(x, sigma);
        let (down, up) = ancestral::split(sigma, next, eta);
        let r = down / sigma;
        let mut terms = vec![(1.0, denoised), (r, x), (-r, uncond)];
        if up > 0.0 {
            terms.push((ctx.options.s_noise * up, b.noise(sigma, next)));
        }
        x = b.lin(&terms);
        b.end_step(x, denoised, sigma);
    }
    x
}
