//! Seconds and memory of a checkpoint, part by part.
//!
//!     cargo run --release -p benches --bin measure -- CHECKPOINT [DTYPE] [SIDE] [STEPS] [drop]
//!
//! DTYPE is as for `parts`. A step is one call of the U-Net with both halves of guidance; seconds until the first one begins count from
//! the start of the process on. With `drop`, text encoders are let go before it.

use std::time::{Duration, Instant};

use sdrs::{Dtype, Pipeline, Quantization, Sampler, WeightDtype};

const PROMPT: &str = "a photograph of a lighthouse at dawn";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let path = args
        .first()
        .ok_or("usage: measure CHECKPOINT [DTYPE] [SIDE] [STEPS] [drop]")?;
    let dtype = args.get(1).map_or("f32", String::as_str);
    let side: u32 = args.get(2).map_or(Ok(512), |side| side.parse())?;
    let steps: usize = args.get(3).map_or(Ok(3), |steps| steps.parse())?;
    let drops = args.last().is_some_and(|last| last == "drop");

    let (arithmetic, weights) = dtype.split_once('/').unwrap_or((dtype, "auto"));
    let weights = WeightDtype::from_name(weights).ok_or("DTYPE: weights are auto, f32, bf16, f16 or f8")?;
    let mut builder = Pipeline::builder()
        .checkpoint(path)
        .device("cpu")
        .weight_dtype(weights)
        .keep_text_encoders(!drops);
    builder = match arithmetic {
        "auto" => builder,
        "int8" => builder.quantization(Quantization::Int8),
        name => builder.dtype(Dtype::from_name(name).ok_or("DTYPE: auto, f32, bf16 or int8")?),
    };
    let pipeline = builder.build()?;
    println!("load          {:8.2} s", start.elapsed().as_secs_f64());
    if !drops {
        // Runs find these encoded.
        for prompt in [PROMPT, ""] {
            pipeline.encode_prompt(prompt, 1)?;
        }
        println!("first step at {:8.2} s", start.elapsed().as_secs_f64());
    }

    let start = Instant::now();
    let mut ends = Vec::new();
    let request = pipeline.txt2img(PROMPT).seed(1).sampler(Sampler::Euler);
    request
        .width(side)
        .height(side)
        .steps(steps)
        .on_progress(|_| ends.push(start.elapsed()))
        .run()?;
    let total = start.elapsed();

    let mut calls: Vec<Duration> = ends.windows(2).map(|pair| pair[1] - pair[0]).collect();
    calls.sort();
    println!("first step    {:8.2} s", ends[0].as_secs_f64());
    if let Some(median) = calls.get(calls.len() / 2) {
        println!(
            "U-Net call    {:8.2} s (median of {})",
            median.as_secs_f64(),
            calls.len()
        );
    }
    println!(
        "VAE decode    {:8.2} s",
        (total - ends[ends.len() - 1]).as_secs_f64()
    );
    if let Some(peak) = peak_memory() {
        println!(
            "peak memory   {:8.2} GB (mapped files included)",
            peak as f64 / 1e9
        );
    }
    Ok(())
}

/// The most memory that this process has had resident, in bytes, on Linux.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}
