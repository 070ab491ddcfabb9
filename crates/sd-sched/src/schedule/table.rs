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
