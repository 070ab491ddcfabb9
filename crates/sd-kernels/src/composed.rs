//! Every operation in Burn's own, for any device: what runs where there is no kernel, and what kernels are tested against.
//!
//! Pictures are `[batch, h, w, c]`; Burn's convolutions want channels first, which on a GPU is a change of strides only.

use std::ops::Range;

use burn_tensor::{
    DType, Tensor, activation, module,
    ops::{AttentionModuleOptions, ConvOptions, InterpolateMode, InterpolateOptions},
};

use crate::Activation;

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
    stride: usize,
    padding: [(usize, usize); 2],
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
    let mut options = ConvOptions::new([stride; 2], [0; 2], [1; 2], 1);
    options.padding = padding;
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

/// What each channel of a picture is multiplied by to normalise it, and what is added then, each `[c]` in `f32`. The picture is given in
/// bands, `[1, rows, w, c]`.
pub(crate) fn group_scales(
    bands: &[&Tensor<4>],
    groups: usize,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f64,
) -> [Tensor<1>; 2] {
    let c = bands[0].dims()[3];
    let rows: usize = bands.iter().map(|band| band.dims()[1]).sum();
    // The share of the whole, the mean and the variance of each group in each band.
    let moments = bands.iter().map(|&band| {
        let [_, h, w, _] = band.dims();
        let grouped = band.clone().cast(DType::F32).reshape([h * w, groups, c / groups]);
        let grouped = grouped.swap_dims(0, 1).reshape([groups, h * w * (c / groups)]);
        let mean = grouped.clone().mean_dim(1);
        let variance = (grouped - mean.clone()).powi_scalar(2).mean_dim(1);
        (h as f64 / rows as f64, mean, variance)
    });
    let moments: Vec<(f64, Tensor<2>, Tensor<2>)> = moments.collect();
    let sum = |of: &dyn Fn(&Tensor<2>, &Tensor<2>) -> Tensor<2>| {
        let terms = moments
            .iter()
            .map(|(share, mean, variance)| of(mean, variance) * *share);
        terms.reduce(|a, b| a + b).expect("a picture has a band")
    };
    let mean = sum(&|mean, _| mean.clone());
    let variance = sum(&|own, variance| variance.clone() + (own.clone() - mean.clone()).powi_scalar(2));
    let by_group = |t: Tensor<1>| t.cast(DType::F32).reshape([groups, c / groups]);
    let factors = by_group(gamma) / (variance + eps).sqrt();
    let terms = by_group(beta) - mean * factors.clone();
    [factors.reshape([c]), terms.reshape([c])]
}

/// Rows of a picture of height `height` that is given in bands, `[1, rows, w, c]`, each with its first row. They may reach beyond it,
/// where there are zeros. With `scales`, each `[c]`, they are normalised, with SiLU; with `upsample` they are rows of the picture with
/// each pixel repeated twice in both directions.
pub(crate) fn window(
    bands: &[(usize, &Tensor<4>)],
    height: usize,
    rows: Range<isize>,
    scales: Option<&[Tensor<1>; 2]>,
    upsample: bool,
) -> Tensor<4> {
    let any = bands[0].1;
    let [.., width, c] = any.dims();
    let (device, dtype) = (any.device(), any.dtype());
    let times = 1 + usize::from(upsample);
    let (start, end) = (rows.start.max(0), rows.end.min((times * height) as isize));
    let (first, last) = (start as usize / times, (end as usize).div_ceil(times));
    let within = bands.iter().filter_map(|&(top, band)| {
        let (start, end) = (first.max(top), last.min(top + band.dims()[1]));
        (start < end).then(|| band.clone().narrow(1, start - top, end - start))
    });
    let mut x = Tensor::cat(within.collect(), 1);
    if let Some(scales) = scales {
        let [factors, terms] = scales.each_ref().map(|t| t.clone().reshape([1, 1, 1, c]));
        x = activation::silu(x.cast(DType::F32) * factors + terms).cast(dtype);
    }
    if upsample {
        let n = last - first;
        x = x.reshape([n, width, 1, c]).repeat_dim(2, 2);
        x = x.reshape([n, 1, 2 * width, c]).repeat_dim(1, 2);
        x = x.reshape([1, 2 * n, 2 * width, c]);
        x = x.narrow(1, start as usize - 2 * first, (end - start) as usize);
    }
    let zeros =
        |n: isize| (n > 0).then(|| Tensor::<4>::zeros([1, n as usize, times * width, c], (&device, dtype)));
    let (above, below) = (zeros(start - rows.start), zeros(rows.end - end));
    Tensor::cat(above.into_iter().chain([x]).chain(below).collect(), 1)
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
