//! Linear layers on rows.

use super::{
    epilogue::Store,
    gemm::{Left, multiply},
    packed::{Right, Weights},
    quantised::{self, ColumnScales, ProductScales},
};
use crate::{
    host::simd::{Isa, Simd, Whole},
    memory::buffer::Buffer,
};

/// The product of `rows` rows of `inputs` values and the weights, into `store`.
pub(crate) fn linear<T: Simd>(
    isa: Isa,
    x: &[T],
    [rows, inputs]: [usize; 2],
    weights: Weights<T>,
    store: Store<T>,
) {
    match weights {
        Weights::Plain(right) => {
            let k = inputs.next_multiple_of(T::K);
            // Rows of an odd length have to be brought to a length that kernels take.
            let padded = (k != inputs).then(|| {
                let mut padded = Buffer::<T>::dirty(rows * k);
                for (to, from) in padded.chunks_exact_mut(k).zip(x.chunks_exact(inputs)) {
                    let (to, rest) = to.split_at_mut(inputs);
                    to.copy_from_slice(from);
                    rest.fill(T::default());
                }
                padded
            });
            let left = Left::rows(padded.as_deref().unwrap_or(x), rows, k);
            multiply(isa, left, right, &store);
        }
        Weights::Bytes(right, columns) => whole(isa, x, [rows, inputs], right, columns, store),
        Weights::Words(right, columns) => whole(isa, x, [rows, inputs], right, columns, store),
    }
}

/// The same product through whole numbers, with a scale for each row.
pub(super) fn whole<T: Simd, W: Whole>(
    isa: Isa,
    x: &[T],
    [rows, inputs]: [usize; 2],
    right: Right<W>,
    columns: &ColumnScales,
    store: Store<T>,
) {
    let (values, scales) = quantised::rows::<T, W>(isa, x, inputs);
    let scales = Some(ProductScales {
        rows: &scales,
        each: 1,
        columns,
    });
    let left = Left::rows(&values, rows, inputs.next_multiple_of(W::K));
    multiply(isa, left, right, &Store { scales, ..store });
}
