//! Heun's method (Karras et al. 2022, arXiv:2206.00364, algorithm 2): an Euler step, then the mean of both slopes.

use super::Ctx;
use super::euler::churn;
use crate::program::{Builder, Reg, START};

pub(super) fn emit(b: &mut Builder<'_>, ctx: &Ctx<'_>) -> Reg {
    let mut x = START;
    for (i, w) in ctx.sigmas.windows(2).enumerate() {
        let next = w[1];
        let (hat, sigma) = churn(b, ctx, i, x);
        let (to, denoised) = step(b, hat, sigma, next);
        x = to;
        b.end_step(x, denoised, w[0]);
    }
    x
}

/// One step of two calls, one at the end of the schedule: `(x, denoised)`.
pub(super) fn step(b: &mut Builder<'_>, x: Reg, sigma: f64, next: f64) -> (Reg, Reg) {
    let denoised = b.eval(x, sigma);
    let r = next / sigma;
    let euler = b.lin(&[(r, x), (1.0 - r, denoised)]);
    if next == 0.0 {
        return (euler, denoised);
    }
    let second = b.eval(euler, next);
    let half = (next - sigma) / 2.0;
    let (a, c) = (half / sigma, half / next);
    let mean = b.lin(&[(1.0 + a, x), (-a, denoised), (c, euler), (-c, second)]);
    (mean, denoised)
}
