//! LoKr: the Kronecker product of a small matrix and a larger one, either of which may be a product itself.

use sd_kernels::{Matrix, add_product};

use super::{
    Amount, Change, Kind, Values, as_matrix,
    low_rank::{bounded, tucker},
};
use crate::keys::Leaf;

#[derive(Debug)]
struct Kronecker {
    first: Factor,
    second: Factor,
}

/// One side of the Kronecker product, as a matrix.
#[derive(Debug)]
struct Factor {
    rows: usize,
    /// Everything else, the kernel included.
    columns: usize,
    source: Source,
    /// The kernel's size, where the tensors show it.
    kernel: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Whole(Leaf),
    Product {
        a: Leaf,
        b: Leaf,
        rank: usize,
    },
    Tucker {
        a: Leaf,
        b: Leaf,
        t: Leaf,
        ranks: [usize; 2],
    },
}

pub(super) fn read(values: &Values) -> Result<Box<dyn Change>, String> {
    Ok(Box::new(Kronecker {
        first: factor(values, Leaf::LokrW1, [Leaf::LokrW1A, Leaf::LokrW1B], None)?,
        second: factor(
            values,
            Leaf::LokrW2,
            [Leaf::LokrW2A, Leaf::LokrW2B],
            Some(Leaf::LokrT2),
        )?,
    }))
}

fn factor(values: &Values, whole: Leaf, [a, b]: [Leaf; 2], core: Option<Leaf>) -> Result<Factor, String> {
    let kernel = |shape: &[usize]| (shape.len() > 2).then(|| shape[2..].iter().product());
    if values.has(whole) {
        let shape = values.sizes(whole, 2..=4)?;
        let (rows, columns) = as_matrix(shape);
        return Ok(Factor {
            rows,
            columns,
            source: Source::Whole(whole),
            kernel: kernel(shape),
        });
    }
    let (left, right) = (values.sizes(a, 2..=2)?, values.sizes(b, 2..=4)?);
    if let Some((t, core)) = core.and_then(|t| Some((t, values.shape(t)?))) {
        let core = match core.len() {
            3 | 4 if !core.contains(&0) => core,
            _ => return Err(format!("{} has shape {core:?}", t.name())),
        };
        if left[0] != core[0] || right[0] != core[1] || right.len() != 2 {
            return Err(format!(
                "{} {core:?} doesn't fit between {} {left:?} and {} {right:?}",
                t.name(),
                a.name(),
                b.name()
            ));
        }
        let ranks = [core[0], core[1]];
        return Ok(Factor {
            rows: left[1],
            columns: core[2..].iter().fold(right[1], |n, k| n.saturating_mul(*k)),
            source: Source::Tucker { a, b, t, ranks },
            kernel: kernel(core),
        });
    }
    let (rank, columns) = as_matrix(right);
    if left[1] != rank {
        return Err(format!(
            "{} {left:?} and {} {right:?} can't be multiplied",
            a.name(),
            b.name()
        ));
    }
    Ok(Factor {
        rows: left[0],
        columns,
        source: Source::Product { a, b, rank },
        kernel: kernel(right),
    })
}

impl Factor {
    fn rank(&self) -> Option<usize> {
        match self.source {
            Source::Whole(_) => None,
            Source::Product { rank, .. } => Some(rank),
            Source::Tucker { ranks, .. } => Some(ranks[1]),
        }
    }

    fn values(&self, values: &Values) -> Result<Vec<f32>, String> {
        let (a, b) = match self.source {
            Source::Whole(leaf) => return values.get(leaf),
            Source::Product { a, b, .. } | Source::Tucker { a, b, .. } => (values.get(a)?, values.get(b)?),
        };
        let mut out = vec![0f32; self.rows * self.columns];
        match self.source {
            Source::Tucker { t, ranks, .. } => {
                let left = Matrix::new(&a, ranks[0], self.rows).transposed();
                let right = Matrix::new(&b, ranks[1], b.len() / ranks[1]);
                tucker(&mut out, 1.0, left, right, &values.get(t)?);
            }
            _ => {
                let rank = a.len() / self.rows;
                let right = Matrix::new(&b, rank, self.columns);
                add_product(&mut out, 1.0, Matrix::new(&a, self.rows, rank), right);
            }
        }
        Ok(out)
    }
}

impl Change for Kronecker {
    fn kind(&self) -> Kind {
        Kind::Lokr
    }

    /// The second factor's, as the WebUI and LyCORIS have it; none where both are whole.
    fn rank(&self) -> Option<usize> {
        self.second.rank().or(self.first.rank())
    }

    fn shape(&self) -> Option<Vec<usize>> {
        let kernel = self.second.kernel.unwrap_or(1);
        let rows = self.first.rows.checked_mul(self.second.rows)?;
        let inputs = self.first.columns.checked_mul(self.second.columns / kernel)?;
        Some(vec![rows, inputs, kernel])
    }

    fn fits(&self, shape: &[usize]) -> Result<(), String> {
        let (rows, columns) = as_matrix(shape);
        let (first, second) = (&self.first, &self.second);
        let kernel: usize = shape.iter().skip(2).product();
        let fit = shape.len() > 1
            && first.rows.checked_mul(second.rows) == Some(rows)
            && first.columns.checked_mul(second.columns) == Some(columns)
            && second.kernel.is_none_or(|k| k == kernel)
            && second.columns.is_multiple_of(kernel)
            && first.kernel.is_none_or(|k| k == 1);
        if !fit {
            return Err(format!(
                "the Kronecker product of [{}, {}] and [{}, {}] is not {shape:?}",
                first.rows, first.columns, second.rows, second.columns
            ));
        }
        for factor in [first, second] {
            let ranks = match factor.source {
                Source::Whole(_) => continue,
                Source::Product { rank, .. } => [rank; 2],
                Source::Tucker { ranks, .. } => ranks,
            };
            bounded(ranks[0].max(ranks[1]), rows, columns)?;
        }
        Ok(())
    }

    fn add(
        &self,
        values: &Values,
        amount: Amount,
        weight: &mut [f32],
        shape: &[usize],
    ) -> Result<(), String> {
        let (first, second) = (self.first.values(values)?, self.second.values(values)?);
        let (_, columns) = as_matrix(shape);
        for (i, row) in weight.chunks_exact_mut(columns).enumerate() {
            let first = &first[i / self.second.rows * self.first.columns..][..self.first.columns];
            let second = &second[i % self.second.rows * self.second.columns..][..self.second.columns];
            for (out, &w1) in row.chunks_exact_mut(second.len()).zip(first) {
                let w1 = w1 * amount.factor;
                out.iter_mut().zip(second).for_each(|(out, w2)| *out += w1 * w2);
            }
        }
        Ok(())
    }
}
