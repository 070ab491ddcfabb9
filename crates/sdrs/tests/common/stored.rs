//! The demo model in files of narrow numbers, and what is drawn with it.

// Each test uses a part of it.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use half::f16;
use safetensors::{Dtype as StoredDtype, SafeTensors, tensor::TensorView};
use sdrs::{Dtype, Pipeline, PipelineBuilder, WeightDtype};

pub fn demo() -> PathBuf {
    goldens::root().join("../models/demo/base")
}

/// A tensor of a file: its name, shape, and values.
pub type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

/// All tensors of the demo model as a single file, and its metadata, which has the configurations.
pub fn tensors(folder: &Path) -> (Tensors, Vec<(String, String)>) {
    let path = folder.join("f32.safetensors");
    let whole = Pipeline::builder().dtype(sdrs::Dtype::F32).checkpoint(demo());
    whole.save_file(&path, Dtype::F32).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap_or_default();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.tensors().into_iter().map(|(name, tensor)| {
        let (values, _) = tensor.data().as_chunks::<4>();
        let values = values.iter().map(|bytes| f32::from_le_bytes(*bytes));
        (name, tensor.shape().to_vec(), values.collect())
    });
    (tensors.collect(), metadata.into_iter().collect())
}

/// Matrices and kernels as 8-bit floats, all else in f16.
pub fn eight_bits(folder: &Path) -> PathBuf {
    let (tensors, metadata) = tensors(folder);
    let tensors: Vec<_> = tensors
        .iter()
        .map(|(name, shape, values)| {
            let (dtype, bytes): (_, Vec<u8>) = match shape.len() {
                0 | 1 => {
                    let bytes = values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes());
                    (StoredDtype::F16, bytes.collect())
                }
                _ => {
                    let codes = values.iter().map(|v| sd_kernels::to_f8_e4m3(*v));
                    (StoredDtype::F8_E4M3, codes.collect())
                }
            };
            (name, shape, dtype, bytes)
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, dtype, bytes)| {
        let view = TensorView::new(*dtype, (*shape).clone(), bytes).unwrap();
        (name.as_str(), view)
    });
    let path = folder.join("f8.safetensors");
    let bytes = safetensors::serialize(views, Some(metadata.into_iter().collect())).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Matrices of whole blocks of 32 in GGUF's Q8_0, all else in f16.
pub fn gguf(folder: &Path) -> PathBuf {
    let (tensors, metadata) = tensors(folder);
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let mut file = [b"GGUF", &3u32.to_le_bytes()[..]].concat();
    file.extend((tensors.len() as u64).to_le_bytes());
    file.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in &metadata {
        file.extend([text(key), 8u32.to_le_bytes().to_vec(), text(value)].concat());
    }
    let mut data: Vec<u8> = Vec::new();
    for (name, shape, values) in &tensors {
        file.extend(text(name));
        file.extend((shape.len() as u32).to_le_bytes());
        shape
            .iter()
            .rev()
            .for_each(|n| file.extend((*n as u64).to_le_bytes()));
        let blocks = shape.len() == 2 && shape[1].is_multiple_of(32);
        file.extend(if blocks { 8u32 } else { 1 }.to_le_bytes());
        file.extend((data.len() as u64).to_le_bytes());
        if blocks {
            for block in values.chunks_exact(32) {
                let largest = block.iter().fold(0f32, |most, v| most.max(v.abs()));
                let scale = f16::from_f32(largest / 127.0);
                data.extend(scale.to_le_bytes());
                let scale = scale.to_f32();
                let whole = |v: &f32| if scale > 0.0 { (v / scale).round() } else { 0.0 };
                data.extend(block.iter().map(|v| whole(v).clamp(-127.0, 127.0) as i8 as u8));
            }
        } else {
            data.extend(values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()));
        }
        data.resize(data.len().next_multiple_of(32), 0);
    }
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend(data);
    let path = folder.join("q8_0.gguf");
    std::fs::write(&path, file).unwrap();
    path
}

pub fn builder(path: &Path, weights: WeightDtype) -> PipelineBuilder {
    let builder = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint(path)
        .device("cpu");
    builder.weight_dtype(weights)
}

pub fn picture(pipeline: &Pipeline) -> Vec<u8> {
    let request = pipeline
        .txt2img("a red circle")
        .width(96)
        .height(64)
        .steps(2)
        .seed(3);
    request.run().unwrap().images.remove(0).rgb
}
