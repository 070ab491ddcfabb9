//! Between Burn's tensors and CubeCL's buffers.
//!
//! Burn has one backend for all of CubeCL's runtimes: a tensor's client knows which one it is on, so a kernel is launched alike on each.

use burn_cubecl::{
    Cube,
    cubecl::{
        features::TypeUsage,
        ir::{ElemType, FloatKind},
        prelude::{AddressType, Client},
    },
    kernel::into_contiguous,
    ops::numeric::empty_device_contiguous_dtype,
    tensor::CubeTensor,
};
use burn_dispatch::{BackendTensor, DispatchTensorKind};
use burn_tensor::{DType, Shape, Tensor};

/// The name that CubeCL has for a type that kernels take: `f32`, `f16` or `bf16`.
pub(super) fn elem(dtype: DType) -> Option<ElemType> {
    let kind = match dtype {
        DType::F32 => FloatKind::F32,
        DType::F16 => FloatKind::F16,
        DType::BF16 => FloatKind::BF16,
        _ => return None,
    };
    Some(ElemType::Float(kind))
}

/// The same of a tensor that kernels take.
pub(super) fn elem_of(tensor: &CubeTensor) -> ElemType {
    elem(tensor.dtype).expect("a type that kernels take")
}

/// True if a tensor is on one of CubeCL's devices, in a type that kernels take and that this device stores and converts.
pub(crate) fn takes<const D: usize>(tensor: &Tensor<D>) -> bool {
    let Some(elem) = elem(tensor.dtype()) else {
        return false;
    };
    match tensor.clone().into_dispatch().kind {
        DispatchTensorKind::Cube(BackendTensor::Float(tensor)) => {
            let usage = tensor.client.properties().type_usage(elem);
            usage.is_superset(TypeUsage::Buffer | TypeUsage::Conversion) && shares_memory(&tensor.client)
        }
        _ => false,
    }
}

/// Whether units of a cube may share memory. CubeCL 0.11.3 declares it by a pointer too much for Vulkan drivers without
/// `VK_KHR_workgroup_memory_explicit_layout`, and Mesa's for the CPU, which is one of them, crashes. GPUs' drivers have it. With the
/// environment variable `SDRS_SOFTWARE_VULKAN` set, software drivers are trusted as well, for tests where that is mended.
fn shares_memory(client: &Client) -> bool {
    let is_card = client.properties().identity.physical.is_some();
    is_card || client.name() != "wgpu<spirv>" || std::env::var_os("SDRS_SOFTWARE_VULKAN").is_some()
}

/// The values of a tensor that [`takes`] takes, without gaps, row by row.
pub(super) fn enter<const D: usize>(tensor: Tensor<D>) -> CubeTensor {
    match tensor.into_dispatch().kind {
        DispatchTensorKind::Cube(BackendTensor::Float(tensor)) => into_contiguous(tensor),
        _ => panic!("all tensors of an operation are on one device"),
    }
}

/// The same as a tensor of Burn's.
pub(super) fn leave<const D: usize>(tensor: CubeTensor) -> Tensor<D> {
    Tensor::from_primitive::<Cube>(tensor)
}

/// Room for a tensor on the device of another, without gaps. Its values are whatever lay there.
pub(super) fn empty<const D: usize>(beside: &CubeTensor, shape: [usize; D], dtype: DType) -> CubeTensor {
    let (client, device) = (beside.client.clone(), beside.device.clone());
    empty_device_contiguous_dtype(client, device, Shape::from(shape), dtype)
}

/// The numbers that address every value of these tensors.
pub(super) fn address(tensors: &[&CubeTensor]) -> AddressType {
    let types = tensors.iter().map(|tensor| tensor.required_address_type());
    types.max().unwrap_or_default()
}

/// How many neighbours of rows of this length can be read and written at once: 4, 2 or 1. Rows lie without gaps.
pub(super) fn lanes(client: &Client, row: usize) -> usize {
    let widest = client.properties().hardware.max_vector_size;
    [4, 2]
        .into_iter()
        .find(|n| row.is_multiple_of(*n) && *n <= widest)
        .unwrap_or(1)
}
