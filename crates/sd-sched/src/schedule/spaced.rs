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
    let rho = r.rho.unwrap_or(7.0);
    let (lo, hi) = (r.min.powf(1.0 / rho), r.max.powf(1.0 / rho));
    then_zero(linspace(0.0, 1.0, r.n).map(|w| (hi + w * (lo - hi)).powf(rho)))
}

/// A power `rho` of the way in `ln(sigma)` (k-diffusion).
pub(super) fn polyexponential(r: &Range<'_>) -> Vec<f64> {
    let rho = r.rho.unwrap_or(1.0);
    let (lo, hi) = (r.min.ln(), r.max.ln());
    then_zero(linspace(1.0, 0.0, r.n).map(|w| (w.powf(rho) * (hi - lo) + lo).exp()))
}
