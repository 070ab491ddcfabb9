use burn::tensor::{Tensor, module};

/// `x @ weight + bias`: `x` is `[.., in]`, `weight` is `[in, out]` (the transpose of PyTorch's), `bias` is `[out]`.
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    module::linear(x, weight, bias)
}
