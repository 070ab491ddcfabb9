//! Every operation in Burn's own, for any device: what runs where there is no kernel, and what kernels are tested against.
//!
//! Pictures are `[batch, h, w, c]`; Burn's convolutions want channels first, which on a GPU is a change of strides only.

use burn::tensor::{
    DType, Tensor, activation, module,
    ops::{AttentionModuleOptions, ConvOptions, InterpolateMode, InterpolateOptions},
};

use crate::{Activation, ConvShape};

pub(crate) fn activate<const D: usize>(x: Tensor<D>, activation: Activation) -> Tensor<D> {
    match activation {
        Activation::None => x,
        Activation::Silu => activation::silu(x),
        Activation::Gelu => activation::gelu(x),
        Activation::QuickGelu => x.clone() * activation::sigmoid(x * 1.702),
    }
}

pub(crate) fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    module::linear(x, weight.transpose(), bias)
}

/// `[.., 2 n]` to `[.., n]`, the first half times the GELU of the second.
pub(crate) fn geglu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let n = x.dims()[D - 1] / 2;
    let gate = x.clone().narrow(D - 1, n, n);
    x.narrow(D - 1, 0, n) * activation::gelu(gate)
}

pub(crate) fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    shape: ConvShape,
    upsample: Option<[usize; 2]>,
) -> Tensor<4> {
    let mut x = x.permute([0, 3, 1, 2]);
    if let Some([height, width]) = upsample {
        let [_, _, h, w] = x.dims();
        let options = InterpolateOptions::new(InterpolateMode::Nearest).with_output_size([2 * h, 2 * w]);
        x = module::interpolate(x, options)
            .narrow(2, 0, height)
            .narrow(3, 0, width);
    }
    let mut options = ConvOptions::new([shape.stride; 2], [0; 2], [1; 2], 1);
    options.padding = [shape.padding.pixels(); 2];
    module::conv2d(x, weight, bias, options).permute([0, 2, 3, 1])
}

pub(crate) fn group_norm(
    x: Tensor<4>,
    groups: usize,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f64,
) -> Tensor<4> {
    let dtype = x.dtype();
    let [batch, h, w, c] = x.dims();
    let grouped = x
        .cast(DType::F32)
        .reshape([batch, h * w, groups, c / groups])
        .swap_dims(1, 2)
        .reshape([batch, groups, h * w * (c / groups)]);
    // Two passes, because E[x^2] - E[x]^2 cancels where a group's mean is large.
    let centred = grouped.clone() - grouped.mean_dim(2);
    let variance = centred.clone().powi_scalar(2).mean_dim(2);
    let normed = (centred / (variance + eps).sqrt()).reshape([batch, groups, h * w, c / groups]);
    let scale = |t: Tensor<1>| t.cast(DType::F32).reshape([1, 1, 1, c]);
    (normed.swap_dims(1, 2).reshape([batch, h, w, c]) * scale(gamma) + scale(beta)).cast(dtype)
}

pub(crate) fn layer_norm<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f64,
) -> Tensor<D> {
    let dtype = x.dtype();
    let f32 = |t: Tensor<1>| t.cast(DType::F32);
    module::layer_norm(x.cast(DType::F32), f32(gamma), Some(f32(beta)), eps).cast(dtype)
}

pub(crate) fn attention(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, heads: usize, causal: bool) -> Tensor<3> {
    let [batch, n, width] = q.dims();
    let split = |x: Tensor<3>| {
        let len = x.dims()[1];
        x.reshape([batch, len, heads, width / heads]).swap_dims(1, 2)
    };
    let options = AttentionModuleOptions {
        scale: None,
        softcap: None,
        is_causal: causal,
    };
    let out = module::attention(split(q), split(k), split(v), None, None, options);
    out.swap_dims(1, 2).reshape([batch, n, width])
}
