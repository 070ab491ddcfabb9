//! Options of what a pipeline is made of.

use std::path::PathBuf;

use sdrs::{Dtype, PipelineBuilder, Prediction};

use crate::Failure;

/// What a checkpoint is changed by. Beside it stands an argument named `model`.
#[derive(clap::Args)]
pub struct Parts {
    /// A diffusers folder whose config.json files describe a single file of an unusual shape.
    #[arg(long, value_name = "FOLDER", requires = "model")]
    config: Option<PathBuf>,
    /// Another VAE than the checkpoint's, which may lack one: a file with a VAE in it or a diffusers folder.
    #[arg(long, value_name = "PATH")]
    vae: Option<PathBuf>,
    /// Another text encoder than the checkpoint's, from the same kinds of files.
    #[arg(long, value_name = "PATH")]
    text_encoder: Option<PathBuf>,
    /// Another U-Net than the checkpoint's, from the same kinds of files.
    #[arg(long, value_name = "PATH")]
    unet: Option<PathBuf>,
    /// What the U-Net predicts, where the checkpoint doesn't say it or says it wrongly: epsilon, v or sample.
    #[arg(long, value_name = "TYPE", value_parser = str::parse::<Prediction>)]
    prediction: Option<Prediction>,
    /// Pass over tensors that belong to no part of the model, instead of refusing the file.
    #[arg(long)]
    allow_unexpected: bool,
    /// A LoRA or another adapter, and how strongly it acts [default: 1]. May be given several times.
    #[arg(long, value_name = "PATH[:WEIGHT]", value_parser = lora)]
    lora: Vec<(PathBuf, f64)>,
}

impl Parts {
    pub fn apply(&self, mut builder: PipelineBuilder) -> PipelineBuilder {
        if let Some(folder) = &self.config {
            builder = builder.config(folder);
        }
        if let Some(path) = &self.vae {
            builder = builder.vae(path);
        }
        if let Some(path) = &self.text_encoder {
            builder = builder.text_encoder(path);
        }
        if let Some(path) = &self.unet {
            builder = builder.unet(path);
        }
        if let Some(prediction) = self.prediction {
            builder = builder.prediction(prediction);
        }
        builder
            .allow_unexpected(self.allow_unexpected)
            .loras(self.lora.clone())
    }
}

/// The type that `--dtype` names.
pub fn dtype(name: &str) -> Result<Dtype, Failure> {
    Dtype::from_name(name)
        .ok_or_else(|| Failure::Usage(format!("--dtype: '{name}' is not one of f32, bf16, f16")))
}

/// `PATH` or `PATH:WEIGHT`; a colon that is not before a number belongs to the path.
fn lora(arg: &str) -> Result<(PathBuf, f64), std::convert::Infallible> {
    let split = arg
        .rsplit_once(':')
        .and_then(|(path, weight)| Some((path, weight.parse().ok()?)));
    let (path, weight) = split.unwrap_or((arg, 1.0));
    Ok((path.into(), weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loras_may_carry_a_weight() {
        assert_eq!(lora("a/b.safetensors"), Ok(("a/b.safetensors".into(), 1.0)));
        assert_eq!(lora("b.safetensors:-0.5"), Ok(("b.safetensors".into(), -0.5)));
        assert_eq!(lora("c:\\b.safetensors"), Ok(("c:\\b.safetensors".into(), 1.0)));
    }
}
