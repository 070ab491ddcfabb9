//! Layers of the CPU against layers of devices, over odd shapes and all types that there are kernels for.

use burn_tensor::{DType, Device, Tensor, TensorData};
use proptest::prelude::*;

use crate::{
    Activation, Axes, ConvExtras, ConvShape, Padding, Quantization, device, host, memory::staging::floats,
};

/// Numbers between -1/2 and 1/2 that follow from `seed`, as the type has them.
pub(crate) fn tensor<const D: usize>(shape: [usize; D], dtype: DType, seed: u32) -> Tensor<D> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
    let device = (&Device::flex(), DType::F32);
    Tensor::<D>::from_data(TensorData::new(values, shape), device).cast(dtype)
}

/// Values differ by 2e-5, or in `bf16` by two units in the last place, of what results that have grown may be.
fn same<const D: usize>(host: Tensor<D>, device: Tensor<D>) -> Result<(), TestCaseError> {
    prop_assert_eq!((host.dims(), host.dtype()), (device.dims(), device.dtype()));
    let unit = if host.dtype() == DType::F32 { 2e-5 } else { 1.6e-2 };
    for (a, b) in floats(host).into_iter().zip(floats(device)) {
        prop_assert!((a - b).abs() <= unit * b.abs().max(1.0), "{} and {}", a, b);
    }
    Ok(())
}

fn dtype() -> impl Strategy<Value = DType> {
    prop_oneof![Just(DType::F32), Just(DType::BF16)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn linear_layers(dtype in dtype(), rows in 1..40usize, input in 1..70usize, output in 1..50usize, gated: bool, biased: bool) {
        let all = if gated { 2 * output } else { output };
        let weight = tensor([all, input], dtype, 1);
        let bias = biased.then(|| tensor([all], dtype, 2));
        let (x, residual) = (tensor([2, rows, input], dtype, 3), tensor([2, rows, output], dtype, 4));
        let none = Quantization::None;
        let ours = host::Linear::new(weight.clone().into(), bias.clone(), gated, none);
        let theirs = device::Linear::new(weight.into(), bias, gated, none);
        let activations = match gated {
            true => &[Activation::None][..],
            false => &[Activation::None, Activation::Silu, Activation::Gelu, Activation::QuickGelu],
        };
        for &activation in activations {
            same(ours.forward(x.clone(), activation, None), theirs.forward(x.clone(), activation, None))?;
            let residual = Some(residual.clone());
            same(ours.forward(x.clone(), activation, residual.clone()), theirs.forward(x.clone(), activation, residual))?;
        }
    }

    #[test]
    fn convolutions(
        dtype in dtype(),
        [height, width] in prop::array::uniform2(3..24usize),
        [input, output] in prop::array::uniform2(1..40usize),
        kernel in prop_oneof![Just(1), Just(3)],
        stride in 1..3usize,
        even: bool,
        upsample: bool,
        slopes_too: bool,
        [rows, columns] in prop::array::uniform2(any::<bool>()),
    ) {
        let padding = if even { Padding::Even(kernel / 2) } else { Padding::RightBottom };
        let shape = ConvShape { stride, padding };
        let weight = tensor([output, input, kernel, kernel], dtype, 1);
        let (bias, none) = (Some(tensor([output], dtype, 2)), Quantization::None);
        let ours = host::Conv2d::new(weight.clone().into(), bias.clone(), shape, none);
        let theirs = device::Conv2d::new(weight.into(), bias, shape, none);
        let slopes = tensor([output], dtype, 5);
        let (ours, theirs) = match slopes_too {
            true => (ours.with_slopes(slopes.clone()), theirs.with_slopes(slopes)),
            false => (ours, theirs),
        };
        let x = tensor([2, height, width, input], dtype, 3);
        let extras = || ConvExtras {
            upsample: upsample.then_some([2 * height - 1, 2 * width]),
            image_bias: Some(tensor([2, output], dtype, 4)),
            bordered: Axes { rows, columns },
            ..ConvExtras::default()
        };
        same(ours.forward(x.clone(), extras()), theirs.forward(x, extras()))?;
    }

    #[test]
    fn normalisations(dtype in dtype(), pixels in prop::array::uniform2(1..12usize), size in 1..9usize, silu: bool) {
        let (groups, [h, w]) = (4, pixels);
        let c = groups * size;
        let (gamma, beta) = (tensor([c], dtype, 1), tensor([c], dtype, 2));
        let x = tensor([2, h, w, c], dtype, 3);
        let ours = host::GroupNorm::new(gamma.clone(), beta.clone(), groups, 1e-5);
        let theirs = device::GroupNorm::new(gamma.clone(), beta.clone(), groups, 1e-5);
        same(ours.forward(x.clone(), silu), theirs.forward(x.clone(), silu))?;
        let band = x.clone().narrow(0, 0, 1);
        let bands = [(0, &band)];
        let (ours, theirs) = (ours.scales(&[&band]), theirs.scales(&[&band]));
        let rows = -1..h as isize + 1;
        same(
            host::window(&bands, h, rows.clone(), Some(&ours), false),
            device::window(&bands, h, rows, Some(&theirs), false),
        )?;
        let ours = host::LayerNorm::new(gamma.clone(), beta.clone(), 1e-5);
        let theirs = device::LayerNorm::new(gamma, beta, 1e-5);
        same(ours.forward(x.clone()), theirs.forward(x))?;
    }

    #[test]
    fn operations(dtype in dtype(), n in 1..80usize, m in 1..80usize, d in 1..50usize, causal: bool) {
        let m = if causal { n + m } else { m };
        let (q, k, v) = (tensor([2, n, 2 * d], dtype, 1), tensor([2, m, 2 * d], dtype, 2), tensor([2, m, 2 * d], dtype, 3));
        same(
            host::attention(q.clone(), k.clone(), v.clone(), 2, causal),
            device::attention(q, k, v, 2, causal),
        )?;
        let (a, b) = (tensor([1, n, 2, d], dtype, 4), tensor([1, n, 2, m], dtype, 5));
        same(host::concatenate(a.clone(), b.clone()), device::concatenate(a, b))?;
    }
}
