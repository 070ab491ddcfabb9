use burn::tensor::{Tensor, module};

/// `x @ weight^T + bias`: `x` is `[.., in]`, `weight` is `[out, in]` as PyTorch stores it, `bias` is `[out]`.
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    module::linear(x, weight.transpose(), bias)
}
