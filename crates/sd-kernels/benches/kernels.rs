//! Every kernel at the shapes that SD1.5 (512x512) and SDXL (1024x1024) have, beside Burn's own operations and the machine's roof.
//!
//!     cargo bench -p sd-kernels                 everything
//!     cargo bench -p sd-kernels -- bf16/conv    what contains this
//!     ROOF=1 cargo bench -p sd-kernels          a table of rates and shares of the roof instead, without the statistics
//!
//! Throughput is in floating-point operations a second (criterion's "elements"), for normalisations in bytes read and written.

use std::{hint::black_box, time::Instant};

use burn_tensor::{DType, Device, Distribution, Tensor, activation, module, ops::ConvOptions};
use criterion::{Criterion, Throughput};
use sd_kernels::{
    Activation, Conv2d, ConvExtras, ConvShape, GroupNorm, LayerNorm, Linear, Padding, Quantization,
    Workspace, attention,
    roof::{self, Numbers},
};

/// A case: its name, its amount of work, our function, and the same by Burn's own operations.
struct Case {
    name: String,
    amount: Throughput,
    ours: Box<dyn Fn()>,
    burn: Box<dyn Fn()>,
}

fn dtype(numbers: Numbers) -> DType {
    match numbers {
        Numbers::F32 => DType::F32,
        Numbers::Bf16 | Numbers::Int8 => DType::BF16,
    }
}

fn quantization(numbers: Numbers) -> Quantization {
    match numbers {
        Numbers::Int8 => Quantization::Int8,
        _ => Quantization::None,
    }
}

fn random<const D: usize>(shape: [usize; D], dtype: DType) -> Tensor<D> {
    Tensor::<D>::random(
        shape,
        Distribution::Uniform(-1.0, 1.0),
        (&Device::default(), DType::F32),
    )
    .cast(dtype)
}

/// Doing without the result: Burn's CPU backend puts nothing off.
fn done<const D: usize>(tensor: Tensor<D>) {
    black_box(tensor);
}

fn conv([batch, side, input, output]: [usize; 4], kernel: usize, stride: usize, numbers: Numbers) -> Case {
    let (dtype, quantization) = (dtype(numbers), quantization(numbers));
    let x = random([batch, side, side, input], dtype);
    let weight = random([output, input, kernel, kernel], dtype);
    let bias = random([output], dtype);
    let padding = kernel / 2;
    let shape = ConvShape {
        stride,
        padding: Padding::Even(padding),
    };
    let layer = Conv2d::new(weight.clone(), Some(bias.clone()), shape, quantization);
    let nchw = x.clone().permute([0, 3, 1, 2]);
    let options = ConvOptions::new([stride; 2], [padding; 2], [1, 1], 1);
    let out = side / stride;
    Case {
        name: format!("conv {kernel}x{kernel}/{stride}, {batch} x {side} x {side}, {input} -> {output}"),
        amount: Throughput::Elements((2 * batch * out * out * input * output * kernel * kernel) as u64),
        ours: Box::new(move || done(layer.forward(x.clone(), ConvExtras::default()))),
        burn: Box::new(move || {
            done(module::conv2d(
                nchw.clone(),
                weight.clone(),
                Some(bias.clone()),
                options.clone(),
            ));
        }),
    }
}

fn linear(rows: usize, input: usize, output: usize, gated: bool, numbers: Numbers) -> Case {
    let (dtype, quantization) = (dtype(numbers), quantization(numbers));
    let x = random([rows, input], dtype);
    let outputs = if gated { 2 * output } else { output };
    let (weight, bias) = (random([outputs, input], dtype), random([outputs], dtype));
    let layer = match gated {
        true => Linear::gated(weight.clone(), Some(bias.clone()), quantization),
        false => Linear::new(weight.clone(), Some(bias.clone()), quantization),
    };
    let rows_in = x.clone();
    Case {
        name: format!(
            "linear{}, {rows} x {input} -> {output}",
            if gated { ", GEGLU" } else { "" }
        ),
        amount: Throughput::Elements((2 * rows * input * outputs) as u64),
        ours: Box::new(move || done(layer.forward_then(x.clone(), Activation::None))),
        burn: Box::new(move || {
            let y = rows_in.clone().matmul(weight.clone().transpose()) + bias.clone().unsqueeze();
            done(match gated {
                true => {
                    let halves = y.chunk(2, 1);
                    halves[0].clone() * activation::gelu(halves[1].clone())
                }
                false => y,
            });
        }),
    }
}

