//! Seconds and memory of loading a checkpoint and of changing its LoRAs, beside what reading and casting the file alone takes.
//!
//!     cargo run --release -p benches --bin weights -- CHECKPOINT.safetensors [DTYPE] [RANK]
//!
//! The LoRA has random values, on every linear layer and convolution of U-Net and text encoder. Files are read once beforehand, so that
//! all times are with the file in the system's cache.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
    time::Instant,
};

use half::{bf16, f16, slice::HalfFloatSliceExt};
use safetensors::{Dtype as Stored, tensor::TensorView};
use sdrs::{Dtype, Lora, Pipeline};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let path = args
        .first()
        .ok_or("usage: weights CHECKPOINT.safetensors [DTYPE] [RANK]")?;
    let dtype = args.get(1).map_or("bf16", String::as_str);
    let dtype = Dtype::from_name(dtype).ok_or("DTYPE: f32, bf16 or f16")?;
    let rank: usize = args.get(2).map_or(Ok(32), |rank| rank.parse())?;
    let folder = tempfile::tempdir()?;
    let lora = folder.path().join("random.safetensors");
    write_lora(path, &lora, rank)?;

    read_and_cast(path, dtype)?;
    let plain = timed("read and cast", || read_and_cast(path, dtype))?.1;
    let build = || {
        Ok(Pipeline::builder()
            .checkpoint(path)
            .device("cpu")
            .dtype(dtype)
            .build()?)
    };
    let (mut pipeline, loaded) = timed("load", build)?;
    println!("{:16} {:8.2}", "load / read", loaded / plain);

    let (sibling, _) = timed("with_loras", || Ok(pipeline.with_loras([Lora::file(&lora)])?))?;
    timed("with none again", || Ok(sibling.with_loras::<Lora>([])?))?;
    timed("drop", || {
        drop(sibling);
        Ok(())
    })?;
    timed("set_loras", || Ok(pipeline.set_loras([Lora::file(&lora)])?))?;
    timed("set none", || Ok(pipeline.set_loras::<Lora>([])?))?;
    timed("another", build)?;
    timed("drop all", || {
        drop(pipeline);
        Ok(())
    })?;
    Ok(())
}

/// Prints seconds, the memory afterwards, and by how much more there was in between.
fn timed<T>(what: &str, run: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    // Resets the peak, where Linux lets us.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let (before, cpu, start) = (memory("VmRSS:"), processor_seconds(), Instant::now());
    let result = run()?;
    let seconds = start.elapsed().as_secs_f64();
    let [user, system] = std::array::from_fn(|i| processor_seconds()[i] - cpu[i]);
    let (after, peak) = (memory("VmRSS:"), memory("VmHWM:"));
    let more = peak - before.max(after);
    print!("{what:16} {seconds:8.2} s (user {user:5.2}, system {system:5.2})   ");
    println!("{before:5.0} -> {after:5.0} MB, {more:4.0} MB more at its peak");
    Ok((result, seconds))
}

/// Time that all threads together have spent in this process and in the system for it.
fn processor_seconds() -> [f64; 2] {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in brackets may hold anything; times are in hundredths.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = after_name.split_whitespace().skip(11);
    std::array::from_fn(|_| {
        fields
            .next()
            .and_then(|ticks| ticks.parse::<f64>().ok())
            .map_or(f64::NAN, |n| n / 100.0)
    })
}

/// A line of Linux's account of this process, in MB.
fn memory(key: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    kilobytes.unwrap_or(f64::NAN) / 1024.0
}

/// A tensor of a checkpoint: name, shape, place in the file.
type Entry = (String, Vec<usize>, [u64; 2]);

/// A checkpoint's tensors in the file's order.
fn header(path: &str) -> Result<Vec<Entry>> {
    #[derive(serde::Deserialize)]
    struct Info {
        dtype: String,
        shape: Vec<usize>,
        data_offsets: [u64; 2],
    }
    let mut file = File::open(path)?;
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    let mut json: serde_json::Map<String, serde_json::Value> = serde_json::from_reader(file.take(length))?;
    json.remove("__metadata__");
    let mut tensors = Vec::new();
    for (name, info) in json {
        let info: Info = serde_json::from_value(info)?;
        if info.dtype != "F16" {
            return Err(format!("{name} is {}: the measure is of f16 checkpoints", info.dtype).into());
        }
        tensors.push((name, info.shape, info.data_offsets.map(|at| 8 + length + at)));
    }
    tensors.sort_by_key(|(.., at)| at[0]);
    Ok(tensors)
}

