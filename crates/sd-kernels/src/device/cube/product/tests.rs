//! Linear layers and convolutions against Burn's operations in `f32` on the CPU.

use burn_tensor::Tensor;

use crate::{
    Activation, Axes, ConvExtras, ConvShape, Padding,
    device::{
        self,
        cube::{
            Conv2d, Linear,
            tests::{dtypes, gpu, same, tensor, to},
        },
    },
};

fn check<const D: usize>(what: &str, ours: Tensor<D>, reference: Tensor<D>) {
    same(ours, reference).unwrap_or_else(|fault| panic!("{what}: {fault}"));
}

/// A software driver compiles each kernel for seconds, so shapes are few: what lies whole in tiles, edges in every direction, rows of one
/// and two values, a depth in parts, and few rows.
#[test]
fn linear_layers() {
    let Some(gpu) = gpu() else { return };
    for dtype in dtypes(&gpu) {
        for (rows, input, output, gated, activation, extras) in [
            (64, 32, 64, false, Activation::None, false),
            (37, 45, 99, false, Activation::Gelu, true),
            (3, 70, 50, false, Activation::Silu, true),
            (5, 8, 132, false, Activation::QuickGelu, false),
            (40, 1100, 36, false, Activation::None, true),
            (50, 20, 44, true, Activation::None, true),
            (20, 600, 40, true, Activation::None, false),
        ] {
            let all = if gated { 2 * output } else { output };
            let weight = tensor([all, input], dtype, 1);
            let bias = extras.then(|| tensor([all], dtype, 2));
            let x = tensor([2, rows, input], dtype, 3);
            let residual = extras.then(|| tensor([2, rows, output], dtype, 4));
            let reference = device::linear::Composed::new(weight.clone(), bias.clone(), gated);
            let bias = bias.map(|bias| to(&bias, &gpu, dtype));
            let ours = Linear::new(to(&weight, &gpu, dtype), bias, gated);
            let on_gpu = residual.as_ref().map(|residual| to(residual, &gpu, dtype));
            let what = format!("{dtype:?} linear {rows} x {input} -> {output}, {activation:?}");
            let ours = ours.forward(to(&x, &gpu, dtype), activation, on_gpu);
            check(&what, ours, reference.forward(x, activation, residual));
        }
    }
}

#[test]
fn convolutions() {
    let Some(gpu) = gpu() else { return };
    let (even, bottom) = (|n| Padding::Even(n), Padding::RightBottom);
    for dtype in dtypes(&gpu) {
        for ([height, width], [input, output], kernel, stride, padding, upsample, bordered, extras) in [
            ([8, 8], [32, 64], 3, 1, even(1), false, [false, false], false),
            ([9, 7], [20, 68], 3, 1, even(1), false, [true, false], true),
            ([10, 11], [6, 3], 3, 2, bottom, false, [false, false], true),
            ([5, 6], [4, 12], 3, 1, even(1), true, [false, true], false),
            ([6, 5], [7, 10], 1, 1, even(0), false, [false, false], true),
            ([7, 7], [8, 8], 1, 2, bottom, true, [false, false], false),
            ([4, 4], [130, 16], 3, 1, even(1), false, [false, false], true),
        ] {
            let shape = ConvShape { stride, padding };
            let weight = tensor([output, input, kernel, kernel], dtype, 1);
            let (bias, slopes) = (tensor([output], dtype, 2), tensor([output], dtype, 5));
            let reference = device::conv::Composed::new(weight.clone(), Some(bias.clone()), shape);
            let ours = Conv2d::new(to(&weight, &gpu, dtype), Some(to(&bias, &gpu, dtype)), shape);
            let (reference, ours) = match extras {
                true => (
                    reference.with_slopes(slopes.clone()),
                    ours.with_slopes(to(&slopes, &gpu, dtype)),
                ),
                false => (reference, ours),
            };
            let x = tensor([2, height, width, input], dtype, 3);
            let image_bias = extras.then(|| tensor([2, output], dtype, 4));
            let with = |image_bias, residual| ConvExtras {
                upsample: upsample.then_some([2 * height - 1, 2 * width]),
                image_bias,
                residual,
                bordered: Axes {
                    rows: bordered[0],
                    columns: bordered[1],
                },
                ..ConvExtras::default()
            };
            let plain = reference.forward(x.clone(), with(image_bias.clone(), None));
            let residual = extras.then(|| tensor(plain.dims(), dtype, 6));
            let on_gpu = with(
                image_bias.as_ref().map(|x| to(x, &gpu, dtype)),
                residual.as_ref().map(|x| to(x, &gpu, dtype)),
            );
            let what =
                format!("{dtype:?} conv {kernel}x{kernel}/{stride}, {height} x {width}, {input} -> {output}");
            let ours = ours.forward(to(&x, &gpu, dtype), on_gpu);
            check(&what, ours, reference.forward(x, with(image_bias, residual)));
        }
    }
}

