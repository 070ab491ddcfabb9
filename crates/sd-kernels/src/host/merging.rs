//! Token merging.

use burn_tensor::Tensor;
use rayon::prelude::*;

use super::{
    kernel,
    simd::{Isa, Number},
    tensor::{HostTensor, Stored, in_type, tensor},
};
use crate::{
    memory::{buffer::Buffer, workspace::Workspace},
    merging::{Nearest, Places, ROWS},
};

pub(crate) fn nearest(x: Tensor<3>, from: &[u32], to: &[u32]) -> Vec<Vec<Nearest>> {
    in_type!(x.dtype(), T => match_tokens::<T>(x, from, to))
}

fn match_tokens<T: Stored>(x: Tensor<3>, from: &[u32], to: &[u32]) -> Vec<Vec<Nearest>> {
    let [batch, tokens, width] = x.dims();
    let x = HostTensor::<T>::new(x);
    let pictures = x.values().chunks_exact(tokens * width);
    Workspace::timed(
        "match tokens",
        || format!("{} x {}, {width}", batch * from.len(), to.len()),
        2.0 * (batch * from.len()) as f64 * (to.len() * width) as f64,
        || {
            pictures
                .map(|x| kernel::nearest(Isa::detect(), x, width, from, to))
                .collect()
        },
    )
}

pub(crate) fn merge(places: &Places, x: Tensor<3>) -> Tensor<3> {
    in_type!(x.dtype(), T => means::<T>(places, x))
}

fn means<T: Stored>(places: &Places, x: Tensor<3>) -> Tensor<3> {
    let [batch, tokens, width] = x.dims();
    let (x, shape) = (HostTensor::<T>::new(x), places.merged(width));
    let mut out = Buffer::dirty(shape.iter().product());
    Workspace::timed(
        "merge tokens",
        || format!("{} x {width}", batch * tokens),
        0.0,
        || places.means(x.values(), &mut out, width, Number::to_f32, T::from_f32),
    );
    tensor(out, shape)
}

pub(crate) fn unmerge_onto(places: &Places, merged: Tensor<3>, residual: Tensor<3>) -> Tensor<3> {
    in_type!(residual.dtype(), T => add_merged::<T>(places, merged, residual))
}

fn add_merged<T: Stored>(places: &Places, merged: Tensor<3>, residual: Tensor<3>) -> Tensor<3> {
    let shape = residual.dims();
    let [batch, tokens, width] = shape;
    let [merged, residual] = [merged, residual].map(HostTensor::<T>::new);
    let (merged, residual) = (merged.values(), residual.values());
    let mut out = Buffer::<T>::dirty(residual.len());
    Workspace::timed(
        "unmerge tokens",
        || format!("{} x {width}", batch * tokens),
        0.0,
        || {
            let rows = out.par_chunks_exact_mut(width).with_min_len(ROWS);
            rows.zip(residual.par_chunks_exact(width))
                .enumerate()
                .for_each(|(token, (out, residual))| {
                    let merged = &merged[places.row(token) * width..][..width];
                    for ((out, a), b) in out.iter_mut().zip(residual).zip(merged) {
                        *out = T::from_f32(Number::to_f32(*a) + Number::to_f32(*b));
                    }
                });
        },
    );
    tensor(out, shape)
}
