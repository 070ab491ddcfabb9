//! Kernels against Burn's operations in `f32` on the CPU, over odd shapes and all types that a device has.
//!
//! They need a device that kernels take. Without one each says so and passes.

use std::sync::OnceLock;

use burn_tensor::{DType, Device, DeviceType, Tensor, TensorData};
use proptest::prelude::*;

use super::{
    tensor::enter,
    trial::{self, Trials, numbers},
};
use crate::memory::staging::floats;

/// The first device of this build and this machine that kernels take.
pub(super) fn gpu() -> Option<Device> {
    static FOUND: OnceLock<Option<Device>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        // As in programs.
        #[cfg(feature = "kernel-cache")]
        super::keep();
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
    crate::tests::tensor(shape, dtype, seed).cast(DType::F32)
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

#[test]
fn trials_are_made_once_for_each_type() {
    let Some(gpu) = gpu() else { return };
    let trials = Trials::new();
    for dtype in dtypes(&gpu) {
        let x = enter(numbers(&gpu, dtype, [3, 5], 1, 2.0));
        for again in [false, true] {
            let passed = trials.passed(&x, || {
                assert!(!again, "a second trial in {dtype:?}");
                dtype == DType::F32
            });
            assert_eq!(passed, dtype == DType::F32);
        }
        let values = trial::floats::<2>(x).unwrap();
        assert!(
            values.len() == 15 && values.iter().all(|v| v.abs() <= 2.0),
            "{values:?}"
        );
        assert!(values.iter().any(|v| v.abs() > 1.0), "{values:?}");
    }
}
