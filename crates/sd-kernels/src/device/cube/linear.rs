//! Linear layers.

use burn_tensor::Tensor;

use super::{
    product::{Epilogue, Picture, Rows, Terms, Weights},
    tensor::{enter, leave},
};
use crate::options::Activation;

/// A linear layer whose weights are packed once.
#[derive(Clone)]
pub(crate) struct Linear {
    weights: Weights,
    gated: bool,
}

impl Linear {
    pub fn new(weight: Tensor<2>, bias: Option<Tensor<1>>, gated: bool) -> Self {
        let weights = Weights::new(weight.unsqueeze_dim(2), bias, gated);
        Self { weights, gated }
    }

    pub fn forward<const D: usize>(
        &self,
        x: Tensor<D>,
        activation: Activation,
        residual: Option<Tensor<D>>,
    ) -> Tensor<D> {
        let (mut shape, dtype) = (x.dims(), self.weights.dtype());
        assert_eq!(shape[D - 1], self.weights.channels, "a linear layer's inputs");
        shape[D - 1] = self.weights.columns;
        let residual = residual.map(|residual| {
            assert_eq!(residual.dims(), shape, "a linear layer's residual");
            enter(residual.cast(dtype))
        });
        let epilogue = match (self.gated, activation) {
            (true, _) => Epilogue::Geglu,
            (false, Activation::None) => Epilogue::Plain,
            (false, Activation::Silu) => Epilogue::Silu,
            (false, Activation::Gelu) => Epilogue::Gelu,
            (false, Activation::QuickGelu) => Epilogue::QuickGelu,
        };
        let terms = Terms {
            image_bias: None,
            residual,
            slopes: None,
        };
        let x = enter(x.cast(dtype));
        let y = self
            .weights
            .multiply(x, Rows::Same, Picture::default(), epilogue, terms, shape);
        leave(y)
    }
}
