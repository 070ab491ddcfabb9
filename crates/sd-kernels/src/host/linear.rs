//! Linear layers.

use burn_tensor::Tensor;

use super::{
    kernel::{self, Epilogue, Shared, Store, Weights},
    simd::{Isa, PANEL},
    tensor::{HostTensor, Stored, in_type, tensor},
    weights::{Numbers, PackedWeights, Packing, with_weights},
};
use crate::{
    memory::{buffer::Buffer, workspace::Workspace},
    options::{Activation, Quantization},
    weight::Weight,
};

#[derive(Clone)]
pub(crate) struct Linear {
    weights: PackedWeights,
    inputs: usize,
    outputs: usize,
    gated: bool,
}

impl Linear {
    pub fn new(weight: Weight<2>, bias: Option<Tensor<1>>, gated: bool, quantization: Quantization) -> Self {
        let [all, inputs] = weight.dims();
        let outputs = if gated { all / 2 } else { all };
        // A panel of values, then the panel of their gates.
        let alternating = |n: usize| {
            let (panel, lane) = (n / PANEL, n % PANEL);
            let value = panel / 2 * PANEL + lane;
            (value < outputs).then_some(value + panel % 2 * outputs)
        };
        let packing = Packing {
            inputs,
            taps: 1,
            columns: match gated {
                true => 2 * outputs.next_multiple_of(PANEL),
                false => outputs,
            },
            column: match gated {
                true => &alternating,
                false => &|n| (n < outputs).then_some(n),
            },
        };
        Self {
            weights: PackedWeights::new(weight, bias, quantization, &packing),
            inputs,
            outputs,
            gated,
        }
    }

    pub fn forward<const D: usize>(
        &self,
        x: Tensor<D>,
        activation: Activation,
        residual: Option<Tensor<D>>,
    ) -> Tensor<D> {
        assert_eq!(x.dims()[D - 1], self.inputs, "a linear layer's inputs");
        let epilogue = match (self.gated, activation) {
            (true, _) => Epilogue::Geglu,
            (false, Activation::None) => Epilogue::Plain,
            (false, Activation::Silu) => Epilogue::Silu,
            (false, Activation::Gelu) => Epilogue::Gelu,
            (false, Activation::QuickGelu) => Epilogue::QuickGelu,
        };
        with_weights!(self.weights.numbers(), x.dtype(), |weights| self
            .compute(weights, x, epilogue, residual))
    }

    fn compute<T: Stored, const D: usize>(
        &self,
        weights: Weights<T>,
        x: Tensor<D>,
        epilogue: Epilogue,
        residual: Option<Tensor<D>>,
    ) -> Tensor<D> {
        let (inputs, columns) = (self.inputs, self.outputs);
        let mut shape = x.dims();
        let rows = shape[..D - 1].iter().product::<usize>();
        shape[D - 1] = columns;
        let (x, residual) = (HostTensor::<T>::new(x), residual.map(HostTensor::<T>::new));
        let mut out = Buffer::dirty(rows * columns);
        let shared = Shared::new(&mut out);
        let store = Store {
            bias: self.weights.bias(),
            residual: residual.as_ref().map(HostTensor::values),
            epilogue,
            ..Store::new(&shared, columns)
        };
        let (name, outputs) = match self.gated {
            true => ("linear, GEGLU", 2 * columns),
            false => ("linear", columns),
        };
        Workspace::timed(
            name,
            || format!("{rows} x {inputs} -> {outputs}"),
            2.0 * rows as f64 * (inputs * outputs) as f64,
            || kernel::linear(Isa::detect(), x.values(), [rows, inputs], weights, store),
        );
        tensor(out, shape)
    }
}
