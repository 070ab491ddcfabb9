//! Ancestral sampling from the diffusion's own posterior (Ho, Jain & Abbeel 2020, arXiv:2006.11239, algorithm 2, eq. 6 and 7),
//! in the variance-exploding form.

use super::Ctx;
use crate::program::{Builder, Reg, START};

pub(super) fn emit(b: &mut Builder<'_>, ctx: &Ctx<'_>) -> Reg {
    let mut x = START;
    for w in ctx.sigmas.windows(2) {
        let (sigma, next) = (w[0], w[1]);
        let denoised = b.eval(x, sigma);
        let keep = (next / sigma).powi(2);
        let mut terms = vec![(keep, x), (1.0 - keep, denoised)];
        if next > 0.0 {
            terms.push((
                ctx.options.s_noise * next * (1.0 - keep).sqrt(),
                b.noise(sigma, next),
            ));
        }
        x = b.lin(&terms);
        b.end_step(x, denoised, sigma);
    }
    x
}
