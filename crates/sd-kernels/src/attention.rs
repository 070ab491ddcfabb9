use burn::tensor::{Tensor, module, ops::AttentionModuleOptions};

/// Multi-head scaled dot-product attention, `softmax(q k^T / sqrt(d)) v`.
///
/// `q` is `[batch, n, heads * d]`, `k` and `v` are `[batch, m, heads * d]`; the result has `q`'s shape. With `causal`,
/// position `i` sees the positions up to `i` only.
pub fn attention(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, heads: usize, causal: bool) -> Tensor<3> {
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
