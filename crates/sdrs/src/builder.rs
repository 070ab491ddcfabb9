use std::{collections::HashMap, path::PathBuf, sync::Arc};

use sd_core::{
    Device, Dtype,
    embedding::{self, Embedding},
    weights::{Checkpoint, Configs, Folder, Target, TensorFile, WeightPatch},
};
use sd_lora::{AdapterFile, ModelNames, Strengths};
use sd_sched::Prediction;

use crate::{Error, Pipeline, Result, prompt_plan::LoadedLora};

/// Describes a pipeline: which weights, where, in which type.
#[derive(Default)]
#[must_use = "a builder does nothing until `build`"]
pub struct PipelineBuilder {
    source: Option<Source>,
    config: Option<PathBuf>,
    vae: Option<PathBuf>,
    loras: Vec<(PathBuf, f64)>,
    embeddings: Vec<EmbeddingSource>,
    device: Option<String>,
    dtype: Option<Dtype>,
    prediction: Option<Prediction>,
}

enum Source {
    Path(PathBuf),
    Bytes(String, Arc<[u8]>),
    Folder(Folder),
}

enum EmbeddingSource {
    Path(PathBuf),
    Bytes(String, Arc<[u8]>),
}

impl PipelineBuilder {
    /// The checkpoint: a diffusers folder or a single file (safetensors, PyTorch's or GGUF).
    pub fn checkpoint(mut self, path: impl Into<PathBuf>) -> Self {
        self.source = Some(Source::Path(path.into()));
        self
    }

