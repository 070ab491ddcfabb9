//! Linear layers.

use burn_tensor::{Tensor, activation, module};

use crate::{
    options::{Activation, Quantization},
    weight::Weight,
};

#[derive(Clone)]
pub(crate) struct Linear {
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    gated: bool,
}

impl Linear {
    pub fn new(weight: Weight<2>, bias: Option<Tensor<1>>, gated: bool, _: Quantization) -> Self {
        let weight = weight.tensor();
        Self { weight, bias, gated }
    }

    pub fn forward<const D: usize>(
        &self,
        x: Tensor<D>,
        activation: Activation,
        residual: Option<Tensor<D>>,
    ) -> Tensor<D> {
        let y = module::linear(x, self.weight.clone().transpose(), self.bias.clone());
        let y = activate(if self.gated { geglu(y) } else { y }, activation);
        match residual {
            Some(residual) => residual + y,
            None => y,
        }
    }
}

pub(crate) fn activate<const D: usize>(x: Tensor<D>, activation: Activation) -> Tensor<D> {
    match activation {
        Activation::None => x,
        Activation::Silu => activation::silu(x),
        Activation::Gelu => activation::gelu(x),
        Activation::QuickGelu => x.clone() * activation::sigmoid(x * 1.702),
    }
}

/// `[.., 2 n]` to `[.., n]`, the first half times the GELU of the second.
fn geglu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let n = x.dims()[D - 1] / 2;
    let gate = x.clone().narrow(D - 1, n, n);
    x.narrow(D - 1, 0, n) * activation::gelu(gate)
}
