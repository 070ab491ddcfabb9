//! LyCORIS' OFT and BOFT: outputs are rotated in blocks.

use sd_kernels::{Matrix, add_product};

use super::{Amount, Change, Kind, Values, as_matrix, same_shape};
use crate::{keys::Leaf, names::KOHYA_OFT};

#[derive(Debug)]
struct Rotation {
    leaf: Leaf,
    /// One after another; 1 for OFT.
    stages: usize,
    blocks: usize,
    /// Side of a block.
    size: usize,
    /// Butterfly order: every stage pairs outputs that are twice as far apart, and its matrices are not transposed.
    butterfly: bool,
    /// Largest norm of all blocks together, over the number of outputs; `None` for no limit.
    constraint: Option<f64>,
    rescale: Option<Vec<usize>>,
}

pub(super) fn read(values: &Values) -> Result<Box<dyn Change>, String> {
    let leaf = match values.has(Leaf::OftDiag) {
        true if values.has(Leaf::OftBlocks) => return Err("it has both oft_blocks and oft_diag".into()),
        true => Leaf::OftDiag,
        false => Leaf::OftBlocks,
    };
    let sizes = values.sizes(leaf, 3..=4)?;
    let (stages, [blocks, size, columns]) = match sizes {
        [stages, rest @ ..] if rest.len() == 3 && leaf == Leaf::OftBlocks => {
            (*stages, [rest[0], rest[1], rest[2]])
        }
        [blocks, size, columns] => (1, [*blocks, *size, *columns]),
        _ => (0, [0; 3]),
    };
    let butterfly = sizes.len() == 4;
    if stages == 0 || size != columns || (butterfly && !size.is_multiple_of(2)) {
        return Err(format!(
            "{} has shape {sizes:?}, which are no square blocks",
            leaf.name()
        ));
    }
    let constraint = match leaf {
        // Rotations as they are: alpha has no meaning.
        Leaf::OftDiag => None,
        // LyCORIS has 0 for no limit; for kohya's script it is a limit like others.
        _ => values
            .number(Leaf::Alpha)?
            .filter(|alpha| *alpha != 0.0 || values.keys.values().any(|key| key.starts_with(KOHYA_OFT))),
    };
    if constraint.is_some_and(|alpha| alpha < 0.0) {
        return Err("alpha, which limits the rotation, is negative".into());
    }
    let rescale = match values.has(Leaf::Rescale) {
        true => Some(values.sizes(Leaf::Rescale, 1..=4)?.to_vec()),
        false => None,
    };
    Ok(Box::new(Rotation {
        leaf,
        stages,
        blocks,
        size,
        butterfly,
        constraint: constraint.map(f64::from),
        rescale,
    }))
}

impl Change for Rotation {
    fn kind(&self) -> Kind {
        if self.butterfly { Kind::Boft } else { Kind::Oft }
    }

    fn fits(&self, shape: &[usize]) -> Result<(), String> {
        let (rows, _) = as_matrix(shape);
        if shape.len() < 2 || self.blocks.checked_mul(self.size) != Some(rows) {
            return Err(format!(
                "{} blocks of {} outputs don't make {shape:?}",
                self.blocks, self.size
            ));
        }
        // The last stage's pairs must still lie inside.
        let reach = u32::try_from(self.stages - 1).ok().and_then(|stages| {
            let pairs = 2usize.checked_pow(stages)?.checked_mul(self.size)?;
            rows.is_multiple_of(pairs).then_some(pairs)
        });
        if self.butterfly && reach.is_none() {
            return Err(format!("{} stages are too many for {rows} outputs", self.stages));
        }
        match &self.rescale {
            Some(rescale) if !same_shape(rescale, &[rows]) => {
                Err(format!("rescale {rescale:?} doesn't fit {shape:?}"))
            }
            _ => Ok(()),
        }
    }