    /// The checkpoint as a single file's bytes; `name` stands for it in errors and infotexts.
    pub fn checkpoint_bytes(mut self, name: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Self {
        self.source = Some(Source::Bytes(name.into(), bytes.into()));
        self
    }

    /// The checkpoint as a diffusers folder's files under their relative names ("unet/config.json"); `name` stands for it in errors
    /// and infotexts.
    pub fn checkpoint_files(mut self, name: impl Into<String>, files: HashMap<String, Arc<[u8]>>) -> Self {
        self.source = Some(Source::Folder(Folder::Memory(name.into(), files)));
        self
    }

    /// The small model that is compiled in, trained for this project on pictures of coloured shapes.
    #[cfg(feature = "demo")]
    pub fn demo(mut self) -> Self {
        self.source = Some(Source::Folder(crate::demo::folder()));
        self
    }

    /// A diffusers folder whose `config.json` files describe the single-file checkpoint, where the file does not say it itself and
    /// belongs to no known family. No weights are read from there.
    pub fn config(mut self, folder: impl Into<PathBuf>) -> Self {
        self.config = Some(folder.into());
        self
    }

    /// Another autoencoder than the checkpoint's: a file with a VAE in it, or a diffusers folder.
    pub fn vae(mut self, path: impl Into<PathBuf>) -> Self {
        self.vae = Some(path.into());
        self
    }

    /// Adds a LoRA or another adapter, of any usual kind. `weight` says how strongly it acts: 1 is as trained, 0 not at all. Any
    /// number may be added.
    pub fn lora(mut self, path: impl Into<PathBuf>, weight: f64) -> Self {
        self.loras.push((path.into(), weight));
        self
    }

    /// A textual inversion, found in both prompts by its file's name: a `.pt`, `.bin` or `.safetensors` file or a PNG picture, or a
    /// folder of them. Files of a folder that can't be used are passed over ([`Pipeline::skipped_embeddings`]); of two with one name
    /// the first counts.
    pub fn embedding(mut self, path: impl Into<PathBuf>) -> Self {
        self.embeddings.push(EmbeddingSource::Path(path.into()));
        self
    }

    /// The same from a file's bytes; `name` is what prompts call it.
    pub fn embedding_bytes(mut self, name: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Self {
        self.embeddings
            .push(EmbeddingSource::Bytes(name.into(), bytes.into()));
        self
    }

    /// The device: "auto" (the default), "cpu", "cuda:0", "vulkan:0".
    pub fn device(mut self, name: impl Into<String>) -> Self {
        self.device = Some(name.into());
        self
    }

    /// The compute type; by default `f32` on the CPU and `f16` on a GPU.
    pub fn dtype(mut self, dtype: Dtype) -> Self {
        self.dtype = Some(dtype);
        self
    }

    /// What the U-Net predicts, where the checkpoint doesn't say it or says it wrongly.
    pub fn prediction(mut self, prediction: Prediction) -> Self {
        self.prediction = Some(prediction);
        self
    }

    /// Reads and checks everything, then loads it.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if there is no checkpoint, or an embedding is for another kind of model, [`Error::Core`] if the
    /// checkpoint, the device or an embedding can't be used, [`Error::Lora`] if a LoRA can't be read or doesn't fit.
    pub fn build(self) -> Result<Pipeline> {
        let device = Device::from_name(self.device.as_deref().unwrap_or("auto"))?;
        let on_cpu = matches!(device.name(), "cpu" | "ndarray");
        let dtype = self.dtype.unwrap_or(if on_cpu { Dtype::F32 } else { Dtype::F16 });
        let Some(source) = self.source else {
            return Err(Error::parameter(
                "checkpoint",
                "none was given; name a diffusers folder or a single file, such as .safetensors or .ckpt",
            ));
        };
        let configs = match self.config {
            Some(folder) => Some(Configs::from_folder(&Folder::Disk(folder))?),
            None => None,
        };
        let single = |file: TensorFile| match configs.clone() {
            Some(configs) => Ok(Checkpoint::from_file_and_configs(file, configs)),
            None => Checkpoint::from_file(file),
        };
        let mut checkpoint = match source {
            Source::Path(path) if configs.is_some() => single(TensorFile::open(&path)?)?,
            Source::Path(path) => Checkpoint::open(&path)?,
            Source::Bytes(name, bytes) => single(TensorFile::from_bytes(name, bytes)?)?,
            Source::Folder(folder) => Checkpoint::from_folder(folder)?,
        };
        if let Some(path) = &self.vae {
            checkpoint.replace_vae(path)?;
        }
        if !self.loras.is_empty() {
            checkpoint.set_patches(&loras(&self.loras, &checkpoint)?);
        }
        let named = |(path, weight): &(PathBuf, f64)| LoadedLora {
            name: path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            weight: *weight,
        };
        let loras = self.loras.iter().map(named).collect();
        let mut pipeline = Pipeline::load(&checkpoint, Target { device, dtype }, self.prediction, loras)?;
        for source in &self.embeddings {
            match source {
                EmbeddingSource::Path(path) if path.is_dir() => {
                    let found = embedding::from_folder(path)?;
                    let unreadable = found.unreadable.iter().map(ToString::to_string);
                    pipeline.embeddings.skipped.extend(unreadable);
                    for embedding in &found.embeddings {
                        if let Err(error) = pipeline.add_embedding(embedding) {
                            pipeline.embeddings.skipped.push(error.to_string());
                        }
                    }
                }
                EmbeddingSource::Path(path) => pipeline.add_embedding(&Embedding::open(path)?)?,
                EmbeddingSource::Bytes(name, bytes) => {
                    pipeline.add_embedding(&Embedding::from_bytes(name, name, bytes.clone())?)?;
                }
            }
        }
        Ok(pipeline)
    }
}

fn loras(files: &[(PathBuf, f64)], checkpoint: &Checkpoint) -> Result<Vec<Arc<dyn WeightPatch>>> {
    let names = ModelNames::new(&checkpoint.parameters()?);
    let read = |(path, weight): &(PathBuf, f64)| -> Result<Arc<dyn WeightPatch>> {
        if !(weight.is_finite() && weight.abs() <= 1000.0) {
            let reason = format!(
                "the weight of {} must be a number from -1000 to 1000, not {weight}",
                path.display()
            );
            return Err(Error::parameter("lora", reason));
        }
        Ok(Arc::new(
            AdapterFile::open(path)?.bind(&names, &Strengths::both(*weight))?,
        ))
    };
    files.iter().map(read).collect()
}
