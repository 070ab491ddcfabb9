use burn::tensor::{Tensor, activation};

/// `x * sigmoid(x)` (Elfwing et al. 2017, arXiv:1702.03118), elementwise, any shape.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::silu(x)
}

/// The exact, erf-based GELU (Hendrycks and Gimpel 2016, arXiv:1606.08415), elementwise, any shape.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::gelu(x)
}

/// `x * sigmoid(1.702 x)`, the approximation that OpenAI's CLIP was trained with, elementwise, any shape.
pub fn quick_gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clone() * activation::sigmoid(x * 1.702)
}

/// Gated GELU (Shazeer 2020, arXiv:2002.05202): `[.., 2 n]` to `[.., n]`, the first half times the GELU of the second.
pub fn geglu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let n = x.dims()[D - 1] / 2;
    let gate = x.clone().narrow(D - 1, n, n);
    x.narrow(D - 1, 0, n) * gelu(gate)
}
