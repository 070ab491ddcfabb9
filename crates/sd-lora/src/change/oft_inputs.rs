//! PEFT's OFT: inputs are rotated in blocks.

use sd_kernels::{Matrix, add_product};

use super::{Amount, Change, Kind, Values, as_matrix, oft::cayley};
use crate::keys::Leaf;

/// The way from skew-symmetric parts to rotations, from PEFT's settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rotation {
    /// Terms of Cayley's transform as a series; `None` for the transform itself.
    pub terms: Option<u64>,
    /// Most that a block's norm times the root of their number may be; `None` for no limit.
    pub limit: Option<f64>,
}

impl Default for Rotation {
    /// As PEFT 0.21 has it.
    fn default() -> Self {
        Self {
            terms: Some(5),
            limit: None,
        }
    }
}

/// More terms than anyone trains with.
const MOST_TERMS: u64 = 64;

#[derive(Debug)]
struct InputRotation {
    /// One that is there alone may be every block's.
    blocks: usize,
    /// Side of a block.
    size: usize,
    rotation: Rotation,
}

pub(super) fn read(values: &Values, rotation: Rotation) -> Result<Box<dyn Change>, String> {
    let [blocks, count] = *values.sizes(Leaf::OftR, 2..=2)? else {
        return Err("oft_R has no two axes".into());
    };
    // The values above the diagonal of a block.
    let size = (((1.0 + 8.0 * count as f64).sqrt() + 1.0) / 2.0) as usize;
    if size.checked_mul(size - 1).is_none_or(|twice| twice / 2 != count) {
        return Err(format!(
            "oft_R has {count} values for a block, which is the upper half of no square"
        ));
    }
    if rotation
        .terms
        .is_some_and(|terms| !(1..=MOST_TERMS).contains(&terms))
    {
        return Err(format!(
            "its settings ask for {} terms of the rotations' series; 1 to {MOST_TERMS} are possible",
            rotation.terms.unwrap_or_default()
        ));
    }
    Ok(Box::new(InputRotation {
        blocks,
        size,
        rotation,
    }))
}

impl Change for InputRotation {
    fn kind(&self) -> Kind {
        Kind::Oft
    }

    fn fits(&self, shape: &[usize]) -> Result<(), String> {
        let (_, columns) = as_matrix(shape);
        let whole = self.blocks.checked_mul(self.size) == Some(columns);
        let shared = self.blocks == 1 && columns.is_multiple_of(self.size);
        match shape.len() >= 2 && (whole || shared) {
            true => Ok(()),
            false => Err(format!(
                "{} blocks of {} inputs don't make {shape:?}",
                self.blocks, self.size
            )),
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
        let (n, rotations) = (self.size, self.rotations(values)?);
        let (mut band, mut out) = (vec![0f32; rows * n], vec![0f32; rows * n]);
        for (at, rotation) in (0..columns).step_by(n).zip(rotations.chunks_exact(n * n).cycle()) {
            for (band, row) in band.chunks_exact_mut(n).zip(weight.chunks_exact(columns)) {
                band.copy_from_slice(&row[at..][..n]);
            }
            out.fill(0.0);
            let rotation = Matrix::new(rotation, n, n).transposed();
            add_product(&mut out, 1.0, Matrix::new(&band, rows, n), rotation);
            for (rotated, row) in out.chunks_exact(n).zip(weight.chunks_exact_mut(columns)) {
                for (w, rotated) in row[at..][..n].iter_mut().zip(rotated) {
                    *w += amount.factor * (rotated - *w);
                }
            }
        }
        Ok(())
    }
}

impl InputRotation {
    fn rotations(&self, values: &Values) -> Result<Vec<f32>, String> {
        let n = self.size;
        let mut skew = vec![0f32; self.blocks * n * n];
        let halves = values.get(Leaf::OftR)?;
        for (skew, half) in skew
            .chunks_exact_mut(n * n)
            .zip(halves.chunks_exact(n * (n - 1) / 2))
        {
            let above = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
            for ((i, j), x) in above.zip(half) {
                (skew[i * n + j], skew[j * n + i]) = (*x, -x);
            }
            if let Some(eps) = self.rotation.limit {
                let limit = eps / (self.blocks as f64).sqrt();
                let norm = skew.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
                if norm > limit {
                    skew.iter_mut()
                        .for_each(|x| *x = (f64::from(*x) * (limit / norm)) as f32);
                }
            }
            match self.rotation.terms {
                Some(terms) => series(skew, n, terms),
                None => {
                    // PEFT turns the other way here.
                    let mut rotated: Vec<f64> = skew.iter().map(|x| -f64::from(*x)).collect();
                    cayley(&mut rotated, skew, n).ok_or("its blocks are too large to be rotations")?;
                }
            }
        }
        Ok(skew)
    }
}

/// So many terms of `(1 + q) (1 - q)^-1` as PEFT sums them up: `1 + 2 q + 2 q^2 + ..`, the last of more than two once.
fn series(q: &mut [f32], n: usize, terms: u64) {
    let mut sum: Vec<f32> = (0..n * n)
        .map(|at| f32::from(u8::from(at % (n + 1) == 0)))
        .collect();
    let mut add = |power: &[f32], factor: f32| sum.iter_mut().zip(power).for_each(|(s, p)| *s += factor * p);
    let next = |power: &[f32]| {
        let mut product = vec![0f32; n * n];
        add_product(&mut product, 1.0, Matrix::new(power, n, n), Matrix::new(q, n, n));
        product
    };
    if terms > 1 {
        add(q, 2.0);
    }
    if terms > 2 {
        let mut power = next(q);
        add(&power, 2.0);
        for _ in 3..terms - 1 {
            power = next(&power);
            add(&power, 2.0);
        }
        add(&next(&power), 1.0);
    }
    q.copy_from_slice(&sum);
}
