//! Windows, SiLU and channels side by side, against Burn's operations in `f32` on the CPU.

use burn_tensor::DType;
use proptest::prelude::*;

use super::{
    super::tests::{agree, dtypes, gpu, tensor, to},
    concatenate, silu, window,
};
use crate::{Activation, device};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn windows(
        [h, w] in prop::array::uniform2(1..9usize),
        c in 1..30usize,
        [above, below] in prop::array::uniform2(-2..3isize),
        scaled: bool,
        upsample: bool,
    ) {
        let Some(gpu) = gpu() else { return Ok(()) };
        let times = 1 + isize::from(upsample);
        let rows = above..times * h as isize + below;
        prop_assume!(rows.start.max(0) < rows.end.min(times * h as isize));
        for dtype in dtypes(&gpu) {
            let x = tensor([1, h, w, c], dtype, 1);
            let scales = scaled.then(|| [2, 3].map(|seed| tensor([c], DType::F32, seed)));
            let ours = scales.as_ref().map(|scales| scales.each_ref().map(|t| to(t, &gpu, DType::F32)));
            agree(
                &format!("{dtype:?}"),
                window(to(&x, &gpu, dtype), rows.clone(), ours.as_ref(), upsample),
                device::window(&[(0, &x)], h, rows.clone(), scales.as_ref(), upsample),
            );
        }
    }

    #[test]
    fn channels_side_by_side(pixels in 1..20usize, [a, b] in prop::array::uniform2(1..40usize), whole: bool) {
        let Some(gpu) = gpu() else { return Ok(()) };
        let [a, b] = [a, b].map(|c| if whole { c.next_multiple_of(4) } else { c });
        for dtype in dtypes(&gpu) {
            let (a, b) = (tensor([2, 3, pixels, a], dtype, 1), tensor([2, 3, pixels, b], dtype, 2));
            let ours = concatenate(to(&a, &gpu, dtype), to(&b, &gpu, dtype));
            agree(&format!("{dtype:?}"), ours, device::concatenate(a, b));
        }
    }

    #[test]
    fn silu_alone(rows in 1..50usize, c in 1..50usize) {
        let Some(gpu) = gpu() else { return Ok(()) };
        for dtype in dtypes(&gpu) {
            let x = tensor([rows, c], dtype, 1) * 16;
            agree(&format!("{dtype:?}"), silu(to(&x, &gpu, dtype)), device::activate(x, Activation::Silu));
        }
    }
}
