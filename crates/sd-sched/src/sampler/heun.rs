//! Heun's method (Karras et al. 2022, arXiv:2206.00364, algorithm 2): an Euler step, then the mean of both slopes.

use super::Ctx;
use super::euler::churn;
use crate::program::{Builder, Reg, START};

pub(super) fn emit(b: &mut Builder<'_>, ctx: &Ctx<'_>) -> Reg {
    let mut x = START;
    for (i, w) in ctx.sigmas.windows(2).enumerate() {
        let next = w[1];
        let (hat, sigma) = churn(b, ctx, i, x);
        let denoised = b.eval(hat, sigma);
        let r = next / sigma;
        let euler = b.lin(&[(r, hat), (1.0 - r, denoised)]);
        if next == 0.0 {
            x = euler;
        } else {
            let second = b.eval(euler, next);
            let half = (next - sigma) / 2.0;
            let (a, c) = (half / sigma, half / next);
            x = b.lin(&[(1.0 + a, hat), (-a, denoised), (c, euler), (-c, second)]);
        }
        b.end_step(x, denoised, w[0]);
    }
    x
}
