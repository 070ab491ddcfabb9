//! Diffusion exponential integrator (Zhang & Chen 2022, "Fast Sampling of Diffusion Models with Exponential Integrator",
//! arXiv:2204.13902): Adams-Bashforth on the predicted noise, the polynomial being in time (tAB) or in `ln(sigma)`.

use super::polynomial::{self, lagrange};
use super::{Ctx, derivative};
use crate::Dialect;
use crate::program::{Builder, Reg, START};
use crate::schedule::linspace;

pub(super) fn emit(b: &mut Builder<'_>, ctx: &Ctx<'_>) -> Reg {
    let sigmas = ctx.sigmas;
    let steps = sigmas.len() - 1;
    let diffusers = ctx.options.dialect == Dialect::Diffusers;
    let max_order = ctx.options.order.unwrap_or(if diffusers { 2 } else { 3 });
    let mut x = START;
    let mut slopes: Vec<Reg> = Vec::new();
    for i in 0..steps {
        let (sigma, next) = (sigmas[i], sigmas[i + 1]);
        let denoised = b.eval(x, sigma);
        slopes.insert(0, derivative(b, x, denoised, sigma));
        slopes.truncate(max_order);
        let mut order = slopes.len();
        if diffusers && steps < 15 {
            order = order.min(steps - i);
        }
        if next == 0.0 {
            order = 1;
        }
        let past: Vec<f64> = (0..order).map(|k| sigmas[i - k]).collect();
        let c = match order {
            1 => vec![next - sigma],
            _ if diffusers => log_rho(&past, next),
            _ => time_ab(&past, next),
        };
        let terms = slopes.iter().zip(c).map(|(&d, c)| (c, d));
        x = b.lin(&[(1.0, x)].into_iter().chain(terms).collect::<Vec<_>>());
        b.end_step(x, denoised, sigma);
    }
    x
}

/// The integral over sigma of each Lagrange polynomial in `ln(sigma)` (diffusers' "logrho").
fn log_rho(past: &[f64], next: f64) -> Vec<f64> {
    let nodes: Vec<f64> = past.iter().map(|s| s.ln()).collect();
    let integral = |j| polynomial::exponential_integral(&nodes, j, 1.0, nodes[0], next.ln());
    (0..nodes.len()).map(integral).collect()
}

/// Points of the reference's integration.
const POINTS: usize = 10_000;

/// The polynomial in the time of a variance-preserving diffusion with linear beta between sigma 0.002 and 80 (Karras et al.
/// 2022, table 1), integrated by the reference's sum over 10,000 points (its error, a ten-thousandth, is part of its results).
fn time_ab(past: &[f64], next: f64) -> Vec<f64> {
    let (eps, top, low) = (1e-3, 80f64.powi(2).ln_1p(), 0.002f64.powi(2).ln_1p());
    let beta_d = 2.0 * (low / eps - top) / (eps - 1.0);
    let beta_min = top - 0.5 * beta_d;
    let time = |s: f64| ((beta_min * beta_min + 2.0 * beta_d * (s * s).ln_1p()).sqrt() - beta_min) / beta_d;
    let nodes: Vec<f64> = past.iter().map(|&s| time(s)).collect();
    let (from, to) = (nodes[0], time(next));
    let width = (to - from) / POINTS as f64;
    let mut sums = vec![0.0; nodes.len()];
    for t in linspace(from, to, POINTS) {
        let log_alpha = -0.5 * t * t * beta_d - t * beta_min;
        let slope = -(t * beta_d + beta_min);
        let alpha = log_alpha.exp();
        let weight = -0.5 * slope / (alpha * (1.0 - alpha)).sqrt();
        for (j, sum) in sums.iter_mut().enumerate() {
            *sum += weight * lagrange(&nodes, j, t);
        }
    }
    sums.into_iter().map(|s| s * width).collect()
}
