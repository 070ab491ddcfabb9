//! The time of layers, or of a whole U-Net, by the types of arithmetic and of weights.
//!
//!     cargo run --release -p benches --bin types -- layers [ROUNDS] [NAME]
//!     cargo run --release -p benches --bin types -- CHECKPOINT SIDE ROUNDS KIND ...
//!
//! NAME is a part of the names of the layers that are wanted. A KIND is as DTYPE of `parts`: f32/f32 (arithmetic/weights), f32/f16,
//! bf16/auto, int8. Each round makes one call of every kind, so that a
//! busy machine is as busy for all; a ratio is the median over the rounds, of the process's CPU time on Linux, to the first kind's.
//! SDRS_ISA chooses the instruction set.

use std::path::Path;

use burn_tensor::{DType, Tensor, TensorData};
use half::{bf16, f16};
use sd_core::{
    Device, Dtype, Quantization, WeightDtype,
    checkpoint::Checkpoint,
    config::Part,
    models::{UNet, UnetInput},
    weights::Target,
};
use sd_kernels::{
    Conv2d, ConvExtras, ConvShape, Linear, Padding, Staging, Weight, WeightType, Workspace, to_f8_e4m3,
};

type Call = Box<dyn Fn()>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    println!(
        "instruction set: {}",
        sd_kernels::instruction_set()?.unwrap_or("none")
    );
    match args.first().map(String::as_str) {
        None => Err("usage: types layers [ROUNDS] [NAME] | types CHECKPOINT SIDE ROUNDS KIND ..".into()),
        Some("layers") => {
            let rounds = args.get(1).map_or(Ok(7), |rounds| rounds.parse())?;
            let wanted = args.get(2).map_or("", String::as_str);
            Workspace::default().enter(|| layers(rounds, wanted));
            Ok(())
        }
        Some(path) => networks(Path::new(path), &args[1..]),
    }
}

/// Median CPU seconds of each call, and of their ratios to the first one's.
fn timed(calls: &[(String, Call)], rounds: usize) -> Vec<(f64, f64)> {
    calls.iter().for_each(|(_, call)| call());
    let rounds: Vec<Vec<f64>> = (0..rounds)
        .map(|_| {
            let times = calls.iter().map(|(_, call)| {
                let before = cpu_seconds();
                call();
                cpu_seconds() - before
            });
            times.collect()
        })
        .collect();
    let median = |of: &dyn Fn(&Vec<f64>) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    (0..calls.len())
        .map(|i| (median(&|round| round[i]), median(&|round| round[i] / round[0])))
        .collect()
}

