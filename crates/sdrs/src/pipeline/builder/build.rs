//! From a description to a pipeline: files are opened once, and loaded for each device.

use std::sync::Arc;

use sd_core::{
    Device, Dtype, Quantization, WeightDtype,
    checkpoint::{Checkpoint, GivenConfigs, Layout},
    config::{Part, PredictionType, VaeConfig},
    weights::{Folder, Target, TensorFile},
};
use sd_sched::Prediction;

use super::{CheckpointSource, PipelineBuilder};
use crate::{
    Error, LogLevel, Result, Upscaler,
    lora::{LoraFolders, Loras},
    model::{Log, MemoryLimit, Model, Models, Patches, Runtime, Source, tiny, tiny_file},
    pipeline::{Pipeline, predictions::Predictions},
    run::{Components, Replica},
    text::Embeddings,
};

/// What all devices load.
struct Opened {
    checkpoint: Checkpoint,
    loras: Loras,
    refiner: Option<Checkpoint>,
    folders: Arc<LoraFolders>,
}

impl PipelineBuilder {
    /// The pipeline, or one that is only `described`, on its first device.
    pub(super) fn made(mut self, described: bool) -> Result<Pipeline> {
        let mut devices = self.machine.devices()?;
        if described {
            devices.truncate(1);
        }
        let log = self.log.take();
        let names: Vec<String> = devices.iter().map(|device| device.name().to_owned()).collect();
        let targets = devices.into_iter().enumerate().map(|(place, device)| {
            let target = self.target(device)?;
            let log = log.clone().map(|log| match names.len() {
                1 => log,
                _ => log_of(log, target.device.name(), place),
            });
            let runtime = self.runtime(&target, log)?;
            Ok((target, runtime))
        });
        let targets: Vec<(Target, Runtime)> = targets.collect::<Result<_>>()?;
        // Of a list, one line for all.
        let opening = Runtime::new(None, None, log)?;
        let (checkpoint, loras) = self.open(&opening)?;
        let opened = Opened {
            refiner: self.open_refiner(&checkpoint, &opening)?,
            checkpoint,
            loras,
            folders: LoraFolders::new(std::mem::take(&mut self.lora_folders))?.into(),
        };
        let replicas = targets.into_iter().map(|(target, runtime)| {
            let components = self.loaded(&opened, target, runtime, (names.len(), described))?;
            Ok(Replica::from(components))
        });
        let replicas: Vec<Replica> = replicas.collect::<Result<_>>()?;
        Ok(Pipeline::of(replicas, names.join(",")))
    }

    /// The types that a device is to compute in.
    fn target(&self, device: Device) -> Result<Target> {
        let on_cpu = device.is_cpu();
        if !on_cpu && self.weight_dtype != WeightDtype::Auto {
            let reason = format!("is for the CPU alone, not for {}; leave it out", device.name());
            return Err(Error::parameter("weight_dtype", reason));
        }
        let mut target = Target::chosen(device, self.machine.dtype, self.weight_dtype);
        let quantizes = on_cpu && target.dtype != Dtype::F16;
        target.quantization = match self.quantization {
            Quantization::Auto if !quantizes => Quantization::None,
            asked => asked.resolved(),
        };
        if target.quantization != Quantization::None && !quantizes {
            let reason = format!(
                "{} is for the CPU in f32 and bf16 alone, not for {} in {}; leave it out",
                self.quantization.name(),
                target.device.name(),
                target.dtype,
            );
            return Err(Error::parameter("quantization", reason));
        }
        Ok(target)
    }

    /// What a device computes with besides weights.
    fn runtime(&self, target: &Target, log: Option<Log>) -> Result<Runtime> {
        let mut runtime = Runtime::new(self.machine.threads, Some(&target.device), log)?;
        if self.profile {
            runtime.keep_account();
        }
        if self.lets_text_encoders_go {
            runtime.let_text_encoders_go();
        }
        if let Some(reason) = target.device.reason() {
            runtime.info(|| reason.to_owned());
        }
        for told in told(self.machine.dtype, target) {
            runtime.warn(told);
        }
        if !target.device.is_cpu() {
            runtime.info(|| {
                let kept = sd_kernels::keep_kernels().map(|file| format!("; they are kept in {}", file.display()));
                format!(
                    "kernels are compiled when they are first needed, which the first picture takes longer for{}",
                    kept.unwrap_or_default()
                )
            });
        }
        Ok(runtime)
    }

