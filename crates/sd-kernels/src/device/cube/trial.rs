//! Trials of tensor cores. Drivers and compilers differ there, so what they compute is compared with a plain kernel's before they are used.

use std::sync::Mutex;

use burn_cubecl::{
    CubeDevice,
    cubecl::{
        features::MmaConfig,
        ir::{ElemType, FloatKind},
    },
    tensor::CubeTensor,
};
use burn_tensor::{DType, Device, Tensor, TensorData};

use super::tensor::{elem, enter, leave};

/// Units of a plane. Devices with others aren't taken.
pub(super) const PLANE: usize = 32;

/// What is known of devices.
pub(super) struct Trials(Mutex<Vec<(CubeDevice, DType, bool)>>);

impl Trials {
    pub const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Whether a trial in a tensor's type went well on its device. It is made once.
    pub fn passed(&self, x: &CubeTensor, trial: impl FnOnce() -> bool) -> bool {
        // A thread that panicked has left no half of an entry.
        let mut tried = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let known = tried
            .iter()
            .find(|(device, dtype, _)| *device == x.device && *dtype == x.dtype);
        if let Some((.., passed)) = known {
            return *passed;
        }
        let passed = trial();
        tried.push((x.device.clone(), x.dtype, passed));
        passed
    }
}

/// Products of `m x k` and `k x n` values of a tensor's type with sums in `f32`; `None` of a type that kernels don't take.
pub(super) fn product_of(x: &CubeTensor, [m, n, k]: [u32; 3]) -> Option<MmaConfig> {
    let factors = elem(x.dtype)?;
    Some(MmaConfig {
        a_type: factors,
        b_type: factors,
        cd_type: ElemType::Float(FloatKind::F32),
        m,
        n,
        k,
    })
}

/// Whether planes of a tensor's device all have [`PLANE`] units.
pub(super) fn has_planes(x: &CubeTensor) -> bool {
    let hardware = &x.client.properties().hardware;
    [hardware.plane_size_min, hardware.plane_size_max] == [PLANE as u32; 2]
}

/// Numbers between `-scale` and `scale` without a pattern that a wrong layout has too.
pub(super) fn numbers<const D: usize>(
    device: &Device,
    dtype: DType,
    shape: [usize; D],
    seed: usize,
    scale: f32,
) -> Tensor<D> {
    let count = shape.iter().product::<usize>();
    let values = (0..count).map(|i| ((i + seed) * 2_654_435_761 % 1009) as f32 / 504.5 - 1.0);
    let values: Vec<f32> = values.map(|v| scale * v).collect();
    Tensor::<D>::from_data(TensorData::new(values, shape), (device, DType::F32)).cast(dtype)
}

/// The values of a tensor of `D` axes, unless they can't be read.
pub(super) fn floats<const D: usize>(x: CubeTensor) -> Option<Vec<f32>> {
    let x = enter(leave::<D>(x).cast(DType::F32));
    let bytes = x.client.read_one(x.handle).ok()?;
    Some(bytemuck::pod_collect_to_vec::<u8, f32>(&bytes))
}

/// The rounding of one in a half type.
pub(super) fn unit(dtype: DType) -> f32 {
    f32::powi(2.0, if dtype == DType::F16 { -10 } else { -7 })
}
