//! Seconds and memory of a checkpoint, part by part.
//!
//!     cargo run --release -p benches --bin measure -- CHECKPOINT [DTYPE] [SIDE] [STEPS]
//!
//! A step is one call of the U-Net with both halves of guidance. The first also holds the text encoder.

use std::time::{Duration, Instant};

use sdrs::{Dtype, Pipeline, Sampler};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let path = args
        .first()
        .ok_or("usage: measure CHECKPOINT [DTYPE] [SIDE] [STEPS]")?;
    let dtype = args
        .get(1)
        .map_or(Some(Dtype::F32), |name| Dtype::from_name(name))
        .ok_or("DTYPE: f32, bf16 or f16")?;
    let side: u32 = args.get(2).map_or(Ok(512), |side| side.parse())?;
    let steps: usize = args.get(3).map_or(Ok(3), |steps| steps.parse())?;

    let start = Instant::now();
    let pipeline = Pipeline::builder()
        .checkpoint(path)
        .device("cpu")
        .dtype(dtype)
        .build()?;
    println!("load          {:8.2} s", start.elapsed().as_secs_f64());

    let start = Instant::now();
    let mut ends = Vec::new();
    let request = pipeline
        .txt2img("a photograph of a lighthouse at dawn")
        .seed(1)
        .sampler(Sampler::Euler);
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
