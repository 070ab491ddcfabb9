//! A whole checkpoint: all parts of a pipeline, whatever their layout.

use std::{path::Path, sync::Arc};

use super::{
    Folder, PartWeights, Target, TensorFile, WeightPatch,
    classify::classify,
    inspect::{Family, Kind},
    names::{Diffusers, Ldm, Names, UNET_PREFIX},
    parameters,
};
use crate::{
    ClipTokenizer, Device, Dtype, Error, Result,
    config::{self, ClipTextConfig, SchedulerConfig, UnetConfig, VaeConfig},
    models::{ClipTextModel, UNet},
};

/// A part of a pipeline that has weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The text encoder.
    TextEncoder,
    /// The U-Net.
    Unet,
    /// The autoencoder.
    Vae,
}

impl Part {
    /// Its folder's name in diffusers' layout.
    pub fn name(self) -> &'static str {
        match self {
            Self::TextEncoder => "text_encoder",
            Self::Unet => "unet",
            Self::Vae => "vae",
        }
    }

    /// The stem of its weight files in diffusers' layout.
    fn stem(self) -> &'static str {
        match self {
            Self::TextEncoder => "model",
            Self::Unet | Self::Vae => "diffusion_pytorch_model",
        }
    }
}

/// How a checkpoint is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A folder with a folder for each part.
    Diffusers,
    /// One file with the names of the latent-diffusion repository.
    Ldm,
}

/// The configurations of all parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Configs {
    /// The text encoder's.
    pub text_encoder: ClipTextConfig,
    /// The U-Net's.
    pub unet: UnetConfig,
    /// The autoencoder's.
    pub vae: VaeConfig,
    /// The noise schedule's and prediction type's.
    pub scheduler: SchedulerConfig,
}

/// An opened checkpoint: configurations read and checked, weights mapped but not loaded.
pub struct Checkpoint {
    origin: String,
    layout: Layout,
    configs: Configs,
    weights: [PartWeights; 3],
    tokenizer: Tokenizer,
}

/// Where the tokenizer is to be found.
enum Tokenizer {
    Embedded,
    Folder(Folder),
    Metadata(Arc<TensorFile>),
}

/// Keys under which a single file may carry in its metadata what a folder holds in files of its own.
mod metadata {
    pub const TEXT_ENCODER: &str = "sdrs.text_encoder.config";
    pub const UNET: &str = "sdrs.unet.config";
    pub const VAE: &str = "sdrs.vae.config";
    pub const SCHEDULER: &str = "sdrs.scheduler.config";
    pub const VOCAB: &str = "sdrs.tokenizer.vocab";
    pub const MERGES: &str = "sdrs.tokenizer.merges";
}

impl Checkpoint {
    /// Opens a diffusers folder or a single file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`] or [`Error::Config`], naming the file that can't be read or used.
    pub fn open(path: &Path) -> Result<Self> {
        let meta = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
        match meta.is_dir() {
            true => Self::from_folder(Folder::Disk(path.to_owned())),
            false => Self::from_file(TensorFile::open(path)?),
        }
    }

