//! Token merging.

use burn_tensor::Tensor;
use rayon::prelude::*;

use super::{
    kernel,
    simd::{Isa, Number},
    tensor::{HostTensor, in_type, tensor},
};
use crate::{
    memory::{buffer::Buffer, workspace::Workspace},
    merging::{Nearest, Places, ROWS},
};

pub(crate) fn nearest(x: Tensor<3>, from: &[u32], to: &[u32]) -> Vec<Vec<Nearest>> {
    let [batch, tokens, width] = x.dims();
    in_type!(x.dtype(), |T| {
        let x = HostTensor::<T>::new(x);
        let pictures = x.values().chunks_exact(tokens * width);
        let nearest = |x| kernel::nearest(Isa::detect(), x, width, from, to);
        Workspace::timed(
            "match tokens",
            || format!("{} x {}, {width}", batch * from.len(), to.len()),
            2.0 * (batch * from.len()) as f64 * (to.len() * width) as f64,
            || pictures.map(nearest).collect(),
        )
    })
}

pub(crate) fn merge(places: &Places, x: Tensor<3>) -> Tensor<3> {
    let [batch, tokens, width] = x.dims();
    let shape = places.merged(width);
    in_type!(x.dtype(), |T| {
        let x = HostTensor::<T>::new(x);
        let mut out = Buffer::<T>::dirty(shape.iter().product());
        Workspace::timed(
            "merge tokens",
            || format!("{} x {width}", batch * tokens),
            0.0,
            || places.means(x.values(), &mut out, width, Number::to_f32, Number::from_f32),
        );
        tensor(out, shape)
    })
}

pub(crate) fn unmerge_onto(places: &Places, merged: Tensor<3>, residual: Tensor<3>) -> Tensor<3> {
    let shape = residual.dims();
    let [batch, tokens, width] = shape;
    in_type!(residual.dtype(), |T| {
        let [merged, residual] = [merged, residual].map(HostTensor::<T>::new);
        let (merged, residual) = (merged.values(), residual.values());
        let mut out = Buffer::<T>::dirty(residual.len());
        let rows = out.par_chunks_exact_mut(width).with_min_len(ROWS);
        let rows = rows.zip(residual.par_chunks_exact(width)).enumerate();
        let add = |(token, (out, residual)): (usize, (&mut [T], &[T]))| {
            let merged = &merged[places.row(token) * width..][..width];
            for ((out, a), b) in out.iter_mut().zip(residual).zip(merged) {
                *out = Number::from_f32(Number::to_f32(*a) + Number::to_f32(*b));
            }
        };
        Workspace::timed(
            "unmerge tokens",
            || format!("{} x {width}", batch * tokens),
            0.0,
            || rows.for_each(add),
        );
        tensor(out, shape)
    })
}
