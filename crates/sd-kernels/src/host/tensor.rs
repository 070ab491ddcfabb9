//! Between Burn's tensors on the CPU and slices.

use std::marker::PhantomData;

use burn_dispatch::{
    BackendTensor, DispatchTensorKind,
    backends::{
        Flex,
        flex::{FlexTensor, Layout},
    },
};
use burn_tensor::{DType, Shape, Tensor};

use super::simd::Simd;
use crate::memory::buffer::Buffer;

/// A type that kernels compute in and Burn stores.
pub(super) trait Stored: Simd + burn_tensor::Element {}

impl<T: Simd + burn_tensor::Element> Stored for T {}

/// An expression with `$T` as the type that kernels compute in for values of a type of Burn's: `bf16` or, for all others, `f32`.
macro_rules! in_type {
    ($dtype:expr, |$T:ident| $body:expr) => {
        match $dtype {
            burn_tensor::DType::BF16 => {
                type $T = half::bf16;
                $body
            }
            _ => {
                type $T = f32;
                $body
            }
        }
    };
}
pub(super) use in_type;

/// The values of a tensor in host memory, row by row.
pub(super) struct HostTensor<T> {
    tensor: FlexTensor,
    of: PhantomData<T>,
}

impl<T: Stored> HostTensor<T> {
    /// The values of a tensor, which must be on the CPU; cast if they are of another type.
    pub fn new<const D: usize>(tensor: Tensor<D>) -> Self {
        let tensor = match tensor.dtype() == T::dtype() {
            true => tensor,
            false => tensor.cast(T::dtype()),
        };
        match tensor.into_dispatch().kind {
            DispatchTensorKind::Flex(BackendTensor::Float(tensor)) => Self {
                tensor: tensor.to_contiguous(),
                of: PhantomData,
            },
            _ => panic!("all tensors of an operation are on one device"),
        }
    }

    pub fn values(&self) -> &[T] {
        // Contiguous and of this type, so it is there.
        self.tensor.as_slice().unwrap_or_default()
    }
}

/// True if a tensor is on the CPU and of a type that there are kernels for.
pub(crate) fn takes<const D: usize>(tensor: &Tensor<D>) -> bool {
    let tensor = tensor.clone().into_dispatch();
    matches!(
        tensor.kind,
        DispatchTensorKind::Flex(BackendTensor::Float(tensor))
            if matches!(tensor.dtype(), DType::F32 | DType::BF16)
    )
}

/// The same picture, with any strides gone.
pub(crate) fn contiguous(x: Tensor<4>) -> Tensor<4> {
    in_type!(x.dtype(), |T| Tensor::from_primitive::<Flex>(
        HostTensor::<T>::new(x).tensor
    ))
}

/// A tensor of these values.
pub(super) fn tensor<T: Stored, const D: usize>(values: Buffer<T>, shape: [usize; D]) -> Tensor<D> {
    assert_eq!(values.len(), shape.iter().product::<usize>());
    let layout = Layout::contiguous(Shape::from(shape));
    Tensor::from_primitive::<Flex>(FlexTensor::new(values.into_bytes(), layout, T::dtype()))
}