/// Times of kernels and of Burn's operations on this machine's device, in milliseconds:
/// `cargo test --release -p sd-kernels --features vulkan -- --ignored --nocapture times`.
#[test]
#[ignore = "a measurement"]
fn times() {
    let Some(gpu) = gpu() else { return };
    let time = |run: &dyn Fn() -> Tensor<1>| {
        let wait = || gpu.sync().expect("the device computes");
        // The first call compiles.
        drop(run());
        wait();
        let times = (0..3).map(|_| {
            let start = std::time::Instant::now();
            drop(run());
            wait();
            start.elapsed().as_secs_f64() * 1e3
        });
        times.fold(f64::INFINITY, f64::min)
    };
    let on_gpu = |n: usize, dtype, seed| to(&tensor([n], dtype, seed), &gpu, dtype);
    for dtype in dtypes(&gpu) {
        for [rows, input, output] in [
            [1024, 320, 320],
            [256, 640, 5120],
            [154, 768, 640],
            [2, 1280, 1280],
        ] {
            let weight = on_gpu(output * input, dtype, 1).reshape([output, input]);
            let (bias, x) = (
                on_gpu(output, dtype, 2),
                on_gpu(rows * input, dtype, 3).reshape([rows, input]),
            );
            let ours = Linear::new(weight.clone(), Some(bias.clone()), false);
            let theirs = device::linear::Composed::new(weight, Some(bias), false);
            let none = Activation::None;
            let ours = time(&|| ours.forward(x.clone(), none, None).flatten(0, 1));
            let theirs = time(&|| theirs.forward(x.clone(), none, None).flatten(0, 1));
            println!("{dtype:?} linear {rows} x {input} -> {output}: {ours:.1}, composed {theirs:.1}");
        }
        for [side, input, output] in [[32, 320, 320], [16, 640, 640], [8, 1280, 1280], [64, 64, 64]] {
            let shape = ConvShape {
                stride: 1,
                padding: Padding::Even(1),
            };
            let weight = on_gpu(output * input * 9, dtype, 1).reshape([output, input, 3, 3]);
            let bias = on_gpu(output, dtype, 2);
            let x = on_gpu(side * side * input, dtype, 3).reshape([1, side, side, input]);
            let ours = Conv2d::new(weight.clone(), Some(bias.clone()), shape);
            let theirs = device::conv::Composed::new(weight, Some(bias), shape);
            let ours = time(&|| ours.forward(x.clone(), ConvExtras::default()).flatten(0, 3));
            let theirs = time(&|| theirs.forward(x.clone(), ConvExtras::default()).flatten(0, 3));
            println!(
                "{dtype:?} conv 3x3 {side} x {side}, {input} -> {output}: {ours:.1}, composed {theirs:.1}"
            );
        }
    }
}

/// Models are built of single numbers when their files are only looked at.
#[test]
fn layers_can_be_made_of_single_numbers() {
    let Some(gpu) = gpu() else { return };
    for gated in [false, true] {
        let bias = Tensor::<1>::zeros([1], &gpu);
        Linear::new(bias.clone().reshape([1, 1]), Some(bias), gated);
    }
}
