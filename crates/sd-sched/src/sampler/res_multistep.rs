//! The refined exponential solver, second-order multistep (Zhang et al. 2023, arXiv:2308.02157), in ComfyUI's form, and its form of CFG++
//! (Chung et al. 2024, arXiv:2406.08070): what guidance adds is added to the latent first, and the solver goes on with uncond.

use super::{Ctx, ancestral};
use crate::program::{Builder, Reg, START};

pub(super) fn emit(b: &mut Builder<'_>, ctx: &Ctx<'_>, cfg_pp: bool) -> Reg {
    let mut x = START;
    // The last denoised latent, its sigma, and where its step went before noise.
    let mut previous: Option<(Reg, f64, f64)> = None;
    for w in ctx.sigmas.windows(2) {
        let (sigma, next) = (w[0], w[1]);
        let (denoised, own) = match cfg_pp {
            true => b.eval_with_uncond(x, sigma),
            false => {
                let denoised = b.eval(x, sigma);
                (denoised, denoised)
            }
        };
        let (down, up) = ancestral::split(sigma, next, ctx.eta);
        let r = down / sigma;
        let mut terms = match previous {
            Some((old, old_sigma, old_down)) if down > 0.0 => {
                let h = (sigma / down).ln();
                // -ln of the last sigma less -ln of where its step went, in steps.
                let c_2 = (old_down / old_sigma).ln() / h;
                let phi_1 = (-h).exp_m1() / -h;
                let phi_2 = (phi_1 - 1.0) / -h;
                let b_2 = phi_2 / c_2;
                vec![(r, x), (h * (phi_1 - b_2), own), (h * b_2, old)]
            }
            _ => vec![(r, x), (1.0 - r, own)],
        };
        if cfg_pp {
            // Without a slope the whole difference is added, as Euler with CFG++ has it.
            let share = if previous.is_some() && down > 0.0 { r } else { 1.0 };
            terms.extend([(share, denoised), (-share, own)]);
        }
        if up > 0.0 {
            terms.push((ctx.options.s_noise * up, b.noise(sigma, next)));
        }
        x = b.lin(&terms);
        previous = Some((own, sigma, down));
        b.end_step(x, denoised, sigma);
    }
    x
}
