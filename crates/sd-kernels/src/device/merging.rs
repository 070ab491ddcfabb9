//! Token merging: the host decides and computes means.

use burn_tensor::{DType, Int, Tensor, TensorData};

use crate::{
    matrix::{Matrix, add_product},
    memory::staging::floats,
    merging::{Nearest, Places, ROWS, inverse_norm},
};

/// For each picture of `x`, `[batch, tokens, c]`, and each token of `from`, the most similar of `to`.
pub(crate) fn nearest(x: Tensor<3>, from: &[u32], to: &[u32]) -> Vec<Vec<Nearest>> {
    let [_, tokens, width] = x.dims();
    let pictures = floats(x);
    let pictures = pictures.chunks_exact(tokens * width);
    pictures.map(|x| by_products(x, width, from, to)).collect()
}

pub(crate) fn merge(places: &Places, x: Tensor<3>) -> Tensor<3> {
    let (device, dtype, width) = (x.device(), x.dtype(), x.dims()[2]);
    let shape = places.merged(width);
    let mut out = vec![0.0; shape.iter().product()];
    places.means(&floats(x), &mut out, width, |v| v, |v| v);
    Tensor::<3>::from_data(TensorData::new(out, shape), (&device, DType::F32)).cast(dtype)
}

pub(crate) fn unmerge_onto(places: &Places, merged: Tensor<3>, residual: Tensor<3>) -> Tensor<3> {
    let shape = residual.dims();
    let [batch, tokens, width] = shape;
    let [_, kept, _] = merged.dims();
    let rows: Vec<i32> = (0..batch * tokens)
        .map(|token| places.row(token) as i32)
        .collect();
    let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [batch * tokens]), &residual.device());
    let merged = merged.reshape([batch * kept, width]);
    residual + merged.select(0, rows).reshape(shape)
}

/// The same for one picture, in blocks of rows.
fn by_products(x: &[f32], width: usize, from: &[u32], to: &[u32]) -> Vec<Nearest> {
    let unit = |tokens: &[u32]| -> Vec<f32> {
        let rows = tokens.iter().map(|&token| &x[token as usize * width..][..width]);
        rows.flat_map(|row| {
            let scale = inverse_norm(row, |v| v);
            row.iter().map(move |v| v * scale)
        })
        .collect()
    };
    let (from, to) = (unit(from), unit(to));
    let count = to.len() / width;
    let to = Matrix::new(&to, count, width).transposed();
    let mut found = Vec::with_capacity(from.len() / width);
    for block in from.chunks(ROWS * width) {
        let rows = block.len() / width;
        let mut scores = vec![0.0; rows * count];
        add_product(&mut scores, 1.0, Matrix::new(block, rows, width), to);
        found.extend(scores.chunks_exact(count).map(|row| {
            let mut best = (f32::NEG_INFINITY, 0);
            for (i, &score) in row.iter().enumerate() {
                if score > best.0 {
                    best = (score, i as u32);
                }
            }
            best
        }));
    }
    found
}