fn attend(batch: usize, n: usize, m: usize, heads: usize, d: usize, dtype: DType) -> Case {
    let (q, k) = (
        random([batch, n, heads * d], dtype),
        random([batch, m, heads * d], dtype),
    );
    let v = k.clone();
    let split = move |x: &Tensor<3>, rows: usize| x.clone().reshape([batch, rows, heads, d]).swap_dims(1, 2);
    let (heads_q, heads_k, heads_v) = (split(&q, n), split(&k, m), split(&v, m));
    Case {
        name: format!("attention, {batch} x {n} x {m}, {heads} heads of {d}"),
        amount: Throughput::Elements((4 * batch * n * m * heads * d) as u64),
        ours: Box::new(move || done(attention(q.clone(), k.clone(), v.clone(), heads, false))),
        burn: Box::new(move || {
            let scores = heads_q.clone().matmul(heads_k.clone().transpose()) / (d as f64).sqrt();
            done(activation::softmax(scores, 3).matmul(heads_v.clone()));
        }),
    }
}

fn group_norm([batch, side, channels]: [usize; 3], dtype: DType) -> Case {
    let x = random([batch, side, side, channels], dtype);
    let (gamma, beta) = (random([channels], DType::F32), random([channels], DType::F32));
    let layer = GroupNorm::new(gamma.clone(), beta.clone(), 32, 1e-5);
    let grouped = x
        .clone()
        .cast(DType::F32)
        .reshape([batch, side * side, 32, channels / 32]);
    Case {
        name: format!("group norm and silu, {batch} x {side} x {side} x {channels}"),
        amount: Throughput::Bytes((2 * batch * side * side * channels * dtype.size()) as u64),
        ours: Box::new(move || done(layer.forward_silu(x.clone()))),
        burn: Box::new(move || {
            let mean = grouped.clone().mean_dim(1).mean_dim(3);
            let x = grouped.clone() - mean;
            let variance = x.clone().square().mean_dim(1).mean_dim(3);
            let x = (x / (variance + 1e-5).sqrt()).reshape([batch, side, side, channels]);
            done(activation::silu(
                x * gamma.clone().unsqueeze() + beta.clone().unsqueeze(),
            ));
        }),
    }
}

fn layer_norm(rows: usize, channels: usize, dtype: DType) -> Case {
    let x = random([rows, channels], dtype);
    let (gamma, beta) = (random([channels], DType::F32), random([channels], DType::F32));
    let layer = LayerNorm::new(gamma.clone(), beta.clone(), 1e-5);
    let wide = x.clone().cast(DType::F32);
    Case {
        name: format!("layer norm, {rows} x {channels}"),
        amount: Throughput::Bytes((2 * rows * channels * dtype.size()) as u64),
        ours: Box::new(move || done(layer.forward(x.clone()))),
        burn: Box::new(move || {
            let x = wide.clone() - wide.clone().mean_dim(1);
            let variance = x.clone().square().mean_dim(1);
            done(x / (variance + 1e-5).sqrt() * gamma.clone().unsqueeze() + beta.clone().unsqueeze());
        }),
    }
}

