//! Layers and operations. Each is computed as a whole by kernels of our own on the CPU or by a device's operations; here one of the two
//! is chosen.
//!
//! `host` and `device` have the same types and functions. In a build without kernels of the CPU a device stands in for the host.

use std::ops::Range;

use burn_tensor::{DType, Tensor};

#[cfg(not(feature = "flex"))]
use crate::device as host;
#[cfg(feature = "flex")]
use crate::host;
use crate::{
    device,
    merging::Places,
    options::{Activation, ConvExtras, ConvShape, Quantization},
    weight::{Values, Weight},
    wrap,
};

/// A layer of one of the two.
#[derive(Clone)]
enum Backend<H, D> {
    Host(H),
    Device(D),
}

/// Whether a layer of these weights is the host's.
fn on_host<const D: usize>(weight: &Weight<D>) -> bool {
    match &weight.values {
        Values::Tensor(tensor) => host::takes(tensor),
        Values::Narrow(_) => true,
    }
}

/// A new layer, on the host or on a device.
macro_rules! layer {
    ($on_host:expr, $layer:ident::new($($argument:expr),*)) => {
        match $on_host {
            true => Backend::Host(host::$layer::new($($argument),*)),
            false => Backend::Device(device::$layer::new($($argument),*)),
        }
    };
}

/// A call of a layer, of whichever backend it is.
macro_rules! call {
    ($layer:expr, |$inner:ident| $call:expr) => {
        match &$layer {
            Backend::Host($inner) => $call,
            Backend::Device($inner) => $call,
        }
    };
}

/// A function of the backend that takes a tensor.
macro_rules! function {
    ($tensor:expr, $function:ident($($argument:expr),*)) => {
        match host::takes($tensor) {
            true => host::$function($($argument),*),
            false => device::$function($($argument),*),
        }
    };
}

/// `y = x W^T + b` on rows of any shape.
#[derive(Clone)]
pub struct Linear(Backend<host::Linear, device::Linear>);

impl Linear {
    /// `weight` is `[out, in]` as PyTorch stores it, `bias` is `[out]`. Weights in narrower numbers than products are never quantized.
    pub fn new(weight: impl Into<Weight<2>>, bias: Option<Tensor<1>>, quantization: Quantization) -> Self {
        let weight = weight.into();
        Self(layer!(
            on_host(&weight),
            Linear::new(weight, bias, false, quantization)
        ))
    }

    /// A gated layer, GEGLU (Shazeer 2020, arXiv:2002.05202): `weight` is `[2 out, in]`, and the result is the first half times the
    /// GELU of the second.
    pub fn gated(weight: impl Into<Weight<2>>, bias: Option<Tensor<1>>, quantization: Quantization) -> Self {
        let weight = weight.into();
        Self(layer!(
            on_host(&weight),
            Linear::new(weight, bias, true, quantization)
        ))
    }

    /// `[.., in]` to `[.., out]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.forward_then(x, Activation::None)
    }

    /// The same, and then the activation.
    pub fn forward_then<const D: usize>(&self, x: Tensor<D>, activation: Activation) -> Tensor<D> {
        call!(self.0, |layer| layer.forward(x, activation, None))
    }

    /// The same, added to `residual`, `[.., out]`.
    pub fn forward_onto<const D: usize>(&self, x: Tensor<D>, residual: Tensor<D>) -> Tensor<D> {
        call!(self.0, |layer| layer.forward(x, Activation::None, Some(residual)))
    }
}

/// A convolution (cross-correlation) with zero padding over `[batch, h, w, c]`.
#[derive(Clone)]
pub struct Conv2d {
    layer: Backend<host::Conv2d, device::Conv2d>,
    kernel: [usize; 2],
    shape: ConvShape,
}

