//! Linear layers.

#[cfg(feature = "cube")]
use super::cube;
use burn_tensor::{Tensor, activation, module};

use crate::{
    options::{Activation, Quantization},
    weight::Weight,
};

#[derive(Clone)]
pub(crate) enum Linear {
    #[cfg(feature = "cube")]
    Fused(cube::Linear),
    Composed(Composed),
}

impl Linear {
    pub fn new(weight: Weight<2>, bias: Option<Tensor<1>>, gated: bool, _: Quantization) -> Self {
        let weight = weight.tensor();
        #[cfg(feature = "cube")]
        if cube::takes(&weight) {
            return Self::Fused(cube::Linear::new(weight, bias, gated));
        }
        Self::Composed(Composed::new(weight, bias, gated))
    }

    pub fn forward<const D: usize>(
        &self,
        x: Tensor<D>,
        activation: Activation,
        residual: Option<Tensor<D>>,
    ) -> Tensor<D> {
        match self {
            #[cfg(feature = "cube")]
            Self::Fused(layer) => layer.forward(x, activation, residual),
            Self::Composed(layer) => layer.forward(x, activation, residual),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Composed {
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    gated: bool,
}

impl Composed {
    pub fn new(weight: Tensor<2>, bias: Option<Tensor<1>>, gated: bool) -> Self {
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
    #[cfg(feature = "cube")]
    if activation == Activation::Silu && cube::takes(&x) {
        return cube::silu(x);
    }
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