    /// Everything that draws on one of so many devices.
    fn loaded(
        &self,
        opened: &Opened,
        target: Target,
        mut runtime: Runtime,
        (devices, described): (usize, bool),
    ) -> Result<Components> {
        let patches = opened.loras.patches();
        let tiny_vae = self.tiny_vae.as_ref().and_then(tiny_file);
        let vae = &opened.checkpoint.configs().vae;
        let tiny_vae = tiny_vae.map(|file| tiny(file, vae, &target, &runtime));
        let tiny_vae = tiny_vae.transpose()?;
        if let Some(bytes) = self.memory_limit {
            let models = Models {
                base: &opened.checkpoint,
                patches: patches.clone(),
                refiner: opened.refiner.as_ref(),
                tiny_vae: tiny_vae.as_ref(),
            };
            let limit = MemoryLimit {
                bytes,
                copies: devices as u64,
            };
            runtime.limit_memory(limit, &models, &target)?;
        }
        let (device, dtype) = (target.device.name().to_owned(), target.dtype);
        let mut model = Model::load(
            opened.checkpoint.clone(),
            target,
            self.prediction,
            &patches,
            (None, tiny_vae),
            (&runtime, described),
        )?;
        if let Some(path) = &self.taesd {
            model = model.with_tiny_vae(path, &runtime)?;
        }
        let refiner = opened.refiner.clone().map(|checkpoint| {
            let (target, vae) = (model.target.clone(), Some(&model.vae));
            let patches = Patches::new();
            let how = (&runtime, described);
            let refiner = Model::load(checkpoint, target, None, &patches, (vae, None), how)?;
            let refiner = refiner.with_tiny_vae_of(&model);
            let embeddings = Embeddings::open(&self.embeddings, &refiner)?;
            let (loras, folders) = (Loras::default(), Arc::default());
            Components::new(refiner, loras, folders, embeddings, Vec::new(), runtime.clone())
        });
        let refiner = refiner.transpose()?.map(Arc::new);
        let embeddings = Embeddings::open(&self.embeddings, &model)?;
        let upscalers = self.upscalers.iter().map(|path| {
            let mut builder = Upscaler::builder(path).device(&device).dtype(dtype);
            if let Some(threads) = self.machine.threads {
                builder = builder.threads(threads);
            }
            Ok(builder.build()?.into())
        });
        let upscalers = upscalers.collect::<Result<_>>()?;
        let (loras, folders) = (opened.loras.clone(), opened.folders.clone());
        let mut components = Components::new(model, loras, folders, embeddings, upscalers, runtime)?;
        components.refiner = refiner;
        for skipped in &components.embeddings.skipped {
            components.runtime.warn(format_args!("passed over: {skipped}"));
        }
        Ok(components)
    }

    /// Opens the refiner, with the checkpoint's autoencoder.
    fn open_refiner(&self, checkpoint: &Checkpoint, runtime: &Runtime) -> Result<Option<Checkpoint>> {
        let Some(path) = &self.refiner else {
            return Ok(None);
        };
        let mut refiner = Checkpoint::open_parts(path)?;
        refiner.set_allow_unexpected(self.allow_unexpected);
        runtime.info(|| {
            format!(
                "opened {}, the refiner: {}",
                refiner.origin(),
                described(&refiner)
            )
        });
        check_latents(&refiner, checkpoint)?;
        refiner.share_part(Part::Vae, checkpoint);
        refiner.check()?;
        Ok(Some(refiner))
    }

    pub(super) fn merged(&mut self) -> Result<Checkpoint> {
        let runtime = Runtime::new(None, None, self.log.take())?;
        let (mut checkpoint, loras) = self.open(&runtime)?;
        checkpoint.set_patches(&loras.patches());
        Ok(checkpoint)
    }

    /// Opens the checkpoint with the parts and LoRAs that it is to have.
    fn open(&mut self, runtime: &Runtime) -> Result<(Checkpoint, Loras)> {
        let Some(source) = self.checkpoint.take() else {
            return Err(Error::parameter(
                "checkpoint",
                "none was given; name a diffusers folder or a single file, such as .safetensors or .ckpt",
            ));
        };
        let predictions = self.predictions.take();
        let predictions = predictions.as_deref().map(Predictions::open).transpose()?;
        let config = match self.config.take() {
            Some(folder) => Some(Folder::open(&folder)?),
            None => None,
        };
        let given = config.as_ref().map(GivenConfigs::from_folder).transpose()?;
        let mut checkpoint = match (source, given) {
            (CheckpointSource::Folder(folder), None) => Checkpoint::parts_of_folder(&folder)?,
            (CheckpointSource::File(Source::Path(path)), None) => Checkpoint::open_parts(&path)?,
            (CheckpointSource::File(Source::Path(path)), Some(_)) if path.is_dir() => {
                return Err(own_configs());
            }
            (CheckpointSource::Folder(_), Some(_)) => return Err(own_configs()),
            (CheckpointSource::File(file), given) => Checkpoint::parts_of_file(file.open()?, given.as_ref())?,
        };
        if let Some(folder) = &config {
            checkpoint.take_tokenizer(folder);
        }
        checkpoint.set_allow_unexpected(self.allow_unexpected);
        runtime.info(|| format!("opened {}: {}", checkpoint.origin(), described(&checkpoint)));
        for (part, source) in self.parts.drain(..) {
            runtime.info(|| format!("opened {}: {}", source.origin(), part.name()));
            if part == Part::Vae {
                self.tiny_vae = None;
                if tiny_file(&source).is_some() {
                    self.tiny_vae = Some(source);
                    continue;
                }
            }
            match source {
                Source::Path(path) => checkpoint.put_part(part, &path)?,
                Source::Bytes(name, bytes) => {
                    checkpoint.put_part_of_file(part, TensorFile::from_bytes(name, bytes)?)?;
                }
            }
        }
        if let Some(path) = &self.tokenizer {
            checkpoint.set_tokenizer(path)?;
            runtime.info(|| format!("opened {}: tokenizer", path.display()));
        }
        checkpoint.check()?;
        if self.allow_unexpected {
            for name in checkpoint.passed_over()? {
                runtime.warn(format_args!(
                    "passed over: a tensor of no part, {}",
                    sd_core::shown(&name)
                ));
            }
        }
        let said = match self.prediction {
            Some(Prediction::Epsilon) => Some(PredictionType::Epsilon),
            Some(Prediction::V) => Some(PredictionType::V),
            Some(Prediction::Sample) => Some(PredictionType::Sample),
            // EDM's has no name in a scheduler's configuration.
            _ => None,
        };
        match (said, &predictions) {
            (Some(said), _) => checkpoint.set_prediction_type(said, "the caller says so"),
            (None, Some(table)) if self.prediction.is_none() => table.settle(&mut checkpoint)?,
            _ => {}
        }
        let loras = Loras::default().replaced(std::mem::take(&mut self.loras), &checkpoint, runtime)?;
        Ok((checkpoint, loras))
    }
}

