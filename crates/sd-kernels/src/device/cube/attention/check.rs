//! Whether a device's tensor cores do what [`planes`](super::planes) expects of them.

use burn_cubecl::tensor::CubeTensor;

use super::{fragments::Cores, on_planes, on_units, plan, units::Deal};
use crate::device::cube::{
    tensor::{enter, leave},
    trial::{Trials, floats, has_planes, numbers, product_of, unit},
};

static TRIALS: Trials = Trials::new();

/// Whether attention of this tensor's type is computed on its device's tensor cores.
pub(super) fn has_cores(x: &CubeTensor) -> bool {
    offers_cores(x) && TRIALS.passed(x, || agrees(x))
}

/// Planes of 32 units, and products of fragments.
fn offers_cores(x: &CubeTensor) -> bool {
    let offered = &x.client.properties().features.matmul.mma;
    product_of(x, [16, 8, 16]).is_some_and(|product| offered.contains(&product)) && has_planes(x)
}

/// Whether attention comes out as it does in units, with ends in every direction.
fn agrees(x: &CubeTensor) -> bool {
    let (heads, width, [n, m], dtype) = (2, 40, [70, 150], x.dtype);
    let device = leave::<2>(x.clone()).device();
    let tensor = |rows, seed, scale| {
        let shape = [1, rows, heads * width];
        enter(numbers(&device, dtype, shape, seed, scale))
    };
    let inputs = [tensor(n, 1, 4.0), tensor(m, 2, 1.0), tensor(m, 3, 1.0)];
    let Some(deal) = Deal::new(heads * n, heads, width, 4) else {
        return false;
    };
    let plain = floats::<3>(on_units(deal, [1, n, m], 4, true, inputs.clone()));
    let ours = floats::<3>(on_planes::<Cores>(plan(width, heads, true), [1, n, m], 1, inputs));
    let (Some(plain), Some(ours)) = (plain, ours) else {
        return false;
    };
    // Weights are rounded, as values are, and both results when they are stored.
    plain
        .iter()
        .zip(&ours)
        .all(|(a, b)| (a - b).abs() <= unit(dtype) * (1.0 + a.abs()))
}