    fn add(
        &self,
        values: &Values,
        amount: Amount,
        weight: &mut [f32],
        shape: &[usize],
    ) -> Result<(), String> {
        let (rows, columns) = as_matrix(shape);
        let rotations = self.rotations(values, rows)?;
        let mut rotated = weight.to_vec();
        let (mut band, mut out) = (vec![0f32; self.size * columns], vec![0f32; self.size * columns]);
        for (stage, rotations) in rotations
            .chunks_exact(self.blocks * self.size * self.size)
            .enumerate()
        {
            for (block, rotation) in rotations.chunks_exact(self.size * self.size).enumerate() {
                let row = |i: usize| self.row(stage, block * self.size + i) * columns;
                for (i, band) in band.chunks_exact_mut(columns).enumerate() {
                    band.copy_from_slice(&rotated[row(i)..][..columns]);
                }
                out.fill(0.0);
                let rotation = Matrix::new(rotation, self.size, self.size);
                let rotation = if self.butterfly {
                    rotation
                } else {
                    rotation.transposed()
                };
                add_product(&mut out, 1.0, rotation, Matrix::new(&band, self.size, columns));
                for (i, out) in out.chunks_exact(columns).enumerate() {
                    rotated[row(i)..][..columns].copy_from_slice(out);
                }
            }
        }
        if self.rescale.is_some() {
            let rescale = values.get(Leaf::Rescale)?;
            for (row, factor) in rotated.chunks_exact_mut(columns).zip(rescale) {
                row.iter_mut().for_each(|x| *x *= factor);
            }
        }
        for (w, rotated) in weight.iter_mut().zip(rotated) {
            *w += amount.factor * (rotated - *w);
        }
        Ok(())
    }
}

impl Rotation {
    /// The output that stands at a place of a stage's order.
    fn row(&self, stage: usize, place: usize) -> usize {
        if !self.butterfly {
            return place;
        }
        // Pairs at this distance become neighbours.
        let distance = (self.size / 2) << stage;
        let (pair, side) = (place / 2, place % 2);
        (pair / distance * 2 + side) * distance + pair % distance
    }

    /// The rotation matrices of all blocks of all stages: Cayley transforms of their skew-symmetric parts.
    fn rotations(&self, values: &Values, outputs: usize) -> Result<Vec<f32>, String> {
        let mut blocks = values.get(self.leaf)?;
        if self.leaf == Leaf::OftDiag {
            return Ok(blocks);
        }
        let n = self.size;
        let mut skew: Vec<f64> = vec![0.0; blocks.len()];
        for (skew, block) in skew.chunks_exact_mut(n * n).zip(blocks.chunks_exact(n * n)) {
            for (i, row) in skew.chunks_exact_mut(n).enumerate() {
                for (j, x) in row.iter_mut().enumerate() {
                    *x = f64::from(block[i * n + j]) - f64::from(block[j * n + i]);
                }
            }
        }
        if let Some(constraint) = self.constraint {
            let limit = constraint * outputs as f64;
            let norm = skew.iter().map(|x| x * x).sum::<f64>().sqrt();
            if norm > limit {
                skew.iter_mut().for_each(|x| *x *= limit / norm);
            }
        }
        for (out, skew) in blocks.chunks_exact_mut(n * n).zip(skew.chunks_exact_mut(n * n)) {
            cayley(skew, out, n).ok_or("its blocks are too large to be rotations")?;
        }
        Ok(blocks)
    }
}

/// `(1 + q) (1 - q)^-1`, which is `2 (1 - q)^-1 - 1`. With a skew-symmetric q the inverse exists: all eigenvalues of `1 - q` have real
/// part 1. `None` if it can't be computed all the same.
pub(super) fn cayley(q: &mut [f64], out: &mut [f32], n: usize) -> Option<()> {
    for (i, row) in q.chunks_exact_mut(n).enumerate() {
        row.iter_mut().for_each(|x| *x = -*x);
        row[i] += 1.0;
    }
    // Gauss-Jordan in place. No pivoting: the symmetric part of what is left stays positive definite.
    let mut pivot_row = vec![0.0; n];
    for k in 0..n {
        let pivot = q[k * n + k];
        if !pivot.is_finite() || pivot == 0.0 {
            return None;
        }
        q[k * n + k] = 1.0;
        for x in &mut q[k * n..][..n] {
            *x /= pivot;
        }
        pivot_row.copy_from_slice(&q[k * n..][..n]);
        for (i, row) in q.chunks_exact_mut(n).enumerate() {
            if i != k {
                let factor = std::mem::replace(&mut row[k], 0.0);
                for (x, p) in row.iter_mut().zip(&pivot_row) {
                    *x -= factor * p;
                }
            }
        }
    }
    for (i, (out, row)) in out.chunks_exact_mut(n).zip(q.chunks_exact(n)).enumerate() {
        for (j, (out, x)) in out.iter_mut().zip(row).enumerate() {
            *out = (2.0 * x - f64::from(u8::from(i == j))) as f32;
        }
    }
    out.iter().all(|x| x.is_finite()).then_some(())
}