/// The log of a device in a list, by its place: what it does is told with its name; what it warns of is the same for all, and told by the first.
fn log_of(log: Log, device: &str, place: usize) -> Log {
    let device = device.to_owned();
    Arc::new(move |level, line| match level {
        LogLevel::Info => log(level, &format!("{device}: {line}")),
        LogLevel::Warning if place == 0 => log(level, line),
        LogLevel::Warning => {}
    })
}

/// What should be known of types that were asked for: that others are taken, or that they take longer.
fn told(asked: Option<Dtype>, target: &Target) -> Vec<String> {
    let set = sd_kernels::instruction_set().ok().flatten();
    let Some(set) = set.filter(|_| target.device.name() == "cpu") else {
        return Vec::new();
    };
    let mut told = Vec::new();
    if asked == Some(Dtype::F16) {
        told.push(format!(
            "the CPU doesn't compute in f16: it computes in {}, with weights kept in {}",
            target.dtype, target.weights
        ));
    }
    if asked == Some(Dtype::Bf16) && !sd_kernels::multiplies_bf16() {
        told.push(format!(
            "products of bf16 are slower than those of f32 with {set}: dtype f32 with weights in 16 bits (weight_dtype) takes as little \
             memory for weights, and less time"
        ));
    }
    if target.quantization == Quantization::Int8 && !sd_kernels::multiplies_whole() {
        told.push(format!(
            "products in int8 are slower than those of f32 with {set}; they save memory alone"
        ));
    }
    told
}

/// Refuses a refiner that has other latents than the checkpoint, by its autoencoder.
fn check_latents(refiner: &Checkpoint, checkpoint: &Checkpoint) -> Result<()> {
    if refiner.lacks().contains(&Part::Vae) {
        return Ok(());
    }
    let (own, wanted) = (&refiner.configs().vae, &checkpoint.configs().vae);
    let same = own.latent_channels == wanted.latent_channels
        && own.scaling_factor == wanted.scaling_factor
        && (&own.latents_mean, &own.latents_std) == (&wanted.latents_mean, &wanted.latents_std);
    if same {
        return Ok(());
    }
    let latents = |vae: &VaeConfig| {
        let mean = if vae.latents_mean.is_some() {
            " and a mean"
        } else {
            ""
        };
        format!(
            "{} channels with a scaling factor of {}{mean}",
            vae.latent_channels, vae.scaling_factor
        )
    };
    let reason = format!(
        "{} has latents of {}, and {} of {}: give the refiner of the same family",
        refiner.origin(),
        latents(own),
        checkpoint.origin(),
        latents(wanted),
    );
    Err(Error::parameter("refiner", reason))
}

fn own_configs() -> Error {
    let reason = "describes a single file, and the checkpoint is a folder, with configurations of its own; leave it out";
    Error::parameter("config", reason)
}

/// The description of a checkpoint, for the log.
fn described(checkpoint: &Checkpoint) -> String {
    let layout = match checkpoint.layout() {
        Layout::Diffusers => "diffusers' layout",
        Layout::Ldm => "one file",
    };
    let (text, unet) = (checkpoint.configs().text_encoder(), &checkpoint.configs().unet);
    let (channels, side) = (unet.in_channels, unet.sample_size);
    format!(
        "{layout}, context width {}, latents {channels}x{side}x{side}",
        text.hidden_size
    )
}
