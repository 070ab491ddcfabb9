//! Operations without weights.

use std::ops::Range;

use burn_tensor::Tensor;

use super::{
    kernel::{self, ChannelScales, Pieces},
    simd::Isa,
    tensor::{HostTensor, in_type, tensor},
};
use crate::memory::{buffer::Buffer, workspace::Workspace};

pub(crate) fn attention(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, heads: usize, causal: bool) -> Tensor<3> {
    let ([batch, n, width], m) = (q.dims(), k.dims()[1]);
    let d = width / heads;
    in_type!(q.dtype(), |T| {
        let [q, k, v] = [q, k, v].map(HostTensor::<T>::new);
        let (q, k, v) = (q.values(), k.values(), v.values());
        let mut out = Buffer::<T>::dirty(batch * n * width);
        Workspace::timed(
            "attention",
            || format!("{n} x {m}, {} heads of {d}", batch * heads),
            4.0 * (batch * n) as f64 * (m * width) as f64,
            || kernel::attention(Isa::detect(), q, k, v, [batch, heads, d], causal, &mut out),
        );
        tensor(out, [batch, n, width])
    })
}

pub(crate) fn concatenate(a: Tensor<4>, b: Tensor<4>) -> Tensor<4> {
    let (ca, [batch, h, w, cb]) = (a.dims()[3], b.dims());
    in_type!(a.dtype(), |T| {
        let [a, b] = [a, b].map(HostTensor::<T>::new);
        let mut out = Buffer::<T>::dirty(batch * h * w * (ca + cb));
        Workspace::timed(
            "concatenate",
            || format!("{} x ({ca} + {cb})", batch * h * w),
            0.0,
            || kernel::concatenate((a.values(), ca), (b.values(), cb), &mut out),
        );
        tensor(out, [batch, h, w, ca + cb])
    })
}

pub(crate) fn window(
    bands: &[(usize, &Tensor<4>)],
    height: usize,
    rows: Range<isize>,
    scales: Option<&ChannelScales>,
    upsample: bool,
) -> Tensor<4> {
    let [.., width, channels] = bands[0].1.dims();
    let shape = [1, rows.len(), (1 + usize::from(upsample)) * width, channels];
    in_type!(bands[0].1.dtype(), |T| {
        let bands = bands
            .iter()
            .map(|&(first, band)| (first, HostTensor::<T>::new(band.clone())));
        let bands: Vec<_> = bands.collect();
        let pieces = Pieces {
            rows: bands
                .iter()
                .map(|(first, band)| (*first, band.values()))
                .collect(),
            height,
            width,
            channels,
        };
        let mut out = Buffer::<T>::dirty(shape.iter().product());
        Workspace::timed(
            scales.map_or("copy", |_| "group norm, values"),
            || format!("{} x {channels}", shape[1] * shape[2]),
            0.0,
            || kernel::window(Isa::detect(), &pieces, rows, scales, upsample, &mut out),
        );
        tensor(out, shape)
    })
}
