//! Linear layers.

#[cfg(feature = "flex")]
use burn_tensor::DType;
use burn_tensor::Tensor;

use super::packed::{Quantization, Weights};
use crate::composed;
#[cfg(feature = "flex")]
use crate::{
    host::{self, Factor, Finish, Isa, Left, PANEL, ProductScales, Shared, Store, Stored, Values},
    layer::packed::{Bias, Kernel, Packing},
    workspace::timed,
};

/// What follows a linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// `x * sigmoid(x)` (Elfwing et al. 2017, arXiv:1702.03118).
    Silu,
    /// The exact, erf-based GELU (Hendrycks and Gimpel 2016, arXiv:1606.08415).
    Gelu,
    /// `x * sigmoid(1.702 x)`, the approximation that OpenAI's CLIP was trained with.
    QuickGelu,
}

/// `y = x W^T + b` on rows of any shape.
#[derive(Clone)]
pub struct Linear {
    weights: Weights<2>,
    inputs: usize,
    #[cfg_attr(not(feature = "flex"), expect(dead_code, reason = "for the kernels"))]
    outputs: usize,
    gated: bool,
}

impl Linear {
    /// `weight` is `[out, in]` as PyTorch stores it, `bias` is `[out]`.
    pub fn new(weight: Tensor<2>, bias: Option<Tensor<1>>, quantization: Quantization) -> Self {
        Self::make(weight, bias, false, quantization)
    }

    /// A gated layer, GEGLU (Shazeer 2020, arXiv:2002.05202): `weight` is `[2 out, in]`, and the result is the first half times the
    /// GELU of the second.
    pub fn gated(weight: Tensor<2>, bias: Option<Tensor<1>>, quantization: Quantization) -> Self {
        Self::make(weight, bias, true, quantization)
    }

    fn make(weight: Tensor<2>, bias: Option<Tensor<1>>, gated: bool, quantization: Quantization) -> Self {
        let [all, inputs] = weight.dims();
        let outputs = if gated { all / 2 } else { all };
        #[cfg(feature = "flex")]
        let weights = {
            let (taps, outputs) = (1, outputs);
            match gated {
                true => {
                    let packing = Packing {
                        inputs,
                        taps,
                        columns: 2 * outputs.next_multiple_of(PANEL),
                        // A panel of values, then the panel of their gates.
                        column: |n: usize| {
                            let (panel, lane) = (n / PANEL, n % PANEL);
                            let value = panel / 2 * PANEL + lane;
                            (value < outputs).then_some(value + panel % 2 * outputs)
                        },
                    };
                    Weights::new(weight, bias, quantization, &packing)
                }
                false => {
                    let packing = Packing {
                        inputs,
                        taps,
                        columns: outputs,
                        column: |n: usize| (n < outputs).then_some(n),
                    };
                    Weights::new(weight, bias, quantization, &packing)
                }
            }
        };
        #[cfg(not(feature = "flex"))]
        let weights = {
            let _ = quantization;
            Weights::Device(Box::new((weight, bias)))
        };
        Self {
            weights,
            inputs,
            outputs,
            gated,
        }
    }

