//! Operations without weights.

use std::ops::Range;

use burn_tensor::{DType, Tensor, activation, module, ops::AttentionModuleOptions};

use super::ChannelScales;
#[cfg(feature = "cube")]
use super::cube;

pub(crate) fn attention(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, heads: usize, causal: bool) -> Tensor<3> {
    #[cfg(feature = "cube")]
    if cube::takes(&q)
        && let Some(out) = cube::attention(&q, &k, &v, heads, causal)
    {
        return out;
    }
    composed_attention(q, k, v, heads, causal)
}

fn composed_attention(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, heads: usize, causal: bool) -> Tensor<3> {
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

pub(crate) fn concatenate(a: Tensor<4>, b: Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "cube")]
    if cube::takes(&a) {
        return cube::concatenate(a, b);
    }
    Tensor::cat(vec![a, b], 3)
}

/// A device finds rows by itself.
pub(crate) fn contiguous(x: Tensor<4>) -> Tensor<4> {
    x
}

pub(crate) fn window(
    bands: &[(usize, &Tensor<4>)],
    height: usize,
    rows: Range<isize>,
    scales: Option<&ChannelScales>,
    upsample: bool,
) -> Tensor<4> {
    #[cfg(feature = "cube")]
    if let [(0, band)] = bands
        && cube::takes(band)
        && band.dims()[1] == height
    {
        return cube::window((*band).clone(), rows, scales, upsample);
    }
    composed_window(bands, height, rows, scales, upsample)
}

fn composed_window(
    bands: &[(usize, &Tensor<4>)],
    height: usize,
    rows: Range<isize>,
    scales: Option<&ChannelScales>,
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