impl Conv2d {
    /// `weight` is `[out, in, kh, kw]` as PyTorch stores it, `bias` is `[out]`.
    pub fn new(
        weight: impl Into<Weight<4>>,
        bias: Option<Tensor<1>>,
        shape: ConvShape,
        quantization: Quantization,
    ) -> Self {
        let weight = weight.into();
        let [.., height, width] = weight.dims();
        Self {
            layer: layer!(on_host(&weight), Conv2d::new(weight, bias, shape, quantization)),
            kernel: [height, width],
            shape,
        }
    }

    /// The same, and each result below zero, residual included, times its channel's slope: PReLU (He et al. 2015, arXiv:1502.01852), or
    /// ReLU with slopes of 0. `slopes` is `[out]`.
    pub fn with_slopes(self, slopes: Tensor<1>) -> Self {
        let layer = match self.layer {
            Backend::Host(layer) => Backend::Host(layer.with_slopes(slopes)),
            Backend::Device(layer) => Backend::Device(layer.with_slopes(slopes)),
        };
        Self { layer, ..self }
    }

    /// `[batch, h, w, in]` to `[batch, oh, ow, out]`.
    pub fn forward(&self, x: Tensor<4>, extras: ConvExtras) -> Tensor<4> {
        let (x, extras) = match extras.wrap.is_none() {
            true => (x, extras),
            false => wrap::bordered(x, extras, self.shape.padding),
        };
        call!(self.layer, |layer| layer.forward(x, extras))
    }

    /// Height and width of the kernel, and the properties that weights don't tell.
    pub(crate) fn geometry(&self) -> ([usize; 2], ConvShape) {
        (self.kernel, self.shape)
    }
}

/// Bytes that a 3x3 convolution of stride 1 has in use on the CPU beside its input and output: `[batch, h, w]` are the output's. 0 in
/// builds without kernels of our own.
pub fn conv_workspace_bytes(
    dtype: DType,
    quantization: Quantization,
    output: [usize; 3],
    channels: usize,
    columns: usize,
) -> usize {
    host::conv_workspace_bytes(dtype, quantization, output, channels, columns)
}

/// Group normalisation (Wu and He 2018, arXiv:1803.08494) over groups of neighbouring channels of `[batch, h, w, c]`, with the biased
/// variance.
#[derive(Clone)]
pub struct GroupNorm(Backend<host::GroupNorm, device::GroupNorm>);

impl GroupNorm {
    /// `gamma` and `beta` are `[c]`.
    pub fn new(gamma: Tensor<1>, beta: Tensor<1>, groups: usize, eps: f64) -> Self {
        Self(layer!(
            host::takes(&gamma),
            GroupNorm::new(gamma, beta, groups, eps)
        ))
    }

    /// A tensor of `x`'s shape.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        call!(self.0, |layer| layer.forward(x, false))
    }

    /// The same with SiLU, the pair that opens every half of a residual block.
    pub fn forward_silu(&self, x: Tensor<4>) -> Tensor<4> {
        call!(self.0, |layer| layer.forward(x, true))
    }

    /// The scales that normalise one picture, which is given in bands, `[1, rows, w, c]`, one or more.
    pub(crate) fn scales(&self, bands: &[&Tensor<4>]) -> ChannelScales {
        ChannelScales(match &self.0 {
            Backend::Host(layer) => Backend::Host(layer.scales(bands)),
            Backend::Device(layer) => Backend::Device(layer.scales(bands)),
        })
    }
}

/// A factor for each channel of a picture, and a term that is added then.
pub(crate) struct ChannelScales(Backend<host::ChannelScales, device::ChannelScales>);

/// Rows of a picture of height `height` that is given in bands, `[1, rows, w, c]`, each with its first row. They may reach beyond it,
/// where there are zeros. With `scales` they are normalised, with SiLU; with `upsample` they are rows of the picture with each pixel
/// repeated twice in both directions.
pub(crate) fn window(
    bands: &[(usize, &Tensor<4>)],
    height: usize,
    rows: Range<isize>,
    scales: Option<&ChannelScales>,
    upsample: bool,
) -> Tensor<4> {
    match scales.map(|scales| &scales.0) {
        Some(Backend::Host(scales)) => host::window(bands, height, rows, Some(scales), upsample),
        Some(Backend::Device(scales)) => device::window(bands, height, rows, Some(scales), upsample),
        None => function!(bands[0].1, window(bands, height, rows, None, upsample)),
    }
}

