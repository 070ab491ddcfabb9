//! Whether a device's tensor cores do what kernels expect of them.

use burn_cubecl::tensor::CubeTensor;
use burn_tensor::DType;

use super::{
    Epilogue, Picture, Rows, Terms, Weights,
    cut::Cut,
    plan::{SIDE, Tile},
};
use crate::device::cube::{
    tensor::{enter, leave},
    trial::{Trials, floats, has_planes, numbers, product_of, unit},
};

static TRIALS: Trials = Trials::new();

/// Whether products of this tensor's type are computed on its device's tensor cores.
pub(super) fn has_cores(x: &CubeTensor) -> bool {
    let trial = || Tile::ON_CORES.into_iter().all(|tile| agrees(x, tile));
    x.dtype != DType::F32 && offers_cores(x) && TRIALS.passed(x, trial)
}

fn offers_cores(x: &CubeTensor) -> bool {
    let offered = &x.client.properties().features.matmul.cmma;
    product_of(x, [SIDE as u32; 3]).is_some_and(|product| offered.contains(&product)) && has_planes(x)
}

/// Whether a product comes out as it does in registers, with edges in every direction.
fn agrees(x: &CubeTensor, tile: Tile) -> bool {
    let ([rows, channels, columns], dtype) = ([200, 72, 200], x.dtype);
    let device = leave::<2>(x.clone()).device();
    let weights = Weights::new(
        numbers(&device, dtype, [columns, channels, 1], 1, 1.0),
        None,
        false,
    );
    let x = enter(numbers(&device, dtype, [rows, channels], 2, 1.0));
    let product = |tile| {
        let cut = Cut::of(tile, rows, weights.packed);
        let y = weights.multiply_as(
            cut,
            x.clone(),
            Rows::Same,
            Picture::default(),
            Epilogue::Plain,
            Terms::default(),
            [rows, columns],
        );
        floats::<2>(y)
    };
    let (Some(plain), Some(ours)) = (product(Tile::MEDIUM), product(tile)) else {
        return false;
    };
    // Sums differ in their order alone, and so by a unit in the last place at most once they are stored.
    plain
        .iter()
        .zip(&ours)
        .all(|(a, b)| (a - b).abs() <= unit(dtype) * a.abs() + 1e-3)
}