/// Seconds that this process's threads have run, to the nanosecond where Linux tells it.
fn cpu_seconds() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task");
    let times = tasks.into_iter().flatten().filter_map(|task| {
        let path = task.ok()?.path().join("schedstat");
        let text = std::fs::read_to_string(path).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    times.sum::<f64>() / 1e9
}

const OPTIONS: fn() -> (burn_tensor::Device, DType) = || (burn_tensor::Device::default(), DType::F32);

fn noise(len: usize) -> Vec<f32> {
    (0..len)
        .map(|i| ((i * 7919) % 2003) as f32 / 1000.0 - 1.0)
        .collect()
}

/// Weights in a type, for products in `f32`.
fn stored<const D: usize>(values: &[f32], shape: [usize; D], kind: WeightType) -> Weight<D> {
    let mut bytes = Staging::<u8>::new(kind.bytes(values.len()));
    match kind {
        WeightType::F32 => {
            return Tensor::from_data(TensorData::new(values.to_vec(), shape), &OPTIONS().0).into();
        }
        WeightType::F16 => {
            let out: &mut [f16] = bytemuck::cast_slice_mut(&mut bytes);
            out.iter_mut()
                .zip(values)
                .for_each(|(out, v)| *out = f16::from_f32(*v));
        }
        WeightType::Bf16 => {
            let out: &mut [bf16] = bytemuck::cast_slice_mut(&mut bytes);
            out.iter_mut()
                .zip(values)
                .for_each(|(out, v)| *out = bf16::from_f32(*v));
        }
        WeightType::F8E4M3 => bytes
            .iter_mut()
            .zip(values)
            .for_each(|(out, v)| *out = to_f8_e4m3(*v)),
        // Any bits will do, with scales that are numbers.
        _ => {
            let block = kind.bytes(32);
            for (i, out) in bytes.iter_mut().enumerate() {
                *out = match i % block {
                    1 => 0x20,
                    _ => (i * 31) as u8,
                };
            }
        }
    }
    Weight::narrow(kind, bytes, 1.0, shape, DType::F32)
}

fn layers(rounds: usize, wanted: &str) {
    let kinds = [
        WeightType::F32,
        WeightType::Bf16,
        WeightType::F16,
        WeightType::F8E4M3,
        WeightType::Q8_0,
        WeightType::Q4_0,
    ];
    let names = kinds.map(|kind| format!("{} (ms)", kind.name()));
    println!("| arithmetic in f32 | {} | int8 |", names.join(" | "));
    println!("|---{}", "|---".repeat(kinds.len() + 1) + "|");
    let row = |name: String, calls: Vec<(String, Call)>| {
        let cells = timed(&calls, rounds);
        let cells = cells.iter().map(|(seconds, ratio)| match seconds {
            // A type that such weights don't have.
            s if *s < 1e-7 => String::new(),
            s => format!("{:.2} ({ratio:.2})", 1e3 * s),
        });
        println!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
    };
    for (rows, input, output) in [
        (2, 1280, 1280),
        (154, 768, 768),
        (128, 1280, 1280),
        (512, 1280, 1280),
        (2048, 640, 640),
        (2048, 640, 5120),
        (8192, 320, 320),
    ] {
        let name = format!("linear, {rows} x {input} -> {output}");
        if !name.contains(wanted) {
            continue;
        }
        let x = Tensor::<2>::from_data(TensorData::new(noise(rows * input), [rows, input]), &OPTIONS().0);
        let values = noise(input * output);
        let call = |weight: Weight<2>, quantization| -> Call {
            let (layer, x) = (Linear::new(weight, None, quantization), x.clone());
            Box::new(move || drop(layer.forward(x.clone())))
        };
        let calls = kinds.iter().map(|&kind| {
            let weight = stored(&values, [output, input], kind);
            (kind.name().to_owned(), call(weight, Quantization::None))
        });
        let plain = stored(&values, [output, input], WeightType::F32);
        let int8 = ("int8".to_owned(), call(plain, Quantization::Int8));
        row(name, calls.chain([int8]).collect());
    }
    for (batch, side, input, output) in [
        (2, 64, 320, 320),
        (2, 32, 640, 640),
        (2, 16, 1280, 1280),
        (2, 8, 1280, 1280),
        (1, 128, 256, 256),
    ] {
        let name = format!("conv 3x3, {batch} x {side} x {side}, {input} -> {output}");
        if !name.contains(wanted) {
            continue;
        }
        let shape = [batch, side, side, input];
        let x = noise(shape.iter().product());
        let x = Tensor::<4>::from_data(TensorData::new(x, shape), &OPTIONS().0);
        let values = noise(9 * input * output);
        let call = |weight: Weight<4>, quantization| -> Call {
            let shape = ConvShape {
                stride: 1,
                padding: Padding::Even(1),
            };
            let (layer, x) = (Conv2d::new(weight, None, shape, quantization), x.clone());
            Box::new(move || drop(layer.forward(x.clone(), ConvExtras::default())))
        };
        let calls = kinds.iter().map(|&kind| {
            // Kernels have no rows of whole blocks.
            let call: Call = match kind {
                WeightType::Q8_0 | WeightType::Q4_0 => Box::new(|| ()),
                _ => call(stored(&values, [output, input, 3, 3], kind), Quantization::None),
            };
            (kind.name().to_owned(), call)
        });
        let plain = stored(&values, [output, input, 3, 3], WeightType::F32);
        let int8 = ("int8".to_owned(), call(plain, Quantization::Int8));
        row(name, calls.chain([int8]).collect());
    }
}

fn networks(path: &Path, args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let number = |i: usize, default: usize| args.get(i).map_or(Ok(default), |arg| arg.parse::<usize>());
    let (side, rounds) = (number(0, 512)?, number(1, 3)?);
    let checkpoint = Checkpoint::open(path)?;
    let config = checkpoint.configs().unet.clone();
    let latent = side / checkpoint.configs().vae.downscale();
    let mut calls: Vec<(String, Call)> = Vec::new();
    let workspace = Workspace::default();
    for kind in args.iter().skip(2) {
        let (arithmetic, weights) = kind.split_once('/').unwrap_or((kind, "auto"));
        let weights =
            WeightDtype::from_name(weights).ok_or("KIND: weights are auto, f32, bf16, f16 or f8")?;
        let arithmetic = match arithmetic {
            "auto" | "int8" => None,
            name => Some(Dtype::from_name(name).ok_or("KIND: auto, f32, bf16 or int8")?),
        };
        let mut target = Target::chosen(Device::from_name("cpu")?, arithmetic, weights);
        if kind.starts_with("int8") {
            target.quantization = Quantization::Int8;
        }
        let unet = UNet::load(&config, checkpoint.weights(Part::Unet), &target)?;
        let shaped = |shape: &[usize]| TensorData::new(noise(shape.iter().product()), shape.to_vec());
        let x = Tensor::<4>::from_data(shaped(&[2, config.in_channels, latent, latent]), &OPTIONS().0);
        let context = Tensor::<3>::from_data(shaped(&[2, 77, config.cross_attention_dim]), &OPTIONS().0);
        let added = config.added_width;
        let added = added.map(|width| Tensor::<2>::from_data(shaped(&[2, width]), &OPTIONS().0));
        let workspace = workspace.clone();
        let call = move || {
            let mut input = UnetInput::new(x.clone(), &[500.0; 2], context.clone());
            input.added.clone_from(&added);
            workspace.enter(|| drop(unet.forward(&input)));
        };
        calls.push((kind.clone(), Box::new(call)));
    }
    println!("| U-Net, {side} x {side} | CPU seconds | ratio |\n|---|---|---|");
    for ((kind, _), (seconds, ratio)) in calls.iter().zip(timed(&calls, rounds)) {
        println!("| {kind} | {seconds:.2} | {ratio:.3} |");
    }
    Ok(())
}
