//! LoHa: `(w1_a * w1_b) . (w2_a * w2_b)`, value by value.

use sd_kernels::{Matrix, add_product};

use super::{
    Amount, Change, Kind, Values, as_matrix,
    low_rank::{bounded, tucker},
    same_shape,
};
use crate::keys::Leaf;

#[derive(Debug)]
struct Hadamard {
    outputs: usize,
    /// Everything but the outputs where there is no core, else the inputs.
    inputs: usize,
    /// Of the first product and the second.
    ranks: [usize; 2],
    /// The kernel, where each product is a Tucker decomposition with a core `[rank, rank, kernel..]`, its outer factors transposed.
    kernel: Option<Vec<usize>>,
}

const FACTORS: [[Leaf; 3]; 2] = [
    [Leaf::HadaW1A, Leaf::HadaW1B, Leaf::HadaT1],
    [Leaf::HadaW2A, Leaf::HadaW2B, Leaf::HadaT2],
];

pub(super) fn read(values: &Values) -> Result<Box<dyn Change>, String> {
    let cores = values.has(Leaf::HadaT1) || values.has(Leaf::HadaT2);
    let mut products = Vec::new();
    for [a, b, t] in FACTORS {
        let (left, right) = (values.sizes(a, 2..=2)?, values.sizes(b, 2..=2)?);
        let (outputs, rank, kernel) = match cores {
            false => (left[0], left[1], None),
            true => {
                let core = values.sizes(t, 3..=4)?;
                if core[0] != left[0] || core[1] != right[0] {
                    return Err(format!(
                        "{} {core:?} doesn't fit between {} {left:?} and {} {right:?}",
                        t.name(),
                        a.name(),
                        b.name()
                    ));
                }
                (left[1], left[0], Some(core[2..].to_vec()))
            }
        };
        if !cores && rank != right[0] {
            return Err(format!(
                "{} {left:?} and {} {right:?} can't be multiplied",
                a.name(),
                b.name()
            ));
        }
        products.push((outputs, right[1], kernel, right[0].max(rank)));
    }
    let [first, second] = [&products[0], &products[1]];
    if (first.0, first.1, &first.2) != (second.0, second.1, &second.2) {
        return Err("its two products are of different shapes".into());
    }
    Ok(Box::new(Hadamard {
        outputs: first.0,
        inputs: first.1,
        ranks: [first.3, second.3],
        kernel: first.2.clone(),
    }))
}

impl Change for Hadamard {
    fn kind(&self) -> Kind {
        Kind::Loha
    }

    fn rank(&self) -> Option<usize> {
        Some(self.ranks[0])
    }

    fn shape(&self) -> Option<Vec<usize>> {
        let kernel = self.kernel.as_deref().unwrap_or_default();
        Some([&[self.outputs, self.inputs], kernel].concat())
    }

    fn fits(&self, shape: &[usize]) -> Result<(), String> {
        let (rows, columns) = as_matrix(shape);
        let inputs = match &self.kernel {
            None => self.inputs == columns,
            Some(kernel) => shape.len() > 2 && self.inputs == shape[1] && same_shape(kernel, &shape[2..]),
        };
        if shape.len() < 2 || self.outputs != rows || !inputs {
            let kernel = self.kernel.as_deref().unwrap_or_default();
            return Err(format!(
                "its products are [{}, {}] {kernel:?}, which don't make {shape:?}",
                self.outputs, self.inputs
            ));
        }
        bounded(self.ranks[0].max(self.ranks[1]), rows, columns)
    }

    fn add(
        &self,
        values: &Values,
        amount: Amount,
        weight: &mut [f32],
        shape: &[usize],
    ) -> Result<(), String> {
        let (rows, columns) = as_matrix(shape);
        if self.kernel.is_some() {
            let mut products = [vec![0f32; weight.len()], vec![0f32; weight.len()]];
            for (out, [a, b, t]) in products.iter_mut().zip(FACTORS) {
                let (left, right, core) = (values.get(a)?, values.get(b)?, values.get(t)?);
                let left = Matrix::new(&left, left.len() / rows, rows).transposed();
                let right = Matrix::new(&right, right.len() / self.inputs, self.inputs);
                tucker(out, 1.0, left, right, &core);
            }
            add_hadamard(weight, amount.factor, &products[0], &products[1]);
            return Ok(());
        }
        let factors = [
            (values.get(Leaf::HadaW1A)?, values.get(Leaf::HadaW1B)?),
            (values.get(Leaf::HadaW2A)?, values.get(Leaf::HadaW2B)?),
        ];
        // A band of rows at a time: both products of a whole weight would be twice its size.
        const BAND: usize = 64;
        let mut products = [vec![0f32; BAND * columns], vec![0f32; BAND * columns]];
        for (i, weight) in weight.chunks_mut(BAND * columns).enumerate() {
            let band = weight.len() / columns;
            for (out, (left, right)) in products.iter_mut().zip(&factors) {
                let rank = right.len() / columns;
                let left = &left[i * BAND * rank..][..band * rank];
                let out = &mut out[..weight.len()];
                out.fill(0.0);
                let right = Matrix::new(right, rank, columns);
                add_product(out, 1.0, Matrix::new(left, band, rank), right);
            }
            add_hadamard(weight, amount.factor, &products[0], &products[1]);
        }
        Ok(())
    }
}

/// `out += factor * a . b`, as far as `out` goes.
fn add_hadamard(out: &mut [f32], factor: f32, a: &[f32], b: &[f32]) {
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out += factor * (a * b);
    }
}
