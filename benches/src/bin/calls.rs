//! The time of a call of the U-Net with parts of it left out, against a whole one, and the distance of its output from the whole one's.
//!
//!     cargo run --release -p benches --bin calls -- CHECKPOINT [DTYPE] [SIDE] [REPEAT]
//!
//! Batch 2 (cond and uncond), on the CPU. Each round makes one call of every kind, so that a busy machine is as busy for all; the ratio is
//! the median over the rounds, of the process's CPU time on Linux.

use std::{path::Path, sync::LazyLock, time::Instant};

use burn_tensor::{DType, Tensor, TensorData};
use sd_core::{
    Device, Dtype, Quantization,
    checkpoint::Checkpoint,
    config::Part,
    models::{DeepCache, MergedParts, UNet, UnetInput},
    weights::Target,
};
use sd_kernels::Workspace;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |i: usize, default: &str| args.get(i).cloned().unwrap_or_else(|| default.to_owned());
    let (path, dtype) = (arg(0, ""), arg(1, "bf16"));
    let (side, repeat): (usize, usize) = (arg(2, "512").parse()?, arg(3, "5").parse()?);
    let target = Target::new(
        Device::from_name("cpu")?,
        Dtype::from_name(&dtype).ok_or("DTYPE: f32, bf16 or f16")?,
    );
    let checkpoint = Checkpoint::open(Path::new(&path))?;
    let configs = checkpoint.configs().clone();
    let load = |target: &Target| UNet::load(&configs.unet, checkpoint.weights(Part::Unet), target);
    let (unet, quantized) = (
        load(&target)?,
        load(&Target {
            quantization: Quantization::Int8,
            ..target.clone()
        })?,
    );
    let (latent, channels) = (side / configs.vae.downscale(), configs.unet.in_channels);
    let options = (target.device.burn(), DType::F32);
    let x = |seed| Tensor::<4>::from_data(picture(seed, channels, latent), options);
    let context = (0..2 * 77 * configs.unet.cross_attention_dim).map(|i| noise(i as u32));
    let context = TensorData::new(
        context.collect::<Vec<_>>(),
        [2, 77, configs.unet.cross_attention_dim],
    );
    let context = Tensor::<3>::from_data(context, options);
    let (text, quantized_text, alone) = (
        unet.cross_attention_cache(context.clone())?,
        quantized.cross_attention_cache(context.clone())?,
        unet.cross_attention_cache(context.clone().narrow(0, 0, 1))?,
    );

    let (unet, quantized, text, quantized_text) = (&unet, &quantized, &text, &quantized_text);
    // What is reused comes from the step before, whose input is nearly the same. As runs have it, one row of latents serves both texts.
    let before = (x(1) * 0.98 + x(2) * 0.02).narrow(0, 0, 1);
    let before = UnetInput::new(before, &[520.0], text);
    let reused = |branch| -> sd_core::Result<DeepCache> {
        let output = unet.forward_cached(&before, &DeepCache::Keep { branch })?;
        Ok(output.deep.map_or(DeepCache::Off, DeepCache::Reuse))
    };
    let input = &|text, token_merging| UnetInput {
        token_merging,
        ..UnetInput::new(x(1).narrow(0, 0, 1), &[500.0], text)
    };
    type Call<'a> = Box<dyn Fn() -> sd_core::Result<Tensor<4>> + 'a>;
    let merged = |share| -> Call { Box::new(move || unet.forward(&input(text, share))) };
    let merged_more = |cross_attention, feed_forward| -> Call {
        let merged_parts = MergedParts {
            cross_attention,
            feed_forward,
        };
        Box::new(move || {
            unet.forward(&UnetInput {
                merged_parts,
                ..input(text, 0.5)
            })
        })
    };
    let quantized = |share| -> Call { Box::new(move || quantized.forward(&input(quantized_text, share))) };
    let deep = |branch| -> sd_core::Result<Call> {
        let reused = reused(branch)?;
        Ok(Box::new(move || {
            Ok(unet.forward_cached(&input(text, 0.0), &reused)?.prediction)
        }))
    };
    let first_block = unet.forward_if_changed(&before, None, 0.0)?.first_block;
    let kinds: [(&str, Call); 13] = [
        (
            "whole, texts cached",
            Box::new(|| unet.forward(&UnetInput::new(x(1), &[500.0; 2], text))),
        ),
        ("the same, latents once", merged(0.0)),
        ("int8", quantized(0.0)),
        ("token merging 0.3", merged(0.3)),
        ("token merging 0.5", merged(0.5)),
        ("token merging 0.75", merged(0.75)),
        ("token merging 0.5, cross-attention too", merged_more(true, false)),
        ("token merging 0.5, MLP too", merged_more(false, true)),
        ("int8, token merging 0.5", quantized(0.5)),
        ("DeepCache, branch 0", deep(0)?),
        ("DeepCache, branch 3", deep(3)?),
        (
            "first-block cache",
            Box::new(|| {
                let output = unet.forward_if_changed(&input(text, 0.0), first_block.as_ref(), f64::INFINITY);
                Ok(output?.prediction)
            }),
        ),
        (
            "cond alone",
            Box::new(|| unet.forward(&UnetInput::new(x(1).narrow(0, 0, 1), &[500.0], &alone))),
        ),
    ];
    let whole = |workspace: &Workspace| {
        let input = UnetInput::new(x(1), &[500.0; 2], context.clone());
        workspace.enter(|| unet.forward(&input).map(values))
    };
    let workspace = Workspace::default();
    let expected = whole(&workspace)?;
    let mut ratios = vec![Vec::new(); kinds.len()];
    let mut errors = vec![0.0; kinds.len()];
    for _ in 0..repeat {
        let start = busy();
        whole(&workspace)?;
        let unit = busy() - start;
        for (i, (_, call)) in kinds.iter().enumerate() {
            let start = busy();
            let got = values(workspace.enter(call)?);
            ratios[i].push((busy() - start) / unit);
            errors[i] = relative_error(&got, &expected[..got.len()]);
        }
        eprintln!("a whole call: {unit:.2} s");
    }
    println!("| call | time | relative L2 of the output |\n|---|---|---|");
    for ((name, _), (ratios, error)) in kinds.iter().zip(ratios.iter_mut().zip(&errors)) {
        println!("| {name} | {:.3} | {error:.4} |", median(ratios));
    }
    Ok(())
}

