//! Normalisations against Burn's operations in `f32` on the CPU.

use burn_tensor::{DType, Tensor};
use proptest::prelude::*;

use super::super::tests::{agree, dtypes, gpu, tensor, to};
use super::{Affine, group_norm, large, layer_norm, scales, small};
use crate::device;

/// Away from zero, so that a mean counts.
fn picture(shape: [usize; 4], dtype: DType) -> Tensor<4> {
    let shifted = tensor(shape, dtype, 3) + 1.5;
    shifted.cast(dtype).cast(DType::F32)
}

type Way = fn(Tensor<4>, &Affine, usize, bool) -> Tensor<4>;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    #[test]
    fn groups(
        [h, w] in prop::array::uniform2(1..14usize),
        size in 1..11usize,
        groups in 1..9usize,
        wide: bool,
        silu: bool,
    ) {
        let Some(gpu) = gpu() else { return Ok(()) };
        // More channels than a cube has units.
        let groups = if wide { 160 } else { groups };
        let c = groups * size;
        for dtype in dtypes(&gpu) {
            let (gamma, beta) = (tensor([c], dtype, 1), tensor([c], dtype, 2));
            let x = picture([2, h, w, c], dtype);
            let reference = device::GroupNorm::new(gamma.clone(), beta.clone(), groups, 1e-5).forward(x.clone(), silu);
            let (gamma, beta) = (to(&gamma, &gpu, DType::F32), to(&beta, &gpu, DType::F32));
            let affine = Affine { gamma: &gamma, beta: &beta, eps: 1e-5 };
            for (name, way) in [("one kernel", small as Way), ("three", large), ("either", group_norm)] {
                let what = format!("{name}, {dtype:?}");
                agree(&what, way(to(&x, &gpu, dtype), &affine, groups, silu), reference.clone());
            }
        }
    }

    #[test]
    fn scales_of_bands(rows in prop::collection::vec(1..6usize, 1..4), w in 1..9usize, size in 1..7usize) {
        let Some(gpu) = gpu() else { return Ok(()) };
        let (groups, h) = (4, rows.iter().sum::<usize>());
        let c = groups * size;
        for dtype in dtypes(&gpu) {
            let (gamma, beta) = (tensor([c], dtype, 1), tensor([c], dtype, 2));
            let x = picture([1, h, w, c], dtype);
            let reference = device::GroupNorm::new(gamma.clone(), beta.clone(), groups, 1e-5).scales(&[&x]);
            let (gamma, beta) = (to(&gamma, &gpu, DType::F32), to(&beta, &gpu, DType::F32));
            let affine = Affine { gamma: &gamma, beta: &beta, eps: 1e-5 };
            let mut top = 0;
            let bands: Vec<Tensor<4>> = rows
                .iter()
                .map(|&rows| {
                    top += rows;
                    to(&x.clone().narrow(1, top - rows, rows), &gpu, dtype)
                })
                .collect();
            let ours = scales(&bands.iter().collect::<Vec<_>>(), &affine, groups).unwrap();
            for (ours, reference) in ours.into_iter().zip(reference) {
                agree(&format!("{dtype:?}"), ours, reference);
            }
        }
    }

    #[test]
    fn layers(rows in 1..23usize, c in 1..150usize, whole: bool) {
        let Some(gpu) = gpu() else { return Ok(()) };
        let c = if whole { c.next_multiple_of(4) } else { c };
        for dtype in dtypes(&gpu) {
            let (gamma, beta) = (tensor([c], dtype, 1), tensor([c], dtype, 2));
            let x = picture([1, 2, rows, c], dtype);
            let reference = device::LayerNorm::new(gamma.clone(), beta.clone(), 1e-5).forward(x.clone());
            let (gamma, beta) = (to(&gamma, &gpu, DType::F32), to(&beta, &gpu, DType::F32));
            let affine = Affine { gamma: &gamma, beta: &beta, eps: 1e-5 };
            agree(&format!("{dtype:?}"), layer_norm(to(&x, &gpu, dtype), &affine), reference);
        }
    }
}