    /// `[.., in]` to `[.., out]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.run(x, Activation::None, None)
    }

    /// The same, and then the activation.
    pub fn forward_then<const D: usize>(&self, x: Tensor<D>, activation: Activation) -> Tensor<D> {
        self.run(x, activation, None)
    }

    /// The same, added to `residual`, `[.., out]`.
    pub fn forward_onto<const D: usize>(&self, x: Tensor<D>, residual: Tensor<D>) -> Tensor<D> {
        self.run(x, Activation::None, Some(residual))
    }

    fn run<const D: usize>(
        &self,
        x: Tensor<D>,
        activation: Activation,
        residual: Option<Tensor<D>>,
    ) -> Tensor<D> {
        assert_eq!(x.dims()[D - 1], self.inputs, "a linear layer's inputs");
        match &self.weights {
            #[cfg(feature = "flex")]
            Weights::F32(weights) => {
                let (packed, bias) = &**weights;
                self.on_host(Kernel::Full(packed), bias, x, activation, residual)
            }
            #[cfg(feature = "flex")]
            Weights::Bf16(weights) => {
                let (packed, bias) = &**weights;
                self.on_host(Kernel::Full(packed), bias, x, activation, residual)
            }
            #[cfg(feature = "flex")]
            Weights::Int8(weights) => {
                let (packed, columns, bias) = &**weights;
                match x.dtype() {
                    DType::BF16 => {
                        let kernel = Kernel::<half::bf16>::Int8(packed, columns);
                        self.on_host(kernel, bias, x, activation, residual)
                    }
                    _ => self.on_host(
                        Kernel::<f32>::Int8(packed, columns),
                        bias,
                        x,
                        activation,
                        residual,
                    ),
                }
            }
            Weights::Device(weights) => {
                let (weight, bias) = &**weights;
                let y = composed::linear(x, weight.clone(), bias.clone());
                let y = if self.gated { composed::geglu(y) } else { y };
                let y = composed::activate(y, activation);
                match residual {
                    Some(residual) => residual + y,
                    None => y,
                }
            }
        }
    }

    #[cfg(feature = "flex")]
    fn on_host<T: Stored, const D: usize>(
        &self,
        weights: Kernel<T>,
        bias: &Bias,
        x: Tensor<D>,
        activation: Activation,
        residual: Option<Tensor<D>>,
    ) -> Tensor<D> {
        let mut shape = x.dims();
        let rows = shape[..D - 1].iter().product::<usize>();
        shape[D - 1] = self.outputs;
        let (x, residual) = (host::values::<T, D>(x), residual.map(host::values::<T, D>));
        let mut out = host::Buffer::dirty(rows * self.outputs);
        let store = Store {
            out: &Shared::new(&mut out),
            columns: self.outputs,
            map: None,
            scales: None,
            bias: bias.as_deref(),
            image_bias: None,
            residual: residual.as_ref().map(Values::slice),
            finish: match (self.gated, activation) {
                (true, _) => Finish::Geglu,
                (false, Activation::None) => Finish::Plain,
                (false, Activation::Silu) => Finish::Silu,
                (false, Activation::Gelu) => Finish::Gelu,
                (false, Activation::QuickGelu) => Finish::QuickGelu,
            },
        };
        let (inputs, outputs) = (
            self.inputs,
            if self.gated {
                2 * self.outputs
            } else {
                self.outputs
            },
        );
        timed(
            if self.gated { "linear, GEGLU" } else { "linear" },
            || format!("{rows} x {inputs} -> {outputs}"),
            2.0 * rows as f64 * (inputs * outputs) as f64,
            || self.multiply(weights, x.slice(), rows, store),
        );
        host::tensor(out, shape)
    }

    #[cfg(feature = "flex")]
    fn multiply<T: Stored>(&self, weights: Kernel<T>, x: &[T], rows: usize, store: Store<T>) {
        let isa = Isa::detect();
        match weights {
            Kernel::Full(packed) => {
                let k = self.inputs.next_multiple_of(T::K);
                // Rows of an odd length have to be brought to a length that kernels take.
                let padded = (k != self.inputs).then(|| {
                    let mut padded = host::Buffer::<T>::dirty(rows * k);
                    for (to, from) in padded.chunks_exact_mut(k).zip(x.chunks_exact(self.inputs)) {
                        let (to, rest) = to.split_at_mut(self.inputs);
                        to.copy_from_slice(from);
                        rest.fill(T::default());
                    }
                    padded
                });
                let left = Left::rows(padded.as_deref().unwrap_or(x), rows, k);
                host::multiply(isa, left, packed.right(), &store);
            }
            Kernel::Int8(packed, columns) => {
                let (bytes, scales) = host::quantised_rows(isa, x, self.inputs);
                let scales = Some(ProductScales {
                    rows: &scales,
                    each: 1,
                    columns,
                });
                let left = Left::rows(&bytes, rows, self.inputs.next_multiple_of(u8::K));
                host::multiply(isa, left, packed.right(), &Store { scales, ..store });
            }
        }
    }
}
