use burn::tensor::{DType, Tensor, module};

use crate::silu;

/// Group normalisation (Wu and He 2018, arXiv:1803.08494) over `groups` groups of neighbouring channels.
///
/// `x` is `[batch, c, h, w]`, `gamma` and `beta` are `[c]`; the statistics are computed in `f32`, with the biased variance.
pub fn group_norm(x: Tensor<4>, groups: usize, gamma: Tensor<1>, beta: Tensor<1>, eps: f64) -> Tensor<4> {
    let dtype = x.dtype();
    let [batch, c, h, w] = x.dims();
    let grouped = x.cast(DType::F32).reshape([batch, groups, c / groups * h * w]);
    // Two passes, because E[x^2] - E[x]^2 cancels where a group's mean is large.
    let centred = grouped.clone() - grouped.mean_dim(2);
    let variance = centred.clone().powi_scalar(2).mean_dim(2);
    let normed = centred / (variance + eps).sqrt();
    let scale = |t: Tensor<1>| t.cast(DType::F32).reshape([1, c, 1, 1]);
    (normed.reshape([batch, c, h, w]) * scale(gamma) + scale(beta)).cast(dtype)
}

/// [`group_norm`] followed by SiLU, the pair that opens every half of a residual block.
pub fn group_norm_silu(
    x: Tensor<4>,
    groups: usize,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f64,
) -> Tensor<4> {
    silu(group_norm(x, groups, gamma, beta, eps))
}

/// Layer normalisation (Ba et al. 2016, arXiv:1607.06450) over the last axis, with the biased variance.
///
/// `x` is `[.., c]`, `gamma` and `beta` are `[c]`.
pub fn layer_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, beta: Tensor<1>, eps: f64) -> Tensor<D> {
    let dtype = x.dtype();
    let f32 = |t: Tensor<1>| t.cast(DType::F32);
    module::layer_norm(x.cast(DType::F32), f32(gamma), Some(f32(beta)), eps).cast(dtype)
}
