//! Weights as kernels want them.

#[cfg(feature = "flex")]
use std::sync::Arc;

use burn_tensor::Tensor;

#[cfg(feature = "flex")]
use crate::host::{self, Columns, Element, Factor, Host, Isa, Right};

/// In what numbers a layer's weights are kept and its products are computed. Only kernels of our own know more than one: elsewhere
/// nothing is quantized.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Quantization {
    /// In the type that the weights come in.
    #[default]
    None,
    /// In whole numbers of eight bits: weights with a scale for each output, inputs with a scale for each row (for each picture where
    /// a kernel spans several pixels) that is found when they are there. What comes out is of the inputs' type.
    Int8,
}

impl Quantization {
    /// Parses "none" or "int8".
    pub fn from_name(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "none" => Some(Self::None),
            "int8" => Some(Self::Int8),
            _ => None,
        }
    }

    /// The name, as [`Quantization::from_name`] takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Int8 => "int8",
        }
    }
}

/// How a layer's weights are packed.
#[cfg(feature = "flex")]
pub(super) struct Packing<F> {
    pub inputs: usize,
    pub taps: usize,
    pub columns: usize,
    /// Which output each packed column is, if any.
    pub column: F,
}

/// A right-hand side as the kernels want it.
#[cfg(feature = "flex")]
pub(super) struct Packed<T> {
    data: host::Kept<T>,
    panels: usize,
}

#[cfg(feature = "flex")]
impl<T: Factor> Packed<T> {
    /// Of `[outputs, inputs, taps]`.
    fn new(weight: &[T], packing: &Packing<impl Fn(usize) -> Option<usize> + Sync>) -> Self {
        let len = packing.inputs * packing.taps;
        let values = |n: usize| (packing.column)(n).map(|n| &weight[n * len..][..len]);
        let (data, panels) = host::pack(packing.columns, packing.taps, packing.inputs, values);
        Self { data, panels }
    }

    pub fn right(&self) -> Right<'_, T> {
        Right {
            data: &self.data,
            panels: self.panels,
        }
    }
}

/// Weights on whatever device they are.
#[derive(Clone)]
pub(super) enum Weights<const D: usize> {
    #[cfg(feature = "flex")]
    F32(Arc<(Packed<f32>, Bias)>),
    #[cfg(feature = "flex")]
    Bf16(Arc<(Packed<half::bf16>, Bias)>),
    #[cfg(feature = "flex")]
    Int8(Arc<(Packed<u8>, Columns, Bias)>),
    Device(Box<(Tensor<D>, Option<Tensor<1>>)>),
}

/// One for each packed column.
#[cfg(feature = "flex")]
pub(super) type Bias = Option<Vec<f32>>;

impl<const D: usize> Weights<D> {
    /// Weights for a device as they are, and on the CPU packed.
    #[cfg(feature = "flex")]
    pub fn new(
        weight: Tensor<D>,
        bias: Option<Tensor<1>>,
        quantization: Quantization,
        packing: &Packing<impl Fn(usize) -> Option<usize> + Sync>,
    ) -> Self {
        match Host::of(weight) {
            Ok(Host::F32(weight)) => match quantization {
                Quantization::None => Self::F32(Arc::new((
                    Packed::new(weight.slice(), packing),
                    packed(bias, packing),
                ))),
                Quantization::Int8 => Self::int8(weight.slice(), bias, packing),
            },
            Ok(Host::Bf16(weight)) => match quantization {
                Quantization::None => Self::Bf16(Arc::new((
                    Packed::new(weight.slice(), packing),
                    packed(bias, packing),
                ))),
                Quantization::Int8 => Self::int8(weight.slice(), bias, packing),
            },
            Err(weight) => Self::Device(Box::new((weight, bias))),
        }
    }

    #[cfg(feature = "flex")]
    fn int8<T: Element>(
        weight: &[T],
        bias: Option<Tensor<1>>,
        packing: &Packing<impl Fn(usize) -> Option<usize> + Sync>,
    ) -> Self {
        let columns = packing.columns.next_multiple_of(host::COLUMNS);
        let (bytes, columns) = Columns::new(
            Isa::detect(),
            weight,
            packing.inputs * packing.taps,
            columns,
            &packing.column,
        );
        Self::Int8(Arc::new((
            Packed::new(&bytes, packing),
            columns,
            packed(bias, packing),
        )))
    }
}

/// A bias for each packed column.
#[cfg(feature = "flex")]
fn packed(bias: Option<Tensor<1>>, packing: &Packing<impl Fn(usize) -> Option<usize> + Sync>) -> Bias {
    let bias = host::floats(bias?);
    let columns = 0..packing.columns.next_multiple_of(host::COLUMNS);
    let of = |n| (packing.column)(n).and_then(|n| bias.get(n)).copied();
    Some(columns.map(|n| of(n).unwrap_or(0.0)).collect())
}

/// Which weights a kernel multiplies values of `T` with.
#[cfg(feature = "flex")]
pub(super) enum Kernel<'a, T> {
    Full(&'a Packed<T>),
    Int8(&'a Packed<u8>, &'a Columns),
}
