//! Operations without weights.

use burn_tensor::Tensor;

use crate::{Activation, composed};
#[cfg(feature = "flex")]
use crate::{
    host::{self, Host, Isa, Stored},
    workspace::timed,
};

/// `x * sigmoid(x)` (Elfwing et al. 2017, arXiv:1702.03118), elementwise, any shape. For small tensors: large ones have it fused into
/// what comes before.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    composed::activate(x, Activation::Silu)
}

/// Multi-head scaled dot-product attention, `softmax(q k^T / sqrt(d)) v` (Vaswani et al. 2017, arXiv:1706.03762).
///
/// `q` is `[batch, n, heads * d]`, `k` and `v` are `[batch, m, heads * d]`; the result has `q`'s shape. With `causal`,
/// position `i` sees the positions up to `i` only.
pub fn attention(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, heads: usize, causal: bool) -> Tensor<3> {
    #[cfg(feature = "flex")]
    let q = {
        let ([batch, n, width], m) = (q.dims(), k.dims()[1]);
        let shape = ([batch, n, width], m, heads);
        match Host::of(q) {
            Ok(Host::F32(q)) => return on_host(q, k, v, shape, causal),
            Ok(Host::Bf16(q)) => return on_host(q, k, v, shape, causal),
            Err(q) => q,
        }
    };
    composed::attention(q, k, v, heads, causal)
}

#[cfg(feature = "flex")]
fn on_host<T: Stored>(
    q: host::Values<T>,
    k: Tensor<3>,
    v: Tensor<3>,
    ([batch, n, width], m, heads): ([usize; 3], usize, usize),
    causal: bool,
) -> Tensor<3> {
    let (k, v) = (host::values::<T, 3>(k), host::values::<T, 3>(v));
    let mut out = host::Buffer::<T>::dirty(batch * n * width);
    let rows = |data, rows| host::Heads { data, rows };
    let (q, k, v) = (rows(q.slice(), n), rows(k.slice(), m), rows(v.slice(), m));
    let d = width / heads;
    timed(
        "attention",
        || format!("{n} x {m}, {} heads of {d}", batch * heads),
        4.0 * (batch * n) as f64 * (m * width) as f64,
        || host::attention(Isa::detect(), q, k, v, [batch, heads, d], causal, &mut out),
    );
    host::tensor(out, [batch, n, width])
}

/// Two pictures' channels: `[batch, h, w, a]` and `[batch, h, w, b]` to `[batch, h, w, a + b]`.
pub fn concatenate(a: Tensor<4>, b: Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    let a = {
        fn on_host<T: Stored>(a: host::Values<T>, ca: usize, b: Tensor<4>) -> Tensor<4> {
            let [batch, h, w, cb] = b.dims();
            let b = host::values::<T, 4>(b);
            let mut out = host::Buffer::<T>::dirty(batch * h * w * (ca + cb));
            timed(
                "concatenate",
                || format!("{} x ({ca} + {cb})", batch * h * w),
                0.0,
                || host::concatenate((a.slice(), ca), (b.slice(), cb), &mut out),
            );
            host::tensor(out, [batch, h, w, ca + cb])
        }
        let channels = a.dims()[3];
        match Host::of(a) {
            Ok(Host::F32(a)) => return on_host(a, channels, b),
            Ok(Host::Bf16(a)) => return on_host(a, channels, b),
            Err(a) => a,
        }
    };
    Tensor::cat(vec![a, b], 3)
}
