//! Schedules that pick from the model's table of sigmas.

use super::Range;

/// `n` picks, evenly from the table's end (ComfyUI's "simple").
pub(super) fn simple(r: &Range<'_>) -> Vec<f64> {
    let table = r.model.sigmas();
    let stride = table.len() as f64 / r.n as f64;
    let pick = |i: usize| table[table.len() - 1 - (i as f64 * stride) as usize];
    (0..r.n).map(pick).chain([0.0]).collect()
}

/// Every `len/n`-th sigma from the second on (ComfyUI's "ddim_uniform"): not always `n` steps.
pub(super) fn ddim(r: &Range<'_>) -> Vec<f64> {
    let table = r.model.sigmas();
    let stride = (table.len() / r.n).max(1);
    let mut sigmas: Vec<f64> = [0.0]
        .into_iter()
        .chain(table.iter().skip(1).step_by(stride).copied())
        .collect();
    sigmas.reverse();
    sigmas
}

/// The sigmas of given whole timesteps.
pub(super) fn at_timesteps(r: &Range<'_>, timesteps: &[f64]) -> Vec<f64> {
    timesteps
        .iter()
        .map(|&t| r.model.sigmas()[t as usize])
        .chain([0.0])
        .collect()
}

/// Whole timesteps, evenly down from the last (Sauer et al. 2023, arXiv:2311.17042): for any number of steps as in Forge, or
/// the first few of ten as in ComfyUI.
pub(super) fn turbo(r: &Range<'_>, of_ten: bool) -> Vec<f64> {
    let last = r.model.train_steps() - 1;
    let stride = r.model.train_steps() as f64 / if of_ten { 10.0 } else { r.n as f64 };
    let total = if of_ten { 10 } else { r.n };
    let timestep = |i: usize| ((i as f64 * stride - 1.0).round_ties_even() as usize).min(last);
    let timesteps = (1..=total).rev().map(timestep).take(r.n);
    timesteps.map(|t| r.model.sigmas()[t]).chain([0.0]).collect()
}

/// The sigmas of timesteps between which sigma itself is interpolated (diffusers).
pub(super) fn linear_in_sigma(r: &Range<'_>, timesteps: impl Iterator<Item = f64>) -> Vec<f64> {
    let table = r.model.sigmas();
    let at = |t: f64| {
        let low = (t.floor() as usize).min(table.len() - 2);
        table[low] + (table[low + 1] - table[low]) * (t - low as f64)
    };
    timesteps.map(at).chain([0.0]).collect()
}
