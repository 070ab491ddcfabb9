//! Between Burn's tensors on the CPU and slices.

use burn_dispatch::{
    BackendTensor, DispatchTensor, DispatchTensorKind,
    backends::{
        Flex,
        flex::{FlexTensor, Layout},
    },
};
use burn_tensor::{DType, Shape, Tensor};
use half::bf16;

use super::{memory::Buffer, tile::Element};

/// What kernels compute in and Burn stores.
pub(crate) trait Stored: Element + burn_tensor::Element {
    /// A tensor's values, if they are of this type.
    fn take(host: Host) -> Option<Values<Self>>;
}

impl Stored for f32 {
    fn take(host: Host) -> Option<Values<Self>> {
        match host {
            Host::F32(values) => Some(values),
            Host::Bf16(_) => None,
        }
    }
}

impl Stored for bf16 {
    fn take(host: Host) -> Option<Values<Self>> {
        match host {
            Host::Bf16(values) => Some(values),
            Host::F32(_) => None,
        }
    }
}

/// The values of a tensor, which must be on the CPU; cast if they are of another type.
pub(crate) fn values<T: Stored, const D: usize>(tensor: Tensor<D>) -> Values<T> {
    let tensor = if tensor.dtype() == T::dtype() {
        tensor
    } else {
        tensor.cast(T::dtype())
    };
    let host = Host::of(tensor).ok().and_then(T::take);
    host.expect("all tensors of an operation are on one device")
}

/// A tensor's values in memory, row by row.
pub(crate) enum Host {
    F32(Values<f32>),
    Bf16(Values<bf16>),
}

/// Values of one type.
pub(crate) struct Values<T> {
    tensor: FlexTensor,
    of: std::marker::PhantomData<T>,
}

impl Host {
    /// The values of a tensor that lives on the CPU and is of a type that there are kernels for; otherwise the tensor.
    // Handing the tensor back is the point; boxing it would cost an allocation for each operation.
    #[allow(clippy::result_large_err)]
    pub fn of<const D: usize>(tensor: Tensor<D>) -> Result<Self, Tensor<D>> {
        let DispatchTensor { kind, autodiff } = tensor.into_dispatch();
        match kind {
            DispatchTensorKind::Flex(BackendTensor::Float(flex)) if flex.dtype() == DType::F32 => {
                Ok(Self::F32(Values::new(flex)))
            }
            DispatchTensorKind::Flex(BackendTensor::Float(flex)) if flex.dtype() == DType::BF16 => {
                Ok(Self::Bf16(Values::new(flex)))
            }
            kind => Err(Tensor::from_dispatch(DispatchTensor { kind, autodiff })),
        }
    }
}

/// The values of a tensor as `f32`, on any device.
pub(crate) fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.into_data().convert_dtype(DType::F32);
    data.try_to_vec().unwrap_or_default()
}

impl<T: Stored> Values<T> {
    fn new(tensor: FlexTensor) -> Self {
        Self {
            tensor: tensor.to_contiguous(),
            of: std::marker::PhantomData,
        }
    }

    /// The tensor that they are of, with any strides gone.
    pub fn into_tensor<const D: usize>(self) -> Tensor<D> {
        Tensor::from_primitive::<Flex>(self.tensor)
    }

    pub fn slice(&self) -> &[T] {
        // Contiguous and of this type, so it is there.
        self.tensor.as_slice().unwrap_or_default()
    }
}

/// A tensor of these values.
pub(crate) fn tensor<T: Stored, const D: usize>(values: Buffer<T>, shape: [usize; D]) -> Tensor<D> {
    assert_eq!(values.len(), shape.iter().product::<usize>());
    let layout = Layout::contiguous(Shape::from(shape));
    Tensor::from_primitive::<Flex>(FlexTensor::new(values.into_bytes(), layout, T::dtype()))
}
