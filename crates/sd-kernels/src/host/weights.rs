//! Weights of layers, packed once, when a layer is made.

use std::sync::Arc;

use burn_tensor::{DType, Tensor};
use half::bf16;

use super::{
    kernel::{ColumnScales, Panels, pack, pack_blocks, pack_narrow},
    simd::{COLUMNS, Form, Isa, Operand},
    tensor::{HostTensor, in_type},
};
use crate::{
    memory::staging::floats,
    options::Quantization,
    weight::{Narrow, Values, Weight, WeightType},
};

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

/// Weights by the numbers that products are computed in; they may be stored in narrower ones.
pub(super) enum Numbers {
    F32(Panels<f32>),
    Bf16(Panels<bf16>),
    Bytes(Panels<u8>, ColumnScales),
    Words(Panels<i16>, ColumnScales),
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
            Numbers::Bytes(panels, columns) => in_type!($input, |T| {
                let $weights = Weights::<T>::Bytes(panels.right(), columns);
                $body
            }),
            Numbers::Words(panels, columns) => in_type!($input, |T| {
                let $weights = Weights::<T>::Words(panels.right(), columns);
                $body
            }),
        }
    };
}
pub(super) use with_weights;

impl PackedWeights {
    pub fn new<const D: usize>(
        weight: Weight<D>,
        bias: Option<Tensor<1>>,
        quantization: Quantization,
        packing: &Packing,
    ) -> Self {
        let numbers = match (weight.values, quantization.resolved()) {
            (Values::Narrow(narrow), _) if narrow.products == DType::BF16 => {
                Numbers::Bf16(packing.narrow(&narrow))
            }
            (Values::Narrow(narrow), _) => Numbers::F32(packing.narrow(&narrow)),
            (Values::Tensor(weight), Quantization::None) => match weight.dtype() {
                DType::BF16 => Numbers::Bf16(packing.pack(HostTensor::new(*weight).values())),
                _ => Numbers::F32(packing.pack(HostTensor::new(*weight).values())),
            },
            (Values::Tensor(weight), _) => in_type!(weight.dtype(), |T| {
                let weight = HostTensor::<T>::new(*weight);
                let (isa, len, columns) = (Isa::detect(), packing.len(), packing.padded());
                let (bytes, scales) = ColumnScales::new(isa, weight.values(), len, columns, packing.column);
                match isa.multiplies_bytes() {
                    true => Numbers::Bytes(packing.pack(&bytes), scales),
                    false => Numbers::Words(packing.pack_narrow(Form::Int8, &bytes), scales),
                }
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

    /// Values of a column.
    fn len(&self) -> usize {
        self.inputs * self.taps
    }

    fn pack<T: Operand>(&self, weight: &[T]) -> Panels<T> {
        let len = self.len();
        let values = |n: usize| (self.column)(n).map(|n| &weight[n * len..][..len]);
        pack(self.columns, self.taps, self.inputs, values)
    }

    fn pack_narrow<S: bytemuck::Pod + Default + Send + Sync, T: Operand>(
        &self,
        form: Form,
        weight: &[S],
    ) -> Panels<T> {
        let len = self.len();
        let values = |n: usize| (self.column)(n).map(|n| &weight[n * len..][..len]);
        pack_narrow(form, self.columns, self.taps, self.inputs, values)
    }

    fn narrow<T: Operand>(&self, weight: &Narrow) -> Panels<T> {
        let bytes: &[u8] = &weight.bytes;
        let blocks = |form| {
            let len = weight.kind.bytes(self.len());
            let values = |n: usize| (self.column)(n).map(|n| &bytes[n * len..][..len]);
            pack_blocks(form, self.columns, self.inputs, values)
        };
        match weight.kind {
            WeightType::Bf16 => self.pack_narrow::<u16, T>(Form::Bf16, bytemuck::cast_slice(bytes)),
            WeightType::F16 => self.pack_narrow::<u16, T>(Form::F16, bytemuck::cast_slice(bytes)),
            WeightType::F8E4M3 => self.pack_narrow(Form::E4M3(weight.scale), bytes),
            WeightType::F8E5M2 => self.pack_narrow(Form::E5M2(weight.scale), bytes),
            WeightType::Q8_0 => blocks(Form::Q8_0),
            WeightType::Q4_0 => blocks(Form::Q4_0),
            WeightType::F32 => panic!("no narrower than products"),
        }
    }

    fn bias(&self, bias: &[f32]) -> Vec<f32> {
        let of = |n| (self.column)(n).and_then(|n| bias.get(n)).copied();
        (0..self.padded()).map(|n| of(n).unwrap_or(0.0)).collect()
    }
}
