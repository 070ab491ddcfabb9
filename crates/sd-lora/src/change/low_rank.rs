//! LoRA and LoCon: `up * down`, perhaps with a core in between.

use sd_kernels::{Matrix, add_product};

use super::{Amount, Change, Kind, Values, as_matrix, same_shape};
use crate::keys::Leaf;

#[derive(Debug)]
struct LowRank {
    /// `[rank, inputs, kernel..]`.
    down: Vec<usize>,
    /// `[outputs, rank]`, perhaps with axes of length 1 behind.
    up: Vec<usize>,
    /// `[rank of up, rank of down, kernel..]`: the core of a Tucker decomposition.
    mid: Option<Vec<usize>>,
}

pub(super) fn read(values: &Values) -> Result<Box<dyn Change>, String> {
    let down = values.sizes(Leaf::Down, 2..=4)?;
    let up = values.sizes(Leaf::Up, 2..=4)?;
    let mid = match values.has(Leaf::Mid) {
        true => Some(values.sizes(Leaf::Mid, 3..=4)?),
        false => None,
    };
    let flat = |shape: &[usize]| shape[2..].iter().all(|&n| n == 1);
    let fit = match mid {
        None => up[1] == down[0] && flat(up),
        Some(mid) => up[1] == mid[0] && down[0] == mid[1] && flat(up) && flat(down),
    };
    if !fit {
        let core = mid.map_or(String::new(), |mid| format!(", lora_mid {mid:?}"));
        return Err(format!(
            "lora_up {up:?}{core} and lora_down {down:?} can't be multiplied"
        ));
    }
    Ok(Box::new(LowRank {
        down: down.to_vec(),
        up: up.to_vec(),
        mid: mid.map(<[usize]>::to_vec),
    }))
}

impl Change for LowRank {
    fn kind(&self) -> Kind {
        let kernel = self.mid.as_ref().unwrap_or(&self.down);
        match self.mid.is_some() || kernel[2..].iter().any(|&n| n > 1) {
            true => Kind::Locon,
            false => Kind::Lora,
        }
    }

    fn rank(&self) -> Option<usize> {
        Some(self.down[0])
    }

    fn shape(&self) -> Option<Vec<usize>> {
        let kernel = &self.mid.as_ref().unwrap_or(&self.down)[2..];
        Some([&[self.up[0], self.down[1]], kernel].concat())
    }

    fn fits(&self, shape: &[usize]) -> Result<(), String> {
        let (rows, columns) = as_matrix(shape);
        let inputs = shape.len() > 1
            && match &self.mid {
                None if self.down.len() == 2 => self.down[1] == columns,
                None => same_shape(&self.down[1..], &shape[1..]),
                Some(mid) => self.down[1] == shape[1] && same_shape(&mid[2..], &shape[2..]),
            };
        if self.up[0] != rows || !inputs {
            let core = self
                .mid
                .as_ref()
                .map_or(String::new(), |mid| format!(", lora_mid {mid:?}"));
            return Err(format!(
                "lora_up {:?}{core} and lora_down {:?} don't make {shape:?}",
                self.up, self.down
            ));
        }
        bounded(self.up[1].max(self.down[0]), rows, columns)
    }

    fn add(
        &self,
        values: &Values,
        amount: Amount,
        weight: &mut [f32],
        shape: &[usize],
    ) -> Result<(), String> {
        let (up, down) = (values.get(Leaf::Up)?, values.get(Leaf::Down)?);
        let (rows, columns) = as_matrix(shape);
        let (rank, factor) = (self.down[0], amount.factor);
        match amount.ranks {
            _ if self.mid.is_some() => {
                let core = values.get(Leaf::Mid)?;
                let up = Matrix::new(&up, rows, self.up[1]);
                tucker(weight, factor, up, Matrix::new(&down, rank, self.down[1]), &core);
            }
            Some(count) if count < rank => {
                let up: Vec<f32> = up
                    .chunks_exact(rank)
                    .flat_map(|row| &row[..count])
                    .copied()
                    .collect();
                let down = Matrix::new(&down[..count * columns], count, columns);
                add_product(weight, factor, Matrix::new(&up, rows, count), down);
            }
            _ => add_product(
                weight,
                factor,
                Matrix::new(&up, rows, rank),
                Matrix::new(&down, rank, columns),
            ),
        }
        Ok(())
    }
}

/// Refuses ranks that no training gives, since memory grows with them.
pub(super) fn bounded(rank: usize, rows: usize, columns: usize) -> Result<(), String> {
    match rank <= 4 * rows.max(columns) {
        true => Ok(()),
        false => Err(format!(
            "rank {rank} is too large for a layer of {columns} inputs and {rows} outputs"
        )),
    }
}

/// `out[p, q, k] += factor * sum over i, j of left[p, i] * core[i, j, k] * right[j, q]`.
pub(super) fn tucker(out: &mut [f32], factor: f32, left: Matrix, right: Matrix, core: &[f32]) {
    let (inner, inputs) = (right.rows(), right.columns());
    let kernel = core.len() / (left.columns() * inner);
    let mut half = vec![0f32; left.columns() * inputs * kernel];
    for (half, core) in half
        .chunks_exact_mut(inputs * kernel)
        .zip(core.chunks_exact(inner * kernel))
    {
        add_product(half, 1.0, right.transposed(), Matrix::new(core, inner, kernel));
    }
    let half = Matrix::new(&half, left.columns(), inputs * kernel);
    add_product(out, factor, left, half);
}