    /// Opens a diffusers folder, on disk or in memory.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn from_folder(folder: Folder) -> Result<Self> {
        let configs = Configs::from_folder(&folder)?;
        let weights = |part: Part| -> Result<PartWeights> {
            let files = folder.part_tensors(part.name(), part.stem())?;
            Ok(PartWeights {
                origin: folder.origin(part.name()),
                files,
                names: Arc::new(Diffusers { part }),
                part,
                patches: Vec::new(),
            })
        };
        let weights = [
            weights(Part::TextEncoder)?,
            weights(Part::Unet)?,
            weights(Part::Vae)?,
        ];
        let tokenizer = match folder.has("tokenizer/vocab.json") {
            true => Tokenizer::Folder(folder.clone()),
            false => Tokenizer::Embedded,
        };
        Ok(Self {
            origin: folder.origin(""),
            layout: Layout::Diffusers,
            configs,
            weights,
            tokenizer,
        })
    }

    /// Opens a single file, whose configurations are those in its metadata, else those of the family that its tensors show.
    ///
    /// # Errors
    /// As [`Checkpoint::open`]; [`Error::Malformed`] if it is no checkpoint, or one of a family that isn't supported.
    pub fn from_file(file: TensorFile) -> Result<Self> {
        let configs = Configs::from_file(&file)?;
        Ok(Self::from_file_and_configs(file, configs))
    }

    /// Opens a single file with configurations from elsewhere: for models that no family describes.
    pub fn from_file_and_configs(file: TensorFile, configs: Configs) -> Self {
        let (origin, file) = (file.origin().to_owned(), Arc::new(file));
        let weights = |part: Part, names: Arc<dyn Names>| PartWeights {
            origin: format!("{} of {origin}", part.name()),
            files: vec![file.clone()],
            names,
            part,
            patches: Vec::new(),
        };
        let weights = [
            weights(Part::TextEncoder, Arc::new(Ldm::text_encoder())),
            weights(Part::Unet, Arc::new(Ldm::unet(&configs.unet))),
            weights(Part::Vae, Arc::new(Ldm::vae(&configs.vae))),
        ];
        let tokenizer = match file.metadata().contains_key(metadata::VOCAB) {
            true => Tokenizer::Metadata(file.clone()),
            false => Tokenizer::Embedded,
        };
        Self {
            origin,
            layout: Layout::Ldm,
            configs,
            weights,
            tokenizer,
        }
    }

    /// The path, or the name given with the bytes.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// How it is laid out.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The configurations.
    pub fn configs(&self) -> &Configs {
        &self.configs
    }

    /// The weights of a part.
    pub fn weights(&self, part: Part) -> &PartWeights {
        &self.weights[part as usize]
    }

    /// Takes the autoencoder from elsewhere: a single file with a bare VAE, a checkpoint's VAE or a diffusers VAE in it, or a
    /// diffusers folder, of a VAE or of a whole pipeline. A single file must have the structure of the VAE that it replaces.
    ///
    /// # Errors
    /// As [`Checkpoint::open`]; [`Error::Config`] if a folder's VAE doesn't fit the U-Net.
    pub fn replace_vae(&mut self, path: &Path) -> Result<()> {
        let part = Part::Vae;
        // Everything is read before anything is replaced: an error leaves the checkpoint as it was.
        let (configs, files, names): (Configs, _, Arc<dyn Names>) =
            if std::fs::metadata(path).map_err(|e| Error::io(path, e))?.is_dir() {
                let folder = Folder::Disk(path.to_owned());
                let inner = if folder.has("vae/config.json") {
                    part.name()
                } else {
                    "."
                };
                let config = format!("{inner}/config.json");
                let (json, origin) = (folder.text(&config)?, folder.origin(&config));
                let configs = Configs {
                    vae: VaeConfig::from_json(&json, &origin)?,
                    ..self.configs.clone()
                };
                let files = folder.part_tensors(inner, part.stem())?;
                (configs.agreeing(&origin)?, files, Arc::new(Diffusers { part }))
            } else {
                let file = TensorFile::open(path)?;
                let names: Arc<dyn Names> = match file.names().any(|name| name.contains("mid_block.")) {
                    true => Arc::new(Diffusers { part }),
                    false => Arc::new(Ldm::vae(&self.configs.vae)),
                };
                (self.configs.clone(), vec![Arc::new(file)], names)
            };
        let vae = &mut self.weights[part as usize];
        (vae.files, vae.names) = (files, names);
        vae.origin = format!("VAE {}", path.display());
        self.configs = configs;
        Ok(())
    }

    /// Lets adapters change the weights of all parts while they are loaded, in this order.
    pub fn set_patches(&mut self, patches: &[Arc<dyn WeightPatch>]) {
        for part in &mut self.weights {
            part.patches = patches.to_vec();
        }
    }

    /// All parameters of the models, by part: the canonical name first, then the names in other layouts, without their prefix. Adapters
    /// find their places by these.
    ///
    /// # Errors
    /// [`Error::Device`] if this build has no device at all.
    pub fn parameters(&self) -> Result<Vec<(Part, Vec<String>)>> {
        let target = Target {
            device: Device::from_name("auto")?,
            dtype: Dtype::F32,
        };
        let configs = &self.configs;
        let text = parameters(Part::TextEncoder, &target, |p| {
            ClipTextModel::build(&configs.text_encoder, p, &target)
        });
        let unet = parameters(Part::Unet, &target, |p| UNet::build(&configs.unet, p, &target));
        let ldm = Ldm::unet(&configs.unet);
        let both = |name: String| {
            let other = ldm
                .spellings(&name)
                .into_iter()
                .filter_map(|spelt| spelt.strip_prefix(UNET_PREFIX).map(str::to_owned));
            let other: Vec<String> = other.collect();
            [vec![name], other].concat()
        };
        let text = text.into_iter().map(|name| (Part::TextEncoder, vec![name]));
        Ok(text
            .chain(unet.into_iter().map(|name| (Part::Unet, both(name))))
            .collect())
    }

    /// Its own tokenizer if it carries one, else CLIP's.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if its own can't be used, or knows more tokens than the text encoder.
    pub fn tokenizer(&self) -> Result<ClipTokenizer> {
        let tokenizer = match &self.tokenizer {
            Tokenizer::Embedded => ClipTokenizer::embedded(),
            Tokenizer::Folder(folder) => ClipTokenizer::read(folder, "tokenizer/")?,
            Tokenizer::Metadata(file) => {
                let value = |key: &str| file.metadata().get(key).map_or("", String::as_str);
                ClipTokenizer::from_files(&self.origin, value(metadata::VOCAB), value(metadata::MERGES), &[])?
            }
        };
        // Every id must have a row in the embedding, also where the vocabulary leaves ids out.
        let rows = self.configs.text_encoder.vocab_size;
        if tokenizer.vocab_size() > rows {
            let reason = format!(
                "its token ids go up to {}, but the text encoder's vocab_size is {rows}",
                tokenizer.vocab_size() - 1
            );
            return Err(Error::Tokenizer {
                origin: tokenizer.origin().to_owned(),
                reason,
            });
        }
        Ok(tokenizer)
    }
}

