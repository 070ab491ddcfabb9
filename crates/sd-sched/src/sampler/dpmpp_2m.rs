//! DPM-Solver++(2M): second-order multistep in the data prediction (Lu et al. 2022, arXiv:2211.01095, algorithm 2).

use super::Ctx;
use crate::program::{Builder, Reg, START};

pub(super) fn emit(b: &mut Builder<'_>, ctx: &Ctx<'_>) -> Reg {
    let mut x = START;
    // The previous denoised latent and the step in lambda = -ln(sigma) that led here.
    let mut previous: Option<(Reg, f64)> = None;
    for w in ctx.sigmas.windows(2) {
        let (sigma, next) = (w[0], w[1]);
        let denoised = b.eval(x, sigma);
        let ratio = next / sigma;
        let h = -ratio.ln();
        // e^-h = ratio; 1 - e^-h
        let gain = 1.0 - ratio;
        x = match previous {
            Some((old, h_last)) if next > 0.0 => {
                let c = h / (2.0 * h_last);
                b.lin(&[(ratio, x), (gain * (1.0 + c), denoised), (-gain * c, old)])
            }
            _ => b.lin(&[(ratio, x), (gain, denoised)]),
        };
        previous = Some((denoised, h));
        b.end_step(x, denoised, sigma);
    }
    x
}
