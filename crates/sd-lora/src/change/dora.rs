//! DoRA (Liu et al. 2024, arXiv:2402.09353): magnitudes of their own for the changed weight's rows or columns.

use super::{Values, as_matrix};
use crate::keys::Leaf;

/// The axis that has a magnitude for each entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Axis {
    /// Each output's weights: PEFT, and LyCORIS today.
    Output,
    /// Each input's: LyCORIS before, and the WebUI.
    Input,
}

impl Axis {
    /// The axis that magnitudes of this shape are for.
    pub fn of(values: &Values, shape: &[usize]) -> Result<Self, String> {
        let count = |sizes: &[usize]| sizes.iter().fold(1, |n: usize, k| n.saturating_mul(*k));
        let (rows, _) = as_matrix(shape);
        let (leaf, sizes) = match values.shape(Leaf::Magnitude) {
            Some(sizes) => (Leaf::Magnitude, sizes),
            None => (Leaf::DoraScale, values.shape(Leaf::DoraScale).unwrap_or_default()),
        };
        // PEFT's magnitudes of a convolution are [1, outputs, 1, 1]; LyCORIS' of inputs are so too.
        if shape.len() < 2 {
            return Err(format!("{} is for a matrix, not for {shape:?}", leaf.name()));
        }
        let outputs = leaf == Leaf::Magnitude || sizes.first() == Some(&rows);
        if outputs && count(sizes) == rows {
            Ok(Self::Output)
        } else if !outputs && sizes.len() > 1 && sizes[0] == 1 && shape.get(1) == Some(&count(sizes)) {
            Ok(Self::Input)
        } else {
            Err(format!("{} {sizes:?} doesn't fit {shape:?}", leaf.name()))
        }
    }
}

/// `weight += strength * (magnitude * changed / |changed| - weight)`: norms over each output's or input's weights. What has no length
/// has no direction either, and stays nothing.
pub(crate) fn decompose(
    values: &Values,
    axis: Axis,
    strength: f32,
    weight: &mut [f32],
    mut changed: Vec<f32>,
    shape: &[usize],
) -> Result<(), String> {
    let leaf = match values.has(Leaf::Magnitude) {
        true => Leaf::Magnitude,
        false => Leaf::DoraScale,
    };
    let magnitudes = values.get(leaf)?;
    let (_, columns) = as_matrix(shape);
    let kernel = columns / shape[1];
    let factor = |magnitude: f32, squares: f64| match squares > 0.0 {
        true => (f64::from(magnitude) / squares.sqrt()) as f32,
        false => 0.0,
    };
    match axis {
        Axis::Output => {
            for (row, &magnitude) in changed.chunks_exact_mut(columns).zip(&magnitudes) {
                let factor = factor(magnitude, squares(row));
                row.iter_mut().for_each(|x| *x *= factor);
            }
        }
        Axis::Input => {
            let mut sums = vec![0f64; columns];
            for row in changed.chunks_exact(columns) {
                for (sum, x) in sums.iter_mut().zip(row) {
                    *sum += f64::from(*x) * f64::from(*x);
                }
            }
            let sums = sums.chunks_exact(kernel).map(|cell| cell.iter().sum());
            let factors = magnitudes.iter().zip(sums).map(|(m, s)| factor(*m, s));
            let factors: Vec<f32> = factors.collect();
            for row in changed.chunks_exact_mut(columns) {
                for (cell, factor) in row.chunks_exact_mut(kernel).zip(&factors) {
                    cell.iter_mut().for_each(|x| *x *= factor);
                }
            }
        }
    }
    for (out, changed) in weight.iter_mut().zip(changed) {
        *out += strength * (changed - *out);
    }
    Ok(())
}

/// The sum of squares, in lanes that can be computed side by side.
fn squares(values: &[f32]) -> f64 {
    let (chunks, rest) = values.as_chunks::<8>();
    let mut sums = [0f64; 8];
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(*x) * f64::from(*x);
        }
    }
    let rest = rest.iter().map(|x| f64::from(*x) * f64::from(*x));
    sums.into_iter().chain(rest).sum()
}