/// Two equal pictures, smooth with some noise, about as large as latents.
fn picture(seed: u32, channels: usize, side: usize) -> TensorData {
    let value = |i: usize| {
        let (c, y, x) = (i / side / side, i / side % side, i % side);
        let wave = |n: usize, f: f64| (n as f64 / side as f64 * f + c as f64 + f64::from(seed)).sin() as f32;
        wave(x, 7.0) * wave(y, 5.0) + 0.7 * noise(i as u32 * 7 + seed)
    };
    let one: Vec<f32> = (0..channels * side * side).map(value).collect();
    TensorData::new(one.repeat(2), [2, channels, side, side])
}

/// Between -1 and 1.
fn noise(i: u32) -> f32 {
    let mixed = (i ^ (i >> 13)).wrapping_mul(2_654_435_761);
    ((mixed ^ (mixed >> 15)).wrapping_mul(2_246_822_519) >> 8) as f32 / (1 << 23) as f32 - 1.0
}

fn values(tensor: Tensor<4>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap_or_default()
}

fn relative_error(got: &[f32], expected: &[f32]) -> f64 {
    let norm =
        |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    norm(&mut got.iter().zip(expected).map(|(a, b)| a - b)) / norm(&mut expected.iter().copied())
}

/// Seconds that this process has computed, on all its threads; elsewhere than on Linux, seconds.
fn busy() -> f64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the process ends in a bracket; times are in ticks of 10 ms.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: Vec<f64> = fields.skip(11).take(2).filter_map(|n| n.parse().ok()).collect();
    match ticks[..] {
        [user, system] => (user + system) / 100.0,
        _ => START.elapsed().as_secs_f64(),
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
