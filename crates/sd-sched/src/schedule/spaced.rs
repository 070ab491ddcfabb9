//! Schedules given by a formula: evenly spaced in one measure or another.

use super::{Range, linspace};

fn then_zero(sigmas: impl Iterator<Item = f64>) -> Vec<f64> {
    sigmas.chain([0.0]).collect()
}

/// Evenly in timesteps (k-diffusion, `DiscreteSchedule.get_sigmas`).
pub(super) fn uniform(r: &Range<'_>) -> Vec<f64> {
    let m = r.model;
    then_zero(linspace(m.table_position(r.max), m.table_position(r.min), r.n).map(|t| m.sigma_at(t)))
}

/// Evenly in timesteps, one more than asked for and the last left out (Stability's generative-models).
pub(super) fn sgm_uniform(r: &Range<'_>) -> Vec<f64> {
    let m = r.model;
    let all = linspace(m.table_position(r.max), m.table_position(r.min), r.n + 1);
    then_zero(all.take(r.n).map(|t| m.sigma_at(t)))
}

/// Evenly in `sigma^(1/rho)` (Karras et al. 2022, arXiv:2206.00364, eq. 5).
pub(super) fn karras(r: &Range<'_>) -> Vec<f64> {
    then_zero(karras_between(r.n, r.min, r.max, r.rho.unwrap_or(7.0)).into_iter())
}

/// The same without the final 0.
pub(super) fn karras_between(n: usize, min: f64, max: f64, rho: f64) -> Vec<f64> {
    let (lo, hi) = (min.powf(1.0 / rho), max.powf(1.0 / rho));
    linspace(0.0, 1.0, n)
        .map(|w| (hi + w * (lo - hi)).powf(rho))
        .collect()
}

/// Evenly in `atan(sigma)` (Sabour et al. 2024, arXiv:2404.14507, eq. 23): the WebUI ends at the smallest sigma without a 0,
/// ComfyUI takes one point fewer and ends at 0.
pub(super) fn kl_optimal(r: &Range<'_>, to_zero: bool) -> Vec<f64> {
    let (lo, hi) = (r.min.atan(), r.max.atan());
    if to_zero {
        then_zero(linspace(0.0, 1.0, r.n).map(|w| (w * lo + (1.0 - w) * hi).tan()))
    } else {
        linspace(0.0, 1.0, r.n + 1)
            .map(|w| (w * lo + (1.0 - w) * hi).tan())
            .collect()
    }
}

/// Half the steps near the largest sigma, evenly, then quadratically to 0 (Genmo's Mochi; ComfyUI).
pub(super) fn linear_quadratic(r: &Range<'_>) -> Vec<f64> {
    const THRESHOLD: f64 = 0.025;
    let n = r.n as f64;
    if r.n == 1 {
        return vec![r.max, 0.0];
    }
    let linear = (r.n / 2) as f64;
    let rest = n - linear;
    let left = linear - THRESHOLD * n;
    let square = left / (linear * rest * rest);
    let slope = THRESHOLD / linear - 2.0 * left / (rest * rest);
    let quadratic = |i: f64| square * i * i + slope * i + square * linear * linear;
    let point = |i: usize| {
        if (i as f64) < linear {
            i as f64 * THRESHOLD / linear
        } else {
            quadratic(i as f64)
        }
    };
    then_zero((0..r.n).map(|i| (1.0 - point(i)) * r.max))
}

/// A power `rho` of the way in `ln(sigma)` (k-diffusion).
pub(super) fn polyexponential(r: &Range<'_>) -> Vec<f64> {
    let rho = r.rho.unwrap_or(1.0);
    let (lo, hi) = (r.min.ln(), r.max.ln());
    then_zero(linspace(1.0, 0.0, r.n).map(|w| (w.powf(rho) * (hi - lo) + lo).exp()))
}
