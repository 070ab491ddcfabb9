//! A whole checkpoint: all parts of a pipeline, whatever their layout.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    Configs, Folder, PartWeights, Target, TensorFile, WeightPatch,
    configs::metadata,
    names::{Ldm, Names, UNET_PREFIX},
    opening::About,
    parameters,
};
use crate::{
    ClipTokenizer, Device, Dtype, Error, Result,
    config::Fields,
    models::{ClipTextModel, UNet},
    tokenizer::TokenizerFiles,
};

/// A part of a pipeline that has weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The text encoder.
    TextEncoder,
    /// The U-Net.
    Unet,
    /// The autoencoder.
    Vae,
}

impl Part {
    /// All parts, in the order in which they are loaded.
    pub const ALL: [Self; 3] = [Self::TextEncoder, Self::Unet, Self::Vae];

    /// Its folder's name in diffusers' layout.
    pub fn name(self) -> &'static str {
        match self {
            Self::TextEncoder => "text_encoder",
            Self::Unet => "unet",
            Self::Vae => "vae",
        }
    }

    /// The stem of its weight files in diffusers' layout.
    pub(super) fn stem(self) -> &'static str {
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

/// An opened checkpoint: configurations read and checked, weights mapped but not loaded.
#[derive(Clone)]
pub struct Checkpoint {
    pub(super) origin: String,
    pub(super) layout: Layout,
    pub(super) configs: Configs,
    pub(super) weights: [PartWeights; 3],
    pub(super) tokenizer: Tokenizer,
    pub(super) texts: Texts,
    pub(super) about: About,
}

/// The configurations as they were found, for those who save them: other programs read more in them.
#[derive(Clone, Default)]
pub(super) struct Texts {
    parts: [Option<String>; 3],
    scheduler: Option<String>,
}

impl Texts {
    pub fn of_folder(folder: &Folder) -> Result<Self> {
        let text = |name: String| folder.has(&name).then(|| folder.text(&name)).transpose();
        let part = |part: Part| text(format!("{}/config.json", part.name()));
        Ok(Self {
            parts: [part(Part::TextEncoder)?, part(Part::Unet)?, part(Part::Vae)?],
            scheduler: text("scheduler/scheduler_config.json".into())?,
        })
    }

    pub fn of_file(file: &TensorFile) -> Self {
        let text = |key: &str| file.metadata().get(key).cloned();
        Self {
            parts: Part::ALL.map(|part| text(metadata::of(part))),
            scheduler: text(metadata::SCHEDULER),
        }
    }

    /// Of a part from elsewhere.
    pub fn put(&mut self, part: Part, json: Option<String>, scheduler: Option<String>) {
        self.parts[part as usize] = json;
        self.scheduler = scheduler.or(self.scheduler.take());
    }
}

/// Where the tokenizer is to be found.
#[derive(Clone)]
pub(super) enum Tokenizer {
    Embedded,
    Folder(Folder),
    Metadata(Arc<TensorFile>),
}

impl Checkpoint {
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
        let target = Target::new(Device::from_name("auto")?, Dtype::F32);
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
        let text = text.into_iter().map(|(name, _)| (Part::TextEncoder, vec![name]));
        Ok(text
            .chain(unet.into_iter().map(|(name, _)| (Part::Unet, both(name))))
            .collect())
    }

    /// What the U-Net predicts, where the checkpoint says it wrongly: "epsilon", "v_prediction" or "sample".
    pub fn set_prediction_type(&mut self, prediction_type: impl Into<String>) {
        self.configs.scheduler.prediction_type = prediction_type.into();
        self.about.prediction_reason = Some("the caller says so".into());
    }

    /// A part's configuration as it was found.
    pub(super) fn json(&self, part: Part) -> Option<&str> {
        self.texts.parts[part as usize].as_deref()
    }

    /// The noise schedule, as diffusers' `scheduler_config.json`.
    pub(super) fn scheduler_json(&self) -> Map<String, Value> {
        self.configs.scheduler.to_json(self.texts.scheduler.as_deref())
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
                let special = file.metadata().get(metadata::SPECIAL).cloned();
                let (vocab, merges) = (value(metadata::VOCAB), value(metadata::MERGES));
                ClipTokenizer::from_files(&self.origin, vocab, merges, &[special])?
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

    /// Its tokenizer as the files that a folder has.
    pub(super) fn tokenizer_files(&self) -> Result<TokenizerFiles> {
        let pad = self.tokenizer()?.pad_token();
        let (vocab, merges) = match &self.tokenizer {
            Tokenizer::Embedded => ClipTokenizer::embedded_files(),
            Tokenizer::Folder(folder) => {
                let text = |name: &str| folder.text(&format!("tokenizer/{name}"));
                (text("vocab.json")?, text("merges.txt")?)
            }
            Tokenizer::Metadata(file) => {
                let value = |key: &str| file.metadata().get(key).cloned().unwrap_or_default();
                (value(metadata::VOCAB), value(metadata::MERGES))
            }
        };
        Ok(TokenizerFiles {
            embedded: matches!(self.tokenizer, Tokenizer::Embedded),
            vocab,
            merges,
            pad,
            length: self.configs.text_encoder.max_position_embeddings,
        })
    }
}
