//! Weights of layers, packed once, when a layer is made.

use std::sync::Arc;

use burn_tensor::{DType, Tensor};
use half::bf16;

use super::{
    kernel::{ColumnScales, Panels, pack},
    simd::{COLUMNS, Isa, Operand},
    tensor::{HostTensor, in_type},
};
use crate::{memory::staging::floats, options::Quantization};

/// The arrangement of weights `[outputs, inputs, taps]` in packed columns.
pub(super) struct Packing<'a> {
    pub inputs: usize,
    pub taps: usize,
    pub columns: usize,
    /// The output that a packed column is, if any.
    pub column: &'a (dyn Fn(usize) -> Option<usize> + Sync),
}

/// Packed weights and bias of a layer. A clone shares them.
#[derive(Clone)]
pub(super) struct PackedWeights(Arc<(Numbers, Option<Vec<f32>>)>);

/// Weights in the numbers that products are computed in.
pub(super) enum Numbers {
    F32(Panels<f32>),
    Bf16(Panels<bf16>),
    Int8(Panels<u8>, ColumnScales),
}

/// An expression with `$weights` as the weights for an input of this type.
macro_rules! with_weights {
    ($numbers:expr, $input:expr, |$weights:ident| $body:expr) => {
        match $numbers {
            Numbers::F32(panels) => {
                let $weights = Weights::Plain(panels.right());
                $body
            }
            Numbers::Bf16(panels) => {
                let $weights = Weights::Plain(panels.right());
                $body
            }
            Numbers::Int8(panels, columns) => in_type!($input, |T| {
                let $weights = Weights::<T>::Quantised(panels.right(), columns);
                $body
            }),
        }
    };
}
pub(super) use with_weights;

impl PackedWeights {
    pub fn new<const D: usize>(
        weight: Tensor<D>,
        bias: Option<Tensor<1>>,
        quantization: Quantization,
        packing: &Packing,
    ) -> Self {
        let numbers = match (quantization, weight.dtype()) {
            (Quantization::None, DType::BF16) => {
                Numbers::Bf16(packing.pack(HostTensor::new(weight).values()))
            }
            (Quantization::None, _) => Numbers::F32(packing.pack(HostTensor::new(weight).values())),
            (Quantization::Int8, dtype) => in_type!(dtype, |T| {
                let weight = HostTensor::<T>::new(weight);
                let (len, columns) = (packing.inputs * packing.taps, packing.padded());
                let (bytes, scales) =
                    ColumnScales::new(Isa::detect(), weight.values(), len, columns, packing.column);
                Numbers::Int8(packing.pack(&bytes), scales)
            }),
        };
        Self(Arc::new((numbers, bias.map(|bias| packing.bias(&floats(bias))))))
    }

    pub fn numbers(&self) -> &Numbers {
        &self.0.0
    }

    /// The bias for each packed column.
    pub fn bias(&self) -> Option<&[f32]> {
        self.0.1.as_deref()
    }
}

impl Packing<'_> {
    /// Columns with the empty ones that fill the last tile.
    fn padded(&self) -> usize {
        self.columns.next_multiple_of(COLUMNS)
    }

    fn pack<T: Operand>(&self, weight: &[T]) -> Panels<T> {
        let len = self.inputs * self.taps;
        let values = |n: usize| (self.column)(n).map(|n| &weight[n * len..][..len]);
        pack(self.columns, self.taps, self.inputs, values)
    }

    fn bias(&self, bias: &[f32]) -> Vec<f32> {
        let of = |n| (self.column)(n).and_then(|n| bias.get(n)).copied();
        (0..self.padded()).map(|n| of(n).unwrap_or(0.0)).collect()
    }
}
