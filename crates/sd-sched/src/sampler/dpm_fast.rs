//! DPM-Solver-fast: a fixed number of calls, spent on steps of order 3 as far as they go (Lu et al. 2022,
//! arXiv:2206.00927, section 3.4), evenly in `-ln(sigma)`; with ancestral noise where eta is over 0 (k-diffusion).

use super::Ctx;
use super::dpm_solver::{Step, ancestral_target, sigma};
use crate::program::{Builder, Reg, START};
use crate::schedule::linspace;

pub(super) fn emit(b: &mut Builder<'_>, ctx: &Ctx<'_>) -> Reg {
    // Checked before.
    let (min, max) = ctx.range().unwrap_or((ctx.sigmas[0], ctx.sigmas[0]));
    let (start, end) = (-max.ln(), -min.ln());
    let calls = ctx.sigmas.len() - 1;
    let orders = orders(calls);
    let ts: Vec<f64> = linspace(start, end, calls / 3 + 2).collect();
    let mut x = START;
    for (order, w) in orders.into_iter().zip(ts.windows(2)) {
        let (target, up) = ancestral_target(w[0], w[1], end, ctx.eta);
        let mut step = Step::begin(b, x, w[0], target);
        x = step.of_order(b, order);
        if ctx.eta > 0.0 {
            let noise = b.noise(sigma(w[0]), sigma(w[1]));
            x = b.lin(&[(1.0, x), (up * ctx.options.s_noise, noise)]);
        }
        b.end_step(x, step.denoised, sigma(w[0]));
    }
    x
}

/// Orders that add up to the number of calls.
fn orders(calls: usize) -> Vec<usize> {
    let m = calls / 3 + 1;
    match calls % 3 {
        0 => [vec![3; m - 2], vec![2, 1]].concat(),
        rest => [vec![3; m - 1], vec![rest]].concat(),
    }
}
