//! GLoRA: `W * A + B`, both A and B of low rank.

use sd_kernels::{Matrix, add_product};

use super::{Amount, Change, Kind, Values, as_matrix, low_rank::bounded};
use crate::keys::Leaf;

/// Two dialects name the same four matrices differently: which of `a1` and `a2`, `b1` and `b2` comes first in its product.
#[derive(Debug)]
struct Glora {
    rank: usize,
    inputs: usize,
    outputs: usize,
    /// Inputs times kernel.
    columns: usize,
    /// The first matrix of the product A and of B, `[.., rank]`, and the second, `[rank, ..]`.
    a: [Leaf; 2],
    b: [Leaf; 2],
    /// The older order, LyCORIS' once and the WebUI's, which has no scale here.
    old: bool,
}

pub(super) fn read(values: &Values) -> Result<Box<dyn Change>, String> {
    let leaves = [Leaf::GloraA1, Leaf::GloraA2, Leaf::GloraB1, Leaf::GloraB2];
    let mut shapes = [(0, 0); 4];
    for (shape, leaf) in shapes.iter_mut().zip(leaves) {
        *shape = as_matrix(values.sizes(leaf, 2..=4)?);
    }
    let [a1, a2, b1, b2] = shapes;
    let dialects = [
        (
            [Leaf::GloraA1, Leaf::GloraA2],
            [Leaf::GloraB1, Leaf::GloraB2],
            [a1, a2, b1, b2],
            false,
        ),
        (
            [Leaf::GloraA2, Leaf::GloraA1],
            [Leaf::GloraB2, Leaf::GloraB1],
            [a2, a1, b2, b1],
            true,
        ),
    ];
    for (a, b, [a_left, a_right, b_left, b_right], old) in dialects {
        let rank = a_left.1;
        let fit = [a_right.0, b_left.1, b_right.0] == [rank; 3] && a_left.0 == a_right.1;
        if fit {
            return Ok(Box::new(Glora {
                rank,
                inputs: a_left.0,
                outputs: b_left.0,
                columns: b_right.1,
                a,
                b,
                old,
            }));
        }
    }
    Err(format!(
        "a1 {a1:?}, a2 {a2:?}, b1 {b1:?} and b2 {b2:?} don't fit each other"
    ))
}

impl Change for Glora {
    fn kind(&self) -> Kind {
        Kind::Glora
    }

    fn rank(&self) -> Option<usize> {
        (!self.old).then_some(self.rank)
    }

    fn fits(&self, shape: &[usize]) -> Result<(), String> {
        let (rows, columns) = as_matrix(shape);
        if shape.len() < 2 || (self.outputs, self.inputs, self.columns) != (rows, shape[1], columns) {
            return Err(format!(
                "its matrices are for {} outputs and {} inputs, not for {shape:?}",
                self.outputs, self.inputs
            ));
        }
        bounded(self.rank, rows, columns)
    }

    fn add(
        &self,
        values: &Values,
        amount: Amount,
        weight: &mut [f32],
        shape: &[usize],
    ) -> Result<(), String> {
        let (rows, columns) = as_matrix(shape);
        let (rank, inputs, kernel) = (self.rank, self.inputs, columns / self.inputs);
        let [a, a2, b, b2] = [self.a[0], self.a[1], self.b[0], self.b[1]].map(|leaf| values.get(leaf));
        let (a, a2, b, b2) = (a?, a2?, b?, b2?);
        let (left, right) = (Matrix::new(&a, inputs, rank), Matrix::new(&a2, rank, inputs));
        if kernel == 1 {
            let mut half = vec![0f32; rows * rank];
            add_product(&mut half, 1.0, Matrix::new(weight, rows, inputs), left);
            add_product(weight, amount.factor, Matrix::new(&half, rows, rank), right);
        } else {
            // Each place of the kernel is a matrix of its own; output by output they lie together.
            let mut half = vec![0f32; rank * kernel];
            for output in weight.chunks_exact_mut(columns) {
                half.fill(0.0);
                add_product(
                    &mut half,
                    1.0,
                    left.transposed(),
                    Matrix::new(output, inputs, kernel),
                );
                add_product(
                    output,
                    amount.factor,
                    right.transposed(),
                    Matrix::new(&half, rank, kernel),
                );
            }
        }
        add_product(
            weight,
            amount.factor,
            Matrix::new(&b, rows, rank),
            Matrix::new(&b2, rank, columns),
        );
        Ok(())
    }
}