impl Configs {
    /// Reads the configurations of a diffusers folder.
    ///
    /// # Errors
    /// [`Error::Io`] if one is missing, [`Error::Malformed`] or [`Error::Config`] if one can't be used.
    pub fn from_folder(folder: &Folder) -> Result<Self> {
        let read = |name: &str| Ok::<_, Error>((folder.text(name)?, folder.origin(name)));
        if !folder.has("unet/config.json") {
            let reason = "not a diffusers folder: it has no unet/config.json; give the folder that holds model_index.json, or a \
                          .safetensors file";
            return Err(Error::malformed(folder.origin(""), reason));
        }
        let (text_encoder, text_encoder_origin) = read("text_encoder/config.json")?;
        let (unet, unet_origin) = read("unet/config.json")?;
        let (vae, vae_origin) = read("vae/config.json")?;
        let scheduler = match folder.has("scheduler/scheduler_config.json") {
            true => Some(read("scheduler/scheduler_config.json")?),
            false => None,
        };
        Self {
            text_encoder: ClipTextConfig::from_json(&text_encoder, &text_encoder_origin)?,
            unet: UnetConfig::from_json(&unet, &unet_origin)?,
            vae: VaeConfig::from_json(&vae, &vae_origin)?,
            scheduler: match scheduler {
                Some((json, origin)) => SchedulerConfig::from_json(&json, &origin)?,
                None => SchedulerConfig::default(),
            },
        }
        .agreeing(&folder.origin(""))
    }

    /// The configurations that a single file carries in its metadata, or else those of its family.
    fn from_file(file: &TensorFile) -> Result<Self> {
        let origin = file.origin();
        let get = |key: &str| file.metadata().get(key).map(String::as_str);
        let parts = (
            get(metadata::TEXT_ENCODER),
            get(metadata::UNET),
            get(metadata::VAE),
        );
        if let (Some(text_encoder), Some(unet), Some(vae)) = parts {
            return Self {
                text_encoder: ClipTextConfig::from_json(text_encoder, origin)?,
                unet: UnetConfig::from_json(unet, origin)?,
                vae: VaeConfig::from_json(vae, origin)?,
                scheduler: match get(metadata::SCHEDULER) {
                    Some(json) => SchedulerConfig::from_json(json, origin)?,
                    None => SchedulerConfig::default(),
                },
            }
            .agreeing(origin);
        }
        let found = classify(&[file]);
        match (found.kind, found.family) {
            (Kind::Checkpoint, Family::Sd1) => {}
            (Kind::Checkpoint, family) => {
                return Err(Error::malformed(
                    origin,
                    format!("a checkpoint of family {family}, which is not supported yet"),
                ));
            }
            (kind, _) => {
                let reason =
                    format!("no checkpoint but {kind}; give a file with U-Net, VAE and text encoder");
                return Err(Error::malformed(origin, reason));
            }
        }
        let in_channels = match found.in_channels {
            Some(n @ (4 | 8 | 9)) => n,
            other => {
                let n = other.map_or("no number of".into(), |n| n.to_string());
                let reason = format!("a U-Net with {n} input channels; SD1 has 4, 8 or 9");
                return Err(Error::malformed(origin, reason));
            }
        };
        let scheduler = SchedulerConfig {
            prediction_type: found.prediction_type.unwrap_or_else(|| "epsilon".into()),
            rescale_betas_zero_snr: found.zero_terminal_snr,
            ..SchedulerConfig::default()
        };
        Ok(Self {
            text_encoder: config::sd1_text_encoder(),
            unet: config::sd1_unet(in_channels),
            vae: config::sd1_vae(),
            scheduler,
        })
    }

    /// Checks that the parts fit together.
    fn agreeing(self, origin: &str) -> Result<Self> {
        let (text, context) = (self.text_encoder.hidden_size, self.unet.cross_attention_dim);
        if text != context {
            let reason =
                format!("the text encoder's width {text} is not the U-Net's context width {context}");
            return Err(Error::config(origin, "cross_attention_dim", reason));
        }
        let (latents, out) = (self.vae.latent_channels, self.unet.out_channels);
        if latents != out {
            let reason = format!("the VAE's {latents} latent channels are not the U-Net's {out}");
            return Err(Error::config(origin, "latent_channels", reason));
        }
        for (field, channels) in [
            ("in_channels", self.vae.in_channels),
            ("out_channels", self.vae.out_channels),
        ] {
            if channels != 3 {
                let reason = format!("must be 3, for the colours of the VAE's pictures, not {channels}");
                return Err(Error::config(origin, field, reason));
            }
        }
        let input = self.unet.in_channels;
        if input < latents {
            let reason =
                format!("the U-Net's {input} channels don't hold the VAE's {latents} latent channels");
            return Err(Error::config(origin, "in_channels", reason));
        }
        Ok(self)
    }
}
