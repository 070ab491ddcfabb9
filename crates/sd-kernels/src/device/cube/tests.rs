//! Kernels against Burn's operations in `f32` on the CPU, over odd shapes and all types that a device has.
//!
//! They need a device that kernels take. Without one each says so and passes.

use std::sync::OnceLock;

use burn_tensor::{DType, Device, DeviceType, Tensor, TensorData};
use proptest::prelude::*;

use crate::memory::staging::floats;

/// The first device of this build and this machine that kernels take.
pub(super) fn gpu() -> Option<Device> {
    static FOUND: OnceLock<Option<Device>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let kinds = [
            #[cfg(feature = "cuda")]
            DeviceType::Cuda,
            #[cfg(feature = "vulkan")]
            DeviceType::Vulkan,
        ];
        // Drivers that are missing or broken make the backends panic.
        kinds.into_iter().find_map(|kind| {
            let devices = std::panic::catch_unwind(|| Device::enumerate(kind).into_vec());
            let takes = |device: &Device| super::takes(&Tensor::<1>::zeros([1], (device, DType::F32)));
            devices.unwrap_or_default().into_iter().find(takes)
        })
    });
    if found.is_none() {
        println!("skipped: this machine has no GPU for these kernels");
    }
    found.clone()
}

/// The types that kernels take on a device.
pub(super) fn dtypes(device: &Device) -> Vec<DType> {
    let mut all = vec![DType::F32, DType::F16, DType::BF16];
    all.retain(|&dtype| {
        dtype == DType::F32
            || device.supports_dtype(dtype) && super::takes(&Tensor::<1>::zeros([1], (device, dtype)))
    });
    all
}

/// Numbers between -1/2 and 1/2 that follow from `seed`, which the type has: on the CPU in `f32`.
pub(super) fn tensor<const D: usize>(shape: [usize; D], dtype: DType, seed: u32) -> Tensor<D> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
    let device = (&Device::flex(), DType::F32);
    let values = Tensor::<D>::from_data(TensorData::new(values, shape), device);
    values.cast(dtype).cast(DType::F32)
}

/// The same on a device, in a type.
pub(super) fn to<const D: usize>(x: &Tensor<D>, device: &Device, dtype: DType) -> Tensor<D> {
    let data = TensorData::new(floats(x.clone()), x.dims());
    Tensor::<D>::from_data(data, (device, DType::F32)).cast(dtype)
}

/// A kernel's values are the reference's to 1e-5 of the larger of it and 1, and of narrower types to what storing a result rounds.
pub(super) fn same<const D: usize>(ours: Tensor<D>, reference: Tensor<D>) -> Result<(), TestCaseError> {
    prop_assert_eq!(ours.dims(), reference.dims());
    let rounding = match ours.dtype() {
        DType::F16 => f32::powi(2.0, -11),
        DType::BF16 => f32::powi(2.0, -8),
        _ => 0.0,
    };
    for (i, (a, b)) in floats(ours).into_iter().zip(floats(reference)).enumerate() {
        let most = rounding * b.abs() + 1e-5 * b.abs().max(1.0);
        prop_assert!((a - b).abs() <= most, "at {}: {} and {}", i, a, b);
    }
    Ok(())
}

/// The same, or a panic that says what differs.
pub(super) fn agree<const D: usize>(what: &str, ours: Tensor<D>, reference: Tensor<D>) {
    if let Err(error) = same(ours, reference) {
        panic!("{what}: {error}");
    }
}
