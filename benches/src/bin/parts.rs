//! Seconds of each network of a checkpoint by itself, on the CPU: what `benches/peers.py` does with other programs.
//!
//!     cargo run --release -p benches --bin parts -- CHECKPOINT [DTYPE] [SIDE] [REPEAT] [PARTS] [profile]
//!
//! DTYPE is auto, f32, bf16, or int8, a quantized U-Net with the other networks in what auto is; f32/f16, say, also names the type
//! that weights are kept in (otherwise that of their files). One U-Net call of batch 2 (cond and uncond), one picture decoded, two prompts encoded. PARTS are
//! text, text2 (SDXL's second text encoder), unet, vae and encode (the autoencoder's other half, of a picture). A JSON line for each; with `profile` also what each operation took.

use std::{path::Path, time::Instant};

use burn_tensor::{DType, Tensor, TensorData};
use sd_core::{
    Device, Dtype, Quantization, WeightDtype,
    checkpoint::Checkpoint,
    config::Part,
    models::{ClipTextModel, UNet, UnetInput, Vae},
    weights::Target,
};
use sd_kernels::Workspace;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |i: usize, default: &str| args.get(i).cloned().unwrap_or_else(|| default.to_owned());
    let path = arg(0, "");
    let dtype = arg(1, "bf16");
    let (side, repeat): (usize, usize) = (arg(2, "512").parse()?, arg(3, "3").parse()?);
    let parts = arg(4, "text,unet,vae");
    let profile = args.last().is_some_and(|last| last == "profile");
    let (arithmetic, weights) = dtype.split_once('/').unwrap_or((&dtype, "auto"));
    let weights = WeightDtype::from_name(weights).ok_or("DTYPE: weights are auto, f32, bf16, f16 or f8")?;
    let arithmetic = match arithmetic {
        "auto" | "int8" => None,
        name => Some(Dtype::from_name(name).ok_or("DTYPE: auto, f32, bf16 or int8")?),
    };
    let mut target = Target::chosen(Device::from_name("cpu")?, arithmetic, weights);
    if dtype.starts_with("int8") {
        target.quantization = Quantization::Int8;
    }
    let checkpoint = Checkpoint::open(Path::new(&path))?;
    let configs = checkpoint.configs().clone();
    let latent = side / configs.vae.downscale();
    let random = |shape: &[usize]| {
        // Any numbers will do, as long as they are about as large as latents.
        let values = (0..shape.iter().product::<usize>()).map(|i| ((i * 7919) % 2003) as f32 / 1000.0 - 1.0);
        TensorData::new(values.collect::<Vec<_>>(), shape.to_vec())
    };
    let options = (target.device.burn(), DType::F32);
    for part in parts.split(',') {
        let start = Instant::now();
        let run: Box<dyn Fn() -> usize> = match part {
            "text" | "text2" => {
                let which = match part {
                    "text" => Part::TextEncoder,
                    _ => Part::TextEncoder2,
                };
                let config = configs.text_encoders.get(&which).ok_or("no such text encoder")?;
                let model = ClipTextModel::load(config, checkpoint.weights(which), &target)?;
                let rows: Vec<Vec<u32>> = (0..2)
                    .map(|row| (0..77).map(|i| 99 * i + row).collect())
                    .collect();
                Box::new(move || model.hidden_states(&rows, &[]).map_or(0, |states| states.len()))
            }
            "unet" => {
                let model = UNet::load(&configs.unet, checkpoint.weights(Part::Unet), &target)?;
                let x =
                    Tensor::<4>::from_data(random(&[2, configs.unet.in_channels, latent, latent]), options);
                let context = random(&[2, 77, configs.unet.cross_attention_dim]);
                let context = Tensor::<3>::from_data(context, options);
                let added = configs.unet.added_width;
                let added = added.map(|width| Tensor::<2>::from_data(random(&[2, width]), options));
                Box::new(move || {
                    let mut input = UnetInput::new(x.clone(), &[500.0; 2], context.clone());
                    input.added.clone_from(&added);
                    let output = model.forward(&input);
                    output.map_or(0, |output| output.into_data().bytes().len())
                })
            }
            "encode" => {
                let model = Vae::load(&configs.vae, checkpoint.weights(Part::Vae), &target)?;
                let picture = random(&[1, configs.vae.in_channels, side, side]);
                let picture = Tensor::<4>::from_data(picture, options);
                Box::new(move || {
                    let moments = model.encode(picture.clone());
                    moments.map_or(0, |moments| moments.mean.into_data().bytes().len())
                })
            }
            _ => {
                let model = Vae::load(&configs.vae, checkpoint.weights(Part::Vae), &target)?;
                let z = random(&[1, configs.vae.latent_channels, latent, latent]);
                let z = Tensor::<4>::from_data(z, options);
                Box::new(move || {
                    model
                        .decode(z.clone())
                        .map_or(0, |output| output.into_data().bytes().len())
                })
            }
        };
        let load = start.elapsed().as_secs_f64();
        let warm = Workspace::default();
        warm.enter(&run);
        drop(warm);
        let workspace = if profile {
            Workspace::with_account()
        } else {
            Workspace::default()
        };
        let mut seconds: Vec<f64> = (0..repeat)
            .map(|_| {
                let start = Instant::now();
                workspace.enter(&run);
                start.elapsed().as_secs_f64()
            })
            .collect();
        let total: f64 = seconds.iter().sum();
        seconds.sort_by(f64::total_cmp);
        let (best, median) = (seconds[0], seconds[seconds.len() / 2]);
        let threads = rayon::current_num_threads();
        println!(
            r#"{{"part": "{part}", "program": "sdrs", "dtype": "{dtype}", "size": {side}, "threads": {threads}, "load_s": {load:.2}, "median_s": {median:.3}, "best_s": {best:.3}, "workspace_gb": {:.3}, "peak_gb": {:.2}}}"#,
            workspace.peak_bytes() as f64 / 1e9,
            peak_memory()
        );
        let account = workspace.account();
        let accounted: f64 = account.iter().map(|entry| entry.time.as_secs_f64()).sum();
        for entry in account.iter().take(40) {
            let time = entry.time.as_secs_f64();
            println!(
                "{:>9.2} ms {:5.1}% {:4} {:>7.0} GFLOP/s  {} {}",
                1e3 * time / repeat as f64,
                100.0 * time / total,
                entry.calls / repeat,
                entry.flops / time / 1e9,
                entry.operation,
                entry.shape
            );
        }
        if profile {
            println!(
                "{:>9.2} ms between them",
                1e3 * (total - accounted) / repeat as f64
            );
        }
    }
    Ok(())
}

/// The most memory this process had resident so far, in GB; 0 where the system doesn't say.
fn peak_memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) * 1024.0 / 1e9
}