/// A picture whose rows can be read where they are.
pub(crate) fn contiguous(x: Tensor<4>) -> Tensor<4> {
    function!(&x, contiguous(x))
}

/// Layer normalisation (Ba et al. 2016, arXiv:1607.06450) over the last axis, with the biased variance.
#[derive(Clone)]
pub struct LayerNorm(Backend<host::LayerNorm, device::LayerNorm>);

impl LayerNorm {
    /// `gamma` and `beta` are `[c]`.
    pub fn new(gamma: Tensor<1>, beta: Tensor<1>, eps: f64) -> Self {
        Self(layer!(host::takes(&gamma), LayerNorm::new(gamma, beta, eps)))
    }

    /// A tensor of `x`'s shape, `[.., c]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        call!(self.0, |layer| layer.forward(x))
    }
}

/// `x * sigmoid(x)` (Elfwing et al. 2017, arXiv:1702.03118), elementwise, any shape. For small tensors: large ones have it fused into
/// the layer before it.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    device::activate(x, Activation::Silu)
}

/// Multi-head scaled dot-product attention, `softmax(q k^T / sqrt(d)) v` (Vaswani et al. 2017, arXiv:1706.03762).
///
/// `q` is `[batch, n, heads * d]`, `k` and `v` are `[batch, m, heads * d]`; the result has `q`'s shape. With `causal`,
/// queries are those of the last `n` positions, and each sees the positions up to its own only; `m` is then at least `n`.
pub fn attention(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, heads: usize, causal: bool) -> Tensor<3> {
    function!(&q, attention(q, k, v, heads, causal))
}

/// Two pictures' channels: `[batch, h, w, a]` and `[batch, h, w, b]` to `[batch, h, w, a + b]`.
pub fn concatenate(a: Tensor<4>, b: Tensor<4>) -> Tensor<4> {
    function!(&a, concatenate(a, b))
}

/// Token merging, ToMe for Stable Diffusion (Bolya and Hoffman 2023, arXiv:2303.17604), as tomesd 0.1.3 does it with
/// `use_rand=False`: attention over fewer tokens of a picture, where neighbours are alike.
///
/// The upper left token of every 2x2 tokens is a destination. Of all others, the ones that are most like a destination (by the cosine)
/// are merged with it: a merged token is the mean of its tokens. On a device without kernels of our own the host decides.
pub struct TokenMerging(pub(crate) Places);

impl TokenMerging {
    /// Decides for `x`, `[batch, h w, c]`; the share `ratio` of the tokens goes, at most all but the destinations. `None` if that is
    /// not even one.
    pub fn new(x: &Tensor<3>, [h, w]: [usize; 2], ratio: f64) -> Option<Self> {
        let [batch, tokens, _] = x.dims();
        debug_assert_eq!(tokens, h * w);
        let nearest = |from: &[u32], to: &[u32]| function!(x, nearest(x.clone(), from, to));
        Places::new(batch, [h, w], ratio, nearest).map(Self)
    }

    /// For a batch of so many rows: of one picture the same for each.
    pub fn rows(&self, batch: usize) -> Self {
        Self(self.0.rows(batch))
    }

    /// `[batch, tokens, c]` to merged tokens, `[batch, kept, c]`.
    pub fn merge(&self, x: Tensor<3>) -> Tensor<3> {
        self.0.check(&x);
        function!(&x, merge(&self.0, x))
    }

    /// `residual`, `[batch, tokens, c]`, plus for each token the result for the one that it was merged into, `[batch, kept, c]`.
    pub fn unmerge_onto(&self, merged: Tensor<3>, residual: Tensor<3>) -> Tensor<3> {
        self.0.check(&residual);
        assert_eq!(merged.dims(), self.0.merged(residual.dims()[2]));
        function!(&residual, unmerge_onto(&self.0, merged, residual))
    }
}
