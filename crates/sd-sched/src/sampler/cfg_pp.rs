//! CFG++ (Chung et al. 2024, arXiv:2406.08070) with Euler steps: to the guided denoised latent the noise that the
//! unconditional prediction sees is added again. Deterministic, or with ancestral noise (ComfyUI). And ComfyUI's DPM++ 2M over the same.

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

/// DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095) with the noise of uncond: its slope goes from the last uncond to the guided latent.
pub(super) fn emit_dpmpp_2m(b: &mut Builder<'_>, ctx: &Ctx<'_>) -> Reg {
    let mut x = START;
    // The previous uncond and the step in -ln(sigma) that led here.
    let mut previous: Option<(Reg, f64)> = None;
    for w in ctx.sigmas.windows(2) {
        let (sigma, next) = (w[0], w[1]);
        let (denoised, uncond) = b.eval_with_uncond(x, sigma);
        let ratio = next / sigma;
        let h = -ratio.ln();
        x = match previous {
            Some((old, h_last)) if next > 0.0 => {
                let c = (1.0 - ratio) * h / (2.0 * h_last);
                b.lin(&[(ratio, x), (1.0 + c, denoised), (-ratio, uncond), (-c, old)])
            }
            _ => b.lin(&[(ratio, x), (1.0, denoised), (-ratio, uncond)]),
        };
        previous = Some((uncond, h));
        b.end_step(x, denoised, sigma);
    }
    x
}