/// The shapes: SD1.5's levels, its VAE's, then what SDXL has beside them.
fn cases(numbers: Numbers) -> Vec<Box<dyn Fn() -> Case>> {
    let mut cases: Vec<Box<dyn Fn() -> Case>> = Vec::new();
    for shape in [
        [2, 64, 320, 320],
        [2, 32, 640, 640],
        [2, 16, 1280, 1280],
        [2, 8, 1280, 1280],
        [1, 64, 512, 512],
        [1, 256, 256, 256],
        [1, 512, 128, 128],
        [2, 128, 320, 320],
        [2, 64, 640, 640],
        [2, 32, 1280, 1280],
    ] {
        cases.push(Box::new(move || conv(shape, 3, 1, numbers)));
    }
    cases.push(Box::new(move || conv([2, 64, 320, 320], 3, 2, numbers)));
    cases.push(Box::new(move || conv([2, 64, 640, 320], 1, 1, numbers)));
    for (rows, input, output, gated) in [
        (8192, 320, 320, false),
        (8192, 320, 1280, true),
        (8192, 1280, 320, false),
        (2048, 640, 640, false),
        (512, 1280, 1280, false),
        (512, 1280, 5120, true),
        (8192, 640, 640, false),
        (2048, 1280, 5120, true),
    ] {
        cases.push(Box::new(move || linear(rows, input, output, gated, numbers)));
    }
    if numbers == Numbers::Int8 {
        // Nothing else is computed in bytes.
        return cases;
    }
    let dtype = dtype(numbers);
    for (batch, n, m, heads, d) in [
        (2, 4096, 4096, 8, 40),
        (2, 4096, 77, 8, 40),
        (2, 1024, 1024, 8, 80),
        (2, 256, 256, 8, 160),
        (1, 4096, 4096, 1, 512),
        (2, 4096, 4096, 10, 64),
        (2, 1024, 1024, 20, 64),
    ] {
        cases.push(Box::new(move || attend(batch, n, m, heads, d, dtype)));
    }
    for shape in [[2, 64, 320], [2, 16, 1280], [1, 512, 128], [2, 128, 320]] {
        cases.push(Box::new(move || group_norm(shape, dtype)));
    }
    cases.push(Box::new(move || layer_norm(8192, 320, dtype)));
    cases.push(Box::new(move || layer_norm(2048, 1280, dtype)));
    cases
}

/// Median seconds of a few calls after one that warms up.
fn seconds(work: &dyn Fn(), calls: usize) -> f64 {
    work();
    let mut times: Vec<f64> = (0..calls)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[calls / 2]
}

/// A row for each kernel: its time, its rate, its share of the roof, and how many times as long Burn's own operations take.
fn table() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let memory = roof::memory() * threads;
    for numbers in [Numbers::F32, Numbers::Bf16, Numbers::Int8] {
        let arithmetic = roof::arithmetic(numbers) * threads;
        println!(
            "\n{numbers:?}: roof {:.0} GFLOP/s, {:.0} GB/s\n\n| kernel | ms | rate | of the roof | Burn / sdrs |\n|---|---|---|---|---|",
            arithmetic / 1e9,
            memory / 1e9
        );
        for case in cases(numbers) {
            let case = case();
            let (ours, burn) = (seconds(&*case.ours, 9), seconds(&*case.burn, 1));
            let (amount, unit, roof) = match case.amount {
                Throughput::Bytes(bytes) => (bytes as f64, "GB/s", memory),
                Throughput::Elements(flops) => (flops as f64, "GFLOP/s", arithmetic),
                _ => continue,
            };
            println!(
                "| {} | {:.2} | {:.0} {unit} | {:.0}% | {:.1} |",
                case.name,
                1e3 * ours,
                amount / ours / 1e9,
                100.0 * amount / ours / roof,
                burn / ours
            );
        }
    }
}

fn main() {
    let workspace = Workspace::default();
    workspace.enter(|| {
        if std::env::var_os("ROOF").is_some() {
            return table();
        }
        let mut criterion = Criterion::default().sample_size(10).configure_from_args();
        for (numbers, name) in [
            (Numbers::F32, "f32"),
            (Numbers::Bf16, "bf16"),
            (Numbers::Int8, "int8"),
        ] {
            for case in cases(numbers) {
                let case = case();
                let mut group = criterion.benchmark_group(format!("{name}/{}", case.name));
                group.throughput(case.amount.clone());
                group.bench_function("sdrs", |b| b.iter(&case.ours));
                group.bench_function("burn", |b| b.iter(&case.burn));
                group.finish();
            }
        }
        criterion.final_summary();
    });
}
