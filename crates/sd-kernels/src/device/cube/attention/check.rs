//! Whether a device's tensor cores do what [`planes`](super::planes) expects of them: that is tried before they are used.

use std::sync::Mutex;

use burn_cubecl::{
    CubeDevice,
    cubecl::{
        features::MmaConfig,
        ir::{ElemType, FloatKind},
    },
    tensor::CubeTensor,
};
use burn_tensor::{DType, Tensor, TensorData};

use super::{
    fragments::{Cores, PLANE},
    on_planes, on_units, plan,
    units::Deal,
};
use crate::device::cube::tensor::{elem, enter, leave};

/// What is known of devices.
static TRIED: Mutex<Vec<(CubeDevice, DType, bool)>> = Mutex::new(Vec::new());

/// Whether attention of this tensor's type is computed on its device's tensor cores.
pub(super) fn has_cores(x: &CubeTensor) -> bool {
    if !offers_cores(x) {
        return false;
    }
    // A thread that panicked has left no half of an entry.
    let mut tried = TRIED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let known = tried
        .iter()
        .find(|(device, dtype, _)| *device == x.device && *dtype == x.dtype);
    if let Some((.., agrees)) = known {
        return *agrees;
    }
    let agrees = agrees(x);
    tried.push((x.device.clone(), x.dtype, agrees));
    agrees
}

/// Planes of 32 units, and products of fragments.
fn offers_cores(x: &CubeTensor) -> bool {
    let (Some(ab), properties) = (elem(x.dtype), x.client.properties()) else {
        return false;
    };
    let product = MmaConfig {
        a_type: ab,
        b_type: ab,
        cd_type: ElemType::Float(FloatKind::F32),
        m: 16,
        n: 8,
        k: 16,
    };
    let hardware = &properties.hardware;
    let planes = [hardware.plane_size_min, hardware.plane_size_max];
    properties.features.matmul.mma.contains(&product) && planes == [PLANE as u32; 2]
}

/// Whether attention comes out as it does in units, with ends in every direction.
fn agrees(x: &CubeTensor) -> bool {
    let (heads, width, [n, m]) = (2, 40, [70, 150]);
    let device = leave::<2>(x.clone()).device();
    let tensor = |rows: usize, seed: usize, scale: f32| {
        // Between -1 and 1, without a pattern that a wrong layout has too.
        let count = rows * heads * width;
        let values = (0..count).map(|i| ((i + seed) * 2_654_435_761 % 1009) as f32 / 504.5 - 1.0);
        let data = TensorData::new(
            values.map(|v| scale * v).collect::<Vec<f32>>(),
            [1, rows, heads * width],
        );
        enter(Tensor::<3>::from_data(data, (&device, DType::F32)).cast(x.dtype))
    };
    let inputs = [tensor(n, 1, 4.0), tensor(m, 2, 1.0), tensor(m, 3, 1.0)];
    let values = |y: CubeTensor| {
        let y = enter(leave::<3>(y).cast(DType::F32));
        let bytes = y.client.read_one(y.handle).ok()?;
        Some(bytemuck::pod_collect_to_vec::<u8, f32>(&bytes))
    };
    let Some(deal) = Deal::new(heads * n, heads, width, 4) else {
        return false;
    };
    let plain = values(on_units(deal, [1, n, m], 4, true, inputs.clone()));
    let ours = values(on_planes::<Cores>(plan(width, heads, true), [1, n, m], 1, inputs));
    let (Some(plain), Some(ours)) = (plain, ours) else {
        return false;
    };
    // Weights are rounded, as values are, and both results when they are stored.
    let unit = f32::powi(2.0, if x.dtype == DType::F16 { -10 } else { -7 });
    plain
        .iter()
        .zip(&ours)
        .all(|(a, b)| (a - b).abs() <= unit * (1.0 + a.abs()))
}
