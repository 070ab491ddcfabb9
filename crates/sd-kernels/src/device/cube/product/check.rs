//! Whether a device's tensor cores do what kernels expect of them. Drivers and compilers differ there, so it is tried before they are used.

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
    Epilogue, Picture, Rows, Terms, Weights,
    cut::Cut,
    plan::{PLANE, SIDE, Tile},
};
use crate::device::cube::tensor::{elem, enter, leave};

/// What is known of devices.
static TRIED: Mutex<Vec<(CubeDevice, DType, bool)>> = Mutex::new(Vec::new());

/// Whether products of this tensor's type are computed on its device's tensor cores.
pub(super) fn has_cores(x: &CubeTensor) -> bool {
    let Some(elem) = elem(x.dtype).filter(|_| x.dtype != DType::F32) else {
        return false;
    };
    if !offers_cores(x, elem) {
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
    let agrees = Tile::ON_CORES.into_iter().all(|tile| agrees(x, tile));
    tried.push((x.device.clone(), x.dtype, agrees));
    agrees
}

fn offers_cores(x: &CubeTensor, elem: ElemType) -> bool {
    let properties = x.client.properties();
    let side = SIDE as u32;
    let matrices = MmaConfig {
        a_type: elem,
        b_type: elem,
        cd_type: ElemType::Float(FloatKind::F32),
        m: side,
        n: side,
        k: side,
    };
    let hardware = &properties.hardware;
    let planes = [hardware.plane_size_min, hardware.plane_size_max];
    properties.features.matmul.cmma.contains(&matrices) && planes == [PLANE as u32; 2]
}

/// Whether a product comes out as it does in registers, with edges in every direction.
fn agrees(x: &CubeTensor, tile: Tile) -> bool {
    let [rows, channels, columns] = [200, 72, 200];
    let device = leave::<2>(x.clone()).device();
    let numbers = |n: usize, seed: usize| {
        // Between -1 and 1, without a pattern that a wrong layout has too.
        let values = (0..n).map(|i| ((i + seed) * 2_654_435_761 % 1009) as f32 / 504.5 - 1.0);
        TensorData::new(values.collect::<Vec<f32>>(), [n])
    };
    let tensor = |n, seed| Tensor::<1>::from_data(numbers(n, seed), (&device, DType::F32)).cast(x.dtype);
    let weight = tensor(columns * channels, 1).reshape([columns, channels, 1]);
    let weights = Weights::new(weight, None, false);
    let x = enter(tensor(rows * channels, 2).reshape([rows, channels]));
    let product = |tile| {
        let cut = Cut::of(tile, rows, weights.packed);
        let terms = Terms::default();
        let y = weights.multiply_as(
            cut,
            x.clone(),
            Rows::Same,
            Picture::default(),
            Epilogue::Plain,
            terms,
            [rows, columns],
        );
        let y = enter(leave::<2>(y).cast(DType::F32));
        let bytes = y.client.read_one(y.handle).ok()?;
        Some(bytemuck::pod_collect_to_vec::<u8, f32>(&bytes))
    };
    let (Some(plain), Some(ours)) = (product(Tile::MEDIUM), product(tile)) else {
        return false;
    };
    // Sums differ in their order alone, and so by a unit in the last place at most once they are stored.
    let unit = if x.dtype == DType::F16 {
        2f32.powi(-10)
    } else {
        2f32.powi(-7)
    };
    plain
        .iter()
        .zip(&ours)
        .all(|(a, b)| (a - b).abs() <= unit * a.abs() + 1e-3)
}
