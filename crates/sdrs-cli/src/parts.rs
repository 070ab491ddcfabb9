//! The options for a pipeline's parts.

use std::path::{Path, PathBuf};

use sdrs::{Dtype, PipelineBuilder, Prediction};

use crate::Failure;

/// The parts in place of a checkpoint's own. Beside them stands an argument named `model`.
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
    /// Another second text encoder than the checkpoint's, for SDXL.
    #[arg(long = "text-encoder-2", value_name = "PATH")]
    text_encoder_2: Option<PathBuf>,
    /// Another tokenizer than the checkpoint's: its folder, a diffusers folder, or a tokenizer.json.
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    /// Another U-Net than the checkpoint's, from the same kinds of files.
    #[arg(long, value_name = "PATH")]
    unet: Option<PathBuf>,
    /// The prediction type of the U-Net, where the checkpoint doesn't say it or says it wrongly: epsilon, v or sample.
    #[arg(long, value_name = "TYPE", value_parser = str::parse::<Prediction>)]
    prediction: Option<Prediction>,
    /// A JSON file of prediction types by the SHA-256 of checkpoints, for those that don't say theirs.
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,
    /// Pass over tensors that belong to no part of the model, instead of refusing the file.
    #[arg(long)]
    allow_unexpected: bool,
    /// A LoRA or another adapter, with its weight [default: 1]. May be given several times.
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
        if let Some(path) = &self.text_encoder_2 {
            builder = builder.text_encoder_2(path);
        }
        if let Some(path) = &self.tokenizer {
            builder = builder.tokenizer(path);
        }
        if let Some(path) = &self.unet {
            builder = builder.unet(path);
        }
        if let Some(prediction) = self.prediction {
            builder = builder.prediction(prediction);
        }
        if let Some(table) = &self.predictions {
            builder = builder.predictions(table);
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

/// `PATH` or `PATH:WEIGHT`. Where a file has a colon in its name, the whole is the path.
fn lora(arg: &str) -> Result<(PathBuf, f64), String> {
    let whole = || Ok((PathBuf::from(arg), 1.0));
    let there = |path: &str| Path::new(path).exists();
    let Some((path, weight)) = arg.rsplit_once(':') else {
        return whole();
    };
    match weight.parse() {
        Ok(_) if !there(path) && there(arg) => whole(),
        Ok(_) if path.is_empty() => Err("there is no path before the colon".into()),
        Ok(weight) => Ok((path.into(), weight)),
        // The colon of a drive or of a folder.
        Err(_) if there(arg) || weight.contains(['/', '\\']) => whole(),
        Err(_) => {
            let example = match weight.replace(',', ".").parse::<f64>() {
                Ok(number) => format!("{path}:{number}"),
                Err(_) => format!("{path}:0.8"),
            };
            Err(format!(
                "there is no file of this name, and '{weight}' behind the colon is no number; write a weight like {example}, or none"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loras_may_carry_a_weight() {
        assert_eq!(lora("a/b.safetensors"), Ok(("a/b.safetensors".into(), 1.0)));
        assert_eq!(lora("b.safetensors:-0.5"), Ok(("b.safetensors".into(), -0.5)));
        assert_eq!(lora("c:\\b.safetensors"), Ok(("c:\\b.safetensors".into(), 1.0)));
        let message = lora("f:0,8").unwrap_err();
        assert!(
            message.contains("'0,8' behind the colon is no number; write a weight like f:0.8,"),
            "{message}"
        );
        for weight in ["", "abc", "1.2.3", "0,8,"] {
            let message = lora(&format!("f:{weight}")).unwrap_err();
            assert!(
                message.contains(&format!("'{weight}' behind the colon is no number")),
                "{message}"
            );
        }
        assert!(lora(":0.5").is_err());
    }

    #[test]
    #[cfg(unix)]
    fn files_with_colons_open() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["f:abc", "f:", "f:0,8", "f:0.8"] {
            let path = folder.path().join(name).display().to_string();
            std::fs::write(&path, "").unwrap();
            assert_eq!(lora(&path), Ok((path.clone().into(), 1.0)));
            assert_eq!(lora(&format!("{path}:0.5")), Ok((path.into(), 0.5)));
        }
        // A file that a weight leads to comes first.
        let path = folder.path().join("f").display().to_string();
        std::fs::write(&path, "").unwrap();
        assert_eq!(lora(&format!("{path}:0.8")), Ok((path.into(), 0.8)));
    }
}