/// Every tensor read from the file and cast, block by block on one thread, and kept until the end.
fn read_and_cast(path: &str, dtype: Dtype) -> Result<()> {
    const BLOCK: usize = 1 << 16;
    let mut file = File::open(path)?;
    let (mut narrow, mut wide) = (vec![f16::ZERO; BLOCK], vec![0f32; BLOCK]);
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for (_, _, [start, end]) in header(path)? {
        let n = (end - start) as usize / 2;
        let mut out = vec![0u8; if dtype == Dtype::F32 { 4 * n } else { 2 * n }];
        file.seek(SeekFrom::Start(start))?;
        for block in out.chunks_mut(if dtype == Dtype::F32 { 4 * BLOCK } else { 2 * BLOCK }) {
            let n = if dtype == Dtype::F32 {
                block.len() / 4
            } else {
                block.len() / 2
            };
            let (narrow, wide) = (&mut narrow[..n], &mut wide[..n]);
            file.read_exact(bytemuck::cast_slice_mut(narrow))?;
            narrow.convert_to_f32_slice(wide);
            match dtype {
                Dtype::F32 => block.copy_from_slice(bytemuck::cast_slice(wide)),
                Dtype::F16 => block.copy_from_slice(bytemuck::cast_slice(narrow)),
                Dtype::Bf16 => {
                    let mut rounded = [bf16::ZERO; BLOCK];
                    rounded[..n].convert_from_f32_slice(wide);
                    block.copy_from_slice(bytemuck::cast_slice(&rounded[..n]));
                }
            }
        }
        kept.push(out);
    }
    std::hint::black_box(kept);
    Ok(())
}

/// A LoRA in kohya's format on all layers of a checkpoint that LoRAs are trained on.
fn write_lora(checkpoint: &str, path: &Path, rank: usize) -> Result<()> {
    let mut state = 1u32;
    // Xorshift (Marsaglia 2003): what the values are doesn't matter.
    let mut values = |n: usize| -> Vec<u8> {
        let value = |_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            f16::from_f32((state as f32 / u32::MAX as f32 - 0.5) * 0.02).to_le_bytes()
        };
        (0..n).flat_map(value).collect()
    };
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for (name, shape, _) in header(checkpoint)? {
        let unet = name
            .strip_prefix("model.diffusion_model.")
            .map(|name| ("lora_unet_", name));
        let text = name
            .strip_prefix("cond_stage_model.transformer.")
            .map(|name| ("lora_te_", name));
        let Some((prefix, inner)) = unet.or(text) else {
            continue;
        };
        let embedding = inner.contains("embedding");
        let Some(module) = inner
            .strip_suffix(".weight")
            .filter(|_| shape.len() >= 2 && !embedding)
        else {
            continue;
        };
        let module = format!("{prefix}{}", module.replace('.', "_"));
        let down = [&[rank], &shape[1..]].concat();
        let up = [
            &[shape[0], rank],
            &shape[2..].iter().map(|_| 1).collect::<Vec<_>>()[..],
        ]
        .concat();
        for (leaf, shape) in [("lora_down.weight", down), ("lora_up.weight", up)] {
            let bytes = values(shape.iter().product());
            tensors.push((format!("{module}.{leaf}"), shape, bytes));
        }
        tensors.push((
            format!("{module}.alpha"),
            vec![],
            f16::from_f32(rank as f32).to_le_bytes().to_vec(),
        ));
    }
    let mut views = Vec::new();
    for (name, shape, bytes) in &tensors {
        views.push((name, TensorView::new(Stored::F16, shape.clone(), bytes)?));
    }
    safetensors::serialize_to_file(views, None, path)?;
    println!(
        "{} modules, {} MB",
        tensors.len() / 3,
        std::fs::metadata(path)?.len() >> 20
    );
    Ok(())
}
