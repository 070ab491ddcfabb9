//! Models of full size with random weights, as diffusers folders in f16, which PyTorch reads as well.

use std::{
    error::Error,
    fs,
    io::{BufWriter, Write},
    path::Path,
};

use half::f16;
use rayon::prelude::*;
use sd_core::{
    config::{ClipTextConfig, Part, UnetConfig, VaeConfig},
    models::{ClipTextModel, UNet, Vae},
    weights::PartWeights,
};
use serde_json::{Value, json};

/// The models: a name, the configurations of its parts, the side of its pictures, and that of a picture for a trial.
pub const MODELS: [Model; 3] = [
    Model {
        name: "sd15",
        configs: include_str!("../../../models/sd15.json"),
        side: 512,
    },
    Model {
        name: "sdxl",
        configs: include_str!("../../../models/sdxl.json"),
        side: 1024,
    },
    // To try the program itself.
    Model {
        name: "tiny",
        configs: include_str!("../../../models/tiny.json"),
        side: 64,
    },
];

/// A model that can be made on the spot.
#[derive(Clone, Copy)]
pub struct Model {
    pub name: &'static str,
    configs: &'static str,
    /// The side of its pictures in pixels.
    pub side: usize,
}

/// Values that are made at a time.
const CHUNK: usize = 1 << 16;

impl Model {
    pub fn named(name: &str) -> Option<Self> {
        MODELS.into_iter().find(|model| model.name == name)
    }

    /// Writes it as a diffusers folder, or leaves the one that is there. The same bytes everywhere.
    pub fn write(self, folder: &Path) -> Result<(), Box<dyn Error>> {
        let done = folder.join("done");
        if done.exists() {
            return Ok(());
        }
        let configs: serde_json::Map<String, Value> = serde_json::from_str(self.configs)?;
        for (part, config) in &configs {
            let text = serde_json::to_string_pretty(config)?;
            let weights = match part.as_str() {
                "model_index" => {
                    fs::create_dir_all(folder)?;
                    fs::write(folder.join("model_index.json"), text)?;
                    continue;
                }
                "unet" => PartWeights::synthetic::<UNet>(&UnetConfig::from_json(&text, part)?, Part::Unet)?,
                "vae" => PartWeights::synthetic::<Vae>(&VaeConfig::from_json(&text, part)?, Part::Vae)?,
                "text_encoder" | "text_encoder_2" => {
                    let config = ClipTextConfig::from_json(&text, part)?;
                    PartWeights::synthetic::<ClipTextModel>(&config, Part::TextEncoder)?
                }
                _ => {
                    let at = folder.join(part);
                    fs::create_dir_all(&at)?;
                    fs::write(at.join(format!("{part}_config.json")), text)?;
                    continue;
                }
            };
            let at = folder.join(part);
            fs::create_dir_all(&at)?;
            fs::write(at.join("config.json"), text)?;
            let file = match part.starts_with("text_encoder") {
                true => "model.safetensors",
                false => "diffusion_pytorch_model.safetensors",
            };
            write_weights(&weights, part, &at.join(file))?;
        }
        Ok(fs::write(done, "")?)
    }
}

/// A safetensors file of random values in f16, by the names and shapes of `weights`.
fn write_weights(weights: &PartWeights, part: &str, path: &Path) -> Result<(), Box<dyn Error>> {
    let file = &weights.files[0];
    let mut tensors: Vec<(&str, &[usize])> = file
        .names()
        .filter_map(|name| Some((name, file.info(name)?.shape.as_slice())))
        .collect();
    tensors.sort_unstable();
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut at = 0;
    for (name, shape) in &tensors {
        let end = at + 2 * shape.iter().product::<usize>();
        let entry = json!({"dtype": "F16", "shape": shape, "data_offsets": [at, end]});
        header.insert((*name).to_owned(), entry);
        at = end;
    }
    let mut header = Value::Object(header).to_string();
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let mut out = BufWriter::with_capacity(1 << 20, fs::File::create(path)?);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for (name, shape) in tensors {
        let count: usize = shape.iter().product();
        let scale = Scale::of(name, shape);
        let seed = seed(&format!("{part}.{name}"));
        let mut bytes = vec![0; 2 * count];
        bytes
            .par_chunks_mut(2 * CHUNK)
            .enumerate()
            .for_each(|(i, chunk)| {
                let mut random = Random(seed.wrapping_add(i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                for value in chunk.as_chunks_mut::<2>().0 {
                    *value = f16::from_f32(scale.mean + scale.deviation * random.next()).to_le_bytes();
                }
            });
        out.write_all(&bytes)?;
    }
    Ok(out.flush()?)
}

/// How large the values of a tensor are, so that activations stay near 1.
struct Scale {
    mean: f32,
    deviation: f32,
}

impl Scale {
    fn of(name: &str, shape: &[usize]) -> Self {
        let around = |mean, deviation| Self { mean, deviation };
        match shape {
            _ if name.ends_with("bias") => around(0.0, 0.1),
            _ if name.contains("token_embedding") || name.contains("position_embedding") => around(0.0, 0.5),
            [_] => around(1.0, 0.1),
            _ => {
                let inputs: usize = shape[1..].iter().product();
                around(0.0, (inputs as f32).powf(-0.5))
            }
        }
    }
}

/// A number for a name (FNV-1a).
fn seed(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Uniform numbers of mean 0 and variance 1 (Steele et al. 2014, SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // Of width sqrt(12).
        ((z >> 40) as f32 / (1_u32 << 24) as f32 - 0.5) * 3.464_101_6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_variance_that_is_meant() {
        let mut random = Random(1);
        let values: Vec<f32> = (0..100_000).map(|_| random.next()).collect();
        let mean = values.iter().sum::<f32>() / 1e5;
        let variance = values.iter().map(|v| v * v).sum::<f32>() / 1e5;
        assert!(
            mean.abs() < 0.01 && (variance - 1.0).abs() < 0.01,
            "{mean} {variance}"
        );
    }
}
