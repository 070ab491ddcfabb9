//! DPM-Solver++(2M) for the stochastic differential equation (Lu et al. 2022, arXiv:2211.01095, appendix; k-diffusion).

use super::Ctx;
use crate::program::{Builder, Reg, START};

/// The weighting of the second-order term.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Midpoint,
    Heun,
}

pub(super) fn emit(b: &mut Builder<'_>, ctx: &Ctx<'_>, kind: Kind) -> Reg {
    let mut x = START;
    let mut previous: Option<(Reg, f64)> = None;
    for w in ctx.sigmas.windows(2) {
        let (sigma, next) = (w[0], w[1]);
        let denoised = b.eval(x, sigma);
        if next == 0.0 {
            x = b.lin(&[(1.0, denoised)]);
            b.end_step(x, denoised, sigma);
            continue;
        }
        let h = (sigma / next).ln();
        let total = h * (1.0 + ctx.eta);
        let gain = -(-total).exp_m1();
        let mut own = gain;
        let mut terms = vec![((-total).exp(), x)];
        if let Some((old, h_last)) = previous {
            let c = match kind {
                Kind::Midpoint => 0.5 * gain,
                Kind::Heun => 1.0 - gain / total,
            } * h
                / h_last;
            own += c;
            terms.push((-c, old));
        }
        terms.push((own, denoised));
        if ctx.eta > 0.0 {
            let spread = next * (-(-2.0 * ctx.eta * h).exp_m1()).sqrt();
            terms.push((ctx.options.s_noise * spread, b.noise(sigma, next)));
        }
        x = b.lin(&terms);
        previous = Some((denoised, h));
        b.end_step(x, denoised, sigma);
    }
    x
}
